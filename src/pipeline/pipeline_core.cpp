#include "pipeline/pipeline_core.h"

#include <algorithm>
#include <utility>

#include "base/format.h"
#include "obs/log.h"
#include "pipeline/hidden_check.h"

namespace gogrid {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// A step that failed so leaves the stage able to work.
bool ends_only_the_step(ErrorCode code) {
  return code == ErrorCode::kExhausted || code == ErrorCode::kCorrupt ||
         code == ErrorCode::kCancelled;
}

std::string stage_name(std::size_t index, const StageSpec& spec) {
  return format_text("stage {} (layers {} on {})", index, to_string(spec.layers), spec.device.id);
}

// An eighth of the shortest deadline, so that one is missed by little; a clock that a test moves is
// noticed within 100 ms.
// A step is slow after this part of its deadline.
constexpr int kSlowPart = 8;

Duration watch_interval(const PipelineOptions& options) {
  const Duration shortest = std::min(
      {options.step_deadline, options.transfer_deadline, options.load_stall, options.hang_grace});
  return std::clamp<Duration>(shortest / 8, std::chrono::milliseconds(1),
                              std::chrono::milliseconds(100));
}

std::vector<SlotId> slots_of(const StageInput& input) {
  std::vector<SlotId> slots;
  for (const StepRow& row : input.rows) {
    if (slots.empty() || slots.back() != row.slot) slots.push_back(row.slot);
  }
  return slots;
}

Status check_input(const StageInput& input, const StageSpec& spec) {
  if (input.rows.size() > spec.max_step_rows) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[pipeline] a step has at most {} rows: {}", spec.max_step_rows,
                            input.rows.size()));
  }
  const auto wanted = std::ranges::count_if(input.rows, &StepRow::wants_output);
  if (static_cast<std::size_t>(wanted) != input.outputs.size()) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[pipeline] {} rows want output: {} output specs", wanted,
                            input.outputs.size()));
  }
  return {};
}

}  // namespace

PipelineCore::PipelineCore(std::vector<StageSpec> specs, const PipelineOptions& options,
                           const Clock& clock, StepDone done)
    : options_(options), clock_(clock), done_(std::move(done)), tick_(watch_interval(options)) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    Lane& lane = lanes_.emplace_back();
    lane.name = stage_name(i, specs[i]);
    lane.since = clock_.now();
    lane.status.layers = specs[i].layers;
    lane.status.device = specs[i].device.id;
    lane.spec = std::move(specs[i]);
  }
}

// ---- loading

void PipelineCore::report_progress(std::size_t index, double share) {
  MutexLock lock(mu_);
  Lane& lane = lanes_[index];
  if (lane.state != LaneState::kLoading || share <= lane.progress) return;
  lane.progress = std::min(share, 1.0);
  lane.since = clock_.now();
  changed_.notify_all();
}

void PipelineCore::report_loaded(std::size_t index, const StageMemory& memory) {
  MutexLock lock(mu_);
  Lane& lane = lanes_[index];
  if (lane.state != LaneState::kLoading) return;
  lane.state = LaneState::kLoaded;
  lane.progress = 1.0;
  lane.status.memory = memory;
  changed_.notify_all();
}

void PipelineCore::report_thread_failure(std::size_t index, Error error) {
  std::vector<Answer> answers;
  {
    MutexLock lock(mu_);
    if (lanes_[index].state == LaneState::kLeftBehind) return;
    fail_pipeline(index, std::move(error), lanes_[index].running, answers);
    delivering_ += answers.empty() ? 0 : 1;
  }
  deliver(std::move(answers));
}

void PipelineCore::report_load_failure(std::size_t index, Error error) {
  MutexLock lock(mu_);
  if (lanes_[index].state == LaneState::kLeftBehind || failure_) return;
  error.message = format_text("[pipeline] {}: {}", lanes_[index].name, error.message);
  failure_ = std::move(error);
  changed_.notify_all();
}

