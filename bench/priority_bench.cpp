// What it costs to set the priority of a process of ten threads, and to find that nothing is to do.
#include <benchmark/benchmark.h>

#include "resource/process_priority.h"
#include "support/sleepers.h"

namespace {

using gogrid::IoClass;
using gogrid::IoPriority;
using gogrid::PrioritySettings;
using gogrid::ProcessPriority;
using gogrid::SchedulingPolicy;

PrioritySettings settings(int nice) {
  return {.nice = nice,
          .io = IoPriority{IoClass::kBestEffort, nice % 8},
          .policy = nice % 2 == 0 ? SchedulingPolicy::kOther : SchedulingPolicy::kIdle,
          .timer_slack_ns = 50'000 + static_cast<std::uint64_t>(nice),
          .oom_score = nice};
}

// Beside the one that measures.
constexpr int kSleepers = 9;

// Each apply() changes what `wanted_at` gives for a nice value that goes up and down.
void Change(benchmark::State& state, PrioritySettings (*wanted_at)(int nice)) {
  auto system = gogrid::host_priority_system();
  if (!system) return state.SkipWithError(system.error().message);
  const gogrid::testing::Sleepers sleepers(kSleepers);
  ProcessPriority priority(*std::move(system));
  int nice = 10;
  for (auto _ : state) {
    nice = 21 - nice;  // 11, 10, 11, ...
    const auto report = priority.apply(wanted_at(nice));
    if (report.as_wanted()) continue;
    for (const auto& item : report.items) {
      if (!item.as_wanted) return state.SkipWithError(item.warning);
    }
  }
  state.counters["threads"] = static_cast<double>(priority.read().threads.size());
}

// What the three modes need: nice, I/O and policy. Without privileges too, if it starts at nice 0.
PrioritySettings of_modes(int nice) {
  PrioritySettings wanted = settings(nice);
  wanted.timer_slack_ns.reset();
  wanted.oom_score.reset();
  return wanted;
}

// All five items of all ten threads need CAP_SYS_NICE.
BENCHMARK_CAPTURE(Change, all, settings)
    ->Unit(benchmark::kMicrosecond)
    ->Repetitions(7)
    ->ReportAggregatesOnly();
BENCHMARK_CAPTURE(Change, nice_io_and_policy, of_modes)
    ->Unit(benchmark::kMicrosecond)
    ->Repetitions(7)
    ->ReportAggregatesOnly();

void NothingToChange(benchmark::State& state) {
  auto system = gogrid::host_priority_system();
  if (!system) return state.SkipWithError(system.error().message);
  const gogrid::testing::Sleepers sleepers(kSleepers);
  ProcessPriority priority(*std::move(system));
  priority.apply(settings(11));
  for (auto _ : state) {
    if (!priority.reapply().as_wanted()) return state.SkipWithError("not in force");
  }
}
BENCHMARK(NothingToChange)->Unit(benchmark::kMicrosecond)->Repetitions(7)->ReportAggregatesOnly();

}  // namespace
