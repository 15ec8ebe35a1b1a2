#include "device/drm_fdinfo.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace gogrid {
namespace {

// Longer names of drivers, engines, addresses and regions are nobody's.
constexpr std::size_t kMaxName = 64;

struct Quantity {
  std::uint64_t value = 0;
  std::string_view unit;
};

std::optional<Quantity> quantity(std::string_view text) {
  Quantity found;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), found.value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  found.unit = trimmed(text.substr(static_cast<std::size_t>(end - text.data())));
  return found;
}

std::optional<std::uint64_t> plain_number(std::string_view text, std::string_view unit = "") {
  const auto found = quantity(text);
  return found && found->unit == unit ? std::optional(found->value) : std::nullopt;
}

std::optional<Bytes> byte_count(std::string_view text) {
  const auto found = quantity(text);
  if (!found) return std::nullopt;
  if (found->unit.empty()) return found->value;
  if (found->unit == "KiB") return checked_mul(found->value, kKiB);
  if (found->unit == "MiB") return checked_mul(found->value, kMiB);
  return std::nullopt;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxName &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; });
}

// The entry of that name, unless there are too many already.
template <class Value>
Value* entry(std::map<std::string, Value>& map, std::string_view name) {
  if (!is_name(name)) return nullptr;
  const auto found = map.find(std::string(name));
  if (found != map.end()) return &found->second;
  return map.size() < kMaxDrmKeys ? &map[std::string(name)] : nullptr;
}

// If `key` begins with `prefix`, takes that off.
bool take_prefix(std::string_view& key, std::string_view prefix) {
  if (!key.starts_with(prefix)) return false;
  key.remove_prefix(prefix.size());
  return true;
}

void read_engine(DrmClient& client, std::string_view name, std::optional<std::uint64_t> value,
                 std::optional<std::uint64_t> DrmEngine::* place) {
  if (!value) return;
  if (DrmEngine* engine = entry(client.engines, name)) engine->*place = value;
}

// The longer of two prefixes comes first, where one begins with the other.
void read_key(DrmClient& client, std::string_view key, std::string_view value) {
  if (take_prefix(key, "engine-capacity-")) {
    const auto capacity = plain_number(value);
    if (!capacity || *capacity == 0) return;
    if (DrmEngine* engine = entry(client.engines, key)) engine->capacity = *capacity;
  } else if (take_prefix(key, "engine-")) {
    read_engine(client, key, plain_number(value, "ns"), &DrmEngine::busy_ns);
  } else if (take_prefix(key, "cycles-")) {
    read_engine(client, key, plain_number(value), &DrmEngine::cycles);
  } else if (take_prefix(key, "total-cycles-")) {
    read_engine(client, key, plain_number(value), &DrmEngine::total_cycles);
  } else if (take_prefix(key, "resident-") || take_prefix(key, "memory-")) {
    // Two names of one figure; where a driver tells both, either will do.
    const auto bytes = byte_count(value);
    if (!bytes) return;
    if (Bytes* resident = entry(client.resident, key)) *resident = *bytes;
  } else if (key == "driver" && is_name(value)) {
    client.driver = value;
  } else if (key == "pdev" && is_name(value)) {
    client.pci_address = value;
  }
}

}  // namespace

std::optional<Bytes> DrmClient::device_memory() const {
  std::optional<Bytes> sum;
  for (const auto& [region, bytes] : resident) {
    // amdgpu has "vram", xe "vram0", i915 "local0"; the rest is the machine's memory.
    if (!region.starts_with("vram") && !region.starts_with("local")) continue;
    sum = checked_add(sum.value_or(0), bytes);
    if (!sum) return std::nullopt;
  }
  return sum;
}

std::optional<DrmClient> parse_drm_fdinfo(std::string_view text) {
  DrmClient client;
  std::optional<std::uint64_t> id;
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    const std::size_t colon = line.find(':');
    if (colon == line.npos) continue;
    std::string_view key = line.substr(0, colon);
    if (!take_prefix(key, "drm-")) continue;
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (key == "client-id") {
      id = plain_number(value);
    } else {
      read_key(client, key, value);
    }
  }
  if (client.driver.empty() || !id) return std::nullopt;
  client.id = *id;
  return client;
}

}  // namespace gogrid
