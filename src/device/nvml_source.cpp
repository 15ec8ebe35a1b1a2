#include "device/nvml_source.h"

#include <algorithm>
#include <utility>

namespace gogrid {
namespace {

// A driver that claims more GPUs is not believed.
constexpr unsigned kMaxGpus = 64;
// The driver samples each process every 1/6 to 1 s, by the kind of GPU, and hands the sample out
// late: with less, a process that works now is missed now and then. What is older is not what it
// does now.
constexpr std::uint64_t kUseWindowUs = 2'000'000;
// The GPU and its processes are sampled at different times: only more than this between them is
// work of somebody whose sample is missing.
constexpr Share kUnexplained = Share::percent(20);

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

// Whether NVML is to be unloaded until the next look: some GPU may sleep, and none is in our use.
bool lets_sleep(const std::map<std::string, GpuPower>& power, const SourceReading& reading) {
  return std::ranges::any_of(power, [](const auto& gpu) { return gpu.second.may_sleep; }) &&
         std::ranges::none_of(reading.gpus,
                              [](const GpuReading& gpu) { return gpu.memory_own.value_or(0) > 0; });
}

}  // namespace

UseSplit split_use(std::span<const NvmlProcessUse> uses, unsigned own_pid) {
  std::uint64_t own = 0;
  std::uint64_t others = 0;
  for (const NvmlProcessUse& use : uses) (use.pid == own_pid ? own : others) += use.sm;
  return {Share::percent(own), Share::percent(others)};
}

void fill_split(GpuReading& gpu, UseSplit split) {
  gpu.busy_by_own = split.own;
  gpu.busy_by_others = split.others;
  if (gpu.busy.value_or(Share()) <= split.own + split.others + kUnexplained) return;
  // Whose it is, nobody knows: ours must not pass for others', nor theirs for nobody's.
  if (split.own == Share()) gpu.busy_by_own.reset();
  if (split.others == Share()) gpu.busy_by_others.reset();
  gpu.notes.emplace_back(
      "use by process is at least this: the GPU is busier than the processes that the driver "
      "names");
}

NvmlSource::NvmlSource(NvmlOptions options, const Clock& clock)
    : options_(with_defaults(std::move(options))), clock_(clock) {}

Status NvmlSource::connect() {
  if (library_) return {};
  const TimePoint now = clock_.now();
  if (last_fault_ && now - *last_try_ < options_.retry) return std::unexpected(*last_fault_);
  last_try_ = now;
  auto opened = NvmlLibrary::open(options_.library);
  if (!opened) {
    last_fault_ = opened.error();
    return std::unexpected(std::move(opened).error());
  }
  library_ = *std::move(opened);
  last_fault_.reset();
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
  if (library_ && reading.fault) {
    disconnect(*reading.fault);
  } else if (lets_sleep(power_, reading)) {
    library_.reset();
  }
  std::ranges::sort(reading.gpus, {}, &GpuReading::id);
  return reading;
}

// Fills in the GPUs that answer; `lost` gets the reasons of those that do not, by address. An
// error: none could be asked.
Status NvmlSource::look_at_all(SourceReading& reading, std::map<std::string, Error>& lost) {
  power_ = read_nvidia_power(options_.root);
  report_resting(reading);
  if (!power_.empty() && reading.gpus.size() == power_.size()) return {};
  GOGRID_RETURN_IF_ERROR(connect());
  GOGRID_ASSIGN_OR_RETURN(const unsigned count, library_->count());
  for (unsigned index = 0; index < std::min(count, kMaxGpus); ++index) {
    const auto address = addresses_.find(index);
    const bool known = address != addresses_.end();
    if (known && std::ranges::contains(reading.gpus, address->second, &GpuReading::id)) continue;
    auto gpu = look(index);
    if (gpu) {
      // One whose index was not known yet was woken to tell it.
      std::erase_if(reading.gpus, [&](const GpuReading& other) { return other.id == gpu->id; });
      reading.gpus.push_back(*std::move(gpu));
      continue;
    }
    if (known) lost.insert_or_assign(address->second, gpu.error());
    reading.fault = std::move(gpu).error();
  }
  return {};
}

// GPUs that sleep, or that nobody holds awake but the moment since their last use.
void NvmlSource::report_resting(SourceReading& reading) const {
  for (const auto& [address, power] : power_) {
    // While NVML is loaded, it is what holds them.
    if (!power.asleep && !(power.may_sleep && power.unused && !library_)) continue;
    GpuReading gpu;
    gpu.id = address;
    gpu.vendor = "nvidia";
    gpu.name = power.name;
    const auto known = identities_.find(address);
    if (known != identities_.end()) gpu = known->second;
    tell_asleep(gpu);
    reading.gpus.push_back(std::move(gpu));
  }
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
        gpu.busy = Share::percent(rates.gpu);
        gpu.memory_busy = Share::percent(rates.memory);
      }));
  if (!options_.host_pids) return {};
  const std::uint64_t now_us = options_.wall_us();
  const std::uint64_t since_us = now_us - std::min(now_us, kUseWindowUs);
  return take(library_->process_use(device, since_us), gpu, "use by process",
              [&](const std::vector<NvmlProcessUse>& uses) {
                fill_split(gpu, split_use(uses, options_.own_pid));
              });
}

}  // namespace gogrid
