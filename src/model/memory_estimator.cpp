#include "model/memory_estimator.h"

#include <algorithm>

namespace gogrid {
namespace {

// libllama rounds a sequence's cells up to this.
constexpr Bytes kCellStep = 256;
// Every slice but the last keeps so many rows of each tensor that is as wide as the vocabulary.
constexpr Bytes kVocabularyStub = 32;
// Outputs a step may ask for at least (stage/llama_loader.cpp).
constexpr std::uint32_t kMinOutputs = 16;

// Rows that ggml's allocator keeps alive at the widest point of a layer, counted in the buffers
// that libllama 0.7 reports: the residual stream, the inputs of both kinds, and copies between.
constexpr Bytes kRowsBesideFeedForward = 5;
constexpr Bytes kRowsBesideAttention = 6;

// Exact as long as it fits; a hostile file's product stays at the top instead of wrapping.
Bytes times(Bytes a, Bytes b) { return checked_mul(a, b).value_or(UINT64_MAX); }
Bytes plus(Bytes a, Bytes b) { return checked_add(a, b).value_or(UINT64_MAX); }

bool is_last(const ModelProfile& profile, LayerRange layers) {
  return layers.last == profile.n_layers;
}

Bytes weights_of(const ModelProfile& profile, LayerRange layers) {
  Bytes sum = profile.other_bytes;
  for (std::uint32_t i = layers.first; i < layers.last; ++i) {
    sum = plus(sum, profile.layer_weights[i]);
    if (!profile.adapter_layer_bytes.empty()) sum = plus(sum, profile.adapter_layer_bytes[i]);
  }
  const Bytes rows = std::max<Bytes>(profile.n_vocab, 1);
  const Bytes kept = is_last(profile, layers) ? rows : std::min(rows, kVocabularyStub);
  sum = plus(sum, times(profile.token_embedding_bytes / rows, kept));
  if (is_last(profile, layers)) sum = plus(sum, profile.adapter_head_bytes);
  return profile.tied_embeddings ? sum : plus(sum, times(profile.head_bytes / rows, kept));
}

// Cells of one sequence's stream, or of the pool.
Bytes cells_of(const MemoryQuestion& question) {
  const Bytes cells = question.kv_cells != 0 ? question.kv_cells : question.context;
  return align_up(cells, kCellStep).value_or(cells);
}

Bytes kv_of(const ModelProfile& profile, const MemoryQuestion& question) {
  Bytes per_token = 0;
  Bytes state = 0;  // of one sequence, however long
  for (std::uint32_t i = question.layers.first; i < question.layers.last; ++i) {
    per_token = plus(per_token, profile.kv_bytes_per_token[i]);
    if (!profile.state_bytes.empty()) state = plus(state, profile.state_bytes[i]);
  }
  const Bytes streams = question.kv_cells != 0 ? 1 : question.parallel;
  const Bytes cache = times(per_token, times(cells_of(question), streams));
  return plus(cache, times(state, question.parallel));
}

Bytes compute_of(const ModelProfile& profile, const MemoryQuestion& question) {
  const Bytes rows = std::max(question.max_step_rows, question.parallel);
  const Bytes row = sizeof(float) * Bytes{profile.n_embd};
  const Bytes cells = cells_of(question);

  // One mask a cache; models with a sliding window have two. f16 for flash attention.
  const Bytes masks = profile.sliding_window != 0 ? 2 : 1;
  const Bytes mask =
      times(masks * (question.flash_attention ? 2 : sizeof(float)), times(cells, rows));

  const bool last = is_last(profile, question.layers);
  const Bytes outputs =
      last ? std::max({kMinOutputs, question.parallel, question.max_outputs}) : rows;
  // The model's last layer goes on with the rows that want an output.
  const Bytes wide_rows = last && question.layers.size() == 1 ? std::min(outputs, rows) : rows;
  const Bytes hidden_rows = profile.gated_ffn ? 3 : 1;
  const Bytes feed_forward =
      times(wide_rows,
            kRowsBesideFeedForward * row + hidden_rows * sizeof(float) * Bytes{profile.ffn_width});
  const Bytes scores = question.flash_attention
                           ? 0
                           : times(times(cells, rows), sizeof(float) * Bytes{profile.n_heads});
  const Bytes attention =
      plus(scores,
           times(rows, kRowsBesideAttention * row + 2 * sizeof(float) * Bytes{profile.kv_width}));

  const Bytes logits = sizeof(float) * (last ? Bytes{profile.n_vocab} : kVocabularyStub);
  const Bytes head = plus(times(outputs, logits), times(rows, kRowsBesideFeedForward * row));

  // States are copied together for a step, and a scan writes new ones beside them.
  const Bytes states = profile.state_bytes.empty() ? 0 : std::ranges::max(profile.state_bytes);
  const Bytes gathered = times(question.parallel, plus(states, profile.scanned_bytes));

  // What an adapter adds, before it is added and once more while its scale is applied.
  const Bytes added = times(2 * rows, sizeof(float) * Bytes{profile.adapter_width});

  // The output buffer starts with a row for each sequence.
  const Bytes output = times(question.parallel, logits);
  return plus(plus(mask, output),
              plus(plus(gathered, added), std::max({feed_forward, attention, head})));
}

}  // namespace

StageMemory estimate_memory(const ModelProfile& profile, const MemoryQuestion& question) {
  constexpr Bytes kMost = UINT64_MAX / 4;  // so that their sum does not wrap
  return {.weights = std::min(kMost, weights_of(profile, question.layers)),
          .kv = std::min(kMost, kv_of(profile, question)),
          .compute = std::min(kMost, compute_of(profile, question))};
}

}  // namespace gogrid
