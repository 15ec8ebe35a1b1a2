#include "support/hub_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <stdexcept>

#include "base/format.h"

namespace gogrid::testing {
namespace {

constexpr std::size_t kPortion = std::size_t{16} << 10;

bool send_all(int connection, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

// Up to the empty line; empty when the other side has left.
std::string read_head(int connection) {
  std::string head;
  char c = 0;
  while (!head.ends_with("\r\n\r\n")) {
    if (::recv(connection, &c, 1, 0) != 1) return {};
    head += c;
  }
  return head;
}

HubRequest parse(const std::string& head) {
  HubRequest request;
  const std::size_t target = head.find(' ') + 1;
  request.target = head.substr(target, head.find(' ', target) - target);
  for (std::size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
    const std::size_t end = head.find("\r\n", at);
    const std::size_t colon = head.find(": ", at);
    std::string name = head.substr(at, colon - at);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers[name] = head.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  if (const auto range = request.headers.find("range"); range != request.headers.end()) {
    const std::string text = range->second.substr(std::string_view("bytes=").size());
    request.range = {std::stoull(text), std::stoull(text.substr(text.find('-') + 1)) + 1};
  }
  return request;
}

}  // namespace

HubReply reply_with_file(const HubRequest& request, const std::string& content,
                         const std::string& etag) {
  HubReply reply;
  if (!etag.empty()) reply.headers.push_back("ETag: " + etag);
  if (!request.range) {
    reply.body = content;
    return reply;
  }
  const ByteRange range{request.range->first, std::min<Bytes>(request.range->last, content.size())};
  if (range.first >= range.last) {
    reply.status = 416;
    reply.headers.push_back(format_text("Content-Range: bytes */{}", content.size()));
    return reply;
  }
  reply.status = 206;
  reply.body = content.substr(range.first, range.size());
  reply.headers.push_back(
      format_text("Content-Range: bytes {}-{}/{}", range.first, range.last - 1, content.size()));
  return reply;
}

HubServer::HubServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  if (listener_ < 0 || ::bind(listener_, any, size) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, any, &size) != 0)
    throw std::runtime_error("no port for the tests' server");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

HubServer::~HubServer() {
  ends_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  {
    const std::lock_guard lock(mu_);
    for (const int connection : connections_) ::shutdown(connection, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  for (const int connection : connections_) ::close(connection);
}

std::string HubServer::url() const { return format_text("http://127.0.0.1:{}", port_); }

std::vector<HubRequest> HubServer::requests() const {
  const std::lock_guard lock(mu_);
  return requests_;
}

void HubServer::accept_all() {
  while (!ends_) {
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    // What is counted as sent is then near to what has come.
    const int small = static_cast<int>(2 * kPortion);
    ::setsockopt(connection, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    const int on = 1;
    ::setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const std::lock_guard lock(mu_);
    connections_.push_back(connection);
    threads_.emplace_back([this, connection] { serve(connection); });
  }
}

void HubServer::serve(int connection) {
  while (!ends_) {
    const std::string head = read_head(connection);
    if (head.empty()) break;
    const HubRequest request = parse(head);
    {
      const std::lock_guard lock(mu_);
      requests_.push_back(request);
    }
    const HubReply reply = handler_(request);
    most_at_once_ = std::max<int>(most_at_once_, ++at_once_);
    const bool goes_on = answer(connection, reply);
    --at_once_;
    if (!goes_on) break;
  }
  ::shutdown(connection, SHUT_RDWR);
}

// False: the connection is over.
bool HubServer::answer(int connection, const HubReply& reply) {
  std::string head = format_text("HTTP/1.1 {} X\r\n", reply.status);
  const std::string length = reply.length.value_or(std::to_string(reply.body.size()));
  if (!length.empty()) head += "Content-Length: " + length + "\r\n";
  for (const std::string& header : reply.headers) head += header + "\r\n";
  if (!send_all(connection, head + "\r\n")) return false;
  const std::size_t end = std::min({reply.body.size(), reply.cut_after.value_or(reply.body.size()),
                                    reply.stall_after.value_or(reply.body.size())});
  for (std::size_t at = 0; at < end && !ends_;) {
    const std::string_view part =
        std::string_view(reply.body).substr(at, std::min(kPortion, end - at));
    if (!send_all(connection, part)) return false;
    body_bytes_ += part.size();
    at += part.size();
    if (reply.rate > 0)
      std::this_thread::sleep_for(
          std::chrono::duration<double>(double(part.size()) / double(reply.rate)));
  }
  char c = 0;
  if (reply.stall_after) static_cast<void>(::recv(connection, &c, 1, 0));  // until it leaves
  return !reply.cut_after && !reply.stall_after && !reply.length;
}

}  // namespace gogrid::testing
