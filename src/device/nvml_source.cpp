#include "device/nvml_source.h"

#include <algorithm>
#include <utility>

namespace gogrid {
namespace {

// A driver that claims more GPUs is not believed.
constexpr unsigned kMaxGpus = 64;
// The driver samples each process every 1/6 to 1 s, by the kind of GPU: what is older than this is
// not what the GPU does now.
constexpr std::uint64_t kUseWindowUs = 1'000'000;
// Below this, a GPU may well be busy with nobody's work: the driver's own.
constexpr Millionths kNobodysWork = 100'000;

std::uint64_t system_wall_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

NvmlOptions with_defaults(NvmlOptions options) {
  if (!options.wall_us) options.wall_us = system_wall_us;
  return options;
}

// Puts a figure into its place or the reason for its absence into the notes. An error that concerns
// the whole GPU is handed up.
template <class Figure, class Take>
Status take(Result<Figure> figure, GpuReading& gpu, std::string_view what, const Take& into) {
  if (figure) {
    into(*figure);
  } else if (figure.error().code == ErrorCode::kUnavailable) {
    return std::unexpected(std::move(figure).error());
  } else {
    gpu.notes.push_back(std::string(what) + " unknown: " + figure.error().message);
  }
  return {};
}

std::optional<Bytes> memory_of(std::span<const NvmlProcess> processes, unsigned pid) {
  const auto found = std::ranges::find(processes, pid, &NvmlProcess::pid);
  // The list is complete: who is not in it holds nothing.
  return found == processes.end() ? Bytes{0} : found->memory;
}

}  // namespace

UseSplit split_use(std::span<const NvmlProcessUse> uses, unsigned own_pid) {
  std::uint64_t own = 0;
  std::uint64_t others = 0;
  for (const NvmlProcessUse& use : uses) (use.pid == own_pid ? own : others) += use.sm;
  return {millionths_of_percent(own), millionths_of_percent(others)};
}

NvmlSource::NvmlSource(NvmlOptions options, const Clock& clock)
    : options_(with_defaults(std::move(options))), clock_(clock) {}

Status NvmlSource::connect() {
  if (library_) return {};
  const TimePoint now = clock_.now();
  if (last_try_ && now - *last_try_ < options_.retry) return std::unexpected(*last_fault_);
  last_try_ = now;
  auto opened = NvmlLibrary::open(options_.library);
  if (!opened) {
    last_fault_ = opened.error();
    return std::unexpected(std::move(opened).error());
  }
  library_ = *std::move(opened);
  return {};
}

// Loads NVML again at the next look that is late enough: a driver that was updated or reloaded is a
// new one to the library.
void NvmlSource::disconnect(Error reason) {
  last_fault_ = std::move(reason);
  if (clock_.now() - *last_try_ < options_.retry) return;
  library_.reset();
  addresses_.clear();
}

SourceReading NvmlSource::read() {
  SourceReading reading;
  std::map<std::string, Error> lost;
  const Status status = look_at_all(reading, lost);
  for (const auto& [address, identity] : identities_) {
    if (std::ranges::contains(reading.gpus, address, &GpuReading::id)) continue;
    const auto told = lost.find(address);
    Error reason =
        told != lost.end() ? told->second
        : !status          ? status.error()
                  : Error{ErrorCode::kUnavailable, "[nvml] the driver lists this GPU no longer"};
    GpuReading unknown = identity;
    unknown.notes.push_back(reason.message);
    reading.gpus.push_back(std::move(unknown));
    reading.fault = std::move(reason);
  }
  if (!status) reading.fault = status.error();
  if (library_ && reading.fault) disconnect(*reading.fault);
  std::ranges::sort(reading.gpus, {}, &GpuReading::id);
  return reading;
}

// Fills in the GPUs that answer; `lost` gets the reasons of those that do not, by address. An
// error: none could be asked.
Status NvmlSource::look_at_all(SourceReading& reading, std::map<std::string, Error>& lost) {
  GOGRID_RETURN_IF_ERROR(connect());
  GOGRID_ASSIGN_OR_RETURN(const unsigned count, library_->count());
  for (unsigned index = 0; index < std::min(count, kMaxGpus); ++index) {
    auto gpu = look(index);
    if (gpu) {
      reading.gpus.push_back(*std::move(gpu));
      continue;
    }
    const auto address = addresses_.find(index);
    if (address != addresses_.end()) lost.insert_or_assign(address->second, gpu.error());
    reading.fault = std::move(gpu).error();
  }
  return {};
}

Result<GpuReading> NvmlSource::look(unsigned index) {
  GOGRID_ASSIGN_OR_RETURN(const nvml::Device device, library_->device(index));
  GpuReading gpu;
  gpu.vendor = "nvidia";
  gpu.id = "nvidia" + std::to_string(index);  // until the driver tells the address
  GOGRID_RETURN_IF_ERROR(take(library_->pci_address(device), gpu, "PCI address",
                              [&](std::string& address) { gpu.id = std::move(address); }));
  GOGRID_RETURN_IF_ERROR(take(library_->name(device), gpu, "name",
                              [&](std::string& name) { gpu.name = std::move(name); }));
  GOGRID_RETURN_IF_ERROR(take(library_->uuid(device), gpu, "UUID",
                              [&](std::string& uuid) { gpu.uuid = std::move(uuid); }));
  GpuReading identity = gpu;
  identity.notes.clear();
  addresses_.insert_or_assign(index, gpu.id);
  identities_.insert_or_assign(gpu.id, std::move(identity));
  GOGRID_RETURN_IF_ERROR(read_figures(device, gpu));
  return gpu;
}

Status NvmlSource::read_figures(nvml::Device device, GpuReading& gpu) const {
  GOGRID_RETURN_IF_ERROR(
      take(library_->memory(device), gpu, "memory", [&](const nvml::Memory& memory) {
        gpu.memory_total = memory.total;
        gpu.memory_used = memory.used;
        gpu.memory_free = memory.free;
      }));
  GOGRID_RETURN_IF_ERROR(take(library_->celsius(device), gpu, "temperature",
                              [&](int celsius) { gpu.celsius = celsius; }));
  // A GPU or a driver without MIG cannot be partitioned.
  auto mig = library_->mig_enabled(device);
  if (!mig && mig.error().code == ErrorCode::kUnsupported) mig = false;
  GOGRID_RETURN_IF_ERROR(
      take(std::move(mig), gpu, "MIG mode", [&](bool enabled) { gpu.partitioned = enabled; }));
  if (options_.host_pids) {
    GOGRID_RETURN_IF_ERROR(take(library_->processes(device), gpu, "own memory",
                                [&](const std::vector<NvmlProcess>& processes) {
                                  gpu.memory_own = memory_of(processes, options_.own_pid);
                                }));
  } else {
    gpu.notes.push_back(
        "own and others' use unknown: this process has numbers of its own (a container), and the "
        "driver tells the host's");
  }
  if (gpu.partitioned.value_or(false)) {
    gpu.notes.push_back(
        "utilization unknown: MIG is on, and the driver tells none of a partitioned GPU");
    return {};
  }
  return read_use(device, gpu);
}

Status NvmlSource::read_use(nvml::Device device, GpuReading& gpu) const {
  GOGRID_RETURN_IF_ERROR(
      take(library_->utilization(device), gpu, "utilization", [&](const nvml::Utilization& rates) {
        gpu.busy = millionths_of_percent(rates.gpu);
        gpu.memory_busy = millionths_of_percent(rates.memory);
      }));
  if (!options_.host_pids) return {};
  const std::uint64_t now_us = options_.wall_us();
  const std::uint64_t since_us = now_us - std::min(now_us, kUseWindowUs);
  return take(library_->process_use(device, since_us), gpu, "use by process",
              [&](const std::vector<NvmlProcessUse>& uses) {
                if (uses.empty() && gpu.busy.value_or(0) > kNobodysWork) {
                  gpu.notes.emplace_back(
                      "use by process unknown: the GPU is busy and the driver names nobody");
                  return;
                }
                const UseSplit split = split_use(uses, options_.own_pid);
                gpu.busy_by_own = split.own;
                gpu.busy_by_others = split.others;
              });
}

}  // namespace gogrid
