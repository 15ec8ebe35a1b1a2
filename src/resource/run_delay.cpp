#include "resource/run_delay.h"

#include <system_error>

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxText = 128;
// 146 years; and sums of many threads still fit.
constexpr std::uint64_t kMostNanoseconds = std::uint64_t{1} << 52;

}  // namespace

Reading<Duration> parse_run_delay(std::string_view schedstat) {
  std::string_view rest = schedstat;
  next_word(rest);
  const auto delay = parse_number(trimmed(next_word(rest)));
  if (!delay || *delay > kMostNanoseconds)
    return not_known("run delay", "expected three numbers: got '" + excerpt(schedstat) + "'");
  return std::chrono::nanoseconds(*delay);
}

Reading<Duration> run_delay(const fs::path& root) {
  std::error_code error;
  fs::directory_iterator task(root / "proc/self/task", error);
  Duration all{};
  bool any = false;
  for (; !error && task != fs::directory_iterator(); task.increment(error)) {
    const auto text = read_text(task->path() / "schedstat", kMaxText);
    if (!text) continue;  // ended meanwhile, or not counted
    const auto delay = parse_run_delay(*text);
    if (!delay) return delay;
    all += *delay;
    any = true;
  }
  if (any) return all;
  return not_known("run delay", error ? error.message() : "no thread has a schedstat");
}

}  // namespace gogrid
