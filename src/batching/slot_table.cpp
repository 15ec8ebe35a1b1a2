#include "batching/slot_table.h"

#include <algorithm>
#include <tuple>

namespace gogrid {

std::int32_t common_prefix(std::span<const Token> a, std::span<const Token> b) {
  const auto end = std::ranges::mismatch(a, b).in1;
  return static_cast<std::int32_t>(end - a.begin());
}

SlotTable::SlotTable(const SlotOptions& options) : options_(options), slots_(options.parallel) {}

std::uint32_t SlotTable::group(std::size_t slot) const {
  return static_cast<std::uint32_t>(slot * options_.groups / options_.parallel);
}

std::uint32_t SlotTable::busy_in_group(std::uint32_t wanted) const {
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (group(i) == wanted && slots_[i].busy) ++count;
  }
  return count;
}

bool SlotTable::beside_busy(std::size_t slot) const {
  const auto is_busy_neighbour = [&](std::size_t other) {
    return group(other) == group(slot) && slots_[other].busy;
  };
  return (slot > 0 && is_busy_neighbour(slot - 1)) ||
         (slot + 1 < slots_.size() && is_busy_neighbour(slot + 1));
}

// Of a slot's confirmed content, how much can begin `tokens`.
std::int32_t SlotTable::reusable(SlotId id, std::span<const Token> tokens, bool busy) const {
  const Slot& slot = at(id);
  if (!options_.reuse || tokens.empty()) return 0;
  const auto confirmed = std::span(slot.tokens).first(static_cast<std::size_t>(slot.confirmed));
  const std::int32_t common = common_prefix(confirmed, tokens.first(tokens.size() - 1));
  if (options_.can_truncate) return common;
  const bool whole = !busy && common == static_cast<std::int32_t>(slot.tokens.size());
  return whole ? common : 0;
}

std::optional<SlotId> SlotTable::choose(std::span<const Token> tokens) const {
  // Smaller is better, the first difference decides.
  const auto rank = [&](std::size_t i) {
    const Slot& slot = slots_[i];
    const std::int32_t kept = reusable(static_cast<SlotId>(i), tokens, false);
    const auto size = static_cast<std::int32_t>(slot.tokens.size());
    const std::uint32_t busy = busy_in_group(group(i));
    const bool apart = options_.contiguous && busy > 0 && !beside_busy(i);
    const std::int32_t worth = kept * 2 >= size ? kept : 0;  // else too much is lost for it
    return std::tuple(busy, apart, -worth, size > kept, slot.last_used, i);
  };
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].busy && (!best || rank(i) < rank(*best))) best = i;
  }
  if (!best) return std::nullopt;
  return static_cast<SlotId>(*best);
}

void SlotTable::occupy(SlotId slot) {
  at(slot).busy = true;
  at(slot).last_used = ++uses_;
}

void SlotTable::release(SlotId slot) {
  at(slot).busy = false;
  at(slot).last_used = ++uses_;
}

void SlotTable::move(SlotId from, SlotId to, std::vector<KvOp>& ops) {
  occupy(to);
  begin(to, {from, static_cast<std::int32_t>(content(from).size())}, ops);
  release(from);
}

SlotTable::Start SlotTable::best_start(SlotId slot, std::span<const Token> tokens) const {
  // The slot itself counts as idle here: it is occupied by whoever asks.
  Start best{slot, reusable(slot, tokens, false)};
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const auto other = static_cast<SlotId>(i);
    if (other == slot) continue;
    const std::int32_t length = reusable(other, tokens, slots_[i].busy);
    const std::int32_t gain = best.from == slot ? options_.min_copy : 1;
    if (length >= best.length + gain) best = {other, length};
  }
  return best;
}

void SlotTable::begin(SlotId slot, Start start, std::vector<KvOp>& ops) {
  Slot& target = at(slot);
  const auto length = static_cast<std::size_t>(start.length);
  if (start.from == slot) {
    target.tokens.resize(length);
    target.confirmed = std::min(target.confirmed, start.length);
    // Always said, even when nothing should be there: a step that failed between two stages may
    // have left something.
    ops.push_back({KvOp::Kind::kTruncate, slot, slot, start.length});
  } else {
    const auto& source = at(start.from).tokens;
    target.tokens.assign(source.begin(), source.begin() + start.length);
    target.confirmed = 0;
    ops.push_back({KvOp::Kind::kCopy, slot, start.from, start.length});
  }
  target.spoilt = false;
}

void SlotTable::append(SlotId slot, std::span<const Token> tokens) {
  at(slot).tokens.insert(at(slot).tokens.end(), tokens.begin(), tokens.end());
}

void SlotTable::confirm(SlotId slot, std::int32_t length) { at(slot).confirmed = length; }

void SlotTable::spoil(SlotId slot) {
  at(slot).tokens.clear();
  at(slot).confirmed = 0;
  at(slot).spoilt = true;
}

bool SlotTable::evict_idle(std::vector<KvOp>& ops) {
  Slot* oldest = nullptr;
  for (Slot& slot : slots_) {
    if (slot.busy || slot.tokens.empty()) continue;
    if (oldest == nullptr || slot.last_used < oldest->last_used) oldest = &slot;
  }
  if (oldest == nullptr) return false;
  oldest->tokens.clear();
  oldest->confirmed = 0;
  const auto id = static_cast<SlotId>(oldest - slots_.data());
  ops.push_back({KvOp::Kind::kTruncate, id, id, 0});
  return true;
}

void SlotTable::take_cleaning(std::vector<KvOp>& ops) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].spoilt) continue;
    slots_[i].spoilt = false;
    const auto id = static_cast<SlotId>(i);
    ops.push_back({KvOp::Kind::kTruncate, id, id, 0});
  }
}

std::uint32_t SlotTable::cells() const {
  std::size_t sum = 0;
  for (const Slot& slot : slots_) sum += slot.tokens.size();
  return static_cast<std::uint32_t>(sum);
}

std::uint32_t SlotTable::idle_cells() const {
  std::size_t sum = 0;
  for (const Slot& slot : slots_) sum += slot.busy ? 0 : slot.tokens.size();
  return static_cast<std::uint32_t>(sum);
}

bool SlotTable::any_idle() const {
  return std::ranges::any_of(slots_, [](const Slot& slot) { return !slot.busy; });
}

}  // namespace gogrid
