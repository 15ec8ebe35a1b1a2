// How late a thread that sleeps 10 ms at a time is woken, beside whatever else the machine does:
// what a person feels of a busy machine first.
//
//   wakeup_probe SECONDS    prints {"sleeps", "p50_ms", "p99_ms", "max_ms"} of the lateness
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr std::chrono::milliseconds kSleep{10};
constexpr int kMaxSeconds = 3600;

std::vector<double> lateness(int seconds) {
  std::vector<double> late;
  late.reserve(static_cast<std::size_t>(seconds) * 100);  // no page fault in the midst of it
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  for (auto begin = Clock::now(); begin < end; begin = Clock::now()) {
    std::this_thread::sleep_for(kSleep);
    late.push_back(Milliseconds(Clock::now() - begin - kSleep).count());
  }
  return late;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view text = argc == 2 ? argv[1] : "";
  int seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds < 1 ||
      seconds > kMaxSeconds) {
    std::fprintf(stderr, "wakeup_probe: expected SECONDS, 1..%d: got '%.*s'\n", kMaxSeconds,
                 static_cast<int>(text.size()), text.data());
    return 2;
  }
  std::vector<double> late = lateness(seconds);
  std::ranges::sort(late);
  std::printf("{\"sleeps\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
              late.size(), late[late.size() / 2], late[late.size() * 99 / 100], late.back());
}
