// A web server of the tests' own on loopback, which does whatever a test wants of a bad one.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "model/byte_ranges.h"

namespace gogrid::testing {

struct HubRequest {
  std::string target;                          // path and query
  std::map<std::string, std::string> headers;  // names in lower case
  std::optional<ByteRange> range;              // of a Range header
};

struct HubReply {
  int status = 200;
  std::vector<std::string> headers;  // "Location: ..."
  std::string body;
  std::optional<std::string> length;     // what Content-Length says instead of the truth; "": none
  std::optional<std::size_t> cut_after;  // closes after so many bytes of the body
  std::optional<std::size_t> stall_after;  // sends no more after so many, and waits
  Bytes rate = 0;                          // bytes a second; 0: as fast as they go
};

// Whole, or the part that was asked for, as a good server answers.
HubReply reply_with_file(const HubRequest& request, const std::string& content,
                         const std::string& etag = "\"v1\"");

// Thread-safe; each connection has a thread, from which `handler` is called.
class HubServer {
 public:
  using Handler = std::function<HubReply(const HubRequest&)>;
  explicit HubServer(Handler handler);
  ~HubServer();
  HubServer(const HubServer&) = delete;
  HubServer& operator=(const HubServer&) = delete;

  std::string url() const;  // http://127.0.0.1:PORT
  // Bytes of bodies that were handed to the kernel.
  Bytes body_bytes() const { return body_bytes_; }
  std::vector<HubRequest> requests() const;
  int most_at_once() const { return most_at_once_; }  // answers under way at the same time

 private:
  void accept_all();
  void serve(int connection);
  bool answer(int connection, const HubReply& reply);

  const Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> ends_ = false;
  std::atomic<Bytes> body_bytes_ = 0;
  std::atomic<int> at_once_ = 0;
  std::atomic<int> most_at_once_ = 0;
  mutable std::mutex mu_;
  std::vector<HubRequest> requests_;  // guarded by mu_
  std::vector<int> connections_;      // guarded by mu_; closed at the end
  std::list<std::thread> threads_;    // guarded by mu_
  std::thread acceptor_;
};

}  // namespace gogrid::testing
