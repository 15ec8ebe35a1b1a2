#include "app/model_argument.h"

#include <charconv>
#include <filesystem>
#include <optional>

#include "model/model_library.h"

namespace gogrid {
namespace {

constexpr float kMaxScale = 100.0F;

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(ErrorCode::kInvalidArgument,
              "expected MODEL, BASE+ADAPTER or BASE+ADAPTER@SCALE: '" + std::string(text) +
                  "': " + std::string(why),
              "MODEL");
}

std::optional<float> number(std::string_view text) {
  float value = 0;
  const auto end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  if (text.empty() || read.ec == std::errc::invalid_argument || read.ptr != end)
    return std::nullopt;
  return read.ec == std::errc() ? value : 0.0F;  // out of range: refused as 0 is
}

bool is_model(std::string_view text) {
  std::error_code error;
  return is_path(text) ? std::filesystem::is_regular_file(text, error)
                       : validate_model_name(text).has_value();
}

// Behind the first base that is one: paths may have a '+' too. npos where there is no adapter.
std::size_t place_of_plus(std::string_view text) {
  if (is_path(text) && is_model(text)) return text.npos;
  for (auto plus = text.find('+'); plus != text.npos; plus = text.find('+', plus + 1)) {
    if (is_model(text.substr(0, plus))) return plus;
  }
  return text.rfind('+');
}

}  // namespace

bool is_path(std::string_view model) {
  return model.find('/') != model.npos || model.ends_with(".gguf");
}

Result<ModelArgument> parse_model_argument(std::string_view text) {
  ModelArgument argument{.base = std::string(text), .adapter = {}};
  const auto plus = place_of_plus(text);
  if (plus == text.npos) return argument;
  argument.base = text.substr(0, plus);
  std::string_view adapter = text.substr(plus + 1);
  if (const auto at = adapter.rfind('@'); at != adapter.npos) {
    if (const auto scale = number(adapter.substr(at + 1))) {
      argument.scale = *scale;
      adapter = adapter.substr(0, at);
    }
  }
  argument.adapter = adapter;
  if (argument.base.empty() || adapter.empty()) return refuse(text, "one side of the + is empty");
  if (!(argument.scale > 0.0F && argument.scale <= kMaxScale))
    return refuse(text, "a scale is above 0 and up to 100");
  return argument;
}

}  // namespace gogrid
