// A small blocking HTTP client over one socket, that can also misbehave.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace gogrid::testing {

struct HttpReply {
  int status = 0;                              // 0: the connection ended, or nothing came in time
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

// Not thread-safe. Every wait ends after kPatience.
class HttpClient {
 public:
  static constexpr auto kPatience = std::chrono::seconds(20);

  // `receive_buffer`: of the socket, in bytes; 0: the system's.
  explicit HttpClient(std::uint16_t port, int receive_buffer = 0)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      leave();
    }
  }
  HttpClient(HttpClient&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)), received_(std::move(other.received_)) {}
  HttpClient& operator=(HttpClient&&) = delete;
  ~HttpClient() { leave(); }

  bool connected() const { return socket_ >= 0; }

  void leave() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }

  // False when the other side has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  bool send_request(std::string_view method, std::string_view path, std::string_view body = {},
                    std::string_view more_headers = {}) {
    std::string text =
        std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n";
    text += more_headers;
    if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return send(text + "\r\n" + std::string(body));
  }

  HttpReply request(std::string_view method, std::string_view path, std::string_view body = {},
                    std::string_view more_headers = {}) {
    send_request(method, path, body, more_headers);
    return receive(method == "HEAD");
  }

  // One whole answer, pieces of a chunked one joined.
  HttpReply receive(bool head_only = false) {
    HttpReply reply = receive_head();
    if (reply.status == 0 || head_only) return reply;
    if (reply.header("transfer-encoding") == "chunked") {
      while (auto piece = receive_piece()) {
        if (piece->empty()) return reply;
        reply.body += *piece;
      }
      reply.status = 0;
      return reply;
    }
    const auto length = reply.headers.find("content-length");
    const std::size_t size = length == reply.headers.end() ? 0 : std::stoull(length->second);
    if (!fill([&] { return received_.size() >= size; })) reply.status = 0;
    reply.body = received_.substr(0, size);
    received_.erase(0, size);
    return reply;
  }

  HttpReply receive_head() {
    HttpReply reply;
    if (!fill([&] { return received_.find("\r\n\r\n") != std::string::npos; })) return reply;
    std::string_view head(received_);
    head = head.substr(0, head.find("\r\n\r\n") + 2);
    const std::size_t size = head.size() + 2;
    if (head.starts_with("HTTP/1.")) reply.status = std::stoi(std::string(head.substr(9, 3)));
    head.remove_prefix(head.find("\r\n") + 2);
    while (!head.empty()) {
      const std::string_view line = head.substr(0, head.find("\r\n"));
      const auto colon = line.find(": ");
      std::string name(line.substr(0, colon));
      std::ranges::transform(name, name.begin(),
                             [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      if (colon != std::string_view::npos) reply.headers[name] = line.substr(colon + 2);
      head.remove_prefix(line.size() + 2);
    }
    received_.erase(0, size);
    return reply;
  }

  // The next piece of a chunked answer; the last one is empty. Nothing when the connection ended.
  std::optional<std::string> receive_piece() {
    const auto line_end = [&] { return received_.find("\r\n"); };
    if (!fill([&] { return line_end() != std::string::npos; })) return std::nullopt;
    const std::size_t size = std::stoull(received_.substr(0, line_end()), nullptr, 16);
    const std::size_t begin = line_end() + 2;
    if (!fill([&] { return received_.size() >= begin + size + 2; })) return std::nullopt;
    std::string piece = received_.substr(begin, size);
    received_.erase(0, begin + size + 2);
    return piece;
  }

  // True once the other side has closed, within `patience`. What still comes is dropped.
  bool closed_within(std::chrono::milliseconds patience) {
    return !fill([] { return false; }, patience) && ended_;
  }

 private:
  template <class Enough>
  bool fill(Enough enough, std::chrono::milliseconds patience = kPatience) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!enough()) {
      if (socket_ < 0) return false;
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - std::chrono::steady_clock::now());
      pollfd wait{socket_, POLLIN, 0};
      if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) <= 0) return false;
      char bytes[16 * 1024];
      const auto size = ::recv(socket_, bytes, sizeof bytes, 0);
      if (size <= 0) {
        ended_ = true;
        return false;
      }
      received_.append(bytes, static_cast<std::size_t>(size));
    }
    return true;
  }

  int socket_;
  bool ended_ = false;
  std::string received_;
};

}  // namespace gogrid::testing
