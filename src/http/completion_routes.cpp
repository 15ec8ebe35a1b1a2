#include "http/completion_routes.h"

#include <charconv>
#include <cmath>
#include <ctime>
#include <optional>
#include <thread>
#include <utility>

#include "base/ids.h"
#include "http/completion_response.h"
#include "obs/log.h"

namespace gogrid {
namespace {

constexpr std::size_t kWorkerQueue = 1024;
constexpr const char* kTimeoutHeader = "X-GoGrid-Timeout";
constexpr const char* kWaitHeader = "X-GoGrid-Wait";
constexpr Duration kMaxWait = std::chrono::hours(24);

constexpr const char* kWaitsForTurn =
    "waiting: requests are let in one after the other (min_request_interval_ms)";

AnswerHead head_of(CompletionKind kind, const CompletionQuestion& question) {
  const char* prefix = kind == CompletionKind::kChat ? "chatcmpl-" : "cmpl-";
  return {kind, prefix + random_hex(12), question.model, std::time(nullptr)};
}

Rate rate_of(const ResourcePolicy& policy) { return {.interval = policy.min_request_interval}; }

// Seconds in a header, at most `limit`; empty without it.
Result<std::optional<Duration>> seconds_of(const drogon::HttpRequestPtr& request,
                                           const char* header, Duration limit) {
  const std::string& text = request->getHeader(header);
  if (text.empty()) return std::nullopt;
  double seconds = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const double most = std::chrono::duration<double>(limit).count();
  if (error != std::errc{} || end != text.data() + text.size() || !(seconds > 0.0)) {
    return fail(ErrorCode::kInvalidArgument,
                std::string(header) + ": expected seconds, more than 0, got " + text.substr(0, 40),
                header);
  }
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::min(seconds, most)));
}

std::string text_of(RateGate::Refusal refusal) {
  switch (refusal) {
    case RateGate::Refusal::kTooLong:
      return "requests are let in one after the other (min_request_interval_ms), and this one's "
             "turn would come after its deadline";
    case RateGate::Refusal::kTooMany:
      return "requests are let in one after the other (min_request_interval_ms), and too many wait";
    case RateGate::Refusal::kClosed:
      break;
  }
  return "the server is draining: it takes no new requests";
}

}  // namespace

struct CompletionRoutes::Job {
  CompletionKind kind;
  TimePoint arrived;
  TimePoint deadline;
  std::shared_ptr<Exchange> exchange;
  std::optional<ClientLink> link;
  std::optional<Gate::Pass> pass;
  ByteBudget::Lease body;
  std::optional<Turnstile::Place> place;  // none while it waits for its model
  // Once it is read.
  bool streams = false;
  bool include_usage = false;
  bool logprobs = false;
  AnswerHead head = {};
  std::stop_token gone = {};
  CompletionQuestion question = {};
  ModelHold hold = {};
  PreparedCompletion completion = {};
  std::shared_ptr<StreamSink> stream = {};  // opened while it waits for its model or its turn
};

CompletionRoutes::CompletionRoutes(const HttpOptions& options, const HttpServices& services)
    : options_(options),
      completions_(*services.completions),
      bodies_(options.max_buffered),
      turnstile_(std::make_shared<Turnstile>(*services.gate)),
      large_bodies_(1, options.large_queue),
      workers_(options.worker_threads, kWorkerQueue) {
  services.policies->listen(
      [turnstile = std::weak_ptr(turnstile_)](const PolicyStore::Snapshot& policy) {
        if (const auto there = turnstile.lock()) there->set_rate(rate_of(*policy));
      });
}

