// What the reader and the slicer cost. Wants a real model: GOGRID_BENCH_MODEL=/path/to/model.gguf
#include <benchmark/benchmark.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "model/gguf_file.h"
#include "model/gguf_slicer.h"

namespace {

using gogrid::GgufFile;

std::optional<GgufFile> open_model(benchmark::State& state) {
  const char* path = std::getenv("GOGRID_BENCH_MODEL");
  if (path == nullptr) {
    state.SkipWithError("set GOGRID_BENCH_MODEL to a GGUF file");
    return std::nullopt;
  }
  auto file = GgufFile::open(path);
  if (file) return std::optional(*std::move(file));
  state.SkipWithError(file.error().message);
  return std::nullopt;
}

// Resident memory of this process in KiB: anonymous pages only, mapped files are the page cache's.
double anonymous_kib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    double kib = 0;
    if (word == "RssAnon:" && status >> kib) return kib;
  }
  return 0;
}

void OpenModel(benchmark::State& state) {
  const auto known = open_model(state);
  if (!known) return;
  const double before = anonymous_kib();
  double taken = 0;
  for (auto _ : state) {
    const auto file = GgufFile::open(known->path());
    if (!file || file->tensors().size() != known->tensors().size()) {
      return state.SkipWithError("another answer than before");
    }
    taken = anonymous_kib() - before;
    benchmark::DoNotOptimize(file->tensor("output_norm.weight"));
  }
  state.counters["header_KiB"] = static_cast<double>(known->data_offset()) / 1024;
  state.counters["tensors"] = static_cast<double>(known->tensors().size());
  state.counters["anonymous_KiB"] = taken;
}
BENCHMARK(OpenModel)->Unit(benchmark::kMillisecond)->Repetitions(5)->ReportAggregatesOnly();

// The second half of the layers, fsync included.
void WriteHalf(benchmark::State& state) {
  const auto model = open_model(state);
  if (!model) return;
  const auto arch = model->string_of("general.architecture").value_or("");
  const auto layers = static_cast<std::uint32_t>(
      model->unsigned_of(std::string(arch) + ".block_count").value_or(0));
  const auto target = std::filesystem::temp_directory_path() /
                      ("gogrid-bench-" + std::to_string(::getpid()) + ".gguf");
  gogrid::Bytes size = 0;
  for (auto _ : state) {
    const auto written = gogrid::write_slice(*model, {layers / 2, layers}, target);
    if (!written) return state.SkipWithError(written.error().message);
    size = std::filesystem::file_size(target);
  }
  const auto slice = GgufFile::open(target);
  if (!slice || slice->tensor("blk.0.attn_norm.weight") == nullptr) {
    state.SkipWithError("the slice cannot be read");
  }
  std::filesystem::remove(target);
  state.SetBytesProcessed(static_cast<std::int64_t>(size * state.iterations()));
}
BENCHMARK(WriteHalf)->Unit(benchmark::kMillisecond)->Iterations(3)->Repetitions(3);

}  // namespace
