// The way in for the OpenAI API, metrics and status, by Drogon.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/units.h"
#include "model/model_library.h"
#include "obs/metrics.h"
#include "resource/policy_store.h"
#include "resource/rate_gate.h"
#include "service/compatibility_service.h"
#include "service/completion_service.h"
#include "service/resource_service.h"
#include "service/status_service.h"

namespace gogrid {

struct HttpOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any free
  std::uint32_t io_threads = 1;
  std::uint32_t worker_threads = 2;    // parsing, templates and tokenization
  std::size_t large_body = 32 * kKiB;  // from here on one after the other, on a thread of its own
  std::size_t large_queue = 256;       // of those: 503 above
  std::size_t max_head = 32 * kKiB;    // request line and headers: 431 above
  std::size_t max_body = 8 * kMiB;     // 413 above
  // Bodies that arrive or are being answered, of all connections together: 503 above.
  std::size_t max_buffered = 256 * kMiB;
  // Unsent bytes of one stream before its reader counts as slow, and its sequences are held.
  std::size_t max_stream_backlog = 256 * kKiB;
  std::uint32_t max_connections = 12'000;               // 503 above
  std::uint32_t max_files = 32;                         // of the library, sent at once: 503 above
  Duration idle_timeout = std::chrono::seconds(60);     // nothing asked, nothing moves: closed
  Duration read_timeout = std::chrono::seconds(30);     // first to last byte of a request: 408
  Duration request_timeout = std::chrono::minutes(10);  // 504 after it; X-GoGrid-Timeout: shorter
};

// What the routes call. All outlive the server.
struct HttpServices {
  Completions* completions = nullptr;
  StatusService* status = nullptr;
  EngineRegistry* engines = nullptr;
  Governor* governor = nullptr;
  PolicyStore* policies = nullptr;
  RateGate* gate = nullptr;  // of min_request_interval_ms
  const ResourceService* resources = nullptr;
  const CompatibilityService* compatibility = nullptr;
  const ModelLibrary* library = nullptr;  // whose models others may fetch
  Metrics* metrics = nullptr;
};

// One per process, once (Drogon has one application object).
class HttpServer {
 public:
  // Runs until stop(), which may have come before; `on_listening` is told the port in use.
  // kInvalidArgument for an address that is not loopback (until there are keys), kIo when it cannot
  // listen.
  static Status run(const HttpOptions& options, const HttpServices& services,
                    const std::function<void(std::uint16_t port)>& on_listening);
  // Refuses completions from now on, those that wait for their turn too; what runs goes on. Before
  // run() it does nothing. Safe from any thread.
  static void refuse_newcomers();
  // The same, and ends run() once open streams are done or `deadline` has passed. Safe from any
  // thread.
  static void stop(TimePoint deadline);
};

}  // namespace gogrid
