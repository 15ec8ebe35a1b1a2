#include "device/nvml_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <span>
#include <utility>

namespace gogrid {
namespace {

// Most processes that are read of one GPU: a driver that claims more is not believed.
constexpr unsigned kMaxProcesses = 4096;
constexpr unsigned kFirstProcesses = 64;
// What the list's buffer is filled with, to see how much of it the driver wrote.
constexpr unsigned char kUntouched = 0xA5;

struct ObjectCloser {
  void operator()(void* handle) const { ::dlclose(handle); }
};
using SharedObject = std::unique_ptr<void, ObjectCloser>;

// A function under the newest of its names that the library has. `Function` is its type.
template <class Function>
struct Symbol {
  Function* call = nullptr;
  const char* name = "";
};

template <class Function>
Symbol<Function> resolve(void* object, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (void* address = ::dlsym(object, name)) {
      return {reinterpret_cast<Function*>(address), name};
    }
  }
  return {nullptr, *names.begin()};
}

// Answers kUnsupported for a function that the library lacks.
template <class Function, class... Arguments>
Status call(const Symbol<Function>& symbol, Arguments... arguments) {
  if (symbol.call == nullptr)
    return std::unexpected(nvml_error(symbol.name, nvml::kFunctionNotFound));
  const nvml::Return code = symbol.call(arguments...);
  if (code != nvml::kSuccess) return std::unexpected(nvml_error(symbol.name, code));
  return {};
}

// How a list of processes lies in memory, by the name of its function.
enum class ListLayout : std::uint8_t { kV1, kV2 };

struct ProcessList {
  Symbol<nvml::GetProcesses> symbol;
  ListLayout layout = ListLayout::kV2;
};

ProcessList resolve_list(void* object, const char* v3, const char* v2, const char* v1) {
  ProcessList list{resolve<nvml::GetProcesses>(object, {v3, v2}), ListLayout::kV2};
  if (list.symbol.call != nullptr) return list;
  return {resolve<nvml::GetProcesses>(object, {v1}), ListLayout::kV1};
}

// Drivers of the 535 and 550 series are known to write entries of 32 bytes where their function's
// name promises 24. What they left of the buffer tells: nothing beyond `count` entries is written.
std::size_t entry_size(ListLayout layout, std::span<const unsigned char> buffer,
                       std::size_t count) {
  if (layout == ListLayout::kV1) return sizeof(nvml::ProcessInfoV1);
  const auto touched = [&](std::size_t from, std::size_t to) {
    return std::ranges::any_of(buffer.subspan(from, to - from),
                               [](unsigned char byte) { return byte != kUntouched; });
  };
  const std::size_t narrow = count * sizeof(nvml::ProcessInfoV2);
  const std::size_t wide = count * sizeof(nvml::ProcessInfoWide);
  // A driver that clears the whole buffer leaves no trace of its entries' size: take its word.
  return touched(narrow, wide) && !touched(wide, buffer.size()) ? sizeof(nvml::ProcessInfoWide)
                                                                : sizeof(nvml::ProcessInfoV2);
}

// The first 16 bytes are the same in every version.
NvmlProcess process_at(std::span<const unsigned char> entry) {
  nvml::ProcessInfoV1 head;
  std::memcpy(&head, entry.data(), sizeof head);
  NvmlProcess process{.pid = head.pid, .memory = std::nullopt};
  if (head.used != nvml::kNotAvailable) process.memory = head.used;
  return process;
}

// Calls `ask(count)` with more room until it is enough. Answers NVML's code; `count` is how many
// entries there are.
template <class Ask>
nvml::Return with_enough_room(unsigned& count, const Ask& ask) {
  unsigned room = kFirstProcesses;
  while (true) {
    count = room;
    const nvml::Return code = ask(room, count);
    if (code != nvml::kInsufficientSize || room >= kMaxProcesses) {
      count = std::min(count, room);
      return code;
    }
    // Some are spare: processes may have come since the driver counted.
    room = std::min(std::max(room * 2, count < kMaxProcesses ? count + 16 : count), kMaxProcesses);
  }
}

Status read_list(const ProcessList& list, nvml::Device device,
                 std::map<unsigned, NvmlProcess>& into) {
  if (list.symbol.call == nullptr) {
    return std::unexpected(nvml_error(list.symbol.name, nvml::kFunctionNotFound));
  }
  std::vector<unsigned char> buffer;
  unsigned count = 0;
  const nvml::Return code = with_enough_room(count, [&](unsigned room, unsigned& found) {
    // One entry more than told: the end stays untouched even when the list is full.
    buffer.assign((std::size_t{room} + 1) * sizeof(nvml::ProcessInfoWide), kUntouched);
    return list.symbol.call(device, &found, buffer.data());
  });
  if (code != nvml::kSuccess) return std::unexpected(nvml_error(list.symbol.name, code));
  const std::size_t size = entry_size(list.layout, buffer, count);
  for (unsigned i = 0; i < count; ++i) {
    const NvmlProcess process = process_at(std::span(buffer).subspan(i * size, size));
    if (process.pid == 0) continue;
    // One that both computes and draws is in both lists, with the same figure.
    NvmlProcess& known = into.try_emplace(process.pid, process).first->second;
    known.memory = std::max(known.memory, process.memory);
  }
  return {};
}

// Cut at the buffer's end, and free of what a terminal would act on.
std::string text_of(std::span<const char> buffer) {
  std::string text(buffer.data(), ::strnlen(buffer.data(), buffer.size()));
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c == '\x7f'; }, '?');
  return text;
}

}  // namespace

