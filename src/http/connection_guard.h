// Ends connections that begin a request and do not finish it. For .cpp files of http/ only.
#pragma once

#include <drogon/HttpRequest.h>
#include <trantor/net/TcpConnection.h>

#include <map>
#include <memory>

#include "base/clock.h"
#include "base/mutex.h"

namespace gogrid {

// A request must be complete within `limit` of its first byte: a client that drips a header byte by
// byte would never be idle. Thread-safe. look() is to be called about once a second.
class ConnectionGuard {
 public:
  explicit ConnectionGuard(Duration limit) : limit_(limit) {}

  void connection_changed(const trantor::TcpConnectionPtr& connection);
  void request_complete(const drogon::HttpRequestPtr& request);
  void look(TimePoint now);

 private:
  struct Watched {
    std::weak_ptr<trantor::TcpConnection> connection;
    std::size_t accounted = 0;  // bytes received up to the last complete request
    TimePoint pending_since{};  // when a partial request was first seen; zero: none
  };

  const Duration limit_;
  Mutex mu_;
  std::map<const trantor::TcpConnection*, Watched> watched_ GUARDED_BY(mu_);
};

}  // namespace gogrid
