#include "model/tensor_recipe.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <regex>
#include <utility>
#include <vector>

#include "base/format.h"
#include "base/text.h"
#include "model/layer_name.h"

namespace gogrid {
namespace {

// Far longer than a tensor's name; a regular expression's cost grows with its length.
constexpr std::size_t kMaxPattern = 256;
constexpr std::size_t kMaxOverrides = 1U << 17;  // as many as a file may have tensors

// Names have 63 characters at most, so that so many parts of any length cost at most some hundred
// thousand steps a name. The engine goes back over every way to share a name among them.
constexpr int kMaxRepeats = 3;

// What makes a regular expression cost more than that: a group that is repeated and has a choice in
// it, and more repeats in a row. "(a|a)*b" takes longer than anybody waits for a name of 63 a.
class PatternCost {
 public:
  // Empty: cheap. Otherwise what is too much. Of a pattern that compiles.
  std::string_view complaint(std::string_view pattern);

 private:
  static constexpr std::string_view kRepeats = "*+{";

  // Behind the class that begins at `at`.
  static std::size_t behind_class(std::string_view pattern, std::size_t at) {
    for (++at; at < pattern.size() && pattern[at] != ']'; ++at) {
      if (pattern[at] == '\\') ++at;
    }
    return at + 1;
  }

  std::vector<bool> groups_{false};  // whether each open group has a choice in it
  int repeats_ = 0;
};

std::string_view PatternCost::complaint(std::string_view pattern) {
  bool chooses = false;  // the part that ends before `at`
  for (std::size_t at = 0; at < pattern.size();) {
    const char c = pattern[at];
    const bool repeats = kRepeats.contains(c);
    if (repeats && chooses) return "no choice or repeat within what is repeated";
    if (repeats && ++repeats_ > kMaxRepeats) return "at most 3 repeats (*, +, {})";
    if (repeats || c == '?' || c == '|') groups_.back() = true;
    chooses = false;
    if (c == '(') groups_.push_back(false);
    // '(?:', '(?=', '(?!': a mark of the group, no choice.
    if (c == '(' && pattern.substr(at + 1, 1) == "?") at += 2;
    if (c == ')' && groups_.size() > 1) {
      chooses = groups_.back();
      groups_.pop_back();
      if (chooses) groups_.back() = true;
    }
    if (c == '\\' && at + 1 < pattern.size() && pattern[at + 1] >= '1' && pattern[at + 1] <= '9')
      return "no reference back to a group";
    if (c == '[')
      at = behind_class(pattern, at);
    else
      at += c == '\\' ? 2 : 1;
  }
  return {};
}

Status check_pattern(const std::string& pattern) {
  if (pattern.empty() || pattern.size() > kMaxPattern) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("expected a tensor's name of 1 to {} characters before '=': {}",
                            kMaxPattern, pattern.size()));
  }
  try {
    const std::regex compiled(pattern);
  } catch (const std::regex_error& error) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("expected a regular expression before '=': {}: {}", excerpt(pattern),
                            error.what()));
  }
  const std::string_view complaint = PatternCost().complaint(pattern);
  if (complaint.empty()) return {};
  return fail(ErrorCode::kInvalidArgument,
              format_text("expected a regular expression that ends in time, with {}: {}", complaint,
                          excerpt(pattern)));
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
      pattern += format_text("\\x{:02x}", byte);
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
                format_text("expected NAME=TYPE, as in attn_v=q8_0: {}", excerpt(text)));
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
                    format_text("{}:{}: {}", where, number, parsed.error().message), "recipe");
      }
      overrides.push_back(*std::move(parsed));
      if (overrides.size() > kMaxOverrides) {
        return fail(ErrorCode::kTooLarge,
                    format_text("{}:{}: at most {} tensors", where, number, kMaxOverrides),
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
