#include "model/tensor_recipe.h"

#include <algorithm>
#include <cctype>
#include <format>
#include <map>
#include <regex>
#include <utility>

#include "base/text.h"
#include "model/layer_name.h"

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

// A pattern that is found where `name` stands, and nowhere else: also of names that a recipe's
// blanks, '#' and regular expressions' own characters would tear apart.
std::string literal(std::string_view name) {
  std::string pattern;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '_')
      pattern += c;
    else if (c == '.')
      pattern += "\\.";
    else
      pattern += std::format("\\x{:02x}", byte);
  }
  return pattern;
}

// The layers of one part that get one type, in patterns of bounded length.
void add_layers(std::string_view rest, const WeightType& type, std::vector<std::uint32_t> layers,
                std::vector<TensorOverride>& overrides) {
  const std::string tail = ")" + literal(rest) + "$";
  std::string numbers;
  const auto finish = [&] {
    overrides.push_back({"^blk\\.(" + numbers + tail, type});
    numbers.clear();
  };
  std::ranges::sort(layers);
  for (const std::uint32_t layer : layers) {
    const std::string number = std::to_string(layer);
    if (!numbers.empty() && numbers.size() + number.size() + tail.size() + 12 > kMaxPattern)
      finish();
    numbers += (numbers.empty() ? "" : "|") + number;
  }
  finish();
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

std::vector<TensorOverride> overrides_for(std::span<const TypedTensor> tensors) {
  std::vector<TensorOverride> overrides;
  std::map<std::pair<std::string_view, std::uint32_t>, std::vector<std::uint32_t>> layers;
  std::map<std::uint32_t, WeightType> types;
  for (const TypedTensor& tensor : tensors) {
    types[tensor.type.type] = tensor.type;
    if (const auto layered = parse_layer_name(tensor.name))
      layers[{layered->rest, tensor.type.type}].push_back(layered->layer);
    else
      overrides.push_back({"^" + literal(tensor.name) + "$", tensor.type});
  }
  for (auto& [part, numbers] : layers)
    add_layers(part.first, types.at(part.second), std::move(numbers), overrides);
  return overrides;
}

std::string format_recipe(std::span<const TensorOverride> overrides) {
  std::string text;
  for (const TensorOverride& entry : overrides) {
    std::string type(entry.type.name);
    std::ranges::transform(type, type.begin(), [](unsigned char c) { return std::tolower(c); });
    text += entry.pattern + "=" + type + "\n";
  }
  return text;
}

}  // namespace gogrid
