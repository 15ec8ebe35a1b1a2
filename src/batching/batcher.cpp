#include "batching/batcher.h"

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "base/format.h"
#include "base/mutex.h"
#include "batching/scheduler.h"
#include "obs/log.h"

namespace gogrid {
namespace {

// How often those are looked at whom no step brings to mind: held, cancelled or late in the queue.
constexpr auto kIdlePoll = std::chrono::milliseconds(5);
constexpr auto kBusyPoll = std::chrono::milliseconds(50);

constexpr const char* kWaitsForPlace = "waiting: all places of the model are taken";
constexpr const char* kWaitsForStep =
    "waiting: a step takes long, or its device rests (max_compute)";

constexpr Duration kShortestRetry = std::chrono::seconds(1);
constexpr Duration kLongestRetry = std::chrono::minutes(1);

// When the next place in the queue will be free, from how often sequences end.
class EndRate {
 public:
  void ended(TimePoint now, std::size_t count) {
    if (last_ && count > 0) {
      const Duration interval = (now - *last_) / static_cast<Duration::rep>(count);
      mean_ = mean_ == Duration{} ? interval : (mean_ * 7 + interval) / 8;
    }
    if (count > 0) last_ = now;
  }
  std::chrono::milliseconds retry_after() const {
    const Duration wait = std::clamp(mean_, kShortestRetry, kLongestRetry);
    return std::chrono::duration_cast<std::chrono::milliseconds>(wait);
  }

 private:
  std::optional<TimePoint> last_;
  Duration mean_{};
};

std::unexpected<Refusal> refuse(Error error, Submission submission) {
  return std::unexpected(Refusal{std::move(error), std::move(submission)});
}

// Why a request that waits must not wait any longer.
std::optional<Error> reason_to_leave(const QueuedRequest& waiting, TimePoint now, Duration paused) {
  const GenerationRequest& request = waiting.submission.request;
  if (request.cancel.stop_requested()) {
    return Error{ErrorCode::kCancelled, "[batcher] cancelled in the queue"};
  }
  if (request.deadline && now - paused >= *request.deadline) {
    return Error{ErrorCode::kDeadline, "[batcher] a start before the deadline: still in the queue"};
  }
  if (request.start_by && now >= *request.start_by) {
    return Error{ErrorCode::kUnavailable, "[batcher] a pause that ends within the wait: it lasts"};
  }
  if (waiting.submission.sink->state() == SinkState::kGone) {
    return Error{ErrorCode::kCancelled, "[batcher] a reader: it has left"};
  }
  return std::nullopt;
}

void tell_error(const QueuedRequest& request, const Error& error) {
  Usage usage;
  usage.prompt_tokens = static_cast<std::uint32_t>(request.submission.request.prompt.size());
  request.submission.sink->on_error(error, usage);
}

}  // namespace

class Batcher::Impl {
 public:
  Impl(const BatcherOptions& options, const Vocabulary& vocabulary, const Clock& clock)
      : options_(options),
        clock_(clock),
        scheduler_(options, vocabulary),
        queue_(options.queue_capacity) {}
  ~Impl();

  void start(std::unique_ptr<Pipeline> pipeline) EXCLUDES(mu_);
  void on_step_done(StepResult result) EXCLUDES(mu_);
  std::expected<void, Refusal> submit(Submission submission) EXCLUDES(mu_);
  void drain(TimePoint deadline) EXCLUDES(mu_);
  BatcherStatus status() const EXCLUDES(mu_);
  std::optional<Error> failure() const EXCLUDES(mu_);
  std::vector<StageStatus> stages() const EXCLUDES(mu_);

 private:
  // What a round of the thread tells whom, without the lock.
  struct Work {
    std::vector<std::pair<QueuedRequest, Error>> leaving;  // the queue
    std::vector<Scheduler::WriteJob> writing;
    struct Notice {
      std::shared_ptr<ResponseSink> sink;
      std::string why;
    };
    std::vector<Notice> notices;  // to whoever waits
  };

  // As much as can go to the pipeline goes: on whichever thread makes that possible, so that
  // between two steps of a stage nobody has to be woken.
  void pump() REQUIRES(mu_);
  void note_running() REQUIRES(mu_);
  std::optional<Error> reason_to_cut(TimePoint deadline) const REQUIRES(mu_);
  void submit_steps() REQUIRES(mu_);
  void fail(const Error& error) REQUIRES(mu_);
  std::optional<Error> reason_to_refuse(const Submission& submission) const REQUIRES(mu_);
  BatcherStatus current_status() const REQUIRES(mu_);
  bool all_told() const REQUIRES(mu_) { return queue_.empty() && scheduler_.open_sequences() == 0; }

