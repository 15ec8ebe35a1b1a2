#include "http/routes.h"

#include <drogon/drogon.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <memory>
#include <thread>
#include <utility>

#include "base/ids.h"
#include "base/nearest.h"
#include "http/client_link.h"
#include "http/completion_response.h"
#include "http/completion_sinks.h"
#include "http/status_json.h"
#include "obs/log.h"

namespace gogrid {
namespace {

constexpr std::size_t kWorkerQueue = 1024;
constexpr const char* kRequestId = "request_id";  // attribute
constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

struct Route {
  const char* path;
  drogon::HttpMethod method;
};
constexpr std::array<Route, 7> kRoutes{{{"/v1/chat/completions", drogon::Post},
                                        {"/v1/completions", drogon::Post},
                                        {"/v1/models", drogon::Get},
                                        {"/metrics", drogon::Get},
                                        {"/healthz", drogon::Get},
                                        {"/readyz", drogon::Get},
                                        {"/admin/v1/status", drogon::Get}}};

const std::string& request_id(const drogon::HttpRequestPtr& request) {
  const auto& attributes = request->attributes();
  if (!attributes->find(kRequestId)) {
    auto accepted = accept_request_id(request->getHeader("x-request-id"));
    attributes->insert(kRequestId, accepted ? *std::move(accepted) : make_request_id());
  }
  return attributes->get<std::string>(kRequestId);
}

const char* route_of(CompletionKind kind) {
  return kind == CompletionKind::kChat ? "/v1/chat/completions" : "/v1/completions";
}

AnswerHead head_of(CompletionKind kind, const CompletionQuestion& question) {
  const char* prefix = kind == CompletionKind::kChat ? "chatcmpl-" : "cmpl-";
  return {kind, prefix + random_hex(12), question.model, std::time(nullptr)};
}

}  // namespace

Routes::Routes(const HttpOptions& options, const HttpServices& services)
    : options_(options), services_(services), workers_(options.worker_threads, kWorkerQueue) {}

drogon::HttpResponsePtr Routes::respond(const drogon::HttpRequestPtr& request, int status,
                                        std::string body, const Error* error,
                                        const char* type) const {
  auto response = drogon::HttpResponse::newHttpResponse();
  response->setStatusCode(static_cast<drogon::HttpStatusCode>(status));
  response->setContentTypeString(type);
  response->setBody(std::move(body));
  if (request != nullptr) response->addHeader("X-Request-Id", request_id(request));
  if (error != nullptr && traits(error->code).retry != Retry::kNever) {
    const auto wait = error->retry_after.value_or(std::chrono::seconds(1));
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
    response->addHeader("Retry-After", std::to_string(std::max<std::int64_t>(1, seconds)));
  }
  return response;
}

drogon::HttpResponsePtr Routes::respond(const drogon::HttpRequestPtr& request,
                                        const Error& error) const {
  return respond(request, traits(error.code).http_status, error_body(error), &error);
}

void Routes::complete(CompletionKind kind, const drogon::HttpRequestPtr& request,
                      AnswerCallback answer) {
  const auto refuse = [&](const Error& error) {
    services_.metrics->count_request(route_of(kind), traits(error.code).http_status);
    answer(respond(request, error));
  };
  auto pass = gate_.enter();
  if (!pass)
    return refuse(
        {ErrorCode::kUnavailable, "the server is draining: it takes no new requests", {}, {}});
  auto shared_pass = std::make_shared<Gate::Pass>(*std::move(pass));
  const bool posted = workers_.try_post([this, kind, request, shared_pass, answer] {
    auto parsed = parse_completion_request(kind, request->body());
    if (!parsed) {
      services_.metrics->count_request(route_of(kind), traits(parsed.error().code).http_status);
      return answer(respond(request, parsed.error()));
    }
    start(kind, request, *std::move(parsed), std::move(*shared_pass), answer);
  });
  if (!posted) {
    services_.metrics->count_throttled("worker_queue");
    refuse({ErrorCode::kExhausted, "too many requests are being prepared", {}, {}});
  }
}

void Routes::start(CompletionKind kind, const drogon::HttpRequestPtr& request,
                   CompletionRequest parsed, Gate::Pass pass, const AnswerCallback& answer) {
  CompletionQuestion& question = parsed.question;
  question.request_id = request_id(request);
  question.timeout = options_.request_timeout;
  Metrics* metrics = services_.metrics;
  SinkContext context{
      .head = head_of(kind, question),
      .logprobs = question.sampling.top_logprobs >= 0,
      .include_usage = parsed.include_usage,
      .max_backlog = options_.max_stream_backlog,
      .pass = std::move(pass),
      .ended = [metrics, kind](int status) { metrics->count_request(route_of(kind), status); }};
  if (parsed.stream) return start_stream(request, std::move(parsed), std::move(context), answer);
  const auto make = [this, request](int status, std::string body, const Error* error) {
    return respond(request, status, std::move(body), error);
  };
  auto sink = std::make_shared<WholeSink>(std::move(context), ClientLink(request), make, answer,
                                          SteadyClock().now(), options_.idle_timeout);
  if (auto started = services_.completions->start(std::move(question), sink); !started) {
    metrics->count_request(route_of(kind), traits(started.error().code).http_status);
    answer(respond(request, started.error()));
  }
}

void Routes::start_stream(const drogon::HttpRequestPtr& request, CompletionRequest parsed,
                          SinkContext context, const AnswerCallback& answer) {
  const CompletionKind kind = context.head.kind;
  auto sink = std::make_shared<StreamSink>(std::move(context), ClientLink(request));
  if (auto started = services_.completions->start(std::move(parsed.question), sink); !started) {
    services_.metrics->count_request(route_of(kind), traits(started.error().code).http_status);
    return answer(respond(request, started.error()));
  }
  auto response = drogon::HttpResponse::newAsyncStreamResponse(
      [sink](drogon::ResponseStreamPtr stream) { sink->open(std::move(stream)); }, true);
  response->setContentTypeString("text/event-stream; charset=utf-8");
  response->addHeader("Cache-Control", "no-cache");
  response->addHeader("X-Request-Id", request_id(request));
  answer(response);
}

std::string Routes::metrics_text() const {
  for (const ModelStatus& model : services_.engines->list()) {
    if (model.engine == nullptr) continue;
    const BatcherStatus status = model.engine->status();
    services_.metrics->set_streams(model.name, status.running, status.waiting);
    const auto stages = model.engine->stages();
    const auto& planned = model.engine->plan().stages;
    for (std::size_t i = 0; i < std::min(stages.size(), planned.size()); ++i) {
      services_.metrics->set_stage(model.name, stages[i].device, to_string(stages[i].layers),
                                   std::chrono::duration<double>(stages[i].busy).count(),
                                   static_cast<double>(planned[i].memory.total()),
                                   static_cast<double>(stages[i].memory.total()));
    }
  }
  return services_.metrics->expose();
}

drogon::HttpResponsePtr Routes::no_such_route(const drogon::HttpRequestPtr& request) const {
  std::vector<std::string> paths;
  for (const Route& route : kRoutes) paths.emplace_back(route.path);
  const std::string path = request->path().substr(0, 200);
  const bool known = std::ranges::find(paths, path) != paths.end();
  Error error{ErrorCode::kNotFound, "no route " + path + suggestion(path, paths), {}, {}};
  if (!known) return respond(request, error);
  error = {
      ErrorCode::kInvalidArgument, path + " does not answer " + request->methodString(), {}, {}};
  return respond(request, 405, error_body(error));
}

void Routes::install() {
  auto& app = drogon::app();
  using Request = drogon::HttpRequestPtr;
  using Callback = std::function<void(const drogon::HttpResponsePtr&)>;
  const auto post = [&](const char* path, CompletionKind kind) {
    app.registerHandler(path,
                        [this, kind](const Request& request, Callback&& answer) {
                          complete(kind, request, std::move(answer));
                        },
                        {drogon::Post});
  };
  const auto get = [&](const char* path,
                       std::function<drogon::HttpResponsePtr(const Request&)> make) {
    app.registerHandler(path,
                        [make = std::move(make)](const Request& request, Callback&& answer) {
                          answer(make(request));
                        },
                        {drogon::Get});
  };
  post("/v1/chat/completions", CompletionKind::kChat);
  post("/v1/completions", CompletionKind::kText);
  get("/v1/models", [this](const Request& request) {
    return respond(request, 200, models_json(services_.engines->list()));
  });
  app.registerHandler(
      "/v1/models/{1}",
      [this](const Request& request, Callback&& answer, const std::string& name) {
        for (const ModelStatus& model : services_.engines->list()) {
          if (model.name == name) return answer(respond(request, 200, model_json(model)));
        }
        auto missing = services_.engines->find(name);
        answer(respond(
            request, missing ? Error{ErrorCode::kNotFound, "no model", {}, {}} : missing.error()));
      },
      {drogon::Get});
  get("/metrics", [this](const Request& request) {
    return respond(request, 200, metrics_text(), nullptr, kMetricsType);
  });
  get("/healthz",
      [this](const Request& request) { return respond(request, 200, R"({"status":"alive"})"); });
  get("/readyz", [this](const Request& request) {
    if (services_.status->ready()) return respond(request, 200, R"({"status":"ready"})");
    return respond(
        request,
        Error{ErrorCode::kUnavailable, "not every model is ready: see /admin/v1/status", {}, {}});
  });
  get("/admin/v1/status", [this](const Request& request) {
    return respond(request, 200, status_json(services_.status->report()));
  });
  app.setDefaultHandler(
      [this](const Request& request, Callback&& answer) { answer(no_such_route(request)); });
  app.setCustomErrorHandler([this](drogon::HttpStatusCode code, const Request& request) {
    const int status = static_cast<int>(code);
    if (status == 404 || status == 405) return no_such_route(request);
    const ErrorCode kind = status == 413  ? ErrorCode::kTooLarge
                           : status < 500 ? ErrorCode::kInvalidArgument
                                          : ErrorCode::kInternal;
    return respond(request, status, error_body({kind, "HTTP " + std::to_string(status), {}, {}}));
  });
  app.setExceptionHandler(
      [this](const std::exception& error, const Request& request, Callback&& answer) {
        log::error("http_handler_threw", {{"what", std::string_view(error.what())}},
                   request_id(request));
        answer(respond(request, Error{ErrorCode::kInternal, "internal error", {}, {}}));
      });
}

bool Routes::drain(TimePoint deadline) {
  gate_.begin_close();
  constexpr auto kLook = std::chrono::milliseconds(10);
  while (gate_.inside() > 0 && SteadyClock().now() < deadline) std::this_thread::sleep_for(kLook);
  return gate_.inside() == 0;
}

}  // namespace gogrid
