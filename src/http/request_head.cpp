#include "http/request_head.h"

#include <algorithm>
#include <array>
#include <limits>

#include "http/loopback.h"

namespace gogrid {
namespace {

constexpr std::array<std::string_view, 7> kMethods{"GET",    "HEAD",    "POST", "PUT",
                                                   "DELETE", "OPTIONS", "PATCH"};

std::unexpected<HeadFault> fault(int status, std::string message) {
  ErrorCode code = ErrorCode::kInvalidArgument;
  if (status == 417) code = ErrorCode::kUnsupported;
  if (status == 403) code = ErrorCode::kPermissionDenied;
  return std::unexpected(HeadFault{status, code, std::move(message)});
}

// tchar of RFC 9110: what names are made of.
bool is_token_char(char c) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         kMarks.find(c) != std::string_view::npos;
}

bool is_control(char c) { return (c >= 0 && c < ' ' && c != '\t') || c == '\x7f'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_name(std::string_view name, std::string_view lower_name) {
  return std::ranges::equal(name, lower_name, {}, lower);
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Without its line end; empty at the end of the head.
std::string_view take_line(std::string_view& rest) {
  const auto end = rest.find("\r\n");
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 2);
  return line;
}

std::expected<void, HeadFault> check_host(std::string_view host) {
  if (names_loopback(host)) return {};
  return fault(403, "Host: expected 127.0.0.1, [::1] or localhost, got '" +
                        std::string(host.substr(0, 100)) + "'");
}

// Of an absolute target, its host; empty of a path.
std::optional<std::string_view> host_of_target(std::string_view target) {
  const auto scheme = target.find("://");
  if (target.starts_with('/') || scheme == std::string_view::npos) return std::nullopt;
  target.remove_prefix(scheme + 3);
  return target.substr(0, target.find_first_of("/?#"));
}

std::expected<void, HeadFault> check_request_line(std::string_view line, bool loopback_only) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || line.find(' ', first + 1) != last) {
    return fault(400, "the request line must be METHOD TARGET VERSION");
  }
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    const bool other = version.starts_with("HTTP/");
    return fault(other ? 505 : 400, "the version must be HTTP/1.1 or HTTP/1.0");
  }
  const std::string_view method = line.substr(0, first);
  if (std::ranges::find(kMethods, method) == kMethods.end()) {
    return fault(405, "unknown method (known: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH)");
  }
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const bool absolute = target.starts_with("http://") || target.starts_with("https://");
  if (!absolute && !target.starts_with('/') && target != "*") {
    return fault(400, "the request's target must be a path");
  }
  const auto host = host_of_target(target);
  if (host && loopback_only) return check_host(*host);
  return {};
}

std::expected<void, HeadFault> take_length(std::string_view value, RequestHead& head) {
  if (value.empty() || !std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '9'; })) {
    return fault(400, "Content-Length must be a number");
  }
  constexpr auto kMost = std::uint64_t{1} << 63;
  std::uint64_t length = 0;
  for (const char digit : value) {
    length = length >= kMost / 10 ? kMost : length * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  if (head.content_length && *head.content_length != length) {
    return fault(400, "Content-Length came twice and differs");
  }
  head.content_length = length;
  return {};
}

std::expected<void, HeadFault> take_header(std::string_view name, std::string_view value,
                                           RequestHead& head) {
  if (same_name(name, "content-length")) return take_length(value, head);
  if (same_name(name, "host")) {
    if (head.host) return fault(400, "Host came twice");
    head.host = value;
  }
  if (same_name(name, "transfer-encoding")) {
    if (!same_name(value, "chunked") || head.chunked) {
      return fault(501, "the only Transfer-Encoding is chunked");
    }
    head.chunked = true;
  }
  if (same_name(name, "expect") && !same_name(value, "100-continue")) {
    return fault(417, "the only expectation is 100-continue");
  }
  if (same_name(name, "upgrade") && same_name(value, "websocket")) {
    return fault(400, "WebSocket is not spoken here: streams are server-sent events");
  }
  return {};
}

}  // namespace

std::expected<RequestHead, HeadFault> parse_request_head(std::string_view head,
                                                         bool loopback_only) {
  if (auto line = check_request_line(take_line(head), loopback_only); !line) {
    return std::unexpected(std::move(line.error()));
  }
  RequestHead result;
  while (!head.empty()) {
    const std::string_view line = take_line(head);
    if (line.empty()) break;
    const auto colon = line.find(':');
    if (colon == 0 || colon == std::string_view::npos ||
        !std::ranges::all_of(line.substr(0, colon), is_token_char)) {
      return fault(400, "a header must be NAME: VALUE on one line");
    }
    if (std::ranges::any_of(line, is_control)) {
      return fault(400, "a header must not contain control characters");
    }
    auto taken = take_header(line.substr(0, colon), trimmed(line.substr(colon + 1)), result);
    if (!taken) return std::unexpected(std::move(taken.error()));
  }
  if (result.chunked && result.content_length) {
    return fault(400, "Content-Length and Transfer-Encoding exclude each other");
  }
  if (result.host && loopback_only) {
    if (auto known = check_host(*result.host); !known) return std::unexpected(known.error());
  }
  return result;
}

std::optional<std::string_view> find_header(std::string_view head, std::string_view name) {
  take_line(head);
  while (!head.empty()) {
    const bool whole = head.find("\r\n") != std::string_view::npos;
    const std::string_view line = take_line(head);
    const auto colon = line.find(':');
    if (whole && colon != std::string_view::npos && same_name(line.substr(0, colon), name)) {
      return trimmed(line.substr(colon + 1));
    }
  }
  return std::nullopt;
}

}  // namespace gogrid
