// What it costs to set the priority of a process of ten threads, and to find that nothing is to do.
#include <benchmark/benchmark.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "resource/process_priority.h"

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

// Nine threads that wait, beside the one that measures.
class Sleepers {
 public:
  Sleepers() {
    for (int i = 0; i < 9; ++i) {
      threads_.emplace_back([this] {
        begun_.count_down();
        end_.wait(false);
      });
    }
    begun_.wait();
  }
  ~Sleepers() {
    end_ = true;
    end_.notify_all();
  }

 private:
  std::latch begun_{9};
  std::atomic<bool> end_ = false;
  std::vector<std::jthread> threads_;
};

// Each apply() changes all five items of all ten threads. Needs CAP_SYS_NICE: it goes up and down.
void ChangeAll(benchmark::State& state) {
  auto system = gogrid::host_priority_system();
  if (!system) return state.SkipWithError(system.error().message);
  const Sleepers sleepers;
  ProcessPriority priority(*std::move(system));
  int nice = 10;
  for (auto _ : state) {
    nice = 21 - nice;  // 11, 10, 11, ...
    const auto report = priority.apply(settings(nice));
    if (!report.as_wanted()) {
      for (const auto& item : report.items) {
        if (!item.as_wanted) return state.SkipWithError(item.warning);
      }
    }
  }
  state.counters["threads"] = static_cast<double>(priority.read().threads.size());
}
BENCHMARK(ChangeAll)->Unit(benchmark::kMicrosecond)->Repetitions(7)->ReportAggregatesOnly();

// What the three modes need: nice, I/O and policy. Without privileges too, if it starts at nice 0.
void ChangeNiceIoAndPolicy(benchmark::State& state) {
  auto system = gogrid::host_priority_system();
  if (!system) return state.SkipWithError(system.error().message);
  const Sleepers sleepers;
  ProcessPriority priority(*std::move(system));
  int nice = 10;
  for (auto _ : state) {
    nice = 21 - nice;
    auto wanted = settings(nice);
    wanted.timer_slack_ns.reset();
    wanted.oom_score.reset();
    const auto report = priority.apply(wanted);
    if (!report.as_wanted()) return state.SkipWithError("not in force");
  }
}
BENCHMARK(ChangeNiceIoAndPolicy)
    ->Unit(benchmark::kMicrosecond)
    ->Repetitions(7)
    ->ReportAggregatesOnly();

void NothingToChange(benchmark::State& state) {
  auto system = gogrid::host_priority_system();
  if (!system) return state.SkipWithError(system.error().message);
  const Sleepers sleepers;
  ProcessPriority priority(*std::move(system));
  priority.apply(settings(11));
  for (auto _ : state) {
    if (!priority.reapply().as_wanted()) return state.SkipWithError("not in force");
  }
}
BENCHMARK(NothingToChange)->Unit(benchmark::kMicrosecond)->Repetitions(7)->ReportAggregatesOnly();

}  // namespace
