// The way in for the OpenAI API, metrics and status, by Drogon.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/units.h"
#include "obs/metrics.h"
#include "service/completion_service.h"
#include "service/status_service.h"

namespace gogrid {

struct HttpOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any free
  std::uint32_t io_threads = 1;
  std::uint32_t worker_threads = 2;  // templates and tokenization
  Bytes max_body = 8 * kMiB;         // 413 above
  Bytes max_stream_backlog =
      256 * kKiB;  // unsent bytes of one stream before its reader counts as slow
  std::uint32_t max_connections = 12'000;
  Duration idle_timeout = std::chrono::seconds(60);  // a connection without a request
  Duration read_timeout = std::chrono::seconds(30);  // from the first byte of a request to its last
  Duration request_timeout = std::chrono::minutes(10);  // 504 after it
};

// What the routes call. All outlive the server.
struct HttpServices {
  Completions* completions = nullptr;
  StatusService* status = nullptr;
  EngineRegistry* engines = nullptr;
  Metrics* metrics = nullptr;
};

// One per process (Drogon has one application object).
class HttpServer {
 public:
  // Runs until stop(); `on_listening` is told the port in use. kInvalidArgument for an address that
  // is not loopback (until there are keys), kIo when it cannot listen.
  static Status run(const HttpOptions& options, const HttpServices& services,
                    const std::function<void(std::uint16_t port)>& on_listening);
  // Ends run() once open streams are done or `deadline` has passed. Safe from any thread.
  static void stop(TimePoint deadline);
};

}  // namespace gogrid
