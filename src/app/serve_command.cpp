#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <thread>

#include "app/commands.h"
#include "app/config.h"
#include "app/guest.h"
#include "app/plan_loss.h"
#include "app/plan_now.h"
#include "app/policies.h"
#include "app/prepare.h"
#include "app/stop_signals.h"
#include "app/terminal.h"
#include "base/nearest.h"
#include "device/gpu_sources.h"
#include "device/telemetry.h"
#include "http/http_server.h"
#include "model/gguf_file.h"
#include "model/lora_adapter.h"
#include "model/model_library.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "resource/machine_watch.h"
#include "resource/memory_caps.h"
#include "resource/policy_store.h"
#include "resource/process_priority.h"
#include "stage/llama_stage.h"

namespace gogrid {
namespace {

// Turns that may be given ahead of time: at the longest interval of a mode, 100 ms, they are waited
// for 102 s, at most.
constexpr std::uint64_t kMaxWaiting = 1024;
constexpr Duration kDrainLimit = std::chrono::seconds(30);
constexpr auto kLook = std::chrono::milliseconds(5);

KeepingOptions merged_keeping(KeepingOptions flags, const KeepingOptions& file) {
  if (flags.pinned.empty()) flags.pinned = file.pinned;
  if (flags.aliases.empty()) flags.aliases = file.aliases;
  if (!flags.keep_alive) flags.keep_alive = file.keep_alive;
  if (!flags.load_wait) flags.load_wait = file.load_wait;
  flags.library = flags.library || file.library;
  flags.on_demand = flags.on_demand || file.on_demand;
  return flags;
}

// A flag wins over the file, the file over the default.
Result<Config> merged_config(const ServeCommand& command) {
  GOGRID_ASSIGN_OR_RETURN(Config config, config_of(command.policy));
  if (command.listen) {
    auto listen = parse_listen(*command.listen);
    if (!listen)
      return fail(ErrorCode::kInvalidArgument, "--listen: " + listen.error().message, "listen");
    config.listen = *std::move(listen);
  }
  if (!command.models.empty()) config.models = command.models;
  if (!command.placement.devices.empty()) config.devices = command.placement.devices;
  if (command.placement.context) config.context = command.placement.context;
  if (command.placement.parallel) config.parallel = command.placement.parallel;
  if (command.placement.quantize) config.quantize = *command.placement.quantize;
  config.keeping = merged_keeping(command.keeping, config.keeping);
  if (config.models.empty() && !config.keeping.library) {
    return fail(ErrorCode::kInvalidArgument,
                "a model is expected: --model NAME (see: gogrid models list), or --library for all",
                "model");
  }
  return config;
}

PlacementOptions placement_of(const ServeCommand& command, const Config& config) {
  PlacementOptions placement = command.placement;
  placement.devices = config.devices;
  placement.context = config.context;
  placement.parallel = config.parallel;
  placement.quantize = config.quantize;
  return placement;
}

// Limits of a device that is not here are allowed, for it may come back; a mistyped name is none.
void warn_of_unknown_devices(const ResourcePolicy& policy, const std::vector<Device>& devices) {
  std::vector<std::string> known;
  for (const Device& device : devices) known.push_back(device.id);
  for (const auto& [id, limits] : policy.devices) {
    if (std::ranges::contains(known, id)) continue;
    log::warning("limit_of_unknown_device",
                 {{"device", id}, {"hint", "no such device here" + suggestion(id, known)}});
  }
}

// Everything that serves, in order of start; destroyed in reverse.
struct Server {
  Server(const Workspace& workspace_in, ModelLibrary library_in, DeviceRegistry registry_in,
         const PlacementOptions& placement_in, std::unique_ptr<PolicyStore> policies_in,
         QuietHours quiet_hours, const KeepingOptions& keeping)
      : workspace(workspace_in),
        library(std::move(library_in)),
        placement(placement_in),
        policies(std::move(policies_in)),
        devices(std::move(registry_in)),
        governor(clock, &metrics),
        watch(*policies, governor, std::move(quiet_hours), watch_sources(host, gpus), clock),
        engines(clock, {.ledger = &ledger, .keep_alive = keeping.keep_alive, .metrics = &metrics}),
        completions(engines, governor, clock,
                    keeping.load_wait.value_or(CompletionService::kLoadWait)),
        status(devices, engines, governor, clock),
        resources({.policies = policies.get(),
                   .engines = &engines,
                   .gate = &gate,
                   .ledger = &ledger,
                   .devices = &devices,
                   .priority = priority.get(),
                   .load = [this] { return watch.load(); }}),
        compatibility({.find = [this](std::string_view name) { return find_checked(name); },
                       .devices = [this] { return candidates(devices, placement); },
                       .ledger = &ledger,
                       .measurements = workspace.measurements(),
                       .slices = workspace.slices(),
                       .slice_capacity = kSliceCapacity,
                       .usual = {.context = placement.context, .parallel = placement.parallel},
                       .deterministic = placement.deterministic,
                       .quantize = quantization_of(placement)}) {
    policies->listen([this, whole = devices.devices()](const PolicyStore::Snapshot& policy) {
      set_caps(ledger, whole, *policy);
      warn_of_unknown_devices(*policy, whole);
      engines.look();
    });
    if (priority == nullptr) return;
    // Threads inherit, so that whatever starts from now on is as quiet.
    policies->listen([this](const PolicyStore::Snapshot& policy) {
      warn_of(priority->apply(priority_of(*policy)));
    });
  }
  // Its threads change policies, whose listeners use what is destroyed before it.
  ~Server() { watch.stop(); }

