#include "app/listen_address.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <system_error>

#include "base/file_descriptor.h"

namespace gogrid {
namespace {

enum class Reach { kInvalid, kLoopback, kOthers };

Reach reach_of(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1)
    return ntohl(v4.s_addr) >> 24 == 127 ? Reach::kLoopback : Reach::kOthers;
  in6_addr v6{};
  if (inet_pton(AF_INET6, address.c_str(), &v6) != 1) return Reach::kInvalid;
  return IN6_IS_ADDR_LOOPBACK(&v6) ? Reach::kLoopback : Reach::kOthers;
}

std::optional<std::uint16_t> port_of(std::string_view digits) {
  std::uint16_t port = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, port);
  if (digits.empty() || error != std::errc{} || stop != end) return std::nullopt;
  return port;
}

// "[::1]" -> "::1"; a v6 address without brackets is empty: its last colon could be the port's.
std::string host_of(std::string_view host) {
  if (host == "localhost") return "127.0.0.1";
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  return bracketed == host.contains(':') ? std::string(host) : std::string();
}

// Binds as the server will; its socket is closed again.
template <class Address>
int try_bind(const Address& address, int family) {
  const FileDescriptor socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno;
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  return ::bind(socket.get(), generic, sizeof address) == 0 ? 0 : errno;
}

}  // namespace

Result<ListenAddress> parse_listen(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  const std::string host = colon == text.npos ? "" : host_of(text.substr(0, colon));
  const auto port = colon == text.npos ? std::nullopt : port_of(text.substr(colon + 1));
  const Reach reach = reach_of(host);
  const std::string came = ": '" + std::string(text.substr(0, 100)) + "'";
  if (!port || reach == Reach::kInvalid) {
    return fail(ErrorCode::kInvalidArgument,
                "expected ADDR:PORT like 127.0.0.1:8080 or [::1]:0, with a port 0..65535" + came,
                "listen");
  }
  if (reach == Reach::kOthers) {
    return fail(ErrorCode::kInvalidArgument,
                "expected a loopback address (127.0.0.1, [::1]); others are served once there are "
                "keys" +
                    came,
                "listen");
  }
  return ListenAddress{host, *port};
}

Status check_listen(const ListenAddress& listen) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(listen.port);
  int error = EINVAL;
  if (inet_pton(AF_INET, listen.address.c_str(), &v4.sin_addr) == 1) error = try_bind(v4, AF_INET);
  if (inet_pton(AF_INET6, listen.address.c_str(), &v6.sin6_addr) == 1)
    error = try_bind(v6, AF_INET6);
  if (error == 0) return {};
  return fail(ErrorCode::kIo,
              "cannot listen on " + url_of(listen).substr(std::string_view("http://").size()) +
                  ": " + std::generic_category().message(error),
              "listen");
}

std::string url_of(const ListenAddress& listen) {
  const bool v6 = listen.address.contains(':');
  return "http://" + (v6 ? "[" + listen.address + "]" : listen.address) + ":" +
         std::to_string(listen.port);
}

}  // namespace gogrid
