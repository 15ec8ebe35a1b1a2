// Addresses of the web, read strictly: whoever decides by the host where a token may go must read
// an address exactly as the library that connects does. What could be read in two ways is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gogrid {

struct HttpUrl {
  bool https = true;
  std::string host;  // lower case; an IPv6 address with its brackets
  std::uint16_t port = 443;
  std::string target = "/";  // path and query

  std::string text() const;
  // For messages and logs: without the query, in which signed addresses carry their secret.
  std::string shown() const;
  // The last part of the path, percent-decoded; empty when it ends with '/'.
  std::string file_name() const;
};

// "https://host[:port][/path][?query]", or http. kInvalidArgument for other schemes, names and
// passwords in it, blanks, control characters, backslashes, addresses that are not four numbers but
// that some read as one ("127.1", "0x7f000001"), and more than 8 KiB. A fragment is cut off, and
// the dot that ends a name.
Result<HttpUrl> parse_url(std::string_view text);

// Where `location`, as a redirect says it, leads from `base` (RFC 9110, section 10.2.2).
Result<HttpUrl> resolve_location(const HttpUrl& base, std::string_view location);

bool same_origin(const HttpUrl& a, const HttpUrl& b);
// By its name or address; a name that only its resolver knows to lead here is none.
bool is_loopback(const HttpUrl& url);
// Of an address in numbers, without brackets: whether it is this machine's own. 0.0.0.0 and :: lead
// there too, and so do the IPv6 addresses that wrap such a one.
bool is_loopback_address(std::string_view address);

// kPermissionDenied for http:// to another machine, unless it is allowed.
Status check_scheme(const HttpUrl& url, bool allow_http);
// The same for a redirect, which besides must not lead from another machine to this one.
Status check_hop(const HttpUrl& from, const HttpUrl& to, bool allow_http);

// Everything but letters, digits and "-._~" as %XX; '/' stays where it separates (RFC 3986).
std::string percent_encode(std::string_view text, bool keep_slashes);

}  // namespace gogrid
