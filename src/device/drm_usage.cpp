#include "device/drm_usage.h"

#include <algorithm>

namespace gogrid {
namespace {

std::optional<std::uint64_t> growth(const std::optional<std::uint64_t>& before,
                                    const std::optional<std::uint64_t>& now) {
  if (!before || !now || *now < *before) return std::nullopt;
  return *now - *before;
}

// Sums of the shares of one engine.
struct EngineSum {
  Share own;
  Share others;
};

}  // namespace

Share engine_share(const DrmEngine& before, const DrmEngine& now, Duration between) {
  const auto elapsed = static_cast<std::uint64_t>(std::max<Duration::rep>(between.count(), 0));
  if (const auto busy = growth(before.busy_ns, now.busy_ns)) {
    return Share::part_of(*busy / now.capacity, elapsed);
  }
  const auto cycles = growth(before.cycles, now.cycles);
  const auto total = growth(before.total_cycles, now.total_cycles);
  return cycles && total ? Share::part_of(*cycles / now.capacity, *total) : Share();
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
        Share& share = user.own ? sum.own : sum.others;
        share = share + engine_share(known->second, engine, now - *taken_);
      }
    }
    clients.insert_or_assign(std::move(key), user.client);
  }
  uses_.clear();
  for (const auto& [address, engines] : gpus) {
    DrmUse& use = uses_[address];
    for (const auto& [name, sum] : engines) {
      use.own = std::max(use.own, sum.own);
      use.others = std::max(use.others, sum.others);
      use.everybody = std::max(use.everybody, sum.own + sum.others);
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
