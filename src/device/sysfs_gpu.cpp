#include "device/sysfs_gpu.h"

#include <algorithm>
#include <system_error>

#include "device/small_file.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxCards = 64;
constexpr std::size_t kMaxHwmonFolders = 16;
// amdgpu has edge, junction and memory, in this order; xe begins with the second.
constexpr int kMaxSensors = 4;

// "card0", not "card0-DP-1" (an output of it) nor "renderD128" (the same card again).
bool is_card_name(std::string_view name) {
  if (!name.starts_with("card") || name.size() == 4) return false;
  return std::ranges::all_of(name.substr(4), [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view vendor_of(std::string_view driver) {
  if (driver == "amdgpu") return "amd";
  if (driver == "i915" || driver == "xe") return "intel";
  return {};
}

std::optional<DrmCard> card_at(const fs::path& folder) {
  const std::string uevent = small_text(folder / "uevent");
  DrmCard card{.folder = folder, .driver = uevent_value(uevent, "DRIVER"), .identity = {}};
  card.identity.vendor = vendor_of(card.driver);
  card.identity.id = uevent_value(uevent, "PCI_SLOT_NAME");
  if (card.identity.vendor.empty() || card.identity.id.empty()) return std::nullopt;
  card.identity.name = small_text(folder / "product_name");
  if (card.identity.name.empty()) {
    card.identity.name = card.driver + " " + uevent_value(uevent, "PCI_ID");
  }
  return card;
}

// The number, or a note of why there is none. An absent file is a figure that this driver does not
// tell, and needs no path.
std::optional<std::int64_t> figure(const fs::path& path, std::string_view what, GpuReading& gpu) {
  const auto value = read_number(path);
  if (value && *value >= 0) return *value;
  std::string why = "a number below zero in " + path.string();
  if (!value) {
    const bool absent = value.error().code == ErrorCode::kNotFound;
    why = absent ? "the driver does not tell it" : value.error().message;
  }
  gpu.notes.push_back(std::string(what) + " unknown: " + why);
  return std::nullopt;
}

void read_memory(const fs::path& folder, GpuReading& gpu) {
  if (gpu.vendor != "amd") {
    gpu.notes.emplace_back("memory unknown: the driver does not tell it");
    return;
  }
  gpu.memory_total = figure(folder / "mem_info_vram_total", "memory", gpu);
  gpu.memory_used = figure(folder / "mem_info_vram_used", "used memory", gpu);
  if (gpu.memory_total && gpu.memory_used) {
    gpu.memory_free = *gpu.memory_total - std::min(*gpu.memory_total, *gpu.memory_used);
  }
}

// The first sensor of the card's own, in thousandths of a degree.
std::optional<int> read_celsius(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder / "hwmon", error);
  std::vector<fs::path> monitors;
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (monitors.size() == kMaxHwmonFolders) break;
    monitors.push_back(entries->path());
  }
  std::ranges::sort(monitors);
  for (const fs::path& monitor : monitors) {
    for (int sensor = 1; sensor <= kMaxSensors; ++sensor) {
      const auto value = read_number(monitor / ("temp" + std::to_string(sensor) + "_input"));
      // Nothing that is read is colder than absolute zero, or hotter than the sun.
      if (value && *value > -273'000 && *value < 6'000'000) return static_cast<int>(*value / 1000);
    }
  }
  return std::nullopt;
}

// Held in the card's memory by this process; it can always look into itself.
std::optional<Bytes> own_memory(const DrmScan& scan, const std::string& address) {
  Bytes sum = 0;
  for (const DrmUser& user : scan.users) {
    if (!user.own || user.client.pci_address != address) continue;
    const auto held = user.client.device_memory();
    const auto added = held ? checked_add(sum, *held) : std::nullopt;
    if (!added) return std::nullopt;
    sum = *added;
  }
  return sum;
}

std::string why_incomplete(const DrmScan& scan) {
  if (!scan.shows_all) return "/proc hides the processes of others";
  if (scan.hidden > 0) {
    return std::to_string(scan.hidden) +
           " processes of others may not be looked into (CAP_SYS_PTRACE is missing)";
  }
  return "AMD's compute driver does not tell who uses it for how long";
}

GpuReading read_card(const DrmCard& card, const DrmScan& scan, const DrmUsage& usage) {
  GpuReading gpu = card.identity;
  if (small_text(card.folder / "power/runtime_status") == "suspended") {
    tell_asleep(gpu);
    return gpu;
  }
  read_memory(card.folder, gpu);
  gpu.celsius = read_celsius(card.folder);
  if (!gpu.celsius) gpu.notes.emplace_back("temperature unknown: the driver does not tell it");
  std::optional<Share> told;
  if (gpu.vendor == "amd") {
    const auto percent = figure(card.folder / "gpu_busy_percent", "busy", gpu);
    if (percent) told = Share::percent(static_cast<std::uint64_t>(*percent));
    if (!scan.own_uses_kfd) gpu.memory_own = own_memory(scan, gpu.id);
  }
  fill_use(gpu, told, usage.use_of(gpu.id), scan);
  return gpu;
}

}  // namespace

std::vector<DrmCard> find_drm_cards(const fs::path& root) {
  std::vector<DrmCard> cards;
  std::error_code error;
  fs::directory_iterator entries(root / "sys/class/drm", error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (!is_card_name(entries->path().filename().native())) continue;
    auto card = card_at(entries->path() / "device");
    if (card) cards.push_back(*std::move(card));
    if (cards.size() == kMaxCards) break;
  }
  std::ranges::sort(cards, {}, [](const DrmCard& card) { return card.identity.id; });
  return cards;
}

void fill_use(GpuReading& gpu, std::optional<Share> told_busy, const std::optional<DrmUse>& use,
              const DrmScan& scan) {
  gpu.busy = told_busy;
  if (!use) {
    gpu.notes.emplace_back("use by process unknown: it takes two looks");
    return;
  }
  const bool amd = gpu.vendor == "amd";
  if (amd && scan.own_uses_kfd) {
    gpu.notes.emplace_back("own use unknown: AMD's compute driver does not tell it");
  } else {
    gpu.busy_by_own = use->own;
  }
  const bool kfd = amd && (scan.own_uses_kfd || scan.others_use_kfd);
  if (scan.complete() && !kfd) {
    gpu.busy_by_others = use->others;
    if (!gpu.busy) gpu.busy = use->everybody;
    return;
  }
  if (gpu.busy && gpu.busy_by_own) {
    gpu.busy_by_others = std::max(use->others, *gpu.busy - *gpu.busy_by_own);
    gpu.notes.push_back("others' use estimated as all use less own: " + why_incomplete(scan));
    return;
  }
  if (use->others > Share()) {
    gpu.busy_by_others = use->others;
    gpu.notes.push_back("others' use is at least this: " + why_incomplete(scan));
  } else {
    gpu.notes.push_back("others' use unknown: " + why_incomplete(scan));
  }
}

SourceReading SysfsGpuSource::read() {
  SourceReading reading;
  const std::vector<DrmCard> cards = find_drm_cards(options_.root);
  if (!cards.empty()) {
    const DrmScan scan = scan_drm_clients(options_.root, options_.own_pid);
    usage_.look(scan, clock_.now());
    for (const DrmCard& card : cards) {
      reading.gpus.push_back(read_card(card, scan, usage_));
      identities_.insert_or_assign(card.identity.id, card.identity);
    }
  }
  keep_known(reading);
  return reading;
}

// A card that was there stays listed: it may have fallen off the bus, and come back.
void SysfsGpuSource::keep_known(SourceReading& reading) {
  for (const auto& [address, identity] : identities_) {
    if (std::ranges::contains(reading.gpus, address, &GpuReading::id)) continue;
    Error gone{ErrorCode::kUnavailable, "[sysfs] the kernel lists " + address + " no longer"};
    GpuReading unknown = identity;
    unknown.notes.push_back(gone.message);
    reading.gpus.push_back(std::move(unknown));
    reading.fault = std::move(gone);
  }
  std::ranges::sort(reading.gpus, {}, &GpuReading::id);
}

}  // namespace gogrid
