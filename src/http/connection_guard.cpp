#include "http/connection_guard.h"

#include <algorithm>
#include <future>
#include <utility>

#include "base/ids.h"
#include "http/completion_response.h"

namespace gogrid {
namespace {

// How long a refused client may take to read why before its connection is cut. Closing at once
// would lose the answer: the kernel resets a connection that is closed with unread bytes.
constexpr Duration kLinger = std::chrono::seconds(2);

// The framework keeps its receive callback in a protected member, and offers nothing earlier.
struct CallbackAccess : trantor::TcpConnection {
  static trantor::RecvMessageCallback of(trantor::TcpConnection& connection) {
    return connection.*(&CallbackAccess::recvMsgCallback_);
  }
};

const char* reason_of(int status) {
  switch (status) {
    case 403:
      return "Forbidden";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Bad Request";
  }
}

std::string text_of(const ScreenRefusal& refusal) {
  const std::string body = error_body(refusal.error);
  std::string text = "HTTP/1.1 " + std::to_string(refusal.http_status) + " " +
                     reason_of(refusal.http_status) + "\r\nContent-Type: application/json\r\n";
  text += "Content-Length: " + std::to_string(body.size()) + "\r\nX-Request-Id: ";
  text += refusal.request_id.empty() ? make_request_id() : refusal.request_id;
  if (refusal.http_status == 503) text += "\r\nRetry-After: 1";
  return text + "\r\nConnection: close\r\n\r\n" + body;
}

}  // namespace

void ConnectionGuard::connection_changed(const trantor::TcpConnectionPtr& connection) {
  if (connection->connected()) return screen_bytes_of(connection);
  std::shared_ptr<ClientConnection> client;
  {
    MutexLock lock(mu_);
    const auto found = open_.find(connection.get());
    if (found == open_.end()) return;
    client = std::move(found->second);
    open_.erase(found);
  }
  pending_ -= client->screen.pending();
  client->gone.request_stop();
}

void ConnectionGuard::screen_bytes_of(const trantor::TcpConnectionPtr& connection) {
  auto client = std::make_shared<ClientConnection>(connection, limits_.screen);
  client->moved_at = clock_.now();
  bool too_many = false;
  {
    MutexLock lock(mu_);
    too_many = open_.size() >= limits_.max_connections;
    open_[connection.get()] = client;
  }
  // A token is a small packet, and the next one must not wait for its acknowledgement.
  connection->setTcpNoDelay(true);
  connection->setRecvMsgCallback(
      [self = shared_from_this(), client, framework = CallbackAccess::of(*connection)](
          const trantor::TcpConnectionPtr& from, trantor::MsgBuffer* buffer) {
        self->receive(*client, framework, from, buffer);
      });
  if (too_many) {
    refuse(*client, *connection,
           {503, {ErrorCode::kExhausted, "too many connections are open", {}, {}}, {}});
  }
}

std::shared_ptr<ClientConnection> ConnectionGuard::find(
    const drogon::HttpRequestPtr& request) const {
  const auto connection = request->getConnectionPtr().lock();
  if (connection != nullptr) {
    MutexLock lock(mu_);
    if (const auto found = open_.find(connection.get()); found != open_.end()) {
      return found->second;
    }
  }
  return nullptr;
}

void ConnectionGuard::receive(ClientConnection& client, const Receive& framework,
                              const trantor::TcpConnectionPtr& connection,
                              trantor::MsgBuffer* buffer) {
  const std::size_t fresh = connection->bytesReceived() - client.received;
  client.received += fresh;
  if (client.refused) return buffer->retrieveAll();
  const std::string_view bytes(buffer->peek(), buffer->readableBytes());
  if (const auto refusal = screen(client, bytes.substr(bytes.size() - fresh))) {
    buffer->retrieveAll();
    return refuse(client, *connection, *refusal);
  }
  framework(connection, buffer);
}

std::optional<ScreenRefusal> ConnectionGuard::screen(ClientConnection& client,
                                                     std::string_view fresh) {
  RequestScreen& screen = client.screen;
  const bool was_inside = screen.inside();
  const std::uint64_t completed = screen.completed();
  const std::size_t before = screen.pending();
  auto refusal = screen.feed(fresh);
  pending_ += screen.pending();
  const std::size_t pending = pending_ -= before;
  if (screen.inside() && (!was_inside || screen.completed() != completed)) {
    client.request_since = clock_.now();
  }
  if (!refusal && screen.inside() && pending > limits_.max_pending) {
    const Error error{ErrorCode::kExhausted, "too many large requests arrive at once", {}, {}};
    return ScreenRefusal{503, error, {}};
  }
  return refusal;
}

void ConnectionGuard::refuse(ClientConnection& client, trantor::TcpConnection& connection,
                             const ScreenRefusal& refusal) {
  client.refused = true;
  client.refused_at = clock_.now();
  // An answer to an earlier request is still to come: this one would be taken for it.
  if (client.busy > 0) return connection.forceClose();
  connection.send(text_of(refusal));
  connection.shutdown();
}

std::vector<std::shared_ptr<ClientConnection>> ConnectionGuard::all() const {
  std::vector<std::shared_ptr<ClientConnection>> result;
  MutexLock lock(mu_);
  result.reserve(open_.size());
  for (const auto& [key, client] : open_) result.push_back(client);
  return result;
}

void ConnectionGuard::look() {
  std::unordered_map<trantor::EventLoop*, std::vector<std::shared_ptr<ClientConnection>>> by_loop;
  for (auto& client : all()) by_loop[client->loop].push_back(std::move(client));
  for (auto& [loop, clients] : by_loop) {
    loop->queueInLoop([self = shared_from_this(), here = std::move(clients)] {
      const TimePoint now = self->clock_.now();
      for (const auto& client : here) self->look_at(*client, now);
    });
  }
}

void ConnectionGuard::look_at(ClientConnection& client, TimePoint now) {
  const auto connection = client.tcp.lock();
  if (connection == nullptr) return;
  if (client.refused) {
    if (now - client.refused_at > kLinger) connection->forceClose();
    return;
  }
  if (client.screen.inside() && now - client.request_since > limits_.read_timeout) {
    const Error error{ErrorCode::kDeadline, "the request did not arrive in time", {}, {}};
    return refuse(client, *connection, {408, error, {}});
  }
  const std::size_t moved = connection->bytesReceived() + connection->bytesSent();
  if (client.busy > 0 || moved != client.moved) {
    client.moved = moved;
    client.moved_at = now;
  } else if (now - client.moved_at > limits_.idle_timeout) {
    connection->forceClose();
  }
}

bool ConnectionGuard::close_when_sent(TimePoint deadline) {
  struct Look {
    std::vector<std::shared_ptr<ClientConnection>> clients;
    std::atomic<std::size_t> unsent{0};
  };
  const auto look = std::make_shared<Look>();
  look->clients = all();
  std::unordered_map<trantor::EventLoop*, std::future<void>> loops;
  for (const auto& client : look->clients) {
    if (loops.contains(client->loop)) continue;
    auto looked = std::make_shared<std::promise<void>>();
    loops.emplace(client->loop, looked->get_future());
    client->loop->queueInLoop([look, looked, loop = client->loop] {
      for (const auto& one : look->clients) {
        const auto connection = one->loop == loop ? one->tcp.lock() : nullptr;
        if (connection == nullptr) continue;
        connection->shutdown();  // at once when nothing waits to be sent, otherwise after it
        if (connection->connected()) ++look->unsent;
      }
      looked->set_value();
    });
  }
  for (auto& [loop, looked] : loops) {
    if (looked.wait_until(deadline) != std::future_status::ready) return false;
  }
  return look->unsent == 0;
}

}  // namespace gogrid
