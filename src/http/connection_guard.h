// Every client connection: screened, timed, counted, and known to be open or gone. For .cpp files
// of http/ only.
#pragma once

#include <drogon/HttpRequest.h>
#include <trantor/net/TcpConnection.h>

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "http/request_screen.h"

namespace gogrid {

// One connection, as the threads that answer it see it.
struct ClientConnection {
  ClientConnection(const trantor::TcpConnectionPtr& connection, const ScreenLimits& limits)
      : tcp(connection), loop(connection->getLoop()), screen(limits) {}

  // Any thread.
  const std::weak_ptr<trantor::TcpConnection> tcp;
  trantor::EventLoop* const loop;
  std::stop_source gone;               // requested once when the connection ends
  std::atomic<std::uint32_t> busy{0};  // requests that are being answered

  // The loop's thread only.
  RequestScreen screen;
  std::size_t received = 0;   // bytes that were screened
  TimePoint request_since{};  // first byte of the unfinished request
  std::size_t moved = 0;      // bytes in and out at the last look
  TimePoint moved_at{};
  bool refused = false;  // answered with an error: whatever still comes is thrown away
  TimePoint refused_at{};
};

struct GuardLimits {
  ScreenLimits screen;
  std::size_t max_connections = 12'000;              // 503 above
  std::size_t max_pending = 256 * 1024 * 1024;       // bytes of unfinished requests, all together
  Duration read_timeout = std::chrono::seconds(30);  // first to last byte of a request: 408
  Duration idle_timeout = std::chrono::seconds(60);  // nothing asked, nothing moves: closed
};

// The framework has an idle timeout, but none for requests that drip in, and once a connection is
// exempted from it (streams, long computations) it stays so. All of it is done here instead.
//
// Thread-safe. Outlives its connections: it is held by their callbacks.
class ConnectionGuard : public std::enable_shared_from_this<ConnectionGuard> {
 public:
  ConnectionGuard(const GuardLimits& limits, const Clock& clock) : limits_(limits), clock_(clock) {}

  // On the connection's thread.
  void connection_changed(const trantor::TcpConnectionPtr& connection);
  // Null when the connection has ended.
  std::shared_ptr<ClientConnection> find(const drogon::HttpRequestPtr& request) const;
  // Looks at all connections, each on its own thread. To be called a few times in each timeout.
  void look();
  // Asks every connection to close once its answers are sent; false while some still have bytes to
  // send, or a connection's thread did not answer until `deadline`. Call it until true.
  bool close_when_sent(TimePoint deadline);

 private:
  using Receive = trantor::RecvMessageCallback;

  std::vector<std::shared_ptr<ClientConnection>> all() const;
  void screen_bytes_of(const trantor::TcpConnectionPtr& connection);
  void receive(ClientConnection& client, const Receive& framework,
               const trantor::TcpConnectionPtr& connection, trantor::MsgBuffer* buffer);
  std::optional<ScreenRefusal> screen(ClientConnection& client, std::string_view fresh);
  void refuse(ClientConnection& client, trantor::TcpConnection& connection,
              const ScreenRefusal& refusal);
  void look_at(ClientConnection& client, TimePoint now);

  const GuardLimits limits_;
  const Clock& clock_;
  std::atomic<std::size_t> pending_{0};
  mutable Mutex mu_;
  std::unordered_map<const trantor::TcpConnection*, std::shared_ptr<ClientConnection>> open_
      GUARDED_BY(mu_);
};

}  // namespace gogrid
