// /v1/chat/completions and /v1/completions. For .cpp files of http/ only.
#pragma once

#include <functional>
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

// A request for a model that is not loaded waits for it, on no thread. All that can be found wrong
// with a request is, before it asks for its turn (min_request_interval_ms): it is refused at once,
// and takes none.
//
// Thread-safe. Parsing, templates and tokenization run on worker threads: milliseconds for most
// bodies, seconds for the largest, which have a thread of their own so that no other waits for
// them.
class CompletionRoutes {
 public:
  CompletionRoutes(const HttpOptions& options, const HttpServices& services);

  // On the connection's thread; does not block it.
  void handle(CompletionKind kind, std::shared_ptr<Exchange> exchange,
              std::shared_ptr<ClientConnection> client);

  // Refuses newcomers and who waits for a turn. May be called again.
  void refuse_newcomers();
  // The same, then waits for the running ones, until `deadline`. True when none is left.
  bool drain(TimePoint deadline);
  // Refuses whatever comes; after it the services may end.
  void close();

 private:
  struct Job;

  // Runs a step of the job on a worker thread.
  void post(const std::shared_ptr<Job>& job,
            Status (CompletionRoutes::*step)(const std::shared_ptr<Job>&));
  void tell(Job& job, const std::string& why) const;
  // Refuses the job when `step` does or throws.
  static void guarded(Job& job, const std::function<Status()>& step);
  static void refuse(Job& job, const Error& error);
  Status read(const std::shared_ptr<Job>& job);
  ModelCalls calls_of(const std::shared_ptr<Job>& job);
  Status prepare(const std::shared_ptr<Job>& job);
  void ask_for_turn(const std::shared_ptr<Job>& job);
  Status start(Job& job);
  SinkContext context_of(Job& job) const;
  Status start_whole(Job& job);
  std::shared_ptr<StreamSink> make_stream(Job& job) const;
  static void open_stream(Job& job, const std::shared_ptr<StreamSink>& sink);

  const HttpOptions options_;
  Completions& completions_;
  Gate gate_;
  ByteBudget bodies_;
  const std::shared_ptr<Turnstile> turnstile_;  // shared with a listener, which may outlive it
  WorkerPool large_bodies_;                     // these two last: their threads end first
  WorkerPool workers_;
};

}  // namespace gogrid
