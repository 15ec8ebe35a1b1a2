// What a model file means: its shape, what its layers cost, and where it may be cut. Read from the
// metadata alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/gguf_file.h"
#include "model/layer_range.h"

namespace gogrid {

struct ModelProfile {
  std::string name;          // general.name or the file's stem
  std::string architecture;  // general.architecture
  std::string license;       // "unknown" when the file does not say
  std::uint32_t n_layers = 0;
  std::uint32_t n_embd = 0;
  std::uint32_t n_vocab = 0;
  std::uint32_t context_length = 0;  // trained
  std::uint32_t sliding_window = 0;  // 0: none
  bool tied_embeddings = false;      // no output.weight: the head is token_embd.weight
  bool recurrent = false;            // KV cannot be cut at a position (no prefix reuse by removal)
  float embedding_scale = 1.0F;  // what the graph multiplies token embeddings with, for tokens only
  std::string chat_template;     // empty: none

  // Widest over the layers, for libllama's scratch buffers.
  std::uint32_t n_heads = 0;
  std::uint32_t kv_width = 0;   // numbers of K (or V) a token
  std::uint32_t ffn_width = 0;  // hidden numbers of the feed-forward part a token, all experts
  bool gated_ffn = false;       // two such rows are multiplied into a third

  std::vector<Bytes> layer_weights;       // per layer
  std::vector<Bytes> kv_bytes_per_token;  // per layer, K and V at 16 bits
  std::vector<Bytes> state_bytes;         // per layer, of one sequence; empty unless `recurrent`
  Bytes scanned_bytes = 0;                // of these at most, what is not a convolution's memory
  Bytes token_embedding_bytes = 0;
  Bytes head_bytes = 0;   // output.weight, or token_embd.weight again when tied
  Bytes other_bytes = 0;  // norms, rope factors
  Bytes file_bytes = 0;

  // Of an adapter over it (model/lora_adapter.h).
  std::vector<Bytes> adapter_layer_bytes;  // per layer; empty: no adapter
  Bytes adapter_head_bytes = 0;
  std::uint32_t adapter_width = 0;  // numbers a row, of what it adds to a matrix' result at most

  // Cuts fall on these: leading + k * period. Empty when it runs as one stage only; `one_stage_why`
  // then says why.
  std::vector<std::uint32_t> allowed_cuts;
  std::string one_stage_why;
};

// kUnsupported when the file is no text model that this build can run ("[model_profile]
// architecture 'x': …"), kCorrupt when needed keys are absent or impossible.
Result<ModelProfile> read_profile(const GgufFile& file);

// Whether stages at these bounds are allowed: ok, or kInvalidArgument/kUnsupported that names the
// allowed places.
Status check_cut(const ModelProfile& profile, LayerRange range);

}  // namespace gogrid
