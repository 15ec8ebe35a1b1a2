// What it costs to ask the rate gate and the memory ledger, and that two threads are never granted
// more than the rate.
#include <benchmark/benchmark.h>

#include <atomic>

#include "resource/memory_ledger.h"
#include "resource/rate_gate.h"

namespace {

using gogrid::Duration;
using gogrid::Rate;
using gogrid::RateGate;
using gogrid::SteadyClock;
using gogrid::TimePoint;

constexpr Rate kRate{.interval = std::chrono::nanoseconds(1)};

// The time is given: each ask comes an interval later, and is granted.
void AskWithTheTimeGiven(benchmark::State& state) {
  RateGate gate(1000);
  TimePoint now{std::chrono::hours(1)};
  for (auto _ : state) {
    now += kRate.interval;
    benchmark::DoNotOptimize(gate.ask(now, kRate, now));
  }
  if (gate.counts().refused != 0) state.SkipWithError("an ask in time was refused");
}
BENCHMARK(AskWithTheTimeGiven)->Repetitions(7)->ReportAggregatesOnly();

void AskWithTheClockRead(benchmark::State& state) {
  RateGate gate(1000);
  const SteadyClock clock;
  for (auto _ : state) {
    const TimePoint now = clock.now();
    benchmark::DoNotOptimize(gate.ask(now, kRate, now));
  }
}
BENCHMARK(AskWithTheClockRead)->Repetitions(7)->ReportAggregatesOnly();

// Two threads at a rate that both exceed: what was granted beyond it, of all grants.
void TwoThreadsOverTheRate(benchmark::State& state) {
  static RateGate gate(1000);
  static std::atomic<Duration::rep> begun{0};
  constexpr Rate kSlow{.interval = std::chrono::microseconds(1)};
  const SteadyClock clock;
  Duration::rep none = 0;
  begun.compare_exchange_strong(none, clock.now().time_since_epoch().count());
  for (auto _ : state) {
    const TimePoint now = clock.now();
    benchmark::DoNotOptimize(gate.ask(now, kSlow, now));
  }
  const auto passed = clock.now().time_since_epoch().count() - begun.load();
  const auto allowed = static_cast<std::uint64_t>(passed / kSlow.interval.count()) + 1;
  const auto granted = gate.counts().granted;
  if (granted > allowed) state.SkipWithError("over-granted");
  state.counters["over_granted"] = granted > allowed ? static_cast<double>(granted - allowed) : 0.0;
}
BENCHMARK(TwoThreadsOverTheRate)->Threads(2)->Repetitions(7)->ReportAggregatesOnly();

void LookAtTheRoomOfADevice(benchmark::State& state) {
  gogrid::MemoryLedger ledger;
  ledger.set_cap("cpu0", gogrid::kGiB);
  const auto room = *ledger.room_of("cpu0");
  for (auto _ : state) benchmark::DoNotOptimize(room.bytes());
}
BENCHMARK(LookAtTheRoomOfADevice)->Repetitions(7)->ReportAggregatesOnly();

// All of a plan's three uses at once, and given back.
void LeaseAndGiveBack(benchmark::State& state) {
  gogrid::MemoryLedger ledger;
  ledger.set_cap("cpu0", gogrid::kGiB);
  const std::vector<gogrid::MemoryRequest> requests{
      {"cpu0", gogrid::MemoryUse::kWeights, "model", 1000},
      {"cpu0", gogrid::MemoryUse::kKv, "model", 1000},
      {"cpu0", gogrid::MemoryUse::kCompute, "model", 1000}};
  for (auto _ : state) benchmark::DoNotOptimize(ledger.acquire(requests));
}
BENCHMARK(LeaseAndGiveBack)->Repetitions(7)->ReportAggregatesOnly();

}  // namespace