void CompletionRoutes::handle(CompletionKind kind, std::shared_ptr<Exchange> exchange,
                              std::shared_ptr<ClientConnection> client) {
  auto pass = gate_.enter();
  if (!pass) {
    return exchange->refuse({ErrorCode::kUnavailable, text_of(RateGate::Refusal::kClosed), {}, {}});
  }
  const std::size_t size = exchange->request()->body().size();
  auto body = bodies_.take(size);
  if (!body) {
    exchange->metrics().count_throttled("body_budget");
    return exchange->refuse(
        {ErrorCode::kExhausted, "too many large requests are being answered", {}, {}});
  }
  const auto timeout = seconds_of(exchange->request(), kTimeoutHeader, options_.request_timeout);
  if (!timeout) return exchange->refuse(timeout.error());
  const TimePoint now = SteadyClock().now();
  post(std::make_shared<Job>(Job{.kind = kind,
                                 .arrived = now,
                                 .deadline = now + timeout->value_or(options_.request_timeout),
                                 .exchange = std::move(exchange),
                                 .link = ClientLink(std::move(client)),
                                 .pass = std::move(pass),
                                 .body = *std::move(body),
                                 .place = turnstile_->arrive(size < options_.large_body)}),
       &CompletionRoutes::read);
}

void CompletionRoutes::post(const std::shared_ptr<Job>& job,
                            Status (CompletionRoutes::*step)(const std::shared_ptr<Job>&)) {
  const bool large = job->exchange->request()->body().size() >= options_.large_body;
  const auto work = [this, job, step] { guarded(*job, [&] { return (this->*step)(job); }); };
  if (!(large ? large_bodies_ : workers_).try_post(work)) {
    job->exchange->metrics().count_throttled(large ? "large_body_queue" : "worker_queue");
    refuse(*job, {ErrorCode::kExhausted, "too many requests are being prepared", {}, {}});
  }
}

void CompletionRoutes::guarded(Job& job, const std::function<Status()>& step) {
  try {
    if (auto status = step(); !status) refuse(job, status.error());
  } catch (const std::exception& error) {
    log::error("http_completion_threw", {{"what", std::string_view(error.what())}},
               job.exchange->request_id());
    refuse(job, {ErrorCode::kInternal, "internal error", {}, {}});
  }
}

void CompletionRoutes::refuse(Job& job, const Error& error) {
  if (job.stream != nullptr) return job.stream->on_done(std::unexpected(error));
  job.exchange->refuse(error);
}

Status CompletionRoutes::read(const std::shared_ptr<Job>& job) {
  const auto& request = job->exchange->request();
  if (!job->link->connected()) {
    return fail(ErrorCode::kCancelled, "the client left before its request was read");
  }
  GOGRID_ASSIGN_OR_RETURN(const auto wait, seconds_of(request, kWaitHeader, kMaxWait));
  if (SteadyClock().now() > job->deadline) {
    return fail(ErrorCode::kDeadline, "the deadline passed before the request was read");
  }
  GOGRID_ASSIGN_OR_RETURN(auto parsed, parse_completion_request(job->kind, request->body()));
  if (parsed.stream && request->version() != drogon::Version::kHttp11) {
    return fail(ErrorCode::kInvalidArgument, "stream: streamed answers need HTTP/1.1", "stream");
  }
  job->gone = job->link->gone();
  parsed.question.deadline = job->deadline;
  if (wait) parsed.question.wait_until = job->arrived + *wait;
  parsed.question.request_id = job->exchange->request_id();
  parsed.question.cancel = job->gone;
  job->streams = parsed.stream;
  job->include_usage = parsed.include_usage;
  job->logprobs = parsed.question.sampling.top_logprobs >= 0;
  job->head = head_of(job->kind, parsed.question);
  job->question = std::move(parsed.question);
  // It may take long, and holds nobody up meanwhile.
  if (!completions_.is_loaded(job->question)) job->place.reset();
  GOGRID_ASSIGN_OR_RETURN(auto hold, completions_.want_model(job->question, calls_of(job)));
  if (!hold) return {};
  job->hold = *std::move(hold);
  return prepare(job);
}

ModelCalls CompletionRoutes::calls_of(const std::shared_ptr<Job>& job) {
  ModelCalls calls{.ready =
                       [this, job](ModelHold hold) {
                         job->hold = std::move(hold);
                         post(job, &CompletionRoutes::prepare);
                       },
                   .refused = [job](const Error& why) { refuse(*job, why); }};
  if (job->streams) calls.tell = [this, job](const std::string& why) { tell(*job, why); };
  return calls;
}

// Its model is loaded, and stays until it has started.
Status CompletionRoutes::prepare(const std::shared_ptr<Job>& job) {
  if (!job->place) {
    const bool large = job->exchange->request()->body().size() >= options_.large_body;
    job->place.emplace(turnstile_->arrive(!large));
  }
  GOGRID_ASSIGN_OR_RETURN(job->completion, completions_.prepare(std::move(job->question)));
  ask_for_turn(job);
  return {};
}