bool PipelineCore::wait_before_retry(Duration delay) {
  const auto until = std::chrono::steady_clock::now() + delay;
  MutexLock lock(mu_);
  while (!ending_ && !stop_.stop_requested()) {
    if (!changed_.wait_until(mu_, until) && std::chrono::steady_clock::now() >= until) return true;
  }
  return false;
}

PipelineCore::LoadState PipelineCore::wait_for_load() {
  MutexLock lock(mu_);
  check_load_stall(clock_.now());
  const auto loaded = [](const Lane& lane) { return lane.state != LaneState::kLoading; };
  if (!failure_ && !std::ranges::all_of(lanes_, loaded)) {
    changed_.wait_until(mu_, std::chrono::steady_clock::now() + tick_);
  }
  LoadState state{.all_loaded = std::ranges::all_of(lanes_, loaded), .failure = failure_};
  for (const Lane& lane : lanes_) {
    state.progress += lane.progress / static_cast<double>(lanes_.size());
  }
  return state;
}

void PipelineCore::check_load_stall(TimePoint now) {
  for (const Lane& lane : lanes_) {
    if (failure_ || lane.state != LaneState::kLoading) continue;
    if (now - lane.since <= options_.load_stall) continue;
    failure_ = Error{ErrorCode::kDeadline,
                     format_text("[pipeline] {}: progress within {:.3g} s while loading: none "
                                 "since {:.0f} %",
                                 lane.name, seconds(options_.load_stall), lane.progress * 100)};
  }
}

void PipelineCore::start_running() {
  MutexLock lock(mu_);
  loading_ = false;
  for (Lane& lane : lanes_) lane.work.notify_all();
}

// ---- steps

std::unique_ptr<Step> PipelineCore::take(std::size_t index) {
  for (;;) {
    std::vector<Answer> answers;
    std::optional<DeviceDuty::Turn> unused;
    {
      MutexLock lock(mu_);
      Lane& lane = lanes_[index];
      auto step = wait_for_step(lane);
      const std::uint64_t number = step == nullptr ? 0 : step->input.step;
      const InFlight* record = step == nullptr ? nullptr : find(number);
      if (record != nullptr && !record->doomed) {
        lane.running = number;
        return step;
      }
      unused = std::exchange(lane.turn, std::nullopt);
      if (step == nullptr) return nullptr;
      if (record != nullptr) answer_error(index, number, *record->doomed, answers);
      delivering_ += answers.empty() ? 0 : 1;
    }
    deliver(std::move(answers));
  }
}

TimePoint PipelineCore::free_at(const Lane& lane) const {
  return options_.duty == nullptr ? TimePoint{} : options_.duty->free_at(lane.status.device);
}

bool PipelineCore::begin_turn(Lane& lane) {
  if (options_.duty == nullptr) return true;
  const std::string& device = lane.status.device;
  lane.turn = closing_ ? options_.duty->begin(device) : options_.duty->try_begin(device);
  return lane.turn.has_value();
}

std::unique_ptr<Step> PipelineCore::wait_for_step(Lane& lane) {
  while (!ending_) {
    if (loading_ || lane.queue.empty()) {
      lane.work.wait(mu_);
      continue;
    }
    if (begin_turn(lane)) break;
    const TimePoint free = free_at(lane);
    const Duration rest = free == DeviceDuty::kUntold ? tick_ : free - clock_.now();
    lane.work.wait_until(mu_, std::chrono::steady_clock::now() + std::min(rest, tick_));
  }
  if (lane.state == LaneState::kLeftBehind) return nullptr;
  lane.since = clock_.now();
  lane.starved = {};
  if (lane.queue.empty()) return nullptr;
  auto step = std::move(lane.queue.front().step);
  lane.queue.pop_front();
  return step;
}

void PipelineCore::duty_changed() {
  MutexLock lock(mu_);
  for (Lane& lane : lanes_) lane.work.notify_all();
}

