#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "app/commands.h"
#include "app/config.h"
#include "app/prepare.h"
#include "app/terminal.h"
#include "http/http_server.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "stage/llama_stage.h"

namespace gogrid {
namespace {

constexpr const char* kDefaultListen = "127.0.0.1:8080";
constexpr Duration kDrainLimit = std::chrono::seconds(30);
constexpr auto kLook = std::chrono::milliseconds(5);

// SIGTERM and SIGINT are taken by one thread, with all others blocking them from before they start.
class StopSignals {
 public:
  StopSignals() {
    std::signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set_);
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&set_, signal);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  // The signal's number.
  int wait() const {
    int signal = 0;
    sigwait(&set_, &signal);
    return signal;
  }
  // Ends a wait() of `thread`.
  static void wake(std::jthread& thread) { pthread_kill(thread.native_handle(), SIGUSR1); }

 private:
  sigset_t set_{};
};

Result<Config> merged_config(const ServeCommand& command) {
  Config config;
  if (!command.config.empty()) {
    GOGRID_ASSIGN_OR_RETURN(config, read_config(command.config));
  }
  if (command.listen) config.listen = command.listen;
  if (!command.models.empty()) config.models = command.models;
  if (!command.placement.devices.empty()) config.devices = command.placement.devices;
  if (command.placement.context) config.context = command.placement.context;
  if (command.placement.parallel) config.parallel = command.placement.parallel;
  return config;
}

PlacementOptions placement_of(const ServeCommand& command, const Config& config) {
  PlacementOptions placement = command.placement;
  placement.devices = config.devices;
  placement.context = config.context;
  placement.parallel = config.parallel;
  return placement;
}

// Everything that serves, in order of start; destroyed in reverse.
struct Server {
  Server(const Workspace& workspace_in, DeviceRegistry registry_in,
         const PlacementOptions& placement_in)
      : workspace(workspace_in),
        placement(placement_in),
        devices(std::move(registry_in)),
        engines(clock),
        completions(engines, clock),
        status(devices, engines) {}

  SteadyClock clock;
  const Workspace workspace;
  const PlacementOptions placement;
  const DeviceRegistry devices;
  Metrics metrics;
  EngineRegistry engines;
  CompletionService completions;
  StatusService status;
};

// The factory outlives even stages that hang and were left behind.
StageFactory& process_wide_factory() {
  static StageFactory* const factory = make_llama_stage_factory().release();
  return *factory;
}

// What can be found wrong before serving is: the file, its meaning, the plan. Loading goes on in
// the background.
Status add_model(Server& server, const std::string& model) {
  GOGRID_ASSIGN_OR_RETURN(PreparedModel prepared,
                          prepare_model(server.workspace, server.devices, process_wide_factory(),
                                        server.placement, model));
  for (const std::string& reason : prepared.plan.why) {
    log::info("plan", {{"model", prepared.source.name}, {"why", reason}});
  }
  const TextEngineOptions options =
      engine_options(server.workspace, prepared, server.placement, &server.metrics);
  return server.engines.add(
      options.model, [options, &server](const LoadProgress& progress, std::stop_token stop) {
        return TextEngine::load(options, process_wide_factory(), server.clock, progress, stop);
      });
}

// "Ready to answer": models are loaded, or have said why they cannot be.
void wait_until_loaded(const EngineRegistry& engines, const std::atomic<bool>& stopping) {
  ProgressLine line("loading");
  const auto loading = [&] {
    double progress = 0.0;
    bool any = false;
    for (const ModelStatus& model : engines.list()) {
      progress += model.progress;
      any = any || model.state == ModelState::kLoading;
    }
    line.show(progress / static_cast<double>(std::max<std::size_t>(1, engines.list().size())));
    return any;
  };
  while (!stopping && loading()) std::this_thread::sleep_for(kLook);
}

void announce(const ListenAddress& address, std::uint16_t port, const EngineRegistry& engines,
              const std::atomic<bool>& stopping) {
  wait_until_loaded(engines, stopping);
  for (const ModelStatus& model : engines.list()) {
    if (model.state == ModelState::kFailed) complain("model " + model.name + ": " + model.why);
  }
  const bool v6 = address.address.find(':') != std::string::npos;
  std::printf("listening on http://%s%s%s:%u\n", v6 ? "[" : "", address.address.c_str(),
              v6 ? "]" : "", port);
  std::fflush(stdout);
}

}  // namespace

Status serve_command(const ServeCommand& command, const CommonOptions& common) {
  GOGRID_ASSIGN_OR_RETURN(const Config config, merged_config(command));
  GOGRID_ASSIGN_OR_RETURN(const ListenAddress address,
                          parse_listen(config.listen.value_or(kDefaultListen)));
  if (config.models.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "a model is expected: --model NAME (see: gogrid models list)", "model");
  }
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  const StopSignals signals;
  const SteadyClock clock;
  GOGRID_ASSIGN_OR_RETURN(DeviceRegistry registry, DeviceRegistry::detect(config.devices, clock));
  Server server(workspace, std::move(registry), placement_of(command, config));
  for (const std::string& model : config.models) GOGRID_RETURN_IF_ERROR(add_model(server, model));

  std::atomic<bool> stopping{false};
  std::jthread announcer;
  std::jthread stopper([&] {
    if (signals.wait() == SIGUSR1) return;
    stopping = true;
    log::info("draining", {});
    server.status.set_state(ServerState::kDraining, "the server was told to stop");
    const TimePoint deadline = server.clock.now() + kDrainLimit;
    server.engines.drain(deadline);
    HttpServer::stop(deadline);
  });
  HttpOptions options;
  options.address = address.address;
  options.port = address.port;
  const Status status = HttpServer::run(
      options, {&server.completions, &server.status, &server.engines, &server.metrics},
      [&](std::uint16_t port) {
        announcer = std::jthread([&, port] { announce(address, port, server.engines, stopping); });
      });
  stopping = true;
  StopSignals::wake(stopper);
  stopper.join();
  return status;
}

}  // namespace gogrid
