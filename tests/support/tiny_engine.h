// Text engines over tiny models: a real file, vocabulary and template; real or fake stages.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text_engine.h"
#include "support/fake_stage.h"
#include "support/stage_harness.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {

// A tiny model in a folder of its own, and options to load it cut at `cuts`.
class TinyEngine {
 public:
  explicit TinyEngine(const TinyModel& model = {}) : model_(model) {
    write_tiny_model(path(), model_);
  }

  std::filesystem::path path() const { return folder_ / "tiny.gguf"; }
  std::filesystem::path slices() const { return folder_ / "slices"; }

  TextEngineOptions options(const std::vector<std::uint32_t>& cuts = {}) const {
    TextEngineOptions options;
    options.model = "tiny";
    options.path = path();
    options.devices = {cpu_device()};
    options.slice_folder = slices();
    options.max_step_rows = 64;
    options.prefill_chunk = 32;
    options.step_deadline = std::chrono::seconds(20);
    options.plan.model = "tiny";
    options.plan.context = 256;
    options.plan.parallel = 4;
    std::uint32_t first = 0;
    for (const std::uint32_t cut : cuts) add_stage(options, std::exchange(first, cut), cut);
    add_stage(options, first, model_.n_layers);
    options.plan.groups = static_cast<std::uint32_t>(options.plan.stages.size());
    return options;
  }

  // `factory` and `clock` must outlive the engine.
  static Result<std::unique_ptr<TextEngine>> load(
      const TextEngineOptions& options, StageFactory& factory, const Clock& clock,
      const LoadProgress& progress = [](double) {}, std::stop_token stop = {}) {
    return TextEngine::load(options, factory, clock, progress, stop);
  }

  // What `n_stages` fake stages of the engine make of a prompt: tokens up to an end token,
  // `max_tokens` or the context.
  static std::vector<Token> fake_answer(const TextEngine& engine, std::vector<Token> tokens,
                                        std::uint32_t max_tokens, const FakeOptions& fake = {}) {
    std::vector<Token> made;
    while (made.size() < max_tokens && tokens.size() < engine.plan().context) {
      const Token next = fake_next_token(tokens, engine.plan().stages.size(), fake.vocabulary);
      if (engine.tokenizer().ends_generation(next)) break;
      made.push_back(next);
      tokens.push_back(next);
    }
    return made;
  }

 private:
  static void add_stage(TextEngineOptions& options, std::uint32_t first, std::uint32_t last) {
    PlannedStage stage;
    stage.device = options.devices.front().id;
    stage.layers = {first, last};
    options.plan.stages.push_back(stage);
  }

  TemporaryFolder folder_;
  TinyModel model_;
};

}  // namespace gogrid::testing
