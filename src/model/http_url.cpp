#include "model/http_url.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

constexpr std::size_t kMaxUrl = 8192;
constexpr std::size_t kMaxHost = 253;  // of a name in DNS
constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lowered(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), lower);
  return result;
}

std::unexpected<Error> bad(std::string_view expected, std::string_view came) {
  // Up to the query: what comes after may be a secret.
  return fail(ErrorCode::kInvalidArgument, format_text("[url] expected {}: {}", expected,
                                                       excerpt(came.substr(0, came.find('?')))));
}

// Visible ASCII without what browsers and libraries read differently.
bool is_clean(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return c > 0x20 && c < 0x7F && c != '\\' && c != '"' && c != '<'; });
}

bool is_host(std::string_view host) {
  if (host.empty() || host.size() > kMaxHost) return false;
  if (host.starts_with('[')) {
    return host.size() > 3 && host.ends_with(']') &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdef:.") == host.npos;
  }
  return !host.starts_with('.') && !host.ends_with('.') && std::ranges::all_of(host, [](char c) {
    return is_letter_or_digit(c) || c == '.' || c == '-' || c == '_';
  });
}

// "127.1", "2130706433", "0177.0.0.1": what the resolver of some libraries takes for an address, so
// that who compares names sees another machine than who connects.
bool is_odd_address(const std::string& host) {
  in_addr address{};
  return ::inet_aton(host.c_str(), &address) != 0 &&
         ::inet_pton(AF_INET, host.c_str(), &address) != 1;
}

// Takes "host[:port]" apart.
Status read_authority(std::string_view text, std::string_view whole, HttpUrl& url) {
  const std::size_t after_brackets = text.starts_with('[') ? text.find(']') : 0;
  const std::size_t colon = text.find(':', after_brackets == text.npos ? 0 : after_brackets);
  url.host = lowered(text.substr(0, colon));
  // "localhost." is what "localhost" is.
  if (url.host.ends_with('.')) url.host.pop_back();
  url.port = url.https ? kHttpsPort : kHttpPort;
  if (!is_host(url.host)) return bad("a host name or address after '://'", whole);
  if (is_odd_address(url.host)) return bad("an address of four decimal numbers", whole);
  if (colon == text.npos) return {};
  const auto port = parse_number(text.substr(colon + 1));
  if (!port || *port == 0 || *port > 65'535) return bad("a port 1..65535", whole);
  url.port = static_cast<std::uint16_t>(*port);
  return {};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char small = lower(c);
  return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

std::string percent_decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size();
    const int high = escape ? hex_digit(text[i + 1]) : -1;
    const int low = escape ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      decoded += text[i];
      continue;
    }
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::string_view path_of(std::string_view target) { return target.substr(0, target.find('?')); }

bool is_loopback_v4(std::uint32_t address) {
  const std::uint32_t network = address >> 24U;
  return network == 127 || network == 0;
}

}  // namespace

std::string HttpUrl::text() const {
  const bool usual = port == (https ? kHttpsPort : kHttpPort);
  return format_text("{}://{}{}{}", https ? "https" : "http", host,
                     usual ? "" : format_text(":{}", port), target);
}

std::string HttpUrl::shown() const {
  const std::string whole = text();
  return whole.substr(0, whole.find('?'));
}

std::string HttpUrl::file_name() const {
  const std::string_view path = path_of(target);
  return percent_decode(path.substr(path.rfind('/') + 1));
}