void PipelineCore::finish(std::size_t index, std::unique_ptr<Step> step,
                          Result<StageOutput> output) {
  std::vector<Answer> answers;
  std::optional<DeviceDuty::Turn> turn;
  {
    MutexLock lock(mu_);
    Lane& lane = lanes_[index];
    if (lane.state == LaneState::kLeftBehind) return;
    turn = std::exchange(lane.turn, std::nullopt);
    const TimePoint now = clock_.now();
    const Duration busy = now - lane.since;
    lane.running.reset();
    lane.status.busy += busy;
    ++lane.status.steps;
    step->busy += busy;
    const std::uint64_t number = step->input.step;
    const InFlight* record = find(number);
    if (record == nullptr) return;  // answered when the pipeline failed
    if (output && record->doomed) output = std::unexpected(*record->doomed);
    if (output) {
      if (auto error = check_output(index, *step, *output)) output = std::unexpected(*error);
    }
    if (output) {
      advance_or_answer(index, std::move(step), *std::move(output), answers);
    } else if (ends_only_the_step(output.error().code)) {
      answer_error(index, number, std::move(output).error(), answers);
    } else {
      fail_pipeline(index, std::move(output).error(), number, answers);
    }
    delivering_ += answers.empty() ? 0 : 1;
  }
  turn.reset();
  deliver(std::move(answers));
}

std::optional<Error> PipelineCore::check_output(std::size_t index, const Step& step,
                                                const StageOutput& output) const {
  const std::size_t rows = step.input.rows.size();
  if (index + 1 == lanes_.size()) {
    if (output.sampled.size() == step.input.outputs.size()) return std::nullopt;
    return Error{ErrorCode::kInternal,
                 format_text("[pipeline] {} rows sampled expected: {}", step.input.outputs.size(),
                             output.sampled.size())};
  }
  const bool fits = rows == 0 ? output.hidden.empty()
                              : !output.hidden.empty() && output.hidden.size() % rows == 0;
  if (fits) return std::nullopt;
  return Error{ErrorCode::kInternal, format_text("[pipeline] hidden state of {} rows expected: {} "
                                                 "numbers",
                                                 rows, output.hidden.size())};
}

void PipelineCore::advance_or_answer(std::size_t index, std::unique_ptr<Step> step,
                                     StageOutput output, std::vector<Answer>& answers) {
  if (index + 1 < lanes_.size()) {
    if (!output.hidden.empty()) {
      for (const std::size_t row : zero_nonfinite_rows(output.hidden, step->input.rows.size())) {
        step->faults.push_back({row, format_text("[pipeline] finite hidden state expected from "
                                                 "{}: NaN or infinity",
                                                 lanes_[index].name)});
      }
    }
    step->input.hidden = std::move(output.hidden);
    enqueue(index + 1, std::move(step));
    return;
  }
  const std::uint64_t number = step->input.step;
  forget(number);
  output.faults = std::move(step->faults);
  output.busy = step->busy;
  answers.push_back({number, std::move(output), {}});
}

// Never waits: at most options_.steps_in_flight steps exist, and a link holds as many.
void PipelineCore::enqueue(std::size_t index, std::unique_ptr<Step> step) {
  lanes_[index].queue.push_back({std::move(step), clock_.now()});
  lanes_[index].work.notify_one();
}

PipelineCore::InFlight* PipelineCore::find(std::uint64_t step) {
  const auto found = std::ranges::find(in_flight_, step, &InFlight::number);
  return found == in_flight_.end() ? nullptr : &*found;
}

void PipelineCore::forget(std::uint64_t step) {
  std::erase_if(in_flight_, [&](const InFlight& other) { return other.number == step; });
}

// Later steps of the same slots would append to what is missing: they end with it, each where it is
// now.
void PipelineCore::answer_error(std::size_t index, std::uint64_t step, Error error,
                                std::vector<Answer>& answers) {
  const std::vector<SlotId> slots = find(step)->slots;
  forget(step);
  for (InFlight& later : in_flight_) {
    const bool shares = std::ranges::find_first_of(later.slots, slots) != later.slots.end();
    if (later.number > step && shares && !later.doomed) later.doomed = error;
  }
  answers.push_back({step, std::unexpected(std::move(error)), lanes_[index].name});
}