  SteadyClock clock;
  const Workspace workspace;
  const ModelLibrary library;
  const PlacementOptions placement;
  const std::unique_ptr<ProcessPriority> priority = make_priority();
  const std::unique_ptr<PolicyStore> policies;
  const std::shared_ptr<DeviceDuty> duty = std::make_shared<DeviceDuty>(
      [this](const std::string& device) { return policies->current()->compute_of(device); }, clock);
  const DeviceRegistry devices;
  MemoryLedger& ledger = process_wide_ledger();
  Metrics metrics;
  Governor governor;
  HostLoadReader host;
  Telemetry gpus{make_gpu_sources(clock), clock};
  MachineWatch watch;
  RateGate gate{kMaxWaiting};
  EngineRegistry engines;
  CompletionService completions;
  StatusService status;
  const ResourceService resources;
  std::map<std::string, ModelSource, std::less<>> sources;  // constant once it listens
  const CompatibilityService compatibility;
  std::atomic<bool> stopping{false};

 private:
  // One that is served, or one of the library; never a path.
  Result<CheckedModel> find_checked(std::string_view name) const {
    const auto served = sources.find(name);
    if (served != sources.end()) {
      const ModelSource& source = served->second;
      return CheckedModel{served->first, source.path, source.digest, source.adapter};
    }
    GOGRID_ASSIGN_OR_RETURN(const ModelEntry entry, library.find(name));
    return CheckedModel{entry.name, entry.path, entry.digest};
  }
};

// The factory outlives even stages that hang and were left behind.
StageFactory& process_wide_factory() {
  static StageFactory* const factory = make_llama_stage_factory().release();
  return *factory;
}

// Never silently: a line on standard error, unless the log is set to errors only.
void warn_of_smaller_stages(const Plan& plan) {
  if (const std::string notice = smaller_stages_notice(plan); !notice.empty())
    log::warning("stages_made_smaller", {{"model", plan.model}, {"stages", notice}});
}

// Planned anew at each load: what is granted then is what the caps and the others leave; on devices
// that had no memory to be measured until now, too.
Result<std::unique_ptr<TextEngine>> load_model(Server& server, PreparedModel& prepared,
                                               const LoadProgress& progress, std::stop_token stop) {
  GOGRID_RETURN_IF_ERROR(measure_the_rest(prepared, server.workspace, server.devices,
                                          process_wide_factory(), &server.governor, stop));
  GOGRID_ASSIGN_OR_RETURN(prepared.plan, plan_now(prepared, server.devices, server.ledger));
  bool measures = false;  // then that is the first half of the load
  GOGRID_RETURN_IF_ERROR(add_loss(
      prepared, server.workspace, process_wide_factory(), &server.governor,
      [&](double share) {
        measures = true;
        progress(share / 2);
      },
      stop));
  warn_of_smaller_stages(prepared.plan);
  for (const std::string& reason : prepared.plan.why) {
    log::info("plan", {{"model", prepared.source.name}, {"why", reason}});
  }
  TextEngineOptions options =
      engine_options(server.workspace, prepared, server.placement, &server.metrics);
  options.governor = &server.governor;
  options.policies = server.policies.get();
  options.duty = server.duty;
  return TextEngine::load(
      options, process_wide_factory(), server.clock,
      [&](double share) { progress(measures ? (1 + share) / 2 : share); }, stop);
}

Status add_model(Server& server, PreparedModel prepared, ModelKeeping keeping) {
  const std::string name = prepared.source.name;
  // One load at a time uses it.
  const auto shared = std::make_shared<PreparedModel>(std::move(prepared));
  const auto loader = [shared, &server](const LoadProgress& progress, std::stop_token stop) {
    auto engine = load_model(server, *shared, progress, std::move(stop));
    // Backends may have started threads of their own.
    if (server.priority != nullptr) warn_of(server.priority->reapply());
    if (!engine && is_for_memory(engine.error().code)) {
      server.metrics.count_memory_refusal(shared->source.name);
    }
    return engine;
  };
  return server.engines.add(name, loader, keeping);
}

// What is served, and how it is kept.
struct ServedModel {
  std::string model;  // a library name or a path
  ModelKeeping keeping;
  bool named = true;  // by the user; one of the whole library is left out when it cannot be served
};

Result<std::vector<ServedModel>> models_of(const Config& config, const Workspace& workspace) {
  const KeepingOptions& keeping = config.keeping;
  std::vector<ServedModel> models;
  const auto add = [&](const std::string& model, bool named) {
    const bool pinned = std::ranges::contains(keeping.pinned, model);
    const bool on_demand = !pinned && (keeping.on_demand || !named);
    models.push_back({model, {.pinned = pinned, .on_demand = on_demand}, named || pinned});
  };
  for (const std::string& model : config.models) add(model, true);
  if (keeping.library) {
    GOGRID_ASSIGN_OR_RETURN(const ModelLibrary library, workspace.library());
    for (const ModelEntry& entry : library.list()) {
      if (std::ranges::contains(config.models, entry.name)) continue;
      // An adapter is served over a model, when both are named.
      const auto file = GgufFile::open(entry.path);
      if (!file || !is_adapter(*file)) add(entry.name, false);
    }
  }
  if (models.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "--library: the library has no model yet (see: gogrid models pull, import)",
                "library");
  }
  for (const std::string& pinned : keeping.pinned) {
    if (std::ranges::contains(models, pinned, &ServedModel::model)) continue;
    std::vector<std::string> names;
    for (const ServedModel& model : models) names.push_back(model.model);
    return fail(ErrorCode::kInvalidArgument,
                "--pin: '" + pinned + "' is none of the models" + suggestion(pinned, names), "pin");
  }
  return models;
}

Result<PreparedModel> prepare_served(Server& server, const ServedModel& served) {
  GOGRID_ASSIGN_OR_RETURN(
      PreparedModel prepared,
      !served.named ? describe_model(server.workspace, server.devices, server.placement,
                                     served.model, &server.governor)
                    : measure_model(server.workspace, server.devices, process_wide_factory(),
                                    server.placement, served.model, &server.governor));
  GOGRID_RETURN_IF_ERROR(plan_without_caps(prepared));
  return prepared;
}

// What clients may be made to send: names of other services' models.
Status check_alias(const std::string& name) {
  constexpr std::size_t kLongest = 128;
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._:/-").contains(c);
  };
  if (!name.empty() && name.size() <= kLongest && std::ranges::all_of(name, fits)) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      "--alias: expected up to 128 letters, digits and ._:/- : '" + name.substr(0, kLongest) + "'",
      "alias");
}

