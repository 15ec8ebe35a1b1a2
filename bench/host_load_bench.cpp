// What a look at the machine costs, which happens every few seconds.
#include <benchmark/benchmark.h>

#include "resource/host_load.h"

namespace {

void Look(benchmark::State& state) {
  gogrid::HostLoadReader reader;
  for (auto _ : state) {
    const auto load = reader.read();
    if (!load.memory_of_others) return state.SkipWithError(load.memory_of_others.error());
  }
}
BENCHMARK(Look)->Unit(benchmark::kMicrosecond)->Repetitions(7)->ReportAggregatesOnly();

}  // namespace
