#include "batching/batcher.h"

#include <algorithm>
#include <exception>
#include <format>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "batching/scheduler.h"
#include "obs/log.h"

namespace gogrid {
namespace {

// How often those are looked at whom no step brings to mind: held, cancelled or late in the queue.
constexpr auto kIdlePoll = std::chrono::milliseconds(5);
constexpr auto kBusyPoll = std::chrono::milliseconds(50);

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
std::optional<Error> reason_to_leave(const QueuedRequest& waiting, TimePoint now) {
  const GenerationRequest& request = waiting.submission.request;
  if (request.cancel.stop_requested()) {
    return Error{ErrorCode::kCancelled, "[batcher] cancelled in the queue"};
  }
  if (request.deadline && now >= *request.deadline) {
    return Error{ErrorCode::kDeadline, "[batcher] a start before the deadline: still in the queue"};
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
  struct Inbox {
    std::vector<StepResult> results;
    std::optional<Error> abort;
    bool stop = false;
  };

  void run() EXCLUDES(mu_);
  void rounds() EXCLUDES(mu_);
  Inbox wait(bool go_on) EXCLUDES(mu_);
  // True when another round may find something to do at once.
  bool round(Inbox inbox) EXCLUDES(mu_);
  void admit_waiting() EXCLUDES(mu_);
  void submit_steps() EXCLUDES(mu_);
  void fail_all(const Error& error) EXCLUDES(mu_);
  void sweep_queue(TimePoint now) EXCLUDES(mu_);
  void end_queue(const Error& error) EXCLUDES(mu_);
  void publish(const std::vector<std::string>& ended, TimePoint now) EXCLUDES(mu_);
  bool idle() const REQUIRES(mu_) {
    return results_.empty() && !new_requests_ && !stopping_ && !abort_;
  }
  std::optional<Error> reason_to_refuse(const Submission& submission) const REQUIRES(mu_);

  // Constant after construction.
  const BatcherOptions options_;
  const Clock& clock_;

  // The batcher's thread only.
  Scheduler scheduler_;
  bool failed_ = false;

  mutable Mutex mu_;
  CondVar work_;   // for the thread
  CondVar ended_;  // for drain()
  RequestQueue queue_ GUARDED_BY(mu_);
  std::vector<StepResult> results_ GUARDED_BY(mu_);
  bool new_requests_ GUARDED_BY(mu_) = false;
  bool draining_ GUARDED_BY(mu_) = false;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::optional<Error> abort_ GUARDED_BY(mu_);
  std::optional<Error> failure_ GUARDED_BY(mu_);
  BatcherStatus status_ GUARDED_BY(mu_);
  std::size_t open_ GUARDED_BY(mu_) = 0;  // admitted, not yet told their end
  EndRate end_rate_ GUARDED_BY(mu_);

  std::unique_ptr<Pipeline> pipeline_;  // constant after start()
  std::thread thread_;
};

// ---- from outside

Batcher::Impl::~Impl() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    work_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  end_queue({ErrorCode::kCancelled, "[batcher] stopped"});
  pipeline_.reset();  // its last results still go to on_step_done()
}

void Batcher::Impl::start(std::unique_ptr<Pipeline> pipeline) {
  {
    MutexLock lock(mu_);
    pipeline_ = std::move(pipeline);
  }
  thread_ = std::thread([this] { run(); });
}

void Batcher::Impl::on_step_done(StepResult result) {
  MutexLock lock(mu_);
  results_.push_back(std::move(result));
  work_.notify_one();
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
                 std::format("[batcher] a prompt that leaves room for one token in a context of "
                             "{}: {} tokens",
                             scheduler_.context(), request.prompt.size()),
                 "prompt"};
  }
  if (failure_) return Error{ErrorCode::kUnavailable, failure_->message};
  if (draining_ || stopping_) return Error{ErrorCode::kUnavailable, "[batcher] draining"};
  if (queue_.full()) {
    return Error{ErrorCode::kExhausted,
                 std::format("[batcher] at most {} requests waiting: the queue is full",
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
  queue_.push({std::move(submission), now});
  new_requests_ = true;
  work_.notify_one();
  return {};
}

void Batcher::Impl::drain(TimePoint deadline) {
  {
    MutexLock lock(mu_);
    draining_ = true;
  }
  if (!thread_.joinable()) return end_queue({ErrorCode::kUnavailable, "[batcher] draining"});
  MutexLock lock(mu_);
  while (!queue_.empty() || open_ > 0) {
    if (clock_.now() >= deadline && !abort_) {
      abort_ = Error{ErrorCode::kUnavailable, "[batcher] an end before the drain deadline: none"};
      work_.notify_one();
    }
    ended_.wait_until(mu_, std::chrono::steady_clock::now() + kBusyPoll);
  }
}

BatcherStatus Batcher::Impl::status() const {
  MutexLock lock(mu_);
  BatcherStatus status = status_;
  status.waiting += static_cast<std::uint32_t>(queue_.size());
  return status;
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

// ---- the thread

void Batcher::Impl::run() {
  try {
    rounds();
  } catch (const std::exception& thrown) {
    log::error("batcher_failed", {{"model", options_.model}, {"error", thrown.what()}});
    fail_all({ErrorCode::kInternal, std::format("[batcher] {}", thrown.what())});
    publish({}, clock_.now());
  }
}

void Batcher::Impl::rounds() {
  bool go_on = false;
  for (;;) {
    Inbox inbox = wait(go_on);
    if (inbox.stop)
      return scheduler_.end_all({ErrorCode::kCancelled, "[batcher] stopped"}, clock_.now());
    go_on = round(std::move(inbox));
  }
}

Batcher::Impl::Inbox Batcher::Impl::wait(bool go_on) {
  const bool in_flight = scheduler_.steps_in_flight() > 0;
  MutexLock lock(mu_);
  if (!go_on && idle()) {
    if (scheduler_.open_sequences() == 0 && queue_.empty()) {
      while (idle()) work_.wait(mu_);
    } else {
      const Duration poll = in_flight ? Duration(kBusyPoll) : Duration(kIdlePoll);
      work_.wait_until(mu_, std::chrono::steady_clock::now() + poll);
    }
  }
  new_requests_ = false;
  return {std::exchange(results_, {}), std::exchange(abort_, std::nullopt), stopping_};
}

bool Batcher::Impl::round(Inbox inbox) {
  TimePoint now = clock_.now();
  for (StepResult& result : inbox.results) {
    auto worked = scheduler_.on_result(std::move(result), now);
    if (!worked && !failed_) fail_all(worked.error());
  }
  if (inbox.abort) {
    scheduler_.end_all(*inbox.abort, now);
    end_queue(*inbox.abort);
  }
  if (!failed_) {
    admit_waiting();
    submit_steps();
  }
  now = clock_.now();
  sweep_queue(now);
  scheduler_.sweep(now);
  scheduler_.write(now);
  const auto ended = scheduler_.remove_ended();
  publish(ended, now);
  return !ended.empty();
}

void Batcher::Impl::admit_waiting() {
  MutexLock lock(mu_);
  if (!queue_.empty()) scheduler_.make_room();
  for (const QueuedRequest* next = queue_.front(); next != nullptr; next = queue_.front()) {
    if (!scheduler_.can_admit(next->submission.request.prompt.size())) return;
    scheduler_.admit(*queue_.pop());
    ++open_;
  }
}

void Batcher::Impl::submit_steps() {
  while (scheduler_.steps_in_flight() < options_.groups) {
    auto input = scheduler_.plan(clock_.now());
    if (!input) return;
    auto step = pipeline_->submit(*std::move(input));
    if (!step) {
      scheduler_.began(0);  // never comes back; ended below
      return fail_all(step.error());
    }
    scheduler_.began(*step);
  }
}

// Every sequence and every request that waits gets the error; no step is sent any more.
void Batcher::Impl::fail_all(const Error& error) {
  failed_ = true;
  {
    MutexLock lock(mu_);
    failure_ = error;
  }
  scheduler_.end_all(error, clock_.now());
  end_queue(error);
}

void Batcher::Impl::end_queue(const Error& error) {
  std::vector<QueuedRequest> waiting;
  {
    MutexLock lock(mu_);
    waiting = queue_.remove_if([](const QueuedRequest&) { return true; });
  }
  for (const QueuedRequest& request : waiting) tell_error(request, error);
}

void Batcher::Impl::sweep_queue(TimePoint now) {
  std::vector<std::pair<QueuedRequest, Error>> leaving;
  {
    MutexLock lock(mu_);
    if (queue_.empty()) return;
    std::vector<Error> reasons;
    auto removed = queue_.remove_if([&](const QueuedRequest& waiting) {
      auto reason = reason_to_leave(waiting, now);
      if (reason) reasons.push_back(*std::move(reason));
      return reason.has_value();
    });
    for (std::size_t i = 0; i < removed.size(); ++i) {
      leaving.emplace_back(std::move(removed[i]), std::move(reasons[i]));
    }
  }
  for (const auto& [request, error] : leaving) tell_error(request, error);
}

void Batcher::Impl::publish(const std::vector<std::string>& ended, TimePoint now) {
  const BatcherStatus status = scheduler_.status();
  MutexLock lock(mu_);
  for (const std::string& principal : ended) queue_.ended(principal);
  end_rate_.ended(now, ended.size());
  if (options_.metrics != nullptr &&
      (status.running != status_.running || status.waiting != status_.waiting)) {
    options_.metrics->set_streams(options_.model, status.running,
                                  status.waiting + static_cast<double>(queue_.size()));
  }
  status_ = status;
  open_ = scheduler_.open_sequences();
  if (open_ == 0 && queue_.empty()) ended_.notify_all();
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