Result<std::uint64_t> PipelineCore::submit(StageInput input) {
  GOGRID_RETURN_IF_ERROR(check_input(input, lanes_.front().spec));
  auto step = std::make_unique<Step>();
  step->input = std::move(input);
  MutexLock lock(mu_);
  if (failure_ || closing_) return std::unexpected(refusal());
  if (in_flight_.size() >= options_.steps_in_flight) {
    return fail(ErrorCode::kExhausted, format_text("[pipeline] {} steps may be in flight: all are",
                                                   options_.steps_in_flight));
  }
  const std::uint64_t number = ++last_step_;
  step->input.epoch = options_.epoch;
  step->input.step = number;
  in_flight_.push_back({number, slots_of(step->input), std::nullopt});
  enqueue(0, std::move(step));
  if (watcher_idle_) watch_.notify_one();
  return number;
}

Error PipelineCore::refusal() const {
  if (!failure_) return {ErrorCode::kUnavailable, "[pipeline] a step came while closing"};
  return {ErrorCode::kUnavailable, failure_->message};
}

// ---- failure and deadlines

// Every step in flight is answered at once: behind a stage that hangs none would ever come out.
// What the stage threads still hand in for them is dropped.
void PipelineCore::fail_pipeline(std::size_t index, Error error, std::optional<std::uint64_t> step,
                                 std::vector<Answer>& answers) {
  if (failure_) return;
  const std::string& name = lanes_[index].name;
  error.message = format_text("[pipeline] {}: {}", name, error.message);
  log::error("pipeline_failed",
             {{"stage", name}, {"code", traits(error.code).name}, {"error", error.message}});
  for (const InFlight& record : std::exchange(in_flight_, {})) {
    const auto code = record.number == step ? error.code : ErrorCode::kUnavailable;
    answers.push_back({record.number, fail(code, error.message), name});
  }
  for (Lane& lane : lanes_) lane.queue.clear();
  failure_ = std::move(error);
  changed_.notify_all();
}

void PipelineCore::deliver(std::vector<Answer> answers) {
  if (answers.empty()) return;
  for (Answer& answer : answers) {
    done_({answer.step, std::move(answer.output), std::move(answer.failed_stage)});
  }
  bool failed = false;
  {
    MutexLock lock(mu_);
    --delivering_;
    failed = failure_.has_value();
    changed_.notify_all();
  }
  // Not under the lock: a stage's stop callback runs here.
  if (failed) stop_.request_stop();
}

void PipelineCore::watch() {
  std::vector<Answer> answers;
  for (;;) {
    {
      MutexLock lock(mu_);
      watcher_idle_ = in_flight_.empty();
      if (watcher_idle_) {
        while (watching_ && in_flight_.empty()) watch_.wait(mu_);
      } else {
        watch_.wait_until(mu_, std::chrono::steady_clock::now() + tick_);
      }
      watcher_idle_ = false;
      if (!watching_) return;
      check_deadlines(clock_.now(), answers);
      delivering_ += answers.empty() ? 0 : 1;
    }
    deliver(std::exchange(answers, {}));
  }
}

// A process of low priority may wait for a core for as long as others keep them all: its steps are
// slow then, and do not hang. Starved is the time in which its threads waited for half or more.
void PipelineCore::excuse_starvation(TimePoint now) {
  const auto is_slow = [&](const Lane& lane) {
    return lane.running && now - lane.since > options_.step_deadline / kSlowPart;
  };
  if (!options_.run_delay || std::ranges::none_of(lanes_, is_slow)) return delay_seen_.reset();
  const auto delay = options_.run_delay();
  if (!delay) return delay_seen_.reset();
  const auto before = std::exchange(delay_seen_, DelaySeen{now, *delay});
  if (!before) return;
  const Duration passed = now - before->at;
  if (2 * (*delay - before->delay) < passed) return;
  for (Lane& lane : lanes_) {
    lane.starved += passed;
    lane.rested = std::max(lane.rested, now);
  }
}

