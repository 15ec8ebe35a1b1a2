// What each path answers. For .cpp files of http/ only.
#pragma once

#include <drogon/HttpRequest.h>

#include <functional>
#include <memory>
#include <string>

#include "base/gate.h"
#include "http/completion_routes.h"
#include "http/connection_guard.h"
#include "http/exchange.h"
#include "http/file_stream.h"
#include "http/http_server.h"
#include "http/worker_pool.h"

namespace gogrid {

// Every request of the server comes here; the framework's own routes (files of the working folder
// among them) are never reached. Thread-safe; called on connection threads, does not block them.
class Routes {
 public:
  Routes(const HttpOptions& options, const HttpServices& services,
         std::shared_ptr<ConnectionGuard> guard);

  // Answers exactly once, now or later.
  void handle(const drogon::HttpRequestPtr& request, const AnswerCallback& answer);

  // See CompletionRoutes.
  void refuse_newcomers() { completions_.refuse_newcomers(); }
  bool drain(TimePoint deadline) { return completions_.drain(deadline); }
  // After it the services may end: whatever is asked from now on is refused.
  void close() {
    gate_.close();
    completions_.close();
    files_->stop();
  }

 private:
  struct Route;

  void dispatch(const drogon::HttpRequestPtr& request, const AnswerCallback& answer);
  void complete(CompletionKind kind, const std::shared_ptr<Exchange>& exchange);
  void chat(const std::shared_ptr<Exchange>& exchange);
  void text(const std::shared_ptr<Exchange>& exchange);
  void models(const std::shared_ptr<Exchange>& exchange);
  void model(const std::shared_ptr<Exchange>& exchange);
  void metrics(const std::shared_ptr<Exchange>& exchange);
  void health(const std::shared_ptr<Exchange>& exchange);
  void ready(const std::shared_ptr<Exchange>& exchange);
  void status(const std::shared_ptr<Exchange>& exchange);
  void pause(const std::shared_ptr<Exchange>& exchange);
  void resume(const std::shared_ptr<Exchange>& exchange);
  using PolicyChange = std::function<Result<PolicyStore::Snapshot>()>;
  void policy(const std::shared_ptr<Exchange>& exchange);
  void change_policy(const std::shared_ptr<Exchange>& exchange);
  void reset_policy(const std::shared_ptr<Exchange>& exchange);
  void change(const std::shared_ptr<Exchange>& exchange, const PolicyChange& change);
  void resources(const std::shared_ptr<Exchange>& exchange);
  void compatibility(const std::shared_ptr<Exchange>& exchange);
  void library_model(const std::shared_ptr<Exchange>& exchange);
  void library_bytes(const std::shared_ptr<Exchange>& exchange);
  void aside(const std::shared_ptr<Exchange>& exchange, std::function<void()> work);

  const HttpServices services_;
  const std::shared_ptr<ConnectionGuard> guard_;
  Gate gate_;
  CompletionRoutes completions_;
  const std::shared_ptr<FileReaders> files_;
  WorkerPool aside_;  // last: what reads or writes files, one after the other
};

}  // namespace gogrid
