// The batcher without its thread: which sequences run, what the next step holds, what a result
// means.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "batching/batch_planner.h"
#include "batching/batcher.h"
#include "batching/chunk_pacer.h"
#include "batching/sequence.h"
#include "batching/slot_moves.h"
#include "batching/slot_table.h"
#include "pipeline/pipeline.h"

namespace gogrid {

// A round is: on_result() for what came back; admit(); plan(), submit it, began(), until plan() is
// empty or the pipeline full; then, while that computes, sweep(), take_news() to the writers,
// on_written() and remove_ended().
//
// Deterministic, no locks, no clock of its own. Not thread-safe; only the writers may run beside
// it.
class Scheduler {
 public:
  Scheduler(const BatcherOptions& options, const Vocabulary& vocabulary);

  // Whether a sequence with so many tokens finds a place now. Pre-empted sequences go before new
  // ones.
  bool can_admit(std::size_t tokens) const;
  // Somebody waits and no slot is idle: takes the slot of the sequence whose reader has been slow
  // for longest, if there is one. Its stream stays open.
  void make_room();
  void admit(QueuedRequest request);

  // The rows of the next step; empty when there is nothing to do now. began() must follow, with the
  // number that the pipeline gave it.
  std::optional<StageInput> plan(TimePoint now);
  void began(std::uint64_t step);
  // An error is the end of the pipeline; otherwise whatever went wrong was dealt with.
  Status on_result(StepResult result, TimePoint now);

  // What the last results brought, for the writers; they may run without the scheduler's lock.
  struct WriteJob {
    Sequence* sequence = nullptr;  // lives until remove_ended() after its on_written()
    News news;
    StreamWriter::Outcome outcome = {};  // for on_written()
  };
  std::vector<WriteJob> take_news();
  void on_written(Sequence& sequence, const StreamWriter::Outcome& outcome, TimePoint now);
  // Looks for cancelled, late, slow and gone.
  void sweep(TimePoint now, Duration paused = Duration(0));
  void end_all(const Error& error);
  // Hands out the sequences whose sinks were told the end.
  std::vector<std::unique_ptr<Sequence>> remove_ended();

  std::size_t steps_in_flight() const { return steps_.size(); }
  // Whose sinks have not been told the end.
  std::size_t open_sequences() const;
  // Of those who are to be told now why nothing comes (Silence).
  std::vector<std::shared_ptr<ResponseSink>> break_silence(TimePoint now, std::uint64_t pause);
  // Tokens that a sequence may have, prompt and all.
  std::uint32_t context() const { return context_; }
  // Fills the counters (not `waiting` of the queue).
  BatcherStatus status() const;

 private:
  struct StepEntry {
    Sequence* sequence = nullptr;
    PlannedRows rows;
    std::size_t first_row = 0;  // in the step
  };
  struct StepRecord {
    std::uint64_t number = 0;
    std::vector<StepEntry> entries;
    std::vector<KvOp> ops;
    std::uint32_t rows = 0;
    TimePoint planned_at{};
  };
  // The placed sequences as the planner sees them; [i] of each belong together.
  struct Situation {
    std::vector<Sequence*> sequences;
    std::vector<SequenceView> views;
    std::vector<SlotTable::Start> starts;  // where those that have not begun would
    std::uint32_t free_cells = 0;          // idle content counts as free
  };

  void resume_preempted();
  bool cells_suffice(std::size_t tokens) const;
  void place(Sequence& sequence);
  void preempt(Sequence& sequence);
  Sequence* youngest_to_preempt() const;
  Situation look() const;
  std::int32_t deepest_prompt(std::span<const SequenceView> views, std::uint32_t group) const;
  SlotTable::Start start_of(const Sequence& sequence, std::uint32_t& free_cells) const;
  bool move_together(const Situation& now, std::uint32_t group);
  std::vector<SlotUse> slot_uses(const Situation& now, std::uint32_t group) const;
  void note_runs(std::uint32_t group, const StageInput& input);
  bool may_not_go_on(const Sequence& sequence, const SlotTable::Start& start) const;
  bool waits_for_prefix(const Sequence& sequence, const SlotTable::Start& start) const;
  std::uint32_t busy_cells() const { return slots_.cells() - slots_.idle_cells(); }
  std::uint32_t cells_needed(const Situation& now, std::uint32_t group) const;
  bool evict_for(const StepPlan& plan, const Situation& now);
  StageInput build(const StepPlan& plan, const Situation& situation, TimePoint now);
  bool begin(Sequence& sequence, const SlotTable::Start& expected, StageInput& input,
             TimePoint now);
  void append_rows(StageInput& input, Sequence& sequence, const PlannedRows& rows);
  void pace(const StepRecord& record, TimePoint now);
  StepRecord take_record(std::uint64_t step);
  void apply(const StepRecord& record, StageOutput& output, TimePoint now);
  bool forget_content(const StepRecord& record);
  void on_exhausted(const StepRecord& record, const Error& error);
  void release_if_ended(Sequence& sequence);

  const BatcherOptions options_;
  const Vocabulary& vocabulary_;
  const bool pool_;              // all slots share options_.kv_cells
  const bool overlaps_;          // chunks of one prompt may follow each other through the stages
  const std::uint32_t context_;  // tokens that a sequence may have
  BatchLimits limits_;
  ChunkPacer pacer_;
  TimePoint last_result_{};
  SlotTable slots_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // in order of arrival
  std::vector<StepRecord> steps_;                     // in flight, oldest first
  StepRecord planned_;                                // by plan(), for began()
  std::vector<KvOp> pending_ops_;                     // for the next step
  std::uint32_t last_group_ = 0;
  std::vector<std::uint32_t> scattered_;  // by group: steps in a row that were of several runs
  std::uint64_t arrivals_ = 0;
  std::uint32_t exhausted_in_a_row_ = 0;
  BatcherStatus counters_;
};

}  // namespace gogrid
