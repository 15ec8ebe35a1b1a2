#include "model/pull_rules.h"

#include <algorithm>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

constexpr std::size_t kMaxToken = 4096;

}  // namespace

Result<Credential> make_credential(HttpUrl origin, std::string_view token) {
  token = trimmed(token);
  // A line feed in it would begin another header.
  const bool visible = std::ranges::all_of(token, [](char c) { return c > 0x20 && c < 0x7F; });
  if (token.empty() || token.size() > kMaxToken || !visible) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[pull] expected a token of 1..{} visible characters: the file has {} "
                            "bytes that are something else",
                            kMaxToken, token.size()),
                "token-file");
  }
  if (!origin.https && !is_loopback(origin)) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[pull] expected https:// where a token goes: {} would carry it in the "
                            "clear",
                            origin.shown()),
                "token-file");
  }
  return Credential{std::move(origin), std::string(token)};
}

bool may_see_token(const HttpUrl& url, const std::optional<Credential>& credential) {
  return credential && same_origin(url, credential->origin);
}

std::vector<std::string> headers_for(const HttpUrl& url,
                                     const std::optional<Credential>& credential,
                                     const std::optional<ByteRange>& range) {
  std::vector<std::string> headers;
  if (may_see_token(url, credential))
    headers.push_back("Authorization: Bearer " + credential->token);
  if (range) headers.push_back(format_text("Range: bytes={}-{}", range->first, range->last - 1));
  return headers;
}

Result<HttpUrl> next_hop(const HttpUrl& from, const HttpHead& head, int hops, bool allow_http) {
  if (hops >= kMaxRedirects) {
    return fail(ErrorCode::kUnavailable,
                format_text("[pull] expected a file after {} redirects: {} "
                            "leads on",
                            kMaxRedirects, from.shown()));
  }
  GOGRID_ASSIGN_OR_RETURN(HttpUrl to, resolve_location(from, head.location));
  GOGRID_RETURN_IF_ERROR(check_hop(from, to, allow_http));
  return to;
}

bool may_be_here(const HttpUrl& asked, const HttpUrl& url) {
  return same_origin(asked, url) || is_loopback(asked);
}

}  // namespace gogrid
