#include "batching/scheduler.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "obs/log.h"

namespace gogrid {
namespace {

// A copy between KV streams moves a whole slot, so it must save some rows; in a pool it is free.
constexpr std::int32_t kMinCopyBetweenStreams = 64;
// Rows of a prefix that are worth waiting for until another sequence has computed them.
constexpr std::int32_t kMinWaitedFor = 16;
// Tokens that each running sequence may grow by before a pool is too full for one more; without
// this a sequence would be let in only to be pre-empted at once.
constexpr std::size_t kHeadroom = 16;
// A move copies a whole slot, which costs about as much as a few steps: so many steps in a row must
// have been torn into several runs of slots, and so many tokens be left to gain by it. Eight
// streams in every second of 16 slots made 1.5 to 2 times as many tokens by it (bench/README.md).
constexpr std::uint32_t kScatteredSteps = 8;
constexpr std::int32_t kMinLeftForMove = 32;
// Times the stall that streams in their midst may have. A burst of 16 short prompts on two cores is
// computed in 4 steps instead of 13, each of which reads all weights.
constexpr std::uint32_t kPatienceOfBeginners = 3;
// So often a step may find no KV space before a sequence is given up.
constexpr std::uint32_t kMaxExhausted = 3;

SlotOptions slot_options(const BatcherOptions& options, bool pool) {
  return {.parallel = options.parallel,
          .groups = options.groups,
          .reuse = options.prefix_reuse,
          .can_truncate = options.can_truncate,
          .contiguous = !pool,
          .min_copy = pool ? 1 : kMinCopyBetweenStreams};
}

BatchLimits batch_limits(const BatcherOptions& options) {
  BatchLimits limits;
  limits.max_step_rows = options.max_step_rows;
  limits.prefill_chunk = options.prefill_chunk;
  limits.tile = ChunkPacer::kTile;
  limits.groups = options.groups;
  limits.parallel = options.parallel;
  return limits;
}

}  // namespace

Scheduler::Scheduler(const BatcherOptions& options, const Vocabulary& vocabulary)
    : options_(options),
      vocabulary_(vocabulary),
      pool_(options.kv_cells > 0),
      overlaps_(options.groups > 1 && !pool_),  // in a pool a chunk may find no space
      context_(pool_ ? std::min(options.context, options.kv_cells) : options.context),
      limits_(batch_limits(options)),
      pacer_(options.prefill_chunk, options.max_stall),
      slots_(slot_options(options, pool_)),
      scattered_(options.groups, 0) {}

// ---- who runs

bool Scheduler::cells_suffice(std::size_t tokens) const {
  if (!pool_) return true;
  std::size_t committed = 0;
  std::size_t placed = 0;
  for (const auto& sequence : sequences_) {
    if (sequence->slot == kNoSlot) continue;
    ++placed;
    committed += static_cast<std::size_t>(sequence->known());
  }
  return placed == 0 || committed + placed * kHeadroom + tokens + 1 <= options_.kv_cells;
}

bool Scheduler::can_admit(std::size_t tokens) const {
  const auto preempted = [](const auto& s) {
    return s->slot == kNoSlot && !s->ended() && !s->held();
  };
  return slots_.any_idle() && cells_suffice(tokens) && std::ranges::none_of(sequences_, preempted);
}

void Scheduler::admit(QueuedRequest request) {
  auto sequence = std::make_unique<Sequence>(std::move(request), ++arrivals_, vocabulary_);
  place(*sequence);
  sequences_.push_back(std::move(sequence));
}

void Scheduler::place(Sequence& sequence) {
  sequence.slot = *slots_.choose(sequence.tokens());
  slots_.occupy(sequence.slot);
}

void Scheduler::resume_preempted() {
  for (const auto& sequence : sequences_) {
    if (sequence->slot != kNoSlot || sequence->ended() || sequence->held()) continue;
    if (!slots_.any_idle() || !cells_suffice(sequence->tokens().size())) return;
    place(*sequence);
  }
}

// What it has computed stays in the slot until another needs the place.
void Scheduler::preempt(Sequence& sequence) {
  slots_.release(sequence.slot);
  sequence.slot = kNoSlot;
  sequence.begun = false;
  sequence.submitted = sequence.computed = 0;
  ++counters_.preemptions;
  if (options_.metrics != nullptr) options_.metrics->count_preemption(options_.model, 1);
  log::info("sequence_preempted", {{"model", options_.model}}, sequence.request().id);
}

void Scheduler::make_room() {
  if (slots_.any_idle()) return;
  Sequence* longest = nullptr;
  for (const auto& sequence : sequences_) {
    if (sequence->slot == kNoSlot || sequence->in_flight > 0 || !sequence->held()) continue;
    if (longest == nullptr || sequence->held_since() < longest->held_since()) {
      longest = sequence.get();
    }
  }
  if (longest != nullptr) preempt(*longest);
}

// Never the only one: alone, a sequence always has room (its context is at most the pool).
Sequence* Scheduler::youngest_to_preempt() const {
  Sequence* youngest = nullptr;
  std::size_t placed = 0;
  for (const auto& sequence : sequences_) {
    if (sequence->slot == kNoSlot) continue;
    ++placed;
    if (sequence->in_flight == 0 && !sequence->ended()) youngest = sequence.get();
  }
  return placed > 1 ? youngest : nullptr;
}

// ---- the next step

std::optional<StageInput> Scheduler::plan(TimePoint now) {
  limits_.max_batch = options_.max_batch ? options_.max_batch() : 0;
  resume_preempted();  // not again below: who is pre-empted there must not come straight back
  for (bool moved = false;;) {
    Situation situation = look();
    const auto group = next_group(situation.views, limits_, last_group_);
    if (!group) return std::nullopt;
    if (!moved && move_together(situation, *group)) {
      moved = true;
      continue;
    }
    limits_.free_cells = situation.free_cells;
    if (situation.free_cells < cells_needed(situation, *group)) {
      Sequence* victim = youngest_to_preempt();
      if (victim == nullptr) return std::nullopt;
      preempt(*victim);
      continue;
    }
    const std::int32_t depth = deepest_prompt(situation.views, *group);
    const std::uint32_t patience = only_beginners_wait(situation.views) ? kPatienceOfBeginners : 1;
    limits_.paced_chunk = pacer_.rows(depth, patience);
    limits_.paced_rest = pacer_.rest(depth, patience);
    const StepPlan plan = plan_step(situation.views, limits_, *group);
    if (evict_for(plan, situation)) continue;  // a prefix that was counted on may be gone
    StageInput input = build(plan, situation, now);
    if (input.rows.empty()) return std::nullopt;
    last_group_ = *group;
    note_runs(*group, input);
    return input;
  }
}

// Tokens computed of the prompt of the group that has most of them.
std::int32_t Scheduler::deepest_prompt(std::span<const SequenceView> views,
                                       std::uint32_t group) const {
  std::int32_t depth = 0;
  for (const SequenceView& view : views) {
    const bool is_prompt = view.ready() && !view.decodes();
    if (is_prompt && group_of(view.slot, limits_) == group) depth = std::max(depth, view.computed);
  }
  return depth;
}

Scheduler::Situation Scheduler::look() const {
  Situation situation;
  situation.free_cells =
      pool_ ? options_.kv_cells - busy_cells() : std::numeric_limits<std::uint32_t>::max();
  for (const auto& sequence : sequences_) {
    if (sequence->slot == kNoSlot) continue;
    const auto start = start_of(*sequence, situation.free_cells);
    situation.sequences.push_back(sequence.get());
    situation.starts.push_back(start);
    situation.views.push_back({.slot = sequence->slot,
                               .computed = sequence->begun ? sequence->submitted : start.length,
                               .known = sequence->known(),
                               .generated = sequence->generated(),
                               .in_flight = sequence->in_flight > 0,
                               .held = may_not_go_on(*sequence, start),
                               .arrival = sequence->arrival(),
                               .last_step = sequence->last_step});
  }
  return situation;
}

// True when a sequence of the group has another slot now. All who are moved are in the next step,
// so that if it fails they begin again.
bool Scheduler::move_together(const Situation& now, std::uint32_t group) {
  if (pool_ || scattered_[group] < kScatteredSteps) return false;
  std::uint32_t ready = 0;
  for (const SequenceView& view : now.views) {
    if (group_of(view.slot, limits_) != group) continue;
    if (view.in_flight) return false;
    if (view.ready()) ++ready;
  }
  if (ready > limits_.max_step_rows || (limits_.max_batch > 0 && ready > limits_.max_batch)) {
    return false;
  }
  const auto move = find_move(slot_uses(now, group));
  if (!move) return false;
  const auto moved = std::ranges::find(now.sequences, move->from, &Sequence::slot);
  slots_.move(move->from, move->to, pending_ops_);
  (*moved)->slot = move->to;
  ++counters_.slot_moves;
  return true;
}

// Slots of other groups count as at rest.
std::vector<SlotUse> Scheduler::slot_uses(const Situation& now, std::uint32_t group) const {
  std::vector<SlotUse> uses(limits_.parallel, SlotUse::kRests);
  for (std::size_t i = 0; i < uses.size(); ++i) {
    const auto slot = static_cast<SlotId>(i);
    if (group_of(slot, limits_) == group && !slots_.busy(slot)) uses[i] = SlotUse::kIdle;
  }
  for (std::size_t i = 0; i < now.views.size(); ++i) {
    const SequenceView& view = now.views[i];
    if (!view.ready() || group_of(view.slot, limits_) != group) continue;
    const Sequence& sequence = *now.sequences[i];
    const bool movable = sequence.begun && view.decodes() && sequence.left() >= kMinLeftForMove;
    uses[static_cast<std::size_t>(view.slot)] = movable ? SlotUse::kRuns : SlotUse::kFixed;
  }
  return uses;
}

void Scheduler::note_runs(std::uint32_t group, const StageInput& input) {
  std::vector<SlotUse> uses(limits_.parallel, SlotUse::kIdle);
  for (const StepRow& row : input.rows) uses[static_cast<std::size_t>(row.slot)] = SlotUse::kRuns;
  scattered_[group] = count_runs(uses) > 1 ? scattered_[group] + 1 : 0;
}

SlotTable::Start Scheduler::start_of(const Sequence& sequence, std::uint32_t& free_cells) const {
  if (sequence.begun) return {};
  const auto start = slots_.best_start(sequence.slot, sequence.tokens());
  if (!pool_ || start.from == sequence.slot) return start;
  // A copy is counted as if it took cells of its own; where they do not suffice, compute.
  const auto length = static_cast<std::uint32_t>(start.length);
  if (length >= free_cells) return {sequence.slot, 0};
  free_cells -= length;
  return start;
}

bool Scheduler::may_not_go_on(const Sequence& sequence, const SlotTable::Start& start) const {
  const bool must_wait_for_step = sequence.in_flight > 0 && (!overlaps_ || !sequence.begun);
  return sequence.ended() || sequence.held() || sequence.far_ahead() || must_wait_for_step ||
         waits_for_prefix(sequence, start);
}

// An older sequence is just computing a beginning that this one could copy: a prefix that many ask
// for at once is then computed once. The older one is never made to wait, so this ends.
bool Scheduler::waits_for_prefix(const Sequence& sequence, const SlotTable::Start& start) const {
  if (sequence.begun || !options_.prefix_reuse || !options_.can_truncate) return false;
  const auto tokens = std::span(sequence.tokens());
  for (const auto& other : sequences_) {
    if (other->arrival() >= sequence.arrival()) return false;
    if (other->slot == kNoSlot || other->held() || other->ended()) continue;
    const std::int32_t common = common_prefix(other->tokens(), tokens.first(tokens.size() - 1));
    const bool worth_it =
        common >= start.length + kMinWaitedFor && common >= kMinCopyBetweenStreams;
    if (worth_it && other->computed < common) return true;
  }
  return false;
}

std::uint32_t Scheduler::cells_needed(const Situation& now, std::uint32_t group) const {
  if (!pool_) return 0;
  const auto decodes_here = [&](const SequenceView& view) {
    return view.ready() && view.decodes() && group_of(view.slot, limits_) == group;
  };
  const auto rows = static_cast<std::uint32_t>(std::ranges::count_if(now.views, decodes_here));
  const std::uint32_t batch = limits_.max_batch > 0 ? limits_.max_batch : rows;
  return std::max(1U, std::min({rows, batch, limits_.max_step_rows}));
}

// Empties idle slots until the plan fits. True when it had to.
bool Scheduler::evict_for(const StepPlan& plan, const Situation& now) {
  if (!pool_) return false;
  std::uint32_t needed = slots_.cells();
  for (const PlannedRows& rows : plan.rows) {
    needed += static_cast<std::uint32_t>(rows.count);
    const auto& start = now.starts[rows.sequence];
    const bool copies =
        !now.sequences[rows.sequence]->begun && start.from != now.sequences[rows.sequence]->slot;
    if (copies) needed += static_cast<std::uint32_t>(start.length);
  }
  bool evicted = false;
  while (needed > options_.kv_cells) {
    const std::uint32_t before = slots_.cells();
    if (!slots_.evict_idle(pending_ops_)) break;
    needed -= before - slots_.cells();
    evicted = true;
  }
  return evicted;
}

StageInput Scheduler::build(const StepPlan& plan, const Situation& situation, TimePoint now) {
  StageInput input;
  planned_ = {};
  slots_.take_cleaning(pending_ops_);
  input.kv_ops = std::exchange(pending_ops_, {});
  for (const PlannedRows& rows : plan.rows) {
    Sequence& sequence = *situation.sequences[rows.sequence];
    if (!sequence.begun && !begin(sequence, situation.starts[rows.sequence], input, now)) continue;
    planned_.entries.push_back({&sequence, rows, input.rows.size()});
    append_rows(input, sequence, rows);
  }
  planned_.ops = input.kv_ops;
  planned_.rows = static_cast<std::uint32_t>(input.rows.size());
  planned_.planned_at = now;
  if (input.rows.empty()) pending_ops_ = std::move(input.kv_ops);
  return input;
}

// False when what the plan counted on was taken by another of the same step: next time.
bool Scheduler::begin(Sequence& sequence, const SlotTable::Start& expected, StageInput& input,
                      TimePoint now) {
  const bool keeps = expected.from == sequence.slot && expected.length == 0;
  if (!keeps && slots_.best_start(sequence.slot, sequence.tokens()) != expected) return false;
  slots_.begin(sequence.slot, expected, input.kv_ops);
  sequence.begun = true;
  sequence.submitted = sequence.computed = expected.length;
  if (sequence.begins(now, expected.length)) {
    counters_.prompt_tokens += sequence.request().prompt.size();
    counters_.cached_prompt_tokens += static_cast<std::uint64_t>(expected.length);
  }
  return true;
}

void Scheduler::append_rows(StageInput& input, Sequence& sequence, const PlannedRows& rows) {
  const auto tokens =
      std::span(sequence.tokens())
          .subspan(static_cast<std::size_t>(rows.first), static_cast<std::size_t>(rows.count));
  std::int32_t position = rows.first;
  for (const Token token : tokens) {
    input.rows.push_back({sequence.slot, position++, token, false});
  }
  if (rows.wants_output) {
    input.rows.back().wants_output = true;
    input.outputs.push_back(sequence.output_spec());
  }
  slots_.append(sequence.slot, tokens);
  sequence.submitted += rows.count;
  ++sequence.in_flight;
}

void Scheduler::began(std::uint64_t step) {
  planned_.number = step;
  for (StepEntry& entry : planned_.entries) entry.sequence->last_step = step;
  steps_.push_back(std::exchange(planned_, {}));
  ++counters_.steps;
}

// ---- what came of it

// Steps follow each other through the stages: one takes as long as it was the first of them.
void Scheduler::pace(const StepRecord& record, TimePoint now) {
  std::int32_t depth = -1;  // without a prompt: nothing to learn
  for (const StepEntry& entry : record.entries) {
    if (entry.rows.count > 1) depth = std::max(depth, entry.rows.first);
  }
  if (depth >= 0) pacer_.took(record.rows, depth, now - std::max(record.planned_at, last_result_));
}

Scheduler::StepRecord Scheduler::take_record(std::uint64_t step) {
  const auto found = std::ranges::find(steps_, step, &StepRecord::number);
  if (found == steps_.end()) return {};
  StepRecord record = std::move(*found);
  steps_.erase(found);
  return record;
}

Status Scheduler::on_result(StepResult result, TimePoint now) {
  const StepRecord record = take_record(result.step);
  for (const StepEntry& entry : record.entries) --entry.sequence->in_flight;
  if (result.output) pace(record, now);  // a refusal says nothing about rows
  last_result_ = now;
  if (result.output) {
    exhausted_in_a_row_ = 0;
    apply(record, *result.output, now);
  } else {
    const bool first = forget_content(record);
    const Error& error = result.output.error();
    switch (error.code) {
      case ErrorCode::kExhausted:
        if (first) on_exhausted(record, error);
        break;
      case ErrorCode::kCorrupt:
      case ErrorCode::kCancelled:
        for (const StepEntry& entry : record.entries) entry.sequence->end(error);
        break;
      default:
        return std::unexpected(error);
    }
  }
  for (const StepEntry& entry : record.entries) release_if_ended(*entry.sequence);
  return {};
}

void Scheduler::apply(const StepRecord& record, StageOutput& output, TimePoint now) {
  for (const RowFault& fault : output.faults) {
    for (const StepEntry& entry : record.entries) {
      const auto end = entry.first_row + static_cast<std::size_t>(entry.rows.count);
      if (fault.row < entry.first_row || fault.row >= end) continue;
      entry.sequence->end({ErrorCode::kInternal, fault.message});
      slots_.spoil(entry.sequence->slot);
    }
  }
  std::size_t next = 0;
  for (const StepEntry& entry : record.entries) {
    Sequence& sequence = *entry.sequence;
    SampledRow* sampled = entry.rows.wants_output ? &output.sampled.at(next++) : nullptr;
    if (!slots_.content(sequence.slot).empty()) {
      sequence.computed = entry.rows.first + entry.rows.count;
      slots_.confirm(sequence.slot, sequence.computed);
    }
    if (sampled == nullptr || sequence.ended()) continue;
    if (!sampled->error.empty()) {
      sequence.end({ErrorCode::kInternal, sampled->error});
      slots_.spoil(sequence.slot);
      continue;
    }
    sequence.accept(std::move(sampled->event), context_, now);
    ++counters_.generated_tokens;
  }
}

// Some stages have run the step and its upkeep, others not. False when that is old news: an earlier
// step of the same sequences has failed.
bool Scheduler::forget_content(const StepRecord& record) {
  bool news = record.entries.empty();
  for (const StepEntry& entry : record.entries) {
    Sequence& sequence = *entry.sequence;
    news = news || sequence.begun;
    slots_.spoil(sequence.slot);
    sequence.begun = false;
    sequence.submitted = sequence.computed = 0;
  }
  for (const KvOp& op : record.ops) {
    if (!slots_.busy(op.slot)) slots_.spoil(op.slot);
  }
  return news;
}

// Room is made in the order of what it costs: kept prefixes, the youngest sequence, an answer.
void Scheduler::on_exhausted(const StepRecord& record, const Error& error) {
  while (slots_.evict_idle(pending_ops_)) {
  }
  if (++exhausted_in_a_row_ > kMaxExhausted) {
    if (!record.entries.empty()) record.entries.back().sequence->end(error);
    return;
  }
  if (Sequence* victim = youngest_to_preempt()) preempt(*victim);
}

void Scheduler::release_if_ended(Sequence& sequence) {
  if (!sequence.ended() || sequence.in_flight > 0 || sequence.slot == kNoSlot) return;
  slots_.release(sequence.slot);
  sequence.slot = kNoSlot;
}

// ---- beside the step

std::vector<Scheduler::WriteJob> Scheduler::take_news() {
  std::vector<WriteJob> jobs;
  for (const auto& sequence : sequences_) {
    if (sequence->has_news()) jobs.push_back({sequence.get(), sequence->take_news()});
  }
  return jobs;
}

void Scheduler::on_written(Sequence& sequence, const StreamWriter::Outcome& outcome,
                           TimePoint now) {
  sequence.on_written(outcome, now);
  release_if_ended(sequence);
}

std::vector<std::shared_ptr<ResponseSink>> Scheduler::break_silence(TimePoint now,
                                                                    std::uint64_t pause) {
  std::vector<std::shared_ptr<ResponseSink>> sinks;
  for (const auto& sequence : sequences_) {
    if (sequence->told() || !sequence->silence().break_if_due(now, pause)) continue;
    sinks.push_back(sequence->sink());
  }
  return sinks;
}

void Scheduler::sweep(TimePoint now, Duration paused) {
  for (const auto& sequence : sequences_) {
    sequence->look_around(now, paused, options_.slow_reader_limit);
    release_if_ended(*sequence);
  }
}

void Scheduler::end_all(const Error& error) {
  for (const auto& sequence : sequences_) {
    sequence->end(error);
    release_if_ended(*sequence);
  }
}

std::vector<std::unique_ptr<Sequence>> Scheduler::remove_ended() {
  const auto stays = [](const auto& sequence) {
    return !sequence->told() || sequence->in_flight > 0;
  };
  const auto over = std::stable_partition(sequences_.begin(), sequences_.end(), stays);
  std::vector<std::unique_ptr<Sequence>> removed(std::make_move_iterator(over),
                                                 std::make_move_iterator(sequences_.end()));
  sequences_.erase(over, sequences_.end());
  return removed;
}

std::size_t Scheduler::open_sequences() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(sequences_, [](const auto& sequence) { return !sequence->told(); }));
}

BatcherStatus Scheduler::status() const {
  BatcherStatus status = counters_;
  for (const auto& sequence : sequences_) {
    if (sequence->ended()) continue;
    if (sequence->slot == kNoSlot) ++status.waiting;
    if (sequence->slot != kNoSlot) ++status.running;
    if (sequence->held()) ++status.held;
  }
  return status;
}

}  // namespace gogrid
