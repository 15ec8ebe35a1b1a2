#include "http/loopback.h"

#include <arpa/inet.h>

#include <algorithm>

namespace gogrid {
namespace {

constexpr std::string_view kLocalhost = "localhost";
constexpr std::size_t kMaxPortDigits = 5;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_of_address(char c) { return is_digit(c) || c == '.'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= kMaxPortDigits && std::ranges::all_of(text, is_digit);
}

}  // namespace

bool is_loopback(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return address == "::1";
}

bool names_loopback(std::string_view host) {
  // In brackets, colons are of the address.
  const auto colon =
      host.find(':', host.starts_with('[') ? std::min(host.find(']'), host.size()) : 0);
  if (colon != std::string_view::npos) {
    if (!is_port(host.substr(colon + 1))) return false;
    host = host.substr(0, colon);
  }
  if (host == "[::1]" || std::ranges::equal(host, kLocalhost, {}, lower)) return true;
  return std::ranges::all_of(host, is_of_address) && is_loopback(std::string(host));
}

}  // namespace gogrid
