#include "app/model_argument.h"

#include <charconv>
#include <filesystem>
#include <optional>

namespace gogrid {
namespace {

constexpr float kMaxScale = 100.0F;

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(ErrorCode::kInvalidArgument,
              "expected MODEL, BASE+ADAPTER or BASE+ADAPTER@SCALE: '" + std::string(text) + "': " +
                  std::string(why),
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

}  // namespace

Result<ModelArgument> parse_model_argument(std::string_view text) {
  ModelArgument argument{.base = std::string(text), .adapter = {}};
  const auto plus = text.rfind('+');
  std::error_code error;
  if (plus == text.npos || std::filesystem::is_regular_file(text, error)) return argument;
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
