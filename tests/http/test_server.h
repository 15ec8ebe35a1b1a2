// The server of this test program: one, as the framework allows. Small limits, scripted
// completions.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "device/device_registry.h"
#include "http/fake_completions.h"
#include "http/http_client.h"
#include "http/http_server.h"
#include "support/eventually.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {

inline HttpOptions small_options() {
  using namespace std::chrono_literals;
  HttpOptions options;
  options.port = 0;
  options.max_head = 8 * kKiB;
  options.max_body = 64 * kKiB;
  options.large_body = 4 * kKiB;
  options.large_queue = 16;
  options.max_buffered = 256 * kKiB;
  options.max_stream_backlog = 32 * kKiB;
  options.max_connections = 48;
  options.max_files = 4;
  options.idle_timeout = 1500ms;
  options.read_timeout = 1s;
  options.request_timeout = 7s;
  return options;
}

// Starts with the first test that asks for it, in a working folder of its own, which holds a file
// that must not be served. Ends after the last test.
class TestServer {
 public:
  static TestServer& instance() {
    static TestServer server;
    return server;
  }

  std::uint16_t port() const { return port_; }
  const std::filesystem::path& folder() const { return folder_.path(); }
  HttpClient connect(int receive_buffer = 0) const { return HttpClient(port_, receive_buffer); }
  // Ends run(); true when it ended well. Once.
  bool stop(Duration within) {
    HttpServer::stop(clock_.now() + within);
    thread_.join();
    return ended_well_;
  }

  FakeCompletions completions;
  Metrics metrics;
  RateGate gate{100};
  Governor& governor() { return governor_; }
  const TemporaryFolder state;  // of the policy
  ModelLibrary library = *ModelLibrary::open(state.path() / "models");
  const std::unique_ptr<PolicyStore> policies = *PolicyStore::open(
      ResourcePolicy::of(ResourceMode::kAggressive), state.path() / "policy.json");

 private:
  TestServer()
      : devices_(*DeviceRegistry::detect({}, clock_)),
        engines_(clock_),
        governor_(clock_, &metrics),
        status_(devices_, engines_, governor_, clock_) {
    std::ofstream(folder() / "secret.txt") << "secret";
    write_tiny_model(state.path() / "tiny.gguf");
    for (const Device& device : devices_.devices()) ledger_.set_cap(device.id, kGiB);
    std::filesystem::current_path(folder());
    (void)engines_.add("broken", [](const LoadProgress&, std::stop_token) {
      return Result<std::unique_ptr<TextEngine>>(fail(ErrorCode::kCorrupt, "no such luck"));
    });
    std::promise<std::uint16_t> listening;
    thread_ = std::jthread([&] {
      const HttpServices services{.completions = &completions,
                                  .status = &status_,
                                  .engines = &engines_,
                                  .governor = &governor_,
                                  .policies = policies.get(),
                                  .gate = &gate,
                                  .resources = &resources_,
                                  .compatibility = &compatibility_,
                                  .library = &library,
                                  .metrics = &metrics};
      const auto status = HttpServer::run(small_options(), services,
                                          [&](std::uint16_t port) { listening.set_value(port); });
      ended_well_ = status.has_value();
    });
    port_ = listening.get_future().get();
  }
  ~TestServer() {
    if (thread_.joinable()) stop(std::chrono::seconds(5));
  }

  const SteadyClock clock_;
  const TemporaryFolder folder_;
  const DeviceRegistry devices_;
  EngineRegistry engines_;
  Governor governor_;
  StatusService status_;
  const ResourceService resources_{
      {.policies = policies.get(), .engines = &engines_, .gate = &gate}};
  MemoryLedger ledger_;  // for what is checked; 1 GiB of each device
  // Of one model, "tiny".
  const CompatibilityService compatibility_{
      {.find = [this](std::string_view name) -> Result<CheckedModel> {
         if (name != "tiny") return fail(ErrorCode::kNotFound, "no such model", "model");
         return CheckedModel{"tiny", state.path() / "tiny.gguf", ""};
       },
       .devices = [this] { return devices_.devices(); },
       .ledger = &ledger_,
       .measurements = state.path(),
       .slices = state.path()}};
  std::uint16_t port_ = 0;
  bool ended_well_ = false;
  std::jthread thread_;
};

inline std::string chat_body(const std::string& model, const std::string& more = {}) {
  return R"({"model":")" + model + R"(","messages":[{"role":"user","content":"hi"}])" + more + "}";
}

inline std::string text_body(const std::string& model, const std::string& more = {}) {
  return R"({"model":")" + model + R"(","prompt":"hi")" + more + "}";
}

}  // namespace gogrid::testing
