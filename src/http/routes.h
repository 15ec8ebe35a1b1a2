// What each path answers. For .cpp files of http/ only.
#pragma once

#include <drogon/HttpRequest.h>
#include <drogon/HttpResponse.h>

#include <functional>
#include <string>

#include "base/gate.h"
#include "http/completion_request.h"
#include "http/http_server.h"
#include "http/worker_pool.h"

namespace gogrid {

using AnswerCallback = std::function<void(const drogon::HttpResponsePtr&)>;

// Lives as long as the server runs. Handlers are called on connection threads and never block them.
class Routes {
 public:
  Routes(const HttpOptions& options, const HttpServices& services);

  // Registers everything with Drogon's application.
  void install();
  // Refuses new completions, then waits for the running ones, until `deadline`. True when none is
  // left.
  bool drain(TimePoint deadline);

  // An answer with the request's id (taken or made), its type and, after an error, Retry-After.
  drogon::HttpResponsePtr respond(const drogon::HttpRequestPtr& request, int status,
                                  std::string body, const Error* error = nullptr,
                                  const char* type = "application/json") const;
  drogon::HttpResponsePtr respond(const drogon::HttpRequestPtr& request, const Error& error) const;

 private:
  void complete(CompletionKind kind, const drogon::HttpRequestPtr& request, AnswerCallback answer);
  void start(CompletionKind kind, const drogon::HttpRequestPtr& request, CompletionRequest parsed,
             Gate::Pass pass, const AnswerCallback& answer);
  void start_stream(const drogon::HttpRequestPtr& request, CompletionRequest parsed,
                    struct SinkContext context, const AnswerCallback& answer);
  std::string metrics_text() const;
  drogon::HttpResponsePtr no_such_route(const drogon::HttpRequestPtr& request) const;

  const HttpOptions options_;
  const HttpServices services_;
  Gate gate_;
  WorkerPool workers_;
};

}  // namespace gogrid
