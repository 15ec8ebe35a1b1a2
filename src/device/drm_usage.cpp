#include "device/drm_usage.h"

#include <algorithm>

namespace gogrid {
namespace {

__extension__ using Wide = unsigned __int128;

std::optional<std::uint64_t> growth(const std::optional<std::uint64_t>& before,
                                    const std::optional<std::uint64_t>& now) {
  if (!before || !now || *now < *before) return std::nullopt;
  return *now - *before;
}

// Sums of the shares of one engine. Wide enough for every client there can be.
struct EngineSum {
  std::uint64_t own = 0;
  std::uint64_t others = 0;
};

Millionths at_most_whole(std::uint64_t sum) {
  return static_cast<Millionths>(std::min<std::uint64_t>(sum, kWholeMillionths));
}

}  // namespace

Millionths ratio(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return 0;
  if (part >= whole) return kWholeMillionths;
  return static_cast<Millionths>(static_cast<Wide>(part) * kWholeMillionths / whole);
}

Millionths engine_share(const DrmEngine& before, const DrmEngine& now, Duration between) {
  const auto elapsed = static_cast<std::uint64_t>(std::max<Duration::rep>(between.count(), 0));
  if (const auto busy = growth(before.busy_ns, now.busy_ns)) {
    return ratio(*busy / now.capacity, elapsed);
  }
  const auto cycles = growth(before.cycles, now.cycles);
  const auto total = growth(before.total_cycles, now.total_cycles);
  return cycles && total ? ratio(*cycles / now.capacity, *total) : 0;
}

void DrmUsage::look(const DrmScan& scan, TimePoint now) {
  if (taken_ && now - *taken_ < kShortest) return;
  std::map<Key, DrmClient> clients;
  std::map<std::string, std::map<std::string, EngineSum>> gpus;
  for (const DrmUser& user : scan.users) {
    Key key(user.client.driver, user.client.pci_address, user.client.id);
    const auto before = before_.find(key);
    if (before != before_.end()) {
      for (const auto& [name, engine] : user.client.engines) {
        const auto known = before->second.engines.find(name);
        if (known == before->second.engines.end()) continue;
        EngineSum& sum = gpus[user.client.pci_address][name];
        (user.own ? sum.own : sum.others) += engine_share(known->second, engine, now - *taken_);
      }
    }
    clients.insert_or_assign(std::move(key), user.client);
  }
  uses_.clear();
  for (const auto& [address, engines] : gpus) {
    DrmUse& use = uses_[address];
    for (const auto& [name, sum] : engines) {
      use.own = std::max(use.own, at_most_whole(sum.own));
      use.others = std::max(use.others, at_most_whole(sum.others));
      use.everybody = std::max(use.everybody, at_most_whole(sum.own + sum.others));
    }
  }
  known_ = taken_.has_value();
  taken_ = now;
  before_ = std::move(clients);
}

std::optional<DrmUse> DrmUsage::use_of(const std::string& pci_address) const {
  if (!known_) return std::nullopt;
  const auto found = uses_.find(pci_address);
  return found == uses_.end() ? DrmUse{} : found->second;
}

}  // namespace gogrid
