#include "http/connection_guard.h"

#include <utility>
#include <vector>

namespace gogrid {

void ConnectionGuard::connection_changed(const trantor::TcpConnectionPtr& connection) {
  MutexLock lock(mu_);
  if (connection->connected()) {
    watched_[connection.get()] = {connection, 0, {}};
  } else {
    watched_.erase(connection.get());
  }
}

void ConnectionGuard::request_complete(const drogon::HttpRequestPtr& request) {
  const auto connection = request->getConnectionPtr().lock();
  if (connection == nullptr) return;
  MutexLock lock(mu_);
  const auto found = watched_.find(connection.get());
  if (found == watched_.end()) return;
  found->second.accounted = connection->bytesReceived();
  found->second.pending_since = {};
}

void ConnectionGuard::look(TimePoint now) {
  // Closing calls connection_changed(), perhaps at once: not under the lock.
  std::vector<trantor::TcpConnectionPtr> late;
  {
    MutexLock lock(mu_);
    for (auto& [key, watched] : watched_) {
      auto connection = watched.connection.lock();
      if (connection == nullptr || connection->bytesReceived() <= watched.accounted) continue;
      if (watched.pending_since == TimePoint{}) watched.pending_since = now;
      if (now - watched.pending_since > limit_) late.push_back(std::move(connection));
    }
  }
  for (const auto& connection : late) connection->forceClose();
}

}  // namespace gogrid