// Before anything is loaded.
Status check_aliases(const Server& server, const std::vector<ModelAlias>& aliases) {
  std::vector<std::string> names;
  for (const auto& [name, source] : server.sources) names.push_back(name);
  for (const ModelAlias& alias : aliases) {
    GOGRID_RETURN_IF_ERROR(check_alias(alias.name));
    if (std::ranges::contains(names, alias.name)) {
      return fail(ErrorCode::kInvalidArgument,
                  "--alias " + alias.name + "=" + alias.model + ": that name is given already",
                  "alias");
    }
    names.push_back(alias.name);
    if (std::ranges::contains(names, alias.model)) continue;
    return fail(ErrorCode::kInvalidArgument,
                "--alias " + alias.name + "=" + alias.model + ": no such model is served" +
                    suggestion(alias.model, names),
                "alias");
  }
  return {};
}

Status add_aliases(Server& server, const std::vector<ModelAlias>& aliases) {
  for (const ModelAlias& alias : aliases) {
    if (auto added = server.engines.add_alias(alias.name, alias.model); !added) {
      return fail(ErrorCode::kInvalidArgument,
                  "--alias " + alias.name + "=" + alias.model + ": " + added.error().message,
                  "alias");
    }
  }
  return {};
}

// What can be found wrong before serving is: the file, its meaning, a plan for all the memory there
// is. All that were named are measured before the first is loaded, in the background: alone on
// their devices. What only the caps and others forbid, measuring too, is a status of the model,
// since they may change. A library may be large: its models are measured when they are asked for.
Status add_models(Server& server, const Config& config) {
  GOGRID_ASSIGN_OR_RETURN(const auto models, models_of(config, server.workspace));
  std::vector<std::pair<PreparedModel, ModelKeeping>> all;
  for (const ServedModel& served : models) {
    auto prepared = prepare_served(server, served);
    if (prepared) {
      all.emplace_back(*std::move(prepared), served.keeping);
    } else if (served.named) {
      return std::unexpected(prepared.error());
    } else {
      complain(served.model + " is left out: " + prepared.error().message);
    }
  }
  for (const auto& [prepared, keeping] : all)
    server.sources.emplace(prepared.source.name, prepared.source);
  GOGRID_RETURN_IF_ERROR(check_aliases(server, config.keeping.aliases));
  for (auto& [prepared, keeping] : all) {
    GOGRID_RETURN_IF_ERROR(add_model(server, std::move(prepared), keeping));
  }
  return add_aliases(server, config.keeping.aliases);
}

