// What the KV slots hold, and which of it a new prompt can use.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "stage/stage.h"

namespace gogrid {

struct SlotOptions {
  std::uint32_t parallel = 1;
  std::uint32_t groups = 1;
  bool reuse = true;         // false: every prompt is computed whole
  bool can_truncate = true;  // false: a slot's content is reused whole or not at all
  // Separate KV streams: slots of a step should lie side by side. False in pool mode, where a copy
  // costs nothing, either.
  bool contiguous = true;
  // A copy between streams moves a whole slot; it must save at least so many rows.
  std::int32_t min_copy = 64;
};

// A finished sequence's slot keeps its KV until another needs the place: the least recently used
// goes first.
//
// The content is a promise about every stage, so it has two lengths: what was handed to the
// pipeline (known to be there when a later step runs, because stages run steps in order), and what
// a finished step has confirmed. Others copy only what is confirmed: a step may fail between two
// stages.
//
// Pure. Not thread-safe.
class SlotTable {
 public:
  explicit SlotTable(const SlotOptions& options);

  // Where a prompt begins: the first `length` tokens are copied from `from`, or kept when `from` is
  // the slot itself.
  struct Start {
    SlotId from = 0;
    std::int32_t length = 0;
    bool operator==(const Start&) const = default;
  };

  // The idle slot that suits `tokens` best; empty when none is idle. In the group with the fewest
  // busy slots, beside another busy one, where most can be kept and least is lost.
  std::optional<SlotId> choose(std::span<const Token> tokens) const;
  void occupy(SlotId slot);
  // Its content stays for others.
  void release(SlotId slot);
  // The busy slot's sequence goes on in `to`, an idle one, with all it has; nothing of it is in
  // flight. `from` is idle then, and keeps a copy.
  void move(SlotId from, SlotId to, std::vector<KvOp>& ops);

  // The best start for `tokens` in `slot`, which is occupied and not yet begun. Never the whole:
  // the last token must be computed to have logits.
  Start best_start(SlotId slot, std::span<const Token> tokens) const;
  // Makes the slot ready: appends to `ops` what the stages have to do before its first rows.
  void begin(SlotId slot, Start start, std::vector<KvOp>& ops);
  // Rows handed to the pipeline.
  void append(SlotId slot, std::span<const Token> tokens);
  // A step has come back: the first `length` positions are there, on every stage.
  void confirm(SlotId slot, std::int32_t length);
  // A step has failed: what the slot holds is unknown. It is emptied by the next take_cleaning().
  void spoil(SlotId slot);
  // Empties the idle slot that was used longest ago. False when all idle ones are empty.
  bool evict_idle(std::vector<KvOp>& ops);
  // Truncations of spoilt slots.
  void take_cleaning(std::vector<KvOp>& ops);

  // KV positions held, at most; several slots that share cells are counted one by one.
  std::uint32_t cells() const;
  std::uint32_t idle_cells() const;
  bool any_idle() const;
  bool busy(SlotId slot) const { return at(slot).busy; }
  std::span<const Token> content(SlotId slot) const { return at(slot).tokens; }

 private:
  struct Slot {
    std::vector<Token> tokens;
    std::int32_t confirmed = 0;
    bool busy = false;
    bool spoilt = false;
    std::uint64_t last_used = 0;  // 0: never
  };

  const Slot& at(SlotId slot) const { return slots_[static_cast<std::size_t>(slot)]; }
  Slot& at(SlotId slot) { return slots_[static_cast<std::size_t>(slot)]; }
  std::int32_t reusable(SlotId slot, std::span<const Token> tokens, bool busy) const;
  std::uint32_t group(std::size_t slot) const;
  std::uint32_t busy_in_group(std::uint32_t group) const;
  bool beside_busy(std::size_t slot) const;

  const SlotOptions options_;
  std::vector<Slot> slots_;
  std::uint64_t uses_ = 0;
};

// How many tokens `a` and `b` have in common at their beginning.
std::int32_t common_prefix(std::span<const Token> a, std::span<const Token> b);

}  // namespace gogrid
