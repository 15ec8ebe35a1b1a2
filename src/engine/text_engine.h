// One loaded text model: its files, its pipeline, its batcher.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "batching/batcher.h"
#include "device/device.h"
#include "model/chat_template.h"
#include "model/lora_adapter.h"
#include "model/model_profile.h"
#include "model/tokenizer.h"
#include "placement/plan.h"
#include "request/generation_request.h"
#include "resource/policy_store.h"
#include "stage/stage.h"

namespace gogrid {

struct TextEngineOptions {
  std::string model;           // the name in answers
  std::filesystem::path path;  // GGUF
  std::string
      digest;  // SHA-256 of it, for the slice cache; computed when empty and a slice is needed
  std::optional<AdapterSource> adapter;  // over it
  Plan plan;
  std::vector<Device> devices;  // that the plan names
  std::filesystem::path slice_folder;
  Bytes slice_capacity = 64 * kGiB;
  std::uint32_t kv_cells = 0;
  std::uint32_t prefill_chunk = 256;
  std::uint32_t max_step_rows = 512;
  std::uint32_t queue_capacity = 256;
  bool deterministic = false;
  bool prefix_reuse = true;
  Duration step_deadline = std::chrono::seconds(30);
  Duration transfer_deadline = std::chrono::seconds(60);
  // Asked before each step, between the pieces of slicing, and before weights are loaded: a pause
  // holds all of these up. Must outlive the engine; null: never pauses.
  Governor* governor = nullptr;
  // Sequences in a step, as in force at each; must outlive the engine. Null: no limit.
  const PolicyStore* policies = nullptr;
  // Shares of the devices' time: one for all engines. Null: no limits.
  std::shared_ptr<DeviceDuty> duty = nullptr;
  Metrics* metrics = nullptr;  // must outlive the engine; null: nothing is measured
  // Asked for all that the plan needs before anything is allocated. Must outlive the engine, and
  // stages that hang and were left behind: let it live as long as the process, as the factory does.
  // Null: nobody counts (tests).
  MemoryLedger* ledger = nullptr;
};

// Thread-safe.
class TextEngine {
 public:
  // Slices, loads, and makes one token to know that it works. `progress` 0..1.
  //
  // The memory that the plan names is leased first, for the engine's life, and then corrected to
  // what the stages say they took. The ledger's refusal (kExhausted, kDoesNotFit) comes before
  // anything is allocated; one for more than was planned comes after, and all is given back. Where
  // a cap shrank below what is held while a pause held the load up, nothing is loaded: kExhausted.
  // `factory`, `clock` and `options.metrics` must outlive it.
  static Result<std::unique_ptr<TextEngine>> load(const TextEngineOptions& options,
                                                  StageFactory& factory, const Clock& clock,
                                                  const LoadProgress& progress,
                                                  std::stop_token stop);
  ~TextEngine();

  const ModelProfile& profile() const;
  const Plan& plan() const;
  const Tokenizer& tokenizer() const;

  // kInvalidArgument "messages" when the model has no template or it refuses; "[…] prompt has 5000
  // tokens, context is 4096" when too long.
  Result<std::vector<Token>> prepare_chat(const std::vector<ChatMessage>& messages) const;
  Result<std::vector<Token>> prepare_text(std::string_view text) const;

  // See Batcher::submit.
  std::expected<void, Refusal> generate(Submission submission);
  void drain(TimePoint deadline);

  BatcherStatus status() const;
  std::vector<StageStatus> stages() const;
  std::optional<Error> failure() const;

 private:
  struct State;
  explicit TextEngine(std::unique_ptr<State> state);
  Status make_one_token(std::stop_token stop);
  std::unique_ptr<State> state_;
};

}  // namespace gogrid
