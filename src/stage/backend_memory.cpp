#include "stage/backend_memory.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace gogrid {
namespace {

struct BufferLine {
  std::string_view buffer;  // "CPU_Mapped"
  std::string_view kind;    // "model"
  Bytes bytes = 0;
};

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

// "FUNCTION: BUFFER KIND buffer size = N MiB"
std::optional<BufferLine> parse(std::string_view line) {
  constexpr std::string_view kMark = " buffer size =";
  const auto colon = line.find(": ");
  const auto mark = line.find(kMark);
  if (colon == line.npos || mark == line.npos || mark < colon) return std::nullopt;
  const std::string_view names = trim(line.substr(colon + 1, mark - colon - 1));
  const auto space = names.rfind(' ');
  if (space == names.npos) return std::nullopt;
  const std::string_view number = trim(line.substr(mark + kMark.size()));
  double mebibytes = 0;
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), mebibytes);
  const std::string_view unit =
      trim(number.substr(static_cast<std::size_t>(parsed.ptr - number.data())));
  if (parsed.ec != std::errc() || !(mebibytes >= 0) || mebibytes > 1e9 || unit != "MiB") {
    return std::nullopt;
  }
  return BufferLine{trim(names.substr(0, space)), names.substr(space + 1),
                    static_cast<Bytes>(mebibytes * static_cast<double>(kMiB))};
}

}  // namespace

StageMemory measured_memory(std::span<const std::string> log_lines, std::string_view device) {
  StageMemory memory;
  for (const std::string& line : log_lines) {
    const auto found = parse(line);
    if (!found || !found->buffer.starts_with(device) || found->buffer.ends_with("_Host")) continue;
    if (found->kind == "model" || found->kind == "LoRA") {
      memory.weights += found->bytes;
    } else if (found->kind == "KV" || found->kind == "RS") {
      memory.kv += found->bytes;
    } else if (found->kind == "compute" || found->kind == "output") {
      memory.compute += found->bytes;
    }
  }
  return memory;
}

std::optional<Bytes> graph_memory(std::span<const std::string> log_lines, std::string_view device) {
  std::optional<Bytes> memory;
  for (const std::string& line : log_lines) {
    const auto found = parse(line);
    const bool counts = found && found->kind == "compute" && found->buffer.starts_with(device) &&
                        !found->buffer.ends_with("_Host");
    if (counts) memory = memory.value_or(0) + found->bytes;
  }
  return memory;
}

bool made_buffer(std::span<const std::string> log_lines, std::string_view kind) {
  return std::ranges::any_of(log_lines, [&](const std::string& line) {
    const auto found = parse(line);
    return found && found->kind == kind;
  });
}

}  // namespace gogrid
