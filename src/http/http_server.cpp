#include "http/http_server.h"

#include <arpa/inet.h>
#include <drogon/drogon.h>
#include <trantor/utils/Logger.h>

#include <atomic>
#include <memory>

#include "http/connection_guard.h"
#include "http/routes.h"
#include "obs/log.h"

namespace gogrid {
namespace {

std::atomic<Routes*> g_routes{nullptr};

bool is_loopback(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return address == "::1";
}

void route_framework_log() {
  trantor::Logger::setOutputFunction(
      [](const char* text, std::uint64_t length) {
        while (length > 0 && text[length - 1] == '\n') --length;
        log::warning("http_framework", {{"text", std::string_view(text, length)}});
      },
      [] {});
  trantor::Logger::setLogLevel(trantor::Logger::kWarn);
}

void configure(const HttpOptions& options) {
  auto& app = drogon::app();
  app.setThreadNum(options.io_threads)
      .setClientMaxBodySize(options.max_body)
      .setClientMaxMemoryBodySize(options.max_body)  // never a temporary file
      .setMaxConnectionNum(options.max_connections)
      .setIdleConnectionTimeout(static_cast<std::size_t>(
          std::chrono::duration_cast<std::chrono::seconds>(options.idle_timeout).count()))
      .setPipeliningRequestsNumber(16)
      .enableServerHeader(false)
      .enableDateHeader(true)
      .enableGzip(false)
      .enableBrotli(false)
      .disableSigtermHandling();
  app.addListener(options.address, options.port);
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
  route_framework_log();
  Routes routes(options, services);
  ConnectionGuard guard(options.read_timeout);
  const SteadyClock clock;
  configure(options);
  routes.install();
  auto& app = drogon::app();
  app.setConnectionCallback(
      [&](const trantor::TcpConnectionPtr& c) { guard.connection_changed(c); });
  app.registerPreRoutingAdvice(
      [&](const drogon::HttpRequestPtr& request) { guard.request_complete(request); });
  app.registerBeginningAdvice([&] {
    app.getLoop()->runEvery(1.0, [&] { guard.look(clock.now()); });
    const auto listeners = app.getListeners();
    on_listening(listeners.empty() ? options.port : listeners.front().toPort());
  });
  g_routes = &routes;
  try {
    app.run();
  } catch (const std::exception& error) {
    g_routes = nullptr;
    return fail(ErrorCode::kIo,
                "[http_server] cannot listen on " + options.address + ":" +
                    std::to_string(options.port) + ": " + error.what(),
                "listen");
  }
  g_routes = nullptr;
  return {};
}

void HttpServer::stop(TimePoint deadline) {
  if (Routes* routes = g_routes; routes != nullptr && !routes->drain(deadline)) {
    log::warning("http_streams_cut", {{"why", "the drain deadline passed"}});
  }
  drogon::app().quit();
}

}  // namespace gogrid