  void run() EXCLUDES(mu_);
  void rounds() EXCLUDES(mu_);
  Work wait_for_work() EXCLUDES(mu_);
  void do_work(Work& work);
  // True when the thread may end.
  bool finish_work(Work work) EXCLUDES(mu_);
  void show(const BatcherStatus& status);
  void wait() REQUIRES(mu_);
  void sweep(TimePoint now, Work& work) REQUIRES(mu_);
  void note_silence(TimePoint now, Work& work) REQUIRES(mu_);
  void count_pauses(bool paused) REQUIRES(mu_);
  bool runs() const { return options_.governor == nullptr || options_.governor->runs(); }
  Duration paused_time() const {
    return options_.governor == nullptr ? Duration(0) : options_.governor->paused_time();
  }
  void wake() REQUIRES(mu_) {
    woken_ = true;
    work_.notify_one();
  }

  // Constant after construction.
  const BatcherOptions options_;
  const Clock& clock_;

  mutable Mutex mu_;
  CondVar work_;   // for the thread
  CondVar ended_;  // for drain()
  Scheduler scheduler_ GUARDED_BY(mu_);
  RequestQueue queue_ GUARDED_BY(mu_);
  EndRate end_rate_ GUARDED_BY(mu_);
  std::optional<Error> failure_ GUARDED_BY(mu_);
  std::optional<Error> end_with_ GUARDED_BY(mu_);  // the thread ends everything with it
  bool woken_ GUARDED_BY(mu_) = false;
  bool some_start_by_ GUARDED_BY(mu_) = false;  // somebody in the queue has a start_by
  bool paused_ GUARDED_BY(mu_) = false;         // when the thread looked last
  std::uint64_t pauses_ GUARDED_BY(mu_) = 0;    // that it saw begin
  bool draining_ GUARDED_BY(mu_) = false;
  bool stopping_ GUARDED_BY(mu_) = false;

  // The batcher's thread only.
  BatcherStatus shown_;  // what the metrics were told last

