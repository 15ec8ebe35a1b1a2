// The head of an HTTP/1.x request, checked: request line and the headers that frame a body. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "base/error_code.h"

namespace gogrid {

struct RequestHead {
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  std::optional<std::string_view> host;  // of the text that was parsed
};

struct HeadFault {
  int http_status = 400;
  ErrorCode code = ErrorCode::kInvalidArgument;
  std::string message;
};

// `head` ends with its empty line. Values over 2^63 count as 2^63: too large for any limit.
// `loopback_only`: 403 when Host, or a target with a host, does not name a loopback address
// (names_loopback); no Host at all may pass: pages in a browser cannot leave it out.
std::expected<RequestHead, HeadFault> parse_request_head(std::string_view head, bool loopback_only);

// The value of the first header of that name (lower case), without surrounding blanks; `head` may
// be incomplete or malformed.
std::optional<std::string_view> find_header(std::string_view head, std::string_view name);

}  // namespace gogrid
