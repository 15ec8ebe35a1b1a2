#include "http/http_server.h"

#include <drogon/drogon.h>
#include <sys/resource.h>
#include <trantor/utils/Logger.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "http/connection_guard.h"
#include "http/loopback.h"
#include "http/routes.h"
#include "obs/log.h"

namespace gogrid {
namespace {

// The framework's own limit only catches what ours lets through for a moment.
constexpr std::uint32_t kSpareConnections = 64;
// Files, sockets of stages and logs beside the connections.
constexpr std::uint64_t kOtherDescriptors = 256;
constexpr const char* kNowhere = "/dev/null";

// What stop() needs of the run() that is going on.
struct Running {
  std::shared_ptr<Routes> routes;
  std::shared_ptr<ConnectionGuard> guard;
};

Mutex g_mu;
std::shared_ptr<const Running> g_running GUARDED_BY(g_mu);
bool g_stop_wanted GUARDED_BY(g_mu) = false;

void route_framework_log() {
  trantor::Logger::setOutputFunction(
      [](const char* text, std::uint64_t length) {
        while (length > 0 && text[length - 1] == '\n') --length;
        const std::string_view line(text, length);
        // It complains that it cannot make its upload folders, which is what is wanted.
        if (line.contains(kNowhere)) return;
        // A socket that can be written to, told of when all was written by then: calls itself
        // fatal, and costs nothing.
        if (line.contains("no writing but write callback called"))
          return log::debug("http_framework", {{"text", line}});
        log::warning("http_framework", {{"text", line}});
      },
      [] {});
  trantor::Logger::setLogLevel(trantor::Logger::kWarn);
}

// The usual soft limit of 1024 descriptors is far below `max_connections`.
void raise_descriptor_limit(const HttpOptions& options) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = options.max_connections + kOtherDescriptors;
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    log::warning("few_descriptors",
                 {{"limit", std::uint64_t{limit.rlim_cur}}, {"wanted", std::uint64_t{wanted}}});
  }
}

void configure(const HttpOptions& options) {
  auto& app = drogon::app();
  app.setThreadNum(options.io_threads)
      .setClientMaxBodySize(options.max_body)
      .setClientMaxMemoryBodySize(options.max_body)  // never a temporary file
      .setUploadPath(kNowhere)                       // nor folders for them
      .setDocumentRoot(kNowhere)
      .setMaxConnectionNum(options.max_connections + kSpareConnections)
      .setIdleConnectionTimeout(0)  // ConnectionGuard
      .setPipeliningRequestsNumber(16)
      .enableServerHeader(false)
      .enableDateHeader(true)
      .enableGzip(false)
      .enableBrotli(false)
      .disableSigtermHandling();
  app.addListener(options.address, options.port);
}

GuardLimits limits_of(const HttpOptions& options) {
  return {.screen = {.max_head = options.max_head,
                     .max_body = options.max_body,
                     .loopback_only = is_loopback(options.address)},
          .max_connections = options.max_connections,
          .max_pending = options.max_buffered,
          .read_timeout = options.read_timeout,
          .idle_timeout = options.idle_timeout};
}

// A few looks in each timeout, at least ten and at most one a second.
double look_interval(const HttpOptions& options) {
  const Duration shortest = std::min(options.read_timeout, options.idle_timeout);
  return std::clamp(std::chrono::duration<double>(shortest).count() / 4, 0.1, 1.0);
}

void install(const std::shared_ptr<const Running>& running) {
  auto& app = drogon::app();
  app.setConnectionCallback([guard = running->guard](const trantor::TcpConnectionPtr& connection) {
    guard->connection_changed(connection);
  });
  app.registerPreRoutingAdvice([routes = running->routes](const drogon::HttpRequestPtr& request,
                                                          drogon::AdviceCallback&& answer,
                                                          drogon::AdviceChainCallback&&) {
    routes->handle(request, answer);
  });
  // It would leave out the body of a stream whose client wants the connection closed after it. The
  // stream's sink closes it instead.
  app.registerPreSendingAdvice(
      [](const drogon::HttpRequestPtr&, const drogon::HttpResponsePtr& response) {
        if (response->contentTypeString() == kStreamType) response->setCloseConnection(false);
      });
}

// A loop begins to listen by its own thread, in a task that is queued by now: a task behind it in
// every loop comes when all do.
void tell_once_all_listen(std::size_t loop, std::function<void()> tell) {
  auto& app = drogon::app();
  if (loop == app.getThreadNum()) return tell();
  app.getIOLoop(loop)->queueInLoop([loop, tell = std::move(tell)]() mutable {
    tell_once_all_listen(loop + 1, std::move(tell));
  });
}

void on_started(const HttpOptions& options, const std::shared_ptr<ConnectionGuard>& guard,
                const std::function<void(std::uint16_t port)>& on_listening) {
  auto& app = drogon::app();
  app.getLoop()->runEvery(look_interval(options), [guard] { guard->look(); });
  const auto listeners = app.getListeners();
  const std::uint16_t port = listeners.empty() ? options.port : listeners.front().toPort();
  // The framework posts the tasks that listen when this returns.
  app.getLoop()->queueInLoop(
      [on_listening, port] { tell_once_all_listen(0, [=] { on_listening(port); }); });
  MutexLock lock(g_mu);
  if (g_stop_wanted) app.quit();
}

Status run_framework(const HttpOptions& options) {
  try {
    drogon::app().run();
  } catch (const std::exception& error) {
    return fail(ErrorCode::kIo,
                "[http_server] cannot listen on " + options.address + ":" +
                    std::to_string(options.port) + ": " + error.what(),
                "listen");
  }
  return {};
}

}  // namespace

Status HttpServer::run(const HttpOptions& options, const HttpServices& services,
                       const std::function<void(std::uint16_t port)>& on_listening) {
  if (!is_loopback(options.address)) {
    return fail(
        ErrorCode::kInvalidArgument,
        "[http_server] only loopback addresses (127.0.0.1, ::1) are served until there are keys: " +
            options.address,
        "listen");
  }
  static const SteadyClock clock;  // connections may outlive this call
  route_framework_log();
  raise_descriptor_limit(options);
  configure(options);
  auto guard = std::make_shared<ConnectionGuard>(limits_of(options), clock);
  const auto running = std::make_shared<const Running>(
      Running{std::make_shared<Routes>(options, services, guard), guard});
  install(running);
  drogon::app().registerBeginningAdvice([&] { on_started(options, guard, on_listening); });
  {
    MutexLock lock(g_mu);
    g_running = running;
  }
  auto status = run_framework(options);
  {
    MutexLock lock(g_mu);
    g_running = nullptr;
  }
  running->routes->close();
  return status;
}

void HttpServer::refuse_newcomers() {
  std::shared_ptr<const Running> running;
  {
    MutexLock lock(g_mu);
    running = g_running;
  }
  if (running != nullptr) running->routes->refuse_newcomers();
}

void HttpServer::stop(TimePoint deadline) {
  std::shared_ptr<const Running> running;
  {
    MutexLock lock(g_mu);
    g_stop_wanted = true;
    running = g_running;
  }
  if (running == nullptr) return;  // run() will see that it is wanted
  if (!running->routes->drain(deadline)) {
    log::warning("http_streams_cut", {{"why", "the drain deadline passed"}});
  }
  constexpr auto kLook = std::chrono::milliseconds(5);
  while (!running->guard->close_when_sent(deadline) && SteadyClock().now() < deadline) {
    std::this_thread::sleep_for(kLook);
  }
  drogon::app().quit();
}

}  // namespace gogrid
