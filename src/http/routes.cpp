#include "http/routes.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/nearest.h"
#include "http/admin_request.h"
#include "http/compatibility_json.h"
#include "http/library_answers.h"
#include "http/resources_json.h"
#include "http/status_json.h"
#include "obs/log.h"
#include "resource/policy_json.h"

namespace gogrid {
namespace {

constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kLibraryPrefix = "/admin/v1/models/";
// Paths with a name in them, by what comes behind it.
constexpr std::string_view kLibraryPath = "/admin/v1/models/{name}";
constexpr std::string_view kCheckPath = "/admin/v1/models/{name}/compatibility";
constexpr std::string_view kFilePath = "/admin/v1/models/{name}/file";
constexpr std::size_t kAsideQueue = 64;

std::string metrics_text(const HttpServices& services) {
  for (const ModelStatus& model : services.engines->list()) {
    if (model.engine == nullptr) continue;
    const BatcherStatus status = model.engine->status();
    services.metrics->set_streams(model.name, status.running, status.waiting);
    const auto stages = model.engine->stages();
    const auto& planned = model.engine->plan().stages;
    for (std::size_t i = 0; i < std::min(stages.size(), planned.size()); ++i) {
      services.metrics->set_stage(model.name, stages[i].device, to_string(stages[i].layers),
                                  std::chrono::duration<double>(stages[i].busy).count(),
                                  static_cast<double>(planned[i].memory.total()),
                                  static_cast<double>(stages[i].memory.total()));
    }
  }
  if (services.resources != nullptr) services.resources->export_memory(*services.metrics);
  return services.metrics->expose();
}

// A page in somebody's browser can send a form to any address, but JSON only to one that allows it:
// so what changes something wants to be called JSON.
Status check_is_json(const drogon::HttpRequestPtr& request) {
  if (request->getHeader("content-type").starts_with(kJsonType)) return {};
  return fail(ErrorCode::kInvalidArgument,
              std::string("Content-Type: ") + kJsonType + " expected, got '" +
                  request->getHeader("content-type").substr(0, 60) + "'",
              "Content-Type");
}

// Until there are keys: the address, and the request's id in the log.
std::string asker(const Exchange& exchange) {
  return exchange.request()->peerAddr().toIpPort() + " request " + exchange.request_id();
}

// A name in a path, whose '+' the framework made a space as if it were of a form. No name of a
// model has spaces.
std::string model_name_in(std::string_view path) {
  std::string name(path);
  std::ranges::replace(name, ' ', '+');
  return name;
}

struct NamedPath {
  std::string_view route;  // one of the three
  std::string model;
};

// A path of a model of the library; empty for others, and without a name.
std::optional<NamedPath> named_path(std::string_view path) {
  if (!path.starts_with(kLibraryPrefix)) return std::nullopt;
  path.remove_prefix(kLibraryPrefix.size());
  NamedPath named{kLibraryPath, {}};
  for (const std::string_view route : {kCheckPath, kFilePath}) {
    const std::string_view end = route.substr(kLibraryPath.size());
    if (!path.ends_with(end)) continue;
    path.remove_suffix(end.size());
    named.route = route;
    break;
  }
  if (path.empty()) return std::nullopt;
  named.model = model_name_in(path);
  return named;
}

Result<CheckOptions> check_question(const drogon::HttpRequestPtr& request) {
  const auto& parameters = request->getParameters();
  const std::vector<std::pair<std::string, std::string>> words(parameters.begin(),
                                                               parameters.end());
  return parse_check_question(words);
}

Result<PauseQuestion> pause_question(const drogon::HttpRequestPtr& request) {
  GOGRID_RETURN_IF_ERROR(check_is_json(request));
  return parse_pause_request(request->body());
}

}  // namespace

struct Routes::Route {
  std::string_view path;  // the last one's is a prefix; "{name}" is any
  drogon::HttpMethod method;
  void (Routes::*serve)(const std::shared_ptr<Exchange>&);
};

namespace {

// As the header Allow lists them.
std::string methods_of(const auto& table, std::string_view path) {
  static const std::map<drogon::HttpMethod, std::string_view> kNames{{drogon::Get, "GET, HEAD"},
                                                                     {drogon::Post, "POST"},
                                                                     {drogon::Patch, "PATCH"},
                                                                     {drogon::Delete, "DELETE"}};
  std::string text;
  for (const auto& route : table) {
    if (route.path != path) continue;
    text += text.empty() ? "" : ", ";
    text += kNames.at(route.method);
  }
  return text;
}

}  // namespace

Routes::Routes(const HttpOptions& options, const HttpServices& services,
               std::shared_ptr<ConnectionGuard> guard)
    : services_(services),
      guard_(std::move(guard)),
      completions_(options, services),
      files_(std::make_shared<FileReaders>(
          options.max_files, [governor = services.governor] { return governor->runs(); })),
      aside_(1, kAsideQueue) {}

void Routes::handle(const drogon::HttpRequestPtr& request, const AnswerCallback& answer) {
  const auto pass = gate_.enter();
  // The process is about to end, and the services with it.
  if (!pass) return answer(make_response({}, 503, {}));
  try {
    dispatch(request, answer);
  } catch (const std::exception& error) {
    log::error("http_handler_threw", {{"what", std::string_view(error.what())}});
    const Exchange failed(request, answer, "other", *services_.metrics);
    failed.refuse({ErrorCode::kInternal, "internal error", {}, {}});
  }
}

void Routes::dispatch(const drogon::HttpRequestPtr& request, const AnswerCallback& answer) {
  static constexpr std::array<Route, 17> kTable{
      {{"/v1/chat/completions", drogon::Post, &Routes::chat},
       {"/v1/completions", drogon::Post, &Routes::text},
       {"/v1/models", drogon::Get, &Routes::models},
       {"/metrics", drogon::Get, &Routes::metrics},
       {"/healthz", drogon::Get, &Routes::health},
       {"/readyz", drogon::Get, &Routes::ready},
       {"/admin/v1/status", drogon::Get, &Routes::status},
       {"/admin/v1/pause", drogon::Post, &Routes::pause},
       {"/admin/v1/resume", drogon::Post, &Routes::resume},
       {"/admin/v1/resources", drogon::Get, &Routes::resources},
       {"/admin/v1/policy", drogon::Get, &Routes::policy},
       {"/admin/v1/policy", drogon::Patch, &Routes::change_policy},
       {"/admin/v1/policy", drogon::Delete, &Routes::reset_policy},
       {kLibraryPath, drogon::Get, &Routes::library_model},
       {kCheckPath, drogon::Get, &Routes::compatibility},
       {kFilePath, drogon::Get, &Routes::library_bytes},
       {kModelPrefix, drogon::Get, &Routes::model}}};
  const std::string& path = request->path();
  auto found = std::ranges::find(kTable, path, &Route::path);
  if (found == kTable.end() && path.starts_with(kModelPrefix)) found = kTable.end() - 1;
  if (const auto named = named_path(path))
    found = std::ranges::find(kTable, named->route, &Route::path);
  if (found == kTable.end()) {
    std::vector<std::string> paths;
    for (const Route& route : kTable) paths.emplace_back(route.path);
    const std::string shown = path.substr(0, 200);
    const Exchange unknown(request, answer, "other", *services_.metrics);
    return unknown.refuse(
        {ErrorCode::kNotFound, "no route " + shown + suggestion(shown, paths), {}, {}});
  }
  const auto exchange =
      std::make_shared<Exchange>(request, answer, found->path, *services_.metrics);
  const auto serves = std::ranges::find_if(kTable, [&](const Route& route) {
    return route.path == found->path && route.method == request->method();
  });
  if (serves == kTable.end()) return exchange->refuse_method(methods_of(kTable, found->path));
  (this->*serves->serve)(exchange);
}

void Routes::complete(CompletionKind kind, const std::shared_ptr<Exchange>& exchange) {
  if (auto client = guard_->find(exchange->request())) {
    return completions_.handle(kind, exchange, std::move(client));
  }
  exchange->refuse({ErrorCode::kCancelled, "the client has left", {}, {}});
}

void Routes::chat(const std::shared_ptr<Exchange>& exchange) {
  complete(CompletionKind::kChat, exchange);
}

void Routes::text(const std::shared_ptr<Exchange>& exchange) {
  complete(CompletionKind::kText, exchange);
}

void Routes::models(const std::shared_ptr<Exchange>& exchange) {
  exchange->reply(models_json(services_.engines->list()));
}

void Routes::model(const std::shared_ptr<Exchange>& exchange) {
  const std::string name = model_name_in(exchange->request()->path().substr(kModelPrefix.size()));
  std::vector<std::string> names;
  for (const ModelStatus& model : services_.engines->list()) {
    if (model.name == name || std::ranges::contains(model.aliases, name))
      return exchange->reply(model_json(model, name));
    names.push_back(model.name);
    names.insert(names.end(), model.aliases.begin(), model.aliases.end());
  }
  exchange->refuse({ErrorCode::kNotFound,
                    "no model " + name.substr(0, 200) + suggestion(name, names),
                    "model",
                    {}});
}

void Routes::metrics(const std::shared_ptr<Exchange>& exchange) {
  exchange->reply(metrics_text(services_), kMetricsType);
}

void Routes::health(const std::shared_ptr<Exchange>& exchange) {
  exchange->reply(R"({"status":"alive"})");
}

void Routes::ready(const std::shared_ptr<Exchange>& exchange) {
  if (services_.status->ready()) return exchange->reply(R"({"status":"ready"})");
  exchange->refuse(
      {ErrorCode::kUnavailable, "not every model is ready: see /admin/v1/status", {}, {}});
}

void Routes::pause(const std::shared_ptr<Exchange>& exchange) {
  const auto question = pause_question(exchange->request());
  if (!question) return exchange->refuse(question.error());
  const auto until = question->seconds
                         ? std::optional<TimePoint>(SteadyClock().now() + *question->seconds)
                         : std::nullopt;
  services_.governor->pause(PauseReason::kOperator, question->why, until);
  status(exchange);
}

void Routes::resume(const std::shared_ptr<Exchange>& exchange) {
  if (auto json = check_is_json(exchange->request()); !json) return exchange->refuse(json.error());
  services_.governor->resume(PauseReason::kOperator);
  status(exchange);
}

void Routes::policy(const std::shared_ptr<Exchange>& exchange) {
  exchange->reply(policy_json(settings_of(*services_.policies->current())));
}

void Routes::change_policy(const std::shared_ptr<Exchange>& exchange) {
  if (auto json = check_is_json(exchange->request()); !json) return exchange->refuse(json.error());
  change(exchange, [this, exchange]() -> Result<PolicyStore::Snapshot> {
    GOGRID_ASSIGN_OR_RETURN(const auto settings, parse_policy_json(exchange->request()->body()));
    return services_.policies->change(settings, asker(*exchange));
  });
}

void Routes::reset_policy(const std::shared_ptr<Exchange>& exchange) {
  change(exchange, [this, exchange] { return services_.policies->reset(asker(*exchange)); });
}

// Whoever reads the answer knows that the change is on the disk.
void Routes::change(const std::shared_ptr<Exchange>& exchange, const PolicyChange& change) {
  aside(exchange, [exchange, change] {
    const auto changed = change();
    if (!changed) return exchange->refuse(changed.error());
    exchange->reply(policy_json(settings_of(**changed)));
  });
}

void Routes::resources(const std::shared_ptr<Exchange>& exchange) {
  aside(exchange,
        [this, exchange] { exchange->reply(resources_json(services_.resources->report())); });
}

void Routes::compatibility(const std::shared_ptr<Exchange>& exchange) {
  aside(exchange, [this, exchange] {
    const auto options = check_question(exchange->request());
    if (!options) return exchange->refuse(options.error());
    const NamedPath named = *named_path(exchange->request()->path());
    const auto report = services_.compatibility->check(named.model, *options);
    if (!report) return exchange->refuse(report.error());
    exchange->reply(compatibility_json(*report));
  });
}

void Routes::library_model(const std::shared_ptr<Exchange>& exchange) {
  aside(exchange, [this, exchange] {
    const auto entry = services_.library->find(named_path(exchange->request()->path())->model);
    if (!entry) return exchange->refuse(entry.error());
    exchange->reply(library_entry_json(*entry));
  });
}

void Routes::library_bytes(const std::shared_ptr<Exchange>& exchange) {
  aside(exchange, [this, exchange] {
    // Gigabytes from the disk are felt at the desk as well.
    if (const GovernorState state = services_.governor->state(); state.paused)
      return exchange->refuse({ErrorCode::kUnavailable, "paused (" + state.why + ")", {}, {}});
    const auto entry = services_.library->find(named_path(exchange->request()->path())->model);
    if (!entry) return exchange->refuse(entry.error());
    auto client = guard_->find(exchange->request());
    if (!client) return exchange->refuse({ErrorCode::kCancelled, "the client has left", {}, {}});
    send_library_file(*entry, *exchange, ClientLink(std::move(client)), files_);
  });
}

// Not on the connections' thread; `work` answers.
void Routes::aside(const std::shared_ptr<Exchange>& exchange, std::function<void()> work) {
  const auto pass = std::make_shared<std::optional<Gate::Pass>>(gate_.enter());
  const auto guarded = [exchange, work = std::move(work), pass] {
    try {
      work();
    } catch (const std::exception& error) {
      log::error("http_handler_threw", {{"what", std::string_view(error.what())}});
      exchange->refuse({ErrorCode::kInternal, "internal error", {}, {}});
    }
  };
  if (*pass && aside_.try_post(guarded)) return;
  exchange->refuse({ErrorCode::kExhausted, "too many such requests are waiting", {}, {}});
}

void Routes::status(const std::shared_ptr<Exchange>& exchange) {
  exchange->reply(status_json(services_.status->report()));
}

}  // namespace gogrid
