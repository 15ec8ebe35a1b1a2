#include "model/bounded_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/format.h"

namespace gogrid {
namespace {

std::unexpected<Error> corrupt(std::string_view name, const std::string& what) {
  return fail(ErrorCode::kCorrupt, format_text("[json] {}: {}", name, what));
}

// Where a string that begins at `at` ends: behind its closing quote, or at the text's end.
std::size_t end_of_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return std::min(at + 1, text.size());
}

// Counts brackets and commas outside of strings: an upper bound of the values for any text, whether
// it is JSON or not.
Status check_bounds(std::string_view text, std::string_view name, const JsonLimits& limits) {
  std::size_t depth = 0;
  std::uint64_t values = 1;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"') {
      at = end_of_string(text, at);
      continue;
    }
    ++at;
    if (c == '[' || c == '{') {
      ++values;
      if (++depth > limits.depth) {
        return corrupt(name, format_text("expected at most {} levels: more", limits.depth));
      }
    } else if (c == ']' || c == '}') {
      depth -= depth > 0 ? 1 : 0;
    } else if (c == ',') {
      ++values;
    }
    if (values > limits.values) {
      return corrupt(name, format_text("expected at most {} values: more", limits.values));
    }
  }
  return {};
}

}  // namespace

Result<nlohmann::json> parse_json(std::string_view text, std::string_view name,
                                  const JsonLimits& limits) {
  if (text.size() > limits.size) {
    return corrupt(name, format_text("expected at most {}: {}", format_bytes(limits.size),
                                     format_bytes(text.size())));
  }
  GOGRID_RETURN_IF_ERROR(check_bounds(text, name, limits));
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) return corrupt(name, "expected JSON: it is none");
  return json;
}

Result<nlohmann::json> read_json(const std::filesystem::path& path, const JsonLimits& limits) {
  GOGRID_ASSIGN_OR_RETURN(const std::string text, read_file(path, limits.size));
  return parse_json(text, path.native(), limits);
}

}  // namespace gogrid