  std::unique_ptr<Pipeline> pipeline_;  // constant after start()
  std::thread thread_;
};

// ---- from outside

Batcher::Impl::~Impl() {
  bool started = false;
  {
    MutexLock lock(mu_);
    stopping_ = draining_ = true;
    end_with_ = Error{ErrorCode::kCancelled, "[batcher] stopped"};
    started = thread_.joinable();
    wake();
  }
  if (!started) rounds();  // tells those who wait
  if (started) thread_.join();
  std::unique_ptr<Pipeline> pipeline;
  {
    MutexLock lock(mu_);
    pipeline = std::move(pipeline_);
  }
  pipeline.reset();  // its last results still go to on_step_done()
}

void Batcher::Impl::start(std::unique_ptr<Pipeline> pipeline) {
  MutexLock lock(mu_);
  pipeline_ = std::move(pipeline);
  thread_ = std::thread([this] { run(); });
  pump();
}

void Batcher::Impl::on_step_done(StepResult result) {
  MutexLock lock(mu_);
  try {
    auto worked = scheduler_.on_result(std::move(result), clock_.now());
    if (!worked) fail(worked.error());
    pump();
  } catch (const std::exception& thrown) {
    fail({ErrorCode::kInternal, format_text("[batcher] {}", thrown.what())});
  }
  wake();
}

std::optional<Error> Batcher::Impl::reason_to_refuse(const Submission& submission) const {
  const GenerationRequest& request = submission.request;
  if (request.prompt.empty()) {
    return Error{ErrorCode::kInvalidArgument, "[batcher] a prompt of at least one token: none",
                 "prompt"};
  }
  if (request.max_tokens == 0) {
    return Error{ErrorCode::kInvalidArgument, "[batcher] at least one token to make: 0",
                 "max_tokens"};
  }
  if (request.prompt.size() + 1 > scheduler_.context()) {
    return Error{ErrorCode::kInvalidArgument,
                 format_text("[batcher] a prompt that leaves room for one token in a context of "
                             "{}: {} tokens",
                             scheduler_.context(), request.prompt.size()),
                 "prompt"};
  }
  if (failure_) return Error{ErrorCode::kUnavailable, failure_->message};
  if (draining_) return Error{ErrorCode::kUnavailable, "[batcher] draining"};
  if (queue_.full()) {
    return Error{ErrorCode::kExhausted,
                 format_text("[batcher] at most {} requests waiting: the queue is full",
                             options_.queue_capacity),
                 {},
                 end_rate_.retry_after()};
  }
  return std::nullopt;
}

std::expected<void, Refusal> Batcher::Impl::submit(Submission submission) {
  const TimePoint now = clock_.now();
  MutexLock lock(mu_);
  if (auto error = reason_to_refuse(submission)) {
    return refuse(*std::move(error), std::move(submission));
  }
  // From now on it is compared with the time that was not paused.
  if (auto& deadline = submission.request.deadline) *deadline -= paused_time();
  some_start_by_ = some_start_by_ || submission.request.start_by.has_value();
  queue_.push({std::move(submission), now});
  pump();
  wake();
  return {};
}

void Batcher::Impl::drain(TimePoint deadline) {
  MutexLock lock(mu_);
  draining_ = true;
  if (!thread_.joinable()) {
    end_with_ = Error{ErrorCode::kUnavailable, "[batcher] draining"};
    Work work;
    sweep(clock_.now(), work);
    for (const auto& [request, error] : work.leaving) tell_error(request, error);
    return;
  }
  while (!all_told()) {
    if (!end_with_ && (end_with_ = reason_to_cut(deadline))) wake();
    ended_.wait_until(mu_, std::chrono::steady_clock::now() + kBusyPoll);
  }
}

// Why a drain waits no longer for what still runs.
std::optional<Error> Batcher::Impl::reason_to_cut(TimePoint deadline) const {
  if (clock_.now() >= deadline) {
    return Error{ErrorCode::kUnavailable, "[batcher] an end before the drain deadline: none"};
  }
  if (runs()) return std::nullopt;
  const GovernorState state = options_.governor->state();
  if (!state.paused || (state.until && *state.until < deadline)) return std::nullopt;
  return Error{
      ErrorCode::kUnavailable,
      format_text("[batcher] an end before the drain deadline: paused beyond it ({})", state.why)};
}

BatcherStatus Batcher::Impl::current_status() const {
  BatcherStatus status = scheduler_.status();
  status.waiting += static_cast<std::uint32_t>(queue_.size());
  return status;
}

BatcherStatus Batcher::Impl::status() const {
  MutexLock lock(mu_);
  return current_status();
}

std::optional<Error> Batcher::Impl::failure() const {
  MutexLock lock(mu_);
  return failure_;
}

std::vector<StageStatus> Batcher::Impl::stages() const {
  const Pipeline* pipeline = nullptr;
  {
    MutexLock lock(mu_);
    pipeline = pipeline_.get();
  }
  return pipeline == nullptr ? std::vector<StageStatus>{} : pipeline->stages();
}

// ---- to the pipeline

// In a pause whoever comes stays in the queue.
void Batcher::Impl::pump() {
  if (pipeline_ == nullptr || end_with_ || !runs()) return;
  note_running();
  if (!queue_.empty()) scheduler_.make_room();
  for (const QueuedRequest* next = queue_.front(); next != nullptr; next = queue_.front()) {
    if (!scheduler_.can_admit(next->submission.request.prompt.size())) break;
    scheduler_.admit(*queue_.pop());
  }
  submit_steps();
}

// The pause is over that start_by was for. From here on requests wait for each other: one whose
// choices run already must not be ended by those that have no place yet.
void Batcher::Impl::note_running() {
  if (!std::exchange(some_start_by_, false)) return;
  queue_.for_each([](QueuedRequest& waiting) { waiting.submission.request.start_by.reset(); });
}

void Batcher::Impl::submit_steps() {
  while (scheduler_.steps_in_flight() < options_.groups && runs()) {
    auto input = scheduler_.plan(clock_.now());
    if (!input) return;
    auto step = pipeline_->submit(*std::move(input));
    scheduler_.began(step.value_or(0));  // 0: never comes back, all are ended
    if (!step) return fail(step.error());
  }
}

// Every sequence and every request that waits gets the error; no step is sent any more.
void Batcher::Impl::fail(const Error& error) {
  if (failure_ || stopping_) return;
  failure_ = error;
  end_with_ = error;
  log::error("batcher_failed", {{"model", options_.model}, {"error", error.message}});
  wake();
}

// ---- the thread

void Batcher::Impl::run() {
  // A second time, so that those who wait are told why.
  for (int tries = 0; tries < 2; ++tries) {
    try {
      return rounds();
    } catch (const std::exception& thrown) {
      MutexLock lock(mu_);
      fail({ErrorCode::kInternal, format_text("[batcher] {}", thrown.what())});
    }
  }
}

void Batcher::Impl::rounds() {
  for (bool over = false; !over;) {
    Work work = wait_for_work();
    do_work(work);
    over = finish_work(std::move(work));
  }
}

void Batcher::Impl::wait() {
  if (all_told()) {
    while (!woken_) work_.wait(mu_);
  } else if (!woken_) {
    const bool idle = scheduler_.steps_in_flight() == 0 && runs();
    const Duration poll = idle ? Duration(kIdlePoll) : Duration(kBusyPoll);
    work_.wait_until(mu_, std::chrono::steady_clock::now() + poll);
  }
  woken_ = false;
}

Batcher::Impl::Work Batcher::Impl::wait_for_work() {
  MutexLock lock(mu_);
  wait();
  Work work;
  const TimePoint now = clock_.now();
  sweep(now, work);
  note_silence(now, work);
  work.writing = scheduler_.take_news();
  return work;
}

void Batcher::Impl::count_pauses(bool paused) {
  if (paused && !paused_) ++pauses_;
  paused_ = paused;
}

void Batcher::Impl::note_silence(TimePoint now, Work& work) {
  count_pauses(!runs());
  const std::uint64_t pause = paused_ ? pauses_ : 0;
  const std::string paused = pause == 0 ? "" : "paused: " + options_.governor->state().why;
  const auto why = [&](const char* otherwise) { return paused.empty() ? otherwise : paused; };
  for (auto& sink : scheduler_.break_silence(now, pause)) {
    work.notices.push_back({std::move(sink), why(kWaitsForStep)});
  }
  queue_.for_each([&](QueuedRequest& waiting) {
    if (!waiting.silence.break_if_due(now, pause)) return;
    work.notices.push_back({waiting.submission.sink, why(kWaitsForPlace)});
  });
}

void Batcher::Impl::sweep(TimePoint now, Work& work) {
  if (runs()) note_running();
  if (end_with_) scheduler_.end_all(*end_with_);
  const Duration paused = paused_time();
  scheduler_.sweep(now, paused);
  std::vector<Error> reasons;
  auto removed = queue_.remove_if([&, end_with = end_with_](const QueuedRequest& waiting) {
    auto reason = end_with ? end_with : reason_to_leave(waiting, now, paused);
    if (reason) reasons.push_back(*reason);
    return reason.has_value();
  });
  for (std::size_t i = 0; i < removed.size(); ++i) {
    work.leaving.emplace_back(std::move(removed[i]), std::move(reasons[i]));
  }
}

void Batcher::Impl::do_work(Work& work) {
  for (const auto& [sink, why] : work.notices) sink->on_waiting(why);
  for (const auto& [request, error] : work.leaving) tell_error(request, error);
  for (Scheduler::WriteJob& job : work.writing) {
    job.outcome =
        job.sequence->writer().write(std::move(job.news), options_.metrics, options_.model);
  }
}

bool Batcher::Impl::finish_work(Work work) {
  std::vector<std::unique_ptr<Sequence>> removed;  // destroyed, with their sinks, without the lock
  BatcherStatus status;
  bool over = false;
  {
    MutexLock lock(mu_);
    const TimePoint now = clock_.now();
    for (const auto& job : work.writing) scheduler_.on_written(*job.sequence, job.outcome, now);
    removed = scheduler_.remove_ended();
    for (const auto& sequence : removed) queue_.ended(sequence->request().principal);
    end_rate_.ended(now, removed.size());
    pump();
    status = current_status();
    over = stopping_ && all_told();
    if (all_told()) ended_.notify_all();
  }
  show(status);
  return over;
}

void Batcher::Impl::show(const BatcherStatus& status) {
  const bool same = status.running == shown_.running && status.waiting == shown_.waiting;
  if (options_.metrics == nullptr || same) return;
  options_.metrics->set_streams(options_.model, status.running, status.waiting);
  shown_ = status;
}

// ---- the front

Batcher::Batcher(const BatcherOptions& options, const Vocabulary& vocabulary, const Clock& clock)
    : impl_(std::make_unique<Impl>(options, vocabulary, clock)) {}
Batcher::~Batcher() = default;

StepDone Batcher::on_step_done() {
  return [impl = impl_.get()](StepResult result) { impl->on_step_done(std::move(result)); };
}
void Batcher::start(std::unique_ptr<Pipeline> pipeline) { impl_->start(std::move(pipeline)); }
std::expected<void, Refusal> Batcher::submit(Submission submission) {
  return impl_->submit(std::move(submission));
}
void Batcher::drain(TimePoint deadline) { impl_->drain(deadline); }
BatcherStatus Batcher::status() const { return impl_->status(); }
std::optional<Error> Batcher::failure() const { return impl_->failure(); }
std::vector<StageStatus> Batcher::stages() const { return impl_->stages(); }

}  // namespace gogrid
