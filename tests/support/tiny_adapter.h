// LoRA adapters with random weights over tiny models (tiny_gguf.h), as converters write them.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/gguf_file.h"
#include "support/gguf_builder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {

// Keys and tensors of an adapter; what a test wants otherwise it adds or leaves out.
class TinyAdapter {
 public:
  explicit TinyAdapter(const std::string& architecture = "llama",
                       std::optional<float> alpha = 16.0F, const std::string& type = "adapter",
                       const std::string& kind = "lora") {
    builder_.key_text("general.architecture", architecture).key_text("general.type", type);
    builder_.key_text("adapter.type", kind);
    if (alpha) builder_.key("adapter.lora.alpha", GgufBuilder::kF32, GgufBuilder::number(*alpha));
  }

  // Both halves of a change of a matrix with rows of `in` numbers, `out` of them.
  TinyAdapter& change(const std::string& weight, std::uint64_t in, std::uint64_t out,
                      std::uint64_t rank = 4) {
    half(weight + ".lora_a", {in, rank});
    return half(weight + ".lora_b", {rank, out});
  }
  // The same for any matrix of a file, experts too.
  TinyAdapter& change(const GgufTensor& weight, std::uint64_t rank = 4) {
    const std::string name(weight.name);
    std::vector<std::uint64_t> a{weight.shape[0], rank};
    std::vector<std::uint64_t> b{rank, weight.shape[1]};
    if (weight.n_dims > 2) {
      a.push_back(weight.shape[2]);
      b.push_back(weight.shape[2]);
    }
    half(name + ".lora_a", std::move(a));
    return half(name + ".lora_b", std::move(b));
  }
  TinyAdapter& half(const std::string& name, std::vector<std::uint64_t> shape) {
    std::uint64_t count = 1;
    for (const std::uint64_t dimension : shape) count *= dimension;
    std::normal_distribution<float> numbers(0.0F, 0.15F);
    std::string data;
    for (std::uint64_t i = 0; i < count; ++i) data += GgufBuilder::number(numbers(chance_));
    builder_.tensor({name, std::move(shape), GgufBuilder::kTensorF32, std::move(data), {}, {}});
    return *this;
  }
  // What a converter makes for a llama model: some matrices of each layer, and the head.
  TinyAdapter& change_all(const TinyModel& model = {}) {
    const std::uint64_t kv = std::uint64_t{model.n_embd} / model.n_heads * model.n_kv_heads;
    for (std::uint32_t layer = 0; layer < model.n_layers; ++layer) {
      const std::string block = "blk." + std::to_string(layer);
      change(block + ".attn_q.weight", model.n_embd, model.n_embd);
      change(block + ".attn_v.weight", model.n_embd, kv);
      change(block + ".ffn_down.weight", model.n_ff, model.n_embd);
    }
    if (!model.tied) change("output.weight", model.n_embd, tiny_vocabulary_size(model));
    return *this;
  }

  GgufBuilder& builder() { return builder_; }
  std::filesystem::path write(const std::filesystem::path& path) const {
    std::ofstream file(path, std::ios::binary);
    if (!(file << builder_.build())) throw std::runtime_error("cannot write " + path.string());
    return path;
  }

 private:
  GgufBuilder builder_;
  std::mt19937_64 chance_{7};
};

}  // namespace gogrid::testing
