// The connection behind a request, as whatever answers it sees it. For .cpp files of http/ only.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "http/connection_guard.h"

namespace gogrid {

// While it lives the connection counts as busy: it is not idle, however long the answer takes.
// Move-only; thread-safe. Does not keep the connection.
class ClientLink {
 public:
  explicit ClientLink(std::shared_ptr<ClientConnection> client) : client_(std::move(client)) {
    ++client_->busy;
  }
  ClientLink(ClientLink&&) noexcept = default;
  ClientLink& operator=(ClientLink&&) = delete;
  ~ClientLink() {
    if (client_ != nullptr) --client_->busy;
  }

  bool connected() const { return !client_->gone.stop_requested(); }
  // Stops when the client has left.
  std::stop_token gone() const { return client_->gone.get_token(); }

  // Runs on the connection's thread, in order.
  void post(std::function<void()> work) const { client_->loop->queueInLoop(std::move(work)); }

  // The same, in so many seconds.
  void post_later(double seconds, std::function<void()> work) const {
    client_->loop->runAfter(seconds, std::move(work));
  }

  // On the connection's thread only.
  void close_when_sent() const {
    if (const auto connection = client_->tcp.lock()) connection->shutdown();
  }

  // Bytes the socket has taken so far; on the connection's thread only.
  std::size_t bytes_sent() const {
    const auto connection = client_->tcp.lock();
    return connection == nullptr ? 0 : connection->bytesSent();
  }

 private:
  std::shared_ptr<ClientConnection> client_;
};

}  // namespace gogrid