// The share of all loading that is done; empty when none is going on.
std::optional<double> loading(const EngineRegistry& engines) {
  const std::vector<ModelStatus> models = engines.list();
  if (std::ranges::none_of(
          models, [](const ModelStatus& model) { return model.state == ModelState::kLoading; }))
    return std::nullopt;
  double done = 0.0;
  for (const ModelStatus& model : models)
    done += model.state == ModelState::kLoading ? model.progress : 1.0;
  return done / static_cast<double>(models.size());
}

// Says where, once models are loaded or have said why they cannot be: then it answers.
void announce(Server& server, const ListenAddress& address) {
  {
    ProgressLine line("loading");
    bool told = false;
    for (auto share = loading(server.engines); share && !server.stopping;
         share = loading(server.engines)) {
      line.show(*share);
      const GovernorState governor = server.governor.state();
      if (governor.paused && !std::exchange(told, true))
        complain("paused (" + governor.why + "): loading ends when the pause does");
      std::this_thread::sleep_for(kLook);
    }
  }
  if (server.stopping) return;
  for (const ModelStatus& model : server.engines.list()) {
    if (model.state == ModelState::kFailed) complain("model " + model.name + ": " + model.why);
  }
  std::printf("listening on %s\n", url_of(address).c_str());
  std::fflush(stdout);
}

// New requests are refused, and those that wait for their turn, which would find no engine;
// running ones are finished, the server ended.
void drain(Server& server) {
  log::info("draining", {});
  server.stopping = true;
  server.status.set_draining("the server was told to stop");
  const TimePoint deadline = server.clock.now() + kDrainLimit;
  HttpServer::refuse_newcomers();
  server.engines.drain(deadline);
  HttpServer::stop(deadline);
}

Status run_server(Server& server, const ListenAddress& address, StopSignals& signals) {
  std::jthread announcer;
  HttpOptions options;
  options.address = address.address;
  options.port = address.port;
  const Status status = HttpServer::run(
      options,
      {.completions = &server.completions,
       .status = &server.status,
       .engines = &server.engines,
       .governor = &server.governor,
       .policies = server.policies.get(),
       .gate = &server.gate,
       .resources = &server.resources,
       .compatibility = &server.compatibility,
       .library = &server.library,
       .metrics = &server.metrics},
      [&](std::uint16_t port) {
        signals.on_first([&server] { drain(server); });
        announcer = std::jthread(
            [&server, in_use = ListenAddress{address.address, port}] { announce(server, in_use); });
      });
  server.stopping = true;
  signals.forget();
  return status;
}

}  // namespace

Status serve_command(const ServeCommand& command, const CommonOptions& common) {
  GOGRID_ASSIGN_OR_RETURN(const Config config, merged_config(command));
  const ListenAddress address = config.listen.value_or(ListenAddress{});
  GOGRID_RETURN_IF_ERROR(check_listen(address));
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  StopSignals signals;
  const SteadyClock clock;
  GOGRID_ASSIGN_OR_RETURN(DeviceRegistry registry, DeviceRegistry::detect(config.devices, clock));
  GOGRID_ASSIGN_OR_RETURN(auto policies, open_policies(config, workspace));
  GOGRID_ASSIGN_OR_RETURN(ModelLibrary library, workspace.library());
  Server server(workspace, std::move(library), std::move(registry), placement_of(command, config),
                std::move(policies), config.quiet_hours, config.keeping);
  GOGRID_RETURN_IF_ERROR(server.watch.start());
  GOGRID_RETURN_IF_ERROR(add_models(server, config));
  return run_server(server, address, signals);
}

}  // namespace gogrid