struct NvmlLibrary::State {
  SharedObject object;
  bool initialized = false;

  Symbol<nvml::Init> init;
  Symbol<nvml::Shutdown> shutdown;
  Symbol<nvml::GetCount> get_count;
  Symbol<nvml::GetHandleByIndex> get_handle;

  Symbol<nvml::GetText> get_uuid;
  Symbol<nvml::GetText> get_name;
  Symbol<nvml::GetPciInfo> get_pci;
  Symbol<nvml::GetMemoryInfo> get_memory;
  Symbol<nvml::GetUtilizationRates> get_utilization;
  Symbol<nvml::GetTemperature> get_temperature;
  Symbol<nvml::GetMigMode> get_mig_mode;
  Symbol<nvml::GetProcessUtilization> get_process_utilization;
  ProcessList compute;
  ProcessList graphics;

  explicit State(SharedObject opened);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (initialized) shutdown.call();
  }
  Status require_symbols() const;
};

NvmlLibrary::State::State(SharedObject opened) : object(std::move(opened)) {
  void* const from = object.get();
  init = resolve<nvml::Init>(from, {"nvmlInit_v2", "nvmlInit"});
  shutdown = resolve<nvml::Shutdown>(from, {"nvmlShutdown"});
  get_count = resolve<nvml::GetCount>(from, {"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"});
  get_handle = resolve<nvml::GetHandleByIndex>(
      from, {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"});
  get_uuid = resolve<nvml::GetText>(from, {"nvmlDeviceGetUUID"});
  get_name = resolve<nvml::GetText>(from, {"nvmlDeviceGetName"});
  get_pci = resolve<nvml::GetPciInfo>(
      from, {"nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo"});
  get_memory = resolve<nvml::GetMemoryInfo>(from, {"nvmlDeviceGetMemoryInfo"});
  get_utilization = resolve<nvml::GetUtilizationRates>(from, {"nvmlDeviceGetUtilizationRates"});
  get_temperature = resolve<nvml::GetTemperature>(from, {"nvmlDeviceGetTemperature"});
  get_mig_mode = resolve<nvml::GetMigMode>(from, {"nvmlDeviceGetMigMode"});
  get_process_utilization =
      resolve<nvml::GetProcessUtilization>(from, {"nvmlDeviceGetProcessUtilization"});
  compute = resolve_list(from, "nvmlDeviceGetComputeRunningProcesses_v3",
                         "nvmlDeviceGetComputeRunningProcesses_v2",
                         "nvmlDeviceGetComputeRunningProcesses");
  graphics = resolve_list(from, "nvmlDeviceGetGraphicsRunningProcesses_v3",
                          "nvmlDeviceGetGraphicsRunningProcesses_v2",
                          "nvmlDeviceGetGraphicsRunningProcesses");
}

Status NvmlLibrary::State::require_symbols() const {
  std::string missing;
  const auto require = [&](const auto& symbol) {
    if (symbol.call == nullptr) missing += (missing.empty() ? "" : ", ") + std::string(symbol.name);
  };
  require(init);
  require(shutdown);
  require(get_count);
  require(get_handle);
  if (missing.empty()) return {};
  return fail(ErrorCode::kUnsupported,
              "[nvml] expected NVIDIA's management library: it lacks " + missing);
}

NvmlLibrary::NvmlLibrary(std::unique_ptr<State> state) : state_(std::move(state)) {}
NvmlLibrary::NvmlLibrary(NvmlLibrary&&) noexcept = default;
NvmlLibrary& NvmlLibrary::operator=(NvmlLibrary&&) noexcept = default;
NvmlLibrary::~NvmlLibrary() = default;

Result<NvmlLibrary> NvmlLibrary::open(const std::filesystem::path& library) {
  SharedObject object(::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!object) {
    const char* const told = ::dlerror();
    const std::string reason = told == nullptr ? "no reason given" : told;
    // The linker's text begins with the file that is missing: this one, or one that it needs.
    if (reason.starts_with(library.string() + ": ") && reason.contains("No such file")) {
      return fail(ErrorCode::kUnavailable, "[nvml] " + library.filename().string() +
                                               " not found: is the NVIDIA driver installed?");
    }
    return fail(ErrorCode::kUnavailable, "[nvml] cannot load " + reason);
  }
  auto state = std::make_unique<State>(std::move(object));
  GOGRID_RETURN_IF_ERROR(state->require_symbols());
  GOGRID_RETURN_IF_ERROR(call(state->init));
  state->initialized = true;
  return NvmlLibrary(std::move(state));
}

Result<unsigned> NvmlLibrary::count() const {
  unsigned count = 0;
  GOGRID_RETURN_IF_ERROR(call(state_->get_count, &count));
  return count;
}

Result<nvml::Device> NvmlLibrary::device(unsigned index) const {
  nvml::Device device = nullptr;
  GOGRID_RETURN_IF_ERROR(call(state_->get_handle, index, &device));
  return device;
}

Result<std::string> NvmlLibrary::uuid(nvml::Device device) const {
  std::array<char, nvml::kUuidBuffer> text{};
  GOGRID_RETURN_IF_ERROR(call(state_->get_uuid, device, text.data(), nvml::kUuidBuffer));
  return text_of(text);
}

Result<std::string> NvmlLibrary::name(nvml::Device device) const {
  std::array<char, nvml::kNameBuffer> text{};
  GOGRID_RETURN_IF_ERROR(call(state_->get_name, device, text.data(), nvml::kNameBuffer));
  return text_of(text);
}

Result<std::string> NvmlLibrary::pci_address(nvml::Device device) const {
  nvml::PciInfo info{};
  GOGRID_RETURN_IF_ERROR(call(state_->get_pci, device, &info));
  std::array<char, 40> text{};
  // A GPU is function 0 of its card; function 1 is its sound.
  std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.0", info.domain, info.bus, info.device);
  return std::string(text.data());
}

Result<nvml::Memory> NvmlLibrary::memory(nvml::Device device) const {
  nvml::Memory memory{};
  GOGRID_RETURN_IF_ERROR(call(state_->get_memory, device, &memory));
  return memory;
}

Result<nvml::Utilization> NvmlLibrary::utilization(nvml::Device device) const {
  nvml::Utilization rates{};
  GOGRID_RETURN_IF_ERROR(call(state_->get_utilization, device, &rates));
  return rates;
}

Result<int> NvmlLibrary::celsius(nvml::Device device) const {
  unsigned celsius = 0;
  GOGRID_RETURN_IF_ERROR(call(state_->get_temperature, device, nvml::kTemperatureGpu, &celsius));
  return static_cast<int>(celsius);
}

Result<bool> NvmlLibrary::mig_enabled(nvml::Device device) const {
  unsigned current = 0;
  unsigned pending = 0;
  GOGRID_RETURN_IF_ERROR(call(state_->get_mig_mode, device, &current, &pending));
  return current == nvml::kMigEnabled;
}

Result<std::vector<NvmlProcess>> NvmlLibrary::processes(nvml::Device device) const {
  std::map<unsigned, NvmlProcess> merged;
  GOGRID_RETURN_IF_ERROR(read_list(state_->compute, device, merged));
  GOGRID_RETURN_IF_ERROR(read_list(state_->graphics, device, merged));
  std::vector<NvmlProcess> processes;
  for (const auto& [pid, process] : merged) processes.push_back(process);
  return processes;
}

Result<std::vector<NvmlProcessUse>> NvmlLibrary::process_use(nvml::Device device,
                                                             std::uint64_t since_us) const {
  const auto& symbol = state_->get_process_utilization;
  if (symbol.call == nullptr)
    return std::unexpected(nvml_error(symbol.name, nvml::kFunctionNotFound));
  std::vector<nvml::ProcessUtilizationSample> samples;
  unsigned count = 0;
  const nvml::Return code = with_enough_room(count, [&](unsigned room, unsigned& found) {
    samples.assign(room, {});
    return symbol.call(device, samples.data(), &found, since_us);
  });
  if (code == nvml::kNotFound) return std::vector<NvmlProcessUse>();  // nobody used it
  if (code != nvml::kSuccess) return std::unexpected(nvml_error(symbol.name, code));
  std::map<unsigned, NvmlProcessUse> newest;
  for (const auto& sample : std::span(samples).first(count)) {
    // Drivers also hand out empty and old entries, and figures above a hundred.
    if (sample.pid == 0 || sample.time_us <= since_us || sample.sm > 100 || sample.memory > 100) {
      continue;
    }
    NvmlProcessUse& use = newest[sample.pid];
    if (sample.time_us < use.time_us) continue;
    use = {sample.pid, sample.sm, sample.memory, sample.time_us};
  }
  std::vector<NvmlProcessUse> uses;
  for (const auto& [pid, use] : newest) uses.push_back(use);
  return uses;
}

}  // namespace gogrid
