// The connection behind a request, as the threads that make tokens see it. For .cpp files of http/
// only.
#pragma once

#include <drogon/HttpRequest.h>
#include <trantor/net/TcpConnection.h>

#include <atomic>
#include <functional>
#include <memory>

#include "base/clock.h"

namespace gogrid {

// Thread-safe. Outlives the connection without keeping it.
class ClientLink {
 public:
  explicit ClientLink(const drogon::HttpRequestPtr& request)
      : connection_(request->getConnectionPtr()) {
    if (const auto connection = connection_.lock()) loop_ = connection->getLoop();
  }

  bool connected() const {
    const auto connection = connection_.lock();
    return connection != nullptr && connection->connected();
  }

  // Runs on the connection's thread, in order. Not at all when there never was a connection.
  void post(std::function<void()> work) const {
    if (loop_ != nullptr) loop_->queueInLoop(std::move(work));
  }

  // Bytes the socket has taken so far; on the connection's thread only.
  std::size_t bytes_sent() const {
    const auto connection = connection_.lock();
    return connection == nullptr ? 0 : connection->bytesSent();
  }

  // A computation longer than the idle timeout must not cost the client its connection.
  void keep_open() const {
    post([weak = connection_] {
      if (const auto connection = weak.lock()) connection->keepAlive();
    });
  }

 private:
  std::weak_ptr<trantor::TcpConnection> connection_;
  trantor::EventLoop* loop_ = nullptr;
};

}  // namespace gogrid
