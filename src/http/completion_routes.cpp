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

AnswerHead head_of(CompletionKind kind, const CompletionQuestion& question) {
  const char* prefix = kind == CompletionKind::kChat ? "chatcmpl-" : "cmpl-";
  return {kind, prefix + random_hex(12), question.model, std::time(nullptr)};
}

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
};

CompletionRoutes::CompletionRoutes(const HttpOptions& options, const HttpServices& services)
    : options_(options),
      completions_(*services.completions),
      policies_(*services.policies),
      turns_(*services.gate),
      bodies_(options.max_buffered),
      large_bodies_(1, options.large_queue),
      workers_(options.worker_threads, kWorkerQueue) {}

void CompletionRoutes::handle(CompletionKind kind, std::shared_ptr<Exchange> exchange,
                              std::shared_ptr<ClientConnection> client) {
  auto pass = gate_.enter();
  if (!pass) {
    return exchange->refuse(
        {ErrorCode::kUnavailable, "the server is draining: it takes no new requests", {}, {}});
  }
  auto body = bodies_.take(exchange->request()->body().size());
  if (!body) {
    exchange->metrics().count_throttled("body_budget");
    return exchange->refuse(
        {ErrorCode::kExhausted, "too many large requests are being answered", {}, {}});
  }
  const auto timeout = seconds_of(exchange->request(), kTimeoutHeader, options_.request_timeout);
  if (!timeout) return exchange->refuse(timeout.error());
  const TimePoint now = SteadyClock().now();
  admit(std::make_shared<Job>(Job{kind, now, now + timeout->value_or(options_.request_timeout),
                                  exchange, ClientLink(std::move(client)), std::move(pass),
                                  *std::move(body)}));
}

// Now, or when its turn comes, or never.
void CompletionRoutes::admit(const std::shared_ptr<Job>& job) {
  const Rate rate{.interval = policies_.current()->min_request_interval};
  auto answer = turns_.ask(job->arrived, rate, job->deadline);
  if (!answer) {
    job->exchange->metrics().count_throttled("rate");
    return job->exchange->refuse({ErrorCode::kExhausted, text_of(answer.error()), {}, {}});
  }
  if (!*answer) return prepare(job);
  job->exchange->metrics().count_throttled("rate");
  await_turn(job, **std::move(answer));
}

void CompletionRoutes::await_turn(const std::shared_ptr<Job>& job, RateGate::Wait turn) {
  turnstile_.wait(
      std::move(turn), job->link->gone(),
      [this, job] {
        job->exchange->metrics().observe_throttle_wait(SteadyClock().now() - job->arrived);
        prepare(job);
      },
      [job] {
        job->exchange->refuse(
            {ErrorCode::kUnavailable, "the server ended before the request's turn came", {}, {}});
      });
}

void CompletionRoutes::prepare(const std::shared_ptr<Job>& job) {
  const bool large = job->exchange->request()->body().size() >= options_.large_body;
  if (!(large ? large_bodies_ : workers_).try_post([this, job] { run(*job); })) {
    job->exchange->metrics().count_throttled(large ? "large_body_queue" : "worker_queue");
    job->exchange->refuse({ErrorCode::kExhausted, "too many requests are being prepared", {}, {}});
  }
}

void CompletionRoutes::run(Job& job) {
  try {
    if (auto status = prepare_and_start(job); !status) job.exchange->refuse(status.error());
  } catch (const std::exception& error) {
    log::error("http_completion_threw", {{"what", std::string_view(error.what())}},
               job.exchange->request_id());
    job.exchange->refuse({ErrorCode::kInternal, "internal error", {}, {}});
  }
}

Status CompletionRoutes::prepare_and_start(Job& job) {
  const auto& request = job.exchange->request();
  if (!job.link->connected()) {
    return fail(ErrorCode::kCancelled, "the client left before its turn");
  }
  GOGRID_ASSIGN_OR_RETURN(const auto wait, seconds_of(request, kWaitHeader, kMaxWait));
  if (SteadyClock().now() > job.deadline) {
    return fail(ErrorCode::kDeadline, "the deadline passed before the request's turn came");
  }
  GOGRID_ASSIGN_OR_RETURN(auto parsed, parse_completion_request(job.kind, request->body()));
  parsed.question.deadline = job.deadline;
  parsed.question.wait = wait;
  parsed.question.request_id = job.exchange->request_id();
  parsed.question.cancel = job.link->gone();
  return parsed.stream ? start_stream(job, std::move(parsed)) : start_whole(job, std::move(parsed));
}

SinkContext CompletionRoutes::context_of(Job& job, const CompletionRequest& parsed) {
  return {.head = head_of(job.kind, parsed.question),
          .logprobs = parsed.question.sampling.top_logprobs >= 0,
          .include_usage = parsed.include_usage,
          .max_backlog = options_.max_stream_backlog,
          .close_after = job.exchange->closes_after(),
          .pass = *std::move(job.pass),
          .ended = [&metrics = job.exchange->metrics(), route = job.exchange->route()](int status) {
            metrics.count_request(route, status);
          }};
}

Status CompletionRoutes::start_whole(Job& job, CompletionRequest parsed) {
  auto body = std::make_shared<ByteBudget::Lease>(std::move(job.body));
  const auto make = [id = job.exchange->request_id(), body](int status, std::string text,
                                                            const Error* error) {
    return make_response(id, status, std::move(text), error);
  };
  auto sink = std::make_shared<WholeSink>(context_of(job, parsed), *std::move(job.link), make,
                                          job.exchange->answer());
  GOGRID_RETURN_IF_ERROR(completions_.start(std::move(parsed.question), std::move(sink)));
  return {};
}

Status CompletionRoutes::start_stream(Job& job, CompletionRequest parsed) {
  if (job.exchange->request()->version() != drogon::Version::kHttp11) {
    return fail(ErrorCode::kInvalidArgument, "stream: streamed answers need HTTP/1.1", "stream");
  }
  auto sink = std::make_shared<StreamSink>(context_of(job, parsed), *std::move(job.link));
  GOGRID_RETURN_IF_ERROR(completions_.start(std::move(parsed.question), sink));
  // The framework's own idle timeout is off (ConnectionGuard), so nothing is left to disable.
  auto response = drogon::HttpResponse::newAsyncStreamResponse(
      [sink](drogon::ResponseStreamPtr stream) { sink->open(std::move(stream)); });
  response->setContentTypeString(kStreamType);
  response->addHeader("Cache-Control", "no-cache");
  response->addHeader("X-Request-Id", job.exchange->request_id());
  job.exchange->answer()(response);
  return {};
}

bool CompletionRoutes::drain(TimePoint deadline) {
  gate_.begin_close();
  turns_.close();
  constexpr auto kLook = std::chrono::milliseconds(5);
  while (gate_.inside() > 0 && SteadyClock().now() < deadline) std::this_thread::sleep_for(kLook);
  turnstile_.close();
  return gate_.inside() == 0;
}

}  // namespace gogrid
