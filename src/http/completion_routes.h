// /v1/chat/completions and /v1/completions. For .cpp files of http/ only.
#pragma once

#include <memory>

#include "base/gate.h"
#include "http/byte_budget.h"
#include "http/client_link.h"
#include "http/completion_request.h"
#include "http/completion_sinks.h"
#include "http/exchange.h"
#include "http/http_server.h"
#include "http/turnstile.h"
#include "http/worker_pool.h"

namespace gogrid {

// Thread-safe. Parsing, templates and tokenization run on worker threads: milliseconds for most
// bodies, seconds for the largest, which have a thread of their own so that no other waits for
// them.
class CompletionRoutes {
 public:
  CompletionRoutes(const HttpOptions& options, const HttpServices& services);

  // On the connection's thread; does not block it.
  void handle(CompletionKind kind, std::shared_ptr<Exchange> exchange,
              std::shared_ptr<ClientConnection> client);

  // Refuses newcomers, then waits for the running ones, until `deadline`. True when none is left.
  bool drain(TimePoint deadline);

 private:
  struct Job;

  void admit(const std::shared_ptr<Job>& job);
  void await_turn(const std::shared_ptr<Job>& job, RateGate::Wait turn);
  void prepare(const std::shared_ptr<Job>& job);
  void run(Job& job);
  Status prepare_and_start(Job& job);
  SinkContext context_of(Job& job, const CompletionRequest& parsed);
  Status start_whole(Job& job, CompletionRequest parsed);
  Status start_stream(Job& job, CompletionRequest parsed);

  const HttpOptions options_;
  Completions& completions_;
  const PolicyStore& policies_;
  RateGate& turns_;
  Gate gate_;
  ByteBudget bodies_;
  WorkerPool large_bodies_;  // these three last: their threads end first
  WorkerPool workers_;
  Turnstile turnstile_;
};

}  // namespace gogrid
