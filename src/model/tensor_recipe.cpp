#include "model/tensor_recipe.h"

#include <format>
#include <regex>

#include "base/text.h"

namespace gogrid {
namespace {

// Far longer than a tensor's name; a regular expression's cost grows with its length.
constexpr std::size_t kMaxPattern = 256;
constexpr std::size_t kMaxOverrides = 1U << 17;  // as many as a file may have tensors

Status check_pattern(const std::string& pattern) {
  if (pattern.empty() || pattern.size() > kMaxPattern) {
    return fail(ErrorCode::kInvalidArgument,
                std::format("expected a tensor's name of 1 to {} characters before '=': {}",
                            kMaxPattern, pattern.size()));
  }
  try {
    const std::regex compiled(pattern);
  } catch (const std::regex_error& error) {
    return fail(ErrorCode::kInvalidArgument,
                std::format("expected a regular expression before '=': {}: {}", excerpt(pattern),
                            error.what()));
  }
  return {};
}

}  // namespace

Result<TensorOverride> parse_tensor_override(std::string_view text) {
  // A type has no '=', a pattern may: "(?=…)".
  const auto mark = text.rfind('=');
  if (mark == text.npos) {
    return fail(ErrorCode::kInvalidArgument,
                std::format("expected NAME=TYPE, as in attn_v=q8_0: {}", excerpt(text)));
  }
  TensorOverride made;
  made.pattern = text.substr(0, mark);
  GOGRID_RETURN_IF_ERROR(check_pattern(made.pattern));
  GOGRID_ASSIGN_OR_RETURN(made.type, find_weight_type(text.substr(mark + 1)));
  return made;
}

Result<std::vector<TensorOverride>> parse_recipe(std::string_view text, std::string_view where) {
  std::vector<TensorOverride> overrides;
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = next_line(text);
    line = line.substr(0, line.find('#'));
    for (auto word = next_word(line); !word.empty(); word = next_word(line)) {
      auto parsed = parse_tensor_override(trimmed(word));
      if (!parsed) {
        return fail(parsed.error().code,
                    std::format("{}:{}: {}", where, number, parsed.error().message), "recipe");
      }
      overrides.push_back(*std::move(parsed));
      if (overrides.size() > kMaxOverrides) {
        return fail(ErrorCode::kTooLarge,
                    std::format("{}:{}: at most {} tensors", where, number, kMaxOverrides),
                    "recipe");
      }
    }
  }
  return overrides;
}

}  // namespace gogrid
