// What asking for the GPUs' state costs whoever asks at every step, and what a look costs the
// machine.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include "device/drm_clients.h"
#include "device/telemetry.h"

namespace {

using gogrid::GpuReading;
using gogrid::SourceReading;

class TwoGpus final : public gogrid::GpuSource {
 public:
  std::string name() const override { return "two GPUs"; }
  SourceReading read() override {
    GpuReading gpu;
    gpu.id = "0000:03:00.0";
    gpu.busy_by_others = gogrid::Share::percent(25);
    return {.gpus = {gpu, gpu}, .fault = std::nullopt};
  }
};

const gogrid::SteadyClock steady;
std::unique_ptr<gogrid::Telemetry> telemetry;

void start(const benchmark::State&) {
  std::vector<std::unique_ptr<gogrid::GpuSource>> sources;
  sources.push_back(std::make_unique<TwoGpus>());
  sources.push_back(std::make_unique<TwoGpus>());
  telemetry = std::make_unique<gogrid::Telemetry>(std::move(sources), steady);
}

void stop(const benchmark::State&) { telemetry.reset(); }

// Of two sources, at their real age: every 250 ms a call waits for them, and counts.
void CachedReading(benchmark::State& state) {
  std::uint64_t sum = 0;
  for (auto _ : state) {
    sum += telemetry->read()->gpus.back().busy_by_others.value_or(gogrid::Share()).millionths();
  }
  if (sum != 250'000 * static_cast<std::uint64_t>(state.iterations())) {
    state.SkipWithError("a reading was not known, or wrong");
  }
}
BENCHMARK(CachedReading)->Setup(start)->Teardown(stop)->UseRealTime()->Repetitions(9);
BENCHMARK(CachedReading)->Setup(start)->Teardown(stop)->UseRealTime()->Threads(2)->Repetitions(9);

// Every process's open files, as on this machine.
void ScanOfAllProcesses(benchmark::State& state) {
  std::size_t hidden = 0;
  for (auto _ : state) {
    hidden = gogrid::scan_drm_clients("/", static_cast<unsigned>(::getpid())).hidden;
  }
  state.counters["hidden"] = static_cast<double>(hidden);
}
BENCHMARK(ScanOfAllProcesses)->Unit(benchmark::kMillisecond)->Repetitions(5);

}  // namespace