void PipelineCore::check_deadlines(TimePoint now, std::vector<Answer>& answers) {
  if (failure_) return;
  excuse_starvation(now);
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = lanes_[i];
    if (lane.running && now - lane.since - lane.starved > options_.step_deadline) {
      Error error{ErrorCode::kDeadline,
                  format_text("a step within {:.3g} s expected: still "
                              "running after {:.3g} s",
                              seconds(options_.step_deadline), seconds(now - lane.since))};
      return fail_pipeline(i, std::move(error), lane.running, answers);
    }
    // A rest is not a hang; nor was it one when a new share has ended it.
    lane.rested = std::max(lane.rested, std::min(now, free_at(lane)));
    if (!lane.queue.empty() &&
        now - std::max(lane.queue.front().since, lane.rested) > options_.transfer_deadline) {
      Error error{ErrorCode::kDeadline,
                  format_text("a step taken over within {:.3g} s expected: it still waits",
                              seconds(options_.transfer_deadline))};
      return fail_pipeline(i, std::move(error), lane.queue.front().step->input.step, answers);
    }
  }
}

// ---- the end

void PipelineCore::close() {
  std::vector<Answer> answers;
  {
    MutexLock lock(mu_);
    closing_ = true;
    for (Queued& queued : std::exchange(lanes_.front().queue, {})) {
      const std::uint64_t number = queued.step->input.step;
      forget(number);
      answers.push_back(
          {number, fail(ErrorCode::kCancelled, "[pipeline] closed before the step began"), {}});
    }
    delivering_ += answers.empty() ? 0 : 1;
  }
  deliver(std::move(answers));
  MutexLock lock(mu_);
  while (!in_flight_.empty() || delivering_ > 0) changed_.wait(mu_);
}

void PipelineCore::end_threads() {
  stop_.request_stop();
  MutexLock lock(mu_);
  ending_ = true;
  for (Lane& lane : lanes_) {
    lane.queue.clear();
    // Whoever is not in a step has the whole grace from now on, however long it has been idle.
    if (!lane.running) lane.since = clock_.now();
    lane.work.notify_all();
  }
  changed_.notify_all();
}

void PipelineCore::report_ended(std::size_t index) {
  MutexLock lock(mu_);
  Lane& lane = lanes_[index];
  if (lane.state == LaneState::kLeftBehind) {
    log::warning("stage_came_back", {{"stage", lane.name}});
    return;
  }
  lane.state = LaneState::kEnded;
  changed_.notify_all();
}

bool PipelineCore::wait_until_ended(std::size_t index) {
  // Nobody shall wait for a step that hangs.
  std::optional<DeviceDuty::Turn> turn;
  MutexLock lock(mu_);
  Lane& lane = lanes_[index];
  while (lane.state != LaneState::kEnded) {
    if (overdue(lane, clock_.now())) {
      lane.state = LaneState::kLeftBehind;
      turn = std::exchange(lane.turn, std::nullopt);
      log::error("stage_left_behind", {{"stage", lane.name}});
      return false;
    }
    changed_.wait_until(mu_, std::chrono::steady_clock::now() + tick_);
  }
  return true;
}

bool PipelineCore::overdue(const Lane& lane, TimePoint now) const {
  const Duration allowed = lane.state == LaneState::kLoading
                               ? options_.hang_grace
                               : options_.step_deadline + options_.hang_grace;
  return now - lane.since - lane.starved > allowed;
}

void PipelineCore::stop_watching() {
  MutexLock lock(mu_);
  watching_ = false;
  watch_.notify_all();
}

// ---- status

std::vector<StageStatus> PipelineCore::stages() const {
  MutexLock lock(mu_);
  std::vector<StageStatus> result;
  result.reserve(lanes_.size());
  for (const Lane& lane : lanes_) {
    result.push_back(lane.status);
    result.back().queued = static_cast<std::uint32_t>(lane.queue.size());
  }
  return result;
}

std::optional<Error> PipelineCore::failure() const {
  MutexLock lock(mu_);
  return failure_;
}

}  // namespace gogrid