Result<HttpUrl> parse_url(std::string_view text) {
  text = text.substr(0, text.find('#'));
  if (text.size() > kMaxUrl) return bad(format_text("an address of at most {} bytes", kMaxUrl), "");
  if (!is_clean(text)) return bad("an address in visible ASCII (the rest as %XX)", text);
  HttpUrl url;
  const std::size_t scheme_end = text.find("://");
  const std::string scheme = lowered(text.substr(0, scheme_end));
  if (scheme_end == text.npos || (scheme != "https" && scheme != "http"))
    return bad("an https:// address", text);
  url.https = scheme == "https";
  const std::string_view rest = text.substr(scheme_end + 3);
  const std::size_t target = rest.find_first_of("/?");
  const std::string_view authority = rest.substr(0, target);
  if (authority.find('@') != authority.npos) return bad("an address without a user's name", scheme);
  GOGRID_RETURN_IF_ERROR(read_authority(authority, text, url));
  if (target != rest.npos) url.target = rest.substr(target);
  if (url.target.starts_with('?')) url.target.insert(0, "/");
  return url;
}

Result<HttpUrl> resolve_location(const HttpUrl& base, std::string_view location) {
  if (location.empty()) return bad("an address to go on at", "none");
  const std::size_t colon = location.find(':');
  if (colon != location.npos && colon < location.find_first_of("/?#")) return parse_url(location);
  HttpUrl root = base;
  root.target.clear();
  if (location.starts_with("//"))
    return parse_url((base.https ? "https:" : "http:") + std::string(location));
  if (location.starts_with('/')) return parse_url(root.text() + std::string(location));
  const std::string_view path = path_of(base.target);
  const std::string_view kept =
      location.starts_with('?') ? path : path.substr(0, path.rfind('/') + 1);
  return parse_url(root.text() + std::string(kept) + std::string(location));
}

bool same_origin(const HttpUrl& a, const HttpUrl& b) {
  return a.https == b.https && a.host == b.host && a.port == b.port;
}

bool is_loopback_address(std::string_view address) {
  const std::string text(address);
  in_addr four{};
  if (::inet_pton(AF_INET, text.c_str(), &four) == 1) return is_loopback_v4(ntohl(four.s_addr));
  in6_addr six{};
  if (::inet_pton(AF_INET6, text.c_str(), &six) != 1) return false;
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), &six, bytes.size());
  const auto zeros = [&](std::size_t count) {
    return std::all_of(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count),
                       [](std::uint8_t byte) { return byte == 0; });
  };
  const std::uint32_t last = std::uint32_t{bytes[12]} << 24U | std::uint32_t{bytes[13]} << 16U |
                             std::uint32_t{bytes[14]} << 8U | bytes[15];
  if (zeros(12)) return last <= 1 || last >> 24U == 127;  // ::, ::1, and ::127.b.c.d
  // ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2)
  return zeros(10) && bytes[10] == 0xFF && bytes[11] == 0xFF && is_loopback_v4(last);
}

bool is_loopback(const HttpUrl& url) {
  // RFC 6761, section 6.3: names below it lead here too.
  if (url.host == "localhost" || url.host.ends_with(".localhost")) return true;
  const std::string_view host = url.host;
  const bool bracketed = host.starts_with('[');
  return is_loopback_address(bracketed ? host.substr(1, host.size() - 2) : host);
}

Status check_scheme(const HttpUrl& url, bool allow_http) {
  if (url.https || allow_http || is_loopback(url)) return {};
  return fail(ErrorCode::kInvalidArgument,
              format_text("[url] expected https:// for another machine: {} (anybody on the way can "
                          "read and change it; --allow-http takes it nevertheless)",
                          url.shown()));
}

Status check_hop(const HttpUrl& from, const HttpUrl& to, bool allow_http) {
  if (is_loopback(to) && !is_loopback(from)) {
    return fail(
        ErrorCode::kPermissionDenied,
        format_text("[url] expected a redirect to another machine: {} leads to this one, {}",
                    from.shown(), to.shown()));
  }
  return check_scheme(to, allow_http);
}

std::string percent_encode(std::string_view text, bool keep_slashes) {
  std::string encoded;
  for (const char c : text) {
    const bool plain =
        is_letter_or_digit(c) || std::string_view("-._~").contains(c) || (keep_slashes && c == '/');
    if (plain)
      encoded += c;
    else
      encoded += format_text("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

}  // namespace gogrid
