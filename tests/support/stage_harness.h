// Chains of real stages over tiny models, and stock libllama to compare them with.
#pragma once

#include <llama.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stage/stage.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {

// All cores of this machine, as one CPU device.
Device cpu_device();
// A Vulkan device, if ggml finds one.
std::optional<Device> vulkan_device();
// $GOGRID_TEST_MODEL, or empty.
std::filesystem::path real_model();

// What stock libllama makes of a whole file.
class WholeModel {
 public:
  struct Options {
    std::uint32_t context = 512;
    std::uint32_t max_step_rows = 64;
    bool flash_attention = true;
    bool repack = true;
  };
  WholeModel(const std::filesystem::path& path, const Options& options);

  // Appends the tokens to the only sequence; the logits after the last one.
  std::vector<float> logits_after(const std::vector<Token>& tokens);

 private:
  struct Free {
    void operator()(llama_model* model) const { llama_model_free(model); }
    void operator()(llama_context* context) const { llama_free(context); }
  };
  std::unique_ptr<llama_model, Free> model_;
  std::unique_ptr<llama_context, Free> context_;
  std::int32_t length_ = 0;
};

// Stages over the whole of a model, cut at `cuts`, run one after the other on this thread.
class Chain {
 public:
  struct Options {
    std::vector<std::uint32_t> cuts;  // {15}: layers 0-15 and 15-n
    std::vector<Device> devices;      // one a stage; the last again for those that have none
    std::uint32_t context = 512;
    std::uint32_t parallel = 1;
    std::uint32_t kv_cells = 0;
    std::uint32_t max_step_rows = 64;
    bool deterministic = false;
    float embedding_scale = 1.0F;
    Duration step_deadline = std::chrono::seconds(30);
    std::vector<Token> end_tokens;
  };
  // The error of the first stage that cannot be made.
  static Result<Chain> make(const std::filesystem::path& model, const TemporaryFolder& scratch,
                            const Options& options);

  Result<StageOutput> forward(StageInput input);
  Stage& stage(std::size_t index) { return *stages_[index]; }
  std::size_t size() const { return stages_.size(); }

  // Appends to a slot that holds `position` tokens; the logits after the last one.
  Result<std::vector<float>> logits_after(SlotId slot, std::int32_t position,
                                          const std::vector<Token>& tokens);

 private:
  std::vector<std::unique_ptr<Stage>> stages_;
};

// Rows of one slot; the last wants an output.
std::vector<StepRow> rows_of(SlotId slot, std::int32_t position, const std::vector<Token>& tokens);
// An output spec that returns the logits themselves.
OutputSpec raw_logits();
// Token ids from 0 to n_vocab, the same for the same seed.
std::vector<Token> some_tokens(std::size_t count, std::uint32_t n_vocab, std::uint32_t seed = 1);
Token most_likely(const std::vector<float>& logits);
// Layers in a GGUF.
std::uint32_t layers_of(const std::filesystem::path& model);

}  // namespace gogrid::testing
