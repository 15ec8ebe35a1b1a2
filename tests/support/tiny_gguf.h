// Writes tiny GGUFs with random weights: real files for libllama, in milliseconds, of many
// architectures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace gogrid::testing {

enum class TinyWeights : std::uint8_t { kF32, kF16, kQ8_0, kQ4_0, kQ4_1, kQ4_K };

// Both cover all 256 bytes, so that any text comes back from its tokens.
enum class TinyVocabulary : std::uint8_t {
  kBpe,  // "gpt2": one token a byte, some English merges, <|endoftext|> <|im_start|> <|im_end|>
  kSpm,  // "llama": <unk> <s> </s>, <0x00>…<0xFF>, some pieces with scores
};

// The same options give the same bytes.
struct TinyModel {
  // llama (with n_experts > 0: a mixture), qwen2, qwen3, gemma2, gemma3, phi2, phi3, qwen2moe,
  // qwen3moe; lfm2, convolution and attention layers; gpt2, with learned positions; plamo2, Mamba
  // and attention layers, whose graph names no `l_out`. phi2 and gpt2 need n_kv_heads == n_heads.
  std::string architecture = "llama";
  std::uint32_t n_layers = 4;
  std::uint32_t n_embd = 128;  // a multiple of 32; of 256 for kQ4_K
  std::uint32_t n_heads = 4;   // n_embd / n_heads is the width of a head
  std::uint32_t n_kv_heads = 2;
  std::uint32_t n_ff = 256;
  std::uint32_t n_experts = 0;  // 0: what the architecture needs at least
  std::uint32_t context = 1024;
  std::uint32_t sliding_window = 16;  // gemma
  bool tied = false;                  // no output.weight (always so for gemma)
  TinyWeights weights = TinyWeights::kF32;
  TinyVocabulary vocabulary = TinyVocabulary::kBpe;
  bool begin_token = false;   // the file asks for one before every text
  bool chat_template = true;  // ChatML
  std::uint64_t seed = 1;
};

// Throws std::runtime_error when the architecture is unknown or the file cannot be written.
void write_tiny_model(const std::filesystem::path& path, const TinyModel& model = {});

// All architectures above, in that order.
const std::vector<std::string>& tiny_architectures();

// Number of tokens in the vocabulary that `model` gets.
std::uint32_t tiny_vocabulary_size(const TinyModel& model);

}  // namespace gogrid::testing
