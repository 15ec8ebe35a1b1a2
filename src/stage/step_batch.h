#pragma once

#include <llama.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "stage/stage.h"

namespace gogrid {

// The arrays behind a llama_batch; sized once. Not thread-safe. Only for sources of this layer
// (llama.h).
class StepBatch {
 public:
  StepBatch(std::size_t max_rows, std::size_t width)
      : tokens_(width == 0 ? max_rows : 0),
        hidden_(width * max_rows),
        positions_(max_rows),
        counts_(max_rows, 1),
        slots_(max_rows),
        slot_pointers_(max_rows),
        outputs_(max_rows),
        width_(width) {
    for (std::size_t i = 0; i < max_rows; ++i) slot_pointers_[i] = &slots_[i];
  }

  void clear() { size_ = 0; }
  // Where the hidden state of the row goes; empty when the batch is of tokens.
  std::span<float> add(const StepRow& row, bool output) {
    const std::size_t i = size_++;
    positions_[i] = row.position;
    slots_[i] = row.slot;
    outputs_[i] = output ? 1 : 0;
    if (width_ == 0) {
      tokens_[i] = row.token;
      return {};
    }
    return std::span(hidden_).subspan(i * width_, width_);
  }
  llama_batch view() {
    return {.n_tokens = static_cast<std::int32_t>(size_),
            .token = width_ == 0 ? tokens_.data() : nullptr,
            .embd = width_ == 0 ? nullptr : hidden_.data(),
            .pos = positions_.data(),
            .n_seq_id = counts_.data(),
            .seq_id = slot_pointers_.data(),
            .logits = outputs_.data()};
  }

 private:
  std::vector<llama_token> tokens_;
  std::vector<float> hidden_;
  std::vector<llama_pos> positions_;
  std::vector<std::int32_t> counts_;
  std::vector<llama_seq_id> slots_;
  std::vector<llama_seq_id*> slot_pointers_;
  std::vector<std::int8_t> outputs_;
  const std::size_t width_;
  std::size_t size_ = 0;
};

}  // namespace gogrid