void CompletionRoutes::tell(Job& job, const std::string& why) const {
  if (job.stream == nullptr) open_stream(job, job.stream = make_stream(job));
  job.stream->on_waiting(why);
}

void CompletionRoutes::ask_for_turn(const std::shared_ptr<Job>& job) {
  Turnstile::Calls calls{.go =
                             [this, job](bool waited) {
                               const TimePoint now = SteadyClock().now();
                               if (waited)
                                 job->exchange->metrics().observe_throttle_wait(now - job->arrived);
                               guarded(*job, [&] { return start(*job); });
                             },
                         .refuse =
                             [job](RateGate::Refusal why) {
                               refuse(*job, {ErrorCode::kExhausted, text_of(why), {}, {}});
                             }};
  if (job->streams) {
    calls.tell = [this, job] { tell(*job, kWaitsForTurn); };
  }
  Metrics& metrics = job->exchange->metrics();
  const auto answer =
      turnstile_->ask(*std::move(job->place), job->deadline, job->gone, std::move(calls));
  if (answer != Turnstile::Answer::kWent) metrics.count_throttled("rate");
}

// Its turn has come.
Status CompletionRoutes::start(Job& job) {
  if (SteadyClock().now() > job.deadline) {
    return fail(ErrorCode::kDeadline, "the deadline passed before the request's turn came");
  }
  if (!job.streams) return start_whole(job);
  const auto sink = job.stream != nullptr ? job.stream : make_stream(job);
  GOGRID_RETURN_IF_ERROR(completions_.start(std::move(job.completion), sink));
  if (job.stream == nullptr) open_stream(job, sink);
  return {};
}

SinkContext CompletionRoutes::context_of(Job& job) const {
  return {.head = job.head,
          .logprobs = job.logprobs,
          .include_usage = job.include_usage,
          .max_backlog = options_.max_stream_backlog,
          .close_after = job.exchange->closes_after(),
          .pass = *std::move(job.pass),
          .ended = [&metrics = job.exchange->metrics(), route = job.exchange->route()](int status) {
            metrics.count_request(route, status);
          }};
}

Status CompletionRoutes::start_whole(Job& job) {
  auto body = std::make_shared<ByteBudget::Lease>(std::move(job.body));
  const auto make = [id = job.exchange->request_id(), body](int status, std::string text,
                                                            const Error* error) {
    return make_response(id, status, std::move(text), error);
  };
  auto sink = std::make_shared<WholeSink>(context_of(job), *std::move(job.link), make,
                                          job.exchange->answer());
  GOGRID_RETURN_IF_ERROR(completions_.start(std::move(job.completion), std::move(sink)));
  return {};
}

std::shared_ptr<StreamSink> CompletionRoutes::make_stream(Job& job) const {
  return std::make_shared<StreamSink>(context_of(job), *std::move(job.link));
}

void CompletionRoutes::open_stream(Job& job, const std::shared_ptr<StreamSink>& sink) {
  // The framework's own idle timeout is off (ConnectionGuard), so nothing is left to disable.
  auto response = drogon::HttpResponse::newAsyncStreamResponse(
      [sink](drogon::ResponseStreamPtr stream) { sink->open(std::move(stream)); });
  response->setContentTypeString(kStreamType);
  response->addHeader("Cache-Control", "no-cache");
  response->addHeader("X-Request-Id", job.exchange->request_id());
  job.exchange->answer()(response);
}

void CompletionRoutes::refuse_newcomers() {
  gate_.begin_close();
  turnstile_->close();
}

void CompletionRoutes::close() {
  refuse_newcomers();
  turnstile_->stop();
  large_bodies_.stop();
  workers_.stop();
}

bool CompletionRoutes::drain(TimePoint deadline) {
  refuse_newcomers();
  constexpr auto kLook = std::chrono::milliseconds(5);
  while (gate_.inside() > 0 && SteadyClock().now() < deadline) std::this_thread::sleep_for(kLook);
  return gate_.inside() == 0;
}

}  // namespace gogrid
