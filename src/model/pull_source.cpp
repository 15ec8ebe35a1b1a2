#include "model/pull_source.h"

#include <algorithm>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

constexpr std::size_t kMaxPart = 96;
constexpr std::size_t kMaxWanted = 512;
constexpr std::size_t kMaxRevision = 128;
constexpr std::string_view kHub = "hf:";
constexpr std::string_view kRegistry = "ollama:";
constexpr std::string_view kOtherGrid = "gogrid:";

std::unexpected<Error> bad(std::string_view expected, std::string_view came) {
  return fail(ErrorCode::kInvalidArgument,
              format_text("[pull] expected {}: {}", expected, excerpt(came)), "SOURCE");
}

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

// One part of a repository's name; never "." or "..", which would climb in an address.
bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= kMaxPart && std::ranges::all_of(text, is_word_character) &&
         text.find_first_not_of('.') != text.npos;
}

bool is_two_words(std::string_view text) {
  const std::size_t slash = text.find('/');
  return slash != text.npos && is_word(text.substr(0, slash)) && is_word(text.substr(slash + 1));
}

// A path below the repository: no way out of it, nothing that cannot be printed.
bool is_inner_path(std::string_view path, std::size_t longest) {
  if (path.empty() || path.size() > longest) return false;
  if (std::ranges::any_of(path,
                          [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F || c == '\\'; }))
    return false;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    if (path.substr(at, end - at).find_first_not_of('.') == std::string_view::npos) return false;
    at = end + 1;
  }
  return true;
}

Result<PullSource> parse_hub(std::string_view text) {
  HubSource source;
  std::string_view rest = text.substr(kHub.size());
  if (const std::size_t at = rest.rfind('@'); at != rest.npos) {
    source.revision = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!is_inner_path(source.revision, kMaxRevision)) return bad("a revision after '@'", text);
  }
  if (const std::size_t colon = rest.find(':'); colon != rest.npos) {
    source.wanted = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_inner_path(source.wanted, kMaxWanted))
      return bad("a file or a quantization after owner/repo:", text);
  }
  source.repository = rest;
  if (!is_two_words(rest)) return bad("hf:owner/repo[:file or quantization][@revision]", text);
  return source;
}

Result<PullSource> parse_registry(std::string_view text) {
  RegistrySource source;
  std::string_view rest = text.substr(kRegistry.size());
  if (const std::size_t colon = rest.find(':'); colon != rest.npos) {
    source.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
  }
  // Official models have no namespace in their name, and this one in their address.
  source.repository = is_two_words(rest) ? std::string(rest) : "library/" + std::string(rest);
  if (!is_two_words(source.repository) || !is_word(source.tag))
    return bad("ollama:name[:tag] or ollama:namespace/name[:tag]", text);
  return source;
}

Result<PullSource> parse_grid(std::string_view text) {
  const std::string_view rest = text.substr(kOtherGrid.size());
  const std::size_t slash = rest.rfind('/');
  const auto expected = [&] {
    return bad("gogrid:ADDRESS/NAME, as in gogrid:http://127.0.0.1:8081/smollm2-135m", text);
  };
  // Behind the address's own two.
  if (slash == rest.npos || slash < rest.find("://") + 3 || !is_word(rest.substr(slash + 1)))
    return expected();
  GOGRID_ASSIGN_OR_RETURN(HttpUrl endpoint, parse_url(rest.substr(0, slash)));
  return GridSource{std::move(endpoint), std::string(rest.substr(slash + 1))};
}

}  // namespace

Result<PullSource> parse_pull_source(std::string_view text) {
  if (text.starts_with(kHub)) return parse_hub(text);
  if (text.starts_with(kRegistry)) return parse_registry(text);
  if (text.starts_with(kOtherGrid)) return parse_grid(text);
  if (text.find("://") == text.npos) {
    return bad(
        "hf:owner/repo[:file or quantization][@revision], ollama:name[:tag], "
        "gogrid:ADDRESS/NAME or an https:// address",
        text);
  }
  GOGRID_ASSIGN_OR_RETURN(HttpUrl url, parse_url(text));
  return UrlSource{std::move(url)};
}

}  // namespace gogrid
