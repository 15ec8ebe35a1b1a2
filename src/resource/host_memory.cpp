#include "resource/host_memory.h"

#include <algorithm>
#include <optional>
#include <string>

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMemoryFileBytes = 16 * 1024;
constexpr std::size_t kPressureBytes = 1024;
constexpr std::size_t kDecimals = 2;  // of avg10, in per cent

// "16318440 kB".
std::optional<Bytes> kilobytes(std::optional<std::string_view> text) {
  if (!text || !text->ends_with(" kB")) return std::nullopt;
  const auto number = parse_number(trimmed(text->substr(0, text->size() - 3)));
  return number ? checked_mul(*number, kKiB) : std::nullopt;
}

// "avg10=11.90" per cent: with two decimals a share in millionths is a whole number.
std::optional<Share> percent(std::string_view text) {
  const std::size_t point = text.find('.');
  if (point == text.npos || text.size() - point - 1 != kDecimals) return std::nullopt;
  const auto whole = parse_number(text.substr(0, point));
  const auto hundredths = parse_number(text.substr(point + 1));
  if (!whole || !hundredths || *whole > 100) return std::nullopt;
  const std::uint64_t all = *whole * 100 + *hundredths;
  return Share::of_millionths(all * (Share::kWhole / 10'000));
}

// "avg10=0.00 avg60=0.00 avg300=0.00 total=0".
std::optional<Stall> stall(std::string_view text) {
  std::optional<Share> average;
  std::optional<std::uint64_t> total;
  for (auto word = next_word(text); !word.empty(); word = next_word(text)) {
    if (word.starts_with("avg10=")) average = percent(word.substr(6));
    if (word.starts_with("total=")) total = parse_number(word.substr(6));
  }
  if (!average || !total) return std::nullopt;
  return Stall{*average, *total};
}

}  // namespace

Reading<MachineMemory> parse_meminfo(std::string_view meminfo) {
  const auto total = kilobytes(field_of(meminfo, "MemTotal:"));
  const auto available = kilobytes(field_of(meminfo, "MemAvailable:"));
  if (!total || !available || *total == 0) {
    return not_known("memory", "expected MemTotal and MemAvailable in kB: " + excerpt(meminfo));
  }
  return MachineMemory{*total, std::min(*total, *available)};
}

Reading<Bytes> parse_own_memory(std::string_view status) {
  const auto anonymous = kilobytes(field_of(status, "RssAnon:"));
  const auto shared = kilobytes(field_of(status, "RssShmem:"));
  const auto sum = anonymous && shared ? checked_add(*anonymous, *shared) : std::nullopt;
  if (!sum) {
    return not_known("own memory", "expected RssAnon and RssShmem in kB: " + excerpt(status));
  }
  return *sum;
}

Reading<ProcessMemory> parse_process_memory(std::string_view status) {
  const auto anonymous = kilobytes(field_of(status, "RssAnon:"));
  const auto file = kilobytes(field_of(status, "RssFile:"));
  const auto shared = kilobytes(field_of(status, "RssShmem:"));
  if (!anonymous || !file || !shared) {
    return not_known("process memory",
                     "expected RssAnon, RssFile and RssShmem in kB: " + excerpt(status));
  }
  return ProcessMemory{*anonymous, *file, *shared};
}

Reading<ProcessMemory> read_process_memory(const fs::path& root) {
  const auto text = read_text(root / "proc/self/status", kMemoryFileBytes);
  return text ? parse_process_memory(*text) : std::unexpected(text.error());
}

Reading<MachineMemory> read_machine_memory(const fs::path& root) {
  const auto text = read_text(root / "proc/meminfo", kMemoryFileBytes);
  return text ? parse_meminfo(*text) : std::unexpected(text.error());
}

Reading<Bytes> read_own_memory(const fs::path& root) {
  const auto text = read_text(root / "proc/self/status", kMemoryFileBytes);
  return text ? parse_own_memory(*text) : std::unexpected(text.error());
}

Share memory_of_others(const MachineMemory& machine, Bytes own) {
  const Bytes used = machine.total - std::min(machine.total, machine.available);
  return Share::part_of(used - std::min(used, own), machine.total);
}

Reading<Pressure> parse_pressure(std::string_view text) {
  const auto some = field_of(text, "some ");
  const auto full = field_of(text, "full ");
  const auto some_stall = some ? stall(*some) : std::nullopt;
  const auto full_stall = full ? stall(*full) : Stall{};
  if (!some_stall || !full_stall) {
    return not_known("pressure", "expected lines \"some avg10=0.00 … total=0\": " + excerpt(text));
  }
  return Pressure{*some_stall, *full_stall};
}

std::string_view name_of(PressureOf resource) {
  switch (resource) {
    case PressureOf::kCpu:
      return "cpu";
    case PressureOf::kIo:
      return "io";
    case PressureOf::kMemory:
      return "memory";
  }
  return "unknown";
}

Reading<Pressure> read_pressure(const fs::path& root, PressureOf resource) {
  const auto text = read_text(root / "proc/pressure" / name_of(resource), kPressureBytes);
  return text ? parse_pressure(*text) : std::unexpected(text.error());
}

}  // namespace gogrid
