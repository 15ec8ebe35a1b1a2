#include "device/device.h"

#include <algorithm>
#include <charconv>

namespace gogrid {
namespace {

constexpr std::size_t kMaxIdLength = 63;
constexpr int kMaxCores = 4096;

bool is_id(std::string_view text) {
  const auto is_alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  };
  if (text.empty() || text.size() > kMaxIdLength || !is_alphanumeric(text.front())) return false;
  return std::ranges::all_of(
      text, [&](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

// Takes the text up to `separator` off the front of `rest`.
std::string_view take_part(std::string_view& rest, char separator) {
  const auto end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

std::optional<int> core_number(std::string_view text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || text.front() == '-' || value >= kMaxCores) return std::nullopt;
  return value;
}

std::unexpected<Error> bad_spec(std::string_view expected, std::string_view came) {
  return fail(ErrorCode::kInvalidArgument,
              "[device] " + std::string(expected) + ": '" + std::string(came) + "'", "device");
}

Status apply_option(std::string_view option, DeviceSpec& spec) {
  std::string_view value = option;
  const std::string_view key = take_part(value, '=');
  if (key == "cores") {
    if (!spec.cores.empty()) return bad_spec("cores given once", option);
    GOGRID_ASSIGN_OR_RETURN(spec.cores, parse_cores(value));
    return {};
  }
  if (key == "memory") {
    if (spec.memory) return bad_spec("memory given once", option);
    const auto bytes = parse_bytes(value);
    if (!bytes || *bytes == 0) return bad_spec("a size such as memory=8GiB", option);
    spec.memory = *bytes;
    return {};
  }
  return bad_spec("cores=… or memory=…", option);
}

}  // namespace

std::string_view name_of(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kCpu:
      return "cpu";
    case DeviceKind::kGpu:
      return "gpu";
    case DeviceKind::kIntegratedGpu:
      return "igpu";
    case DeviceKind::kAccelerator:
      return "accel";
  }
  return "unknown";
}

Result<DeviceSpec> parse_device_spec(std::string_view text) {
  std::string_view rest = text;
  DeviceSpec spec;
  const std::string_view id = take_part(rest, ':');
  if (!is_id(id)) {
    return bad_spec("an id of 1 to 63 characters a-z 0-9 . _ -, then [:cores=0-3][:memory=8GiB]",
                    text);
  }
  spec.id = id;
  std::size_t at = id.size();
  while (at < text.size()) {  // text[at] is the colon before the next option
    rest = text.substr(at + 1);
    const std::string_view option = take_part(rest, ':');
    GOGRID_RETURN_IF_ERROR(apply_option(option, spec));
    at += 1 + option.size();
  }
  return spec;
}

Result<std::vector<int>> parse_cores(std::string_view text) {
  std::vector<int> cores;
  std::size_t at = 0;
  while (at <= text.size()) {
    std::string_view rest = text.substr(at);
    const std::string_view part = take_part(rest, ',');
    at += part.size() + 1;
    std::string_view last_text = part;
    const std::string_view first_text = take_part(last_text, '-');
    const bool is_range = part.find('-') != part.npos;
    const auto first = core_number(first_text);
    const auto last = is_range ? core_number(last_text) : first;
    if (!first || !last || *last < *first) {
      return bad_spec("cores from 0 to 4095 such as 0-3,6", text);
    }
    for (int core = *first; core <= *last; ++core) cores.push_back(core);
    if (cores.size() > 2 * kMaxCores) return bad_spec("each core once", text);
  }
  std::ranges::sort(cores);
  const auto repeated = std::ranges::unique(cores);
  cores.erase(repeated.begin(), repeated.end());
  return cores;
}

}  // namespace gogrid
