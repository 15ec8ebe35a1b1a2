#include "stage/token_rows.h"

#include <ggml.h>

#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>

#include "base/format.h"
#include "model/gguf_file.h"

namespace gogrid {

struct TokenRows::State {
  GgufFile file;
  std::span<const std::byte> data;
  std::size_t row_bytes = 0;
  std::uint32_t n_embd = 0;
  std::uint32_t n_vocab = 0;
  float scale = 1.0F;
  ggml_to_float_t to_float = nullptr;  // null: the rows are floats already
};

TokenRows::TokenRows(std::unique_ptr<State> state) : state_(std::move(state)) {}
TokenRows::TokenRows(TokenRows&&) noexcept = default;
TokenRows& TokenRows::operator=(TokenRows&&) noexcept = default;
TokenRows::~TokenRows() = default;

Result<TokenRows> TokenRows::open(const std::filesystem::path& model, std::uint32_t n_embd,
                                  float scale) {
  GOGRID_ASSIGN_OR_RETURN(GgufFile file, GgufFile::open(model));
  const GgufTensor* tensor = file.tensor("token_embd.weight");
  if (tensor == nullptr || tensor->n_dims != 2 || tensor->shape[0] != n_embd ||
      tensor->shape[1] > std::numeric_limits<std::int32_t>::max()) {
    return fail(
        ErrorCode::kCorrupt,
        format_text("[token_rows] {}: token_embd.weight of {} columns: {}", model.string(), n_embd,
                    tensor == nullptr ? "absent" : std::to_string(tensor->shape[0])));
  }
  const auto type = static_cast<ggml_type>(tensor->type);
  const ggml_to_float_t to_float = ggml_get_type_traits(type)->to_float;
  if (to_float == nullptr && type != GGML_TYPE_F32) {
    return fail(ErrorCode::kUnsupported,
                format_text("[token_rows] {}: a type whose rows can be read: {}", model.string(),
                            tensor->type_name));
  }
  auto state =
      std::make_unique<State>(State{.file = std::move(file),
                                    .data = {},
                                    .row_bytes = ggml_row_size(type, n_embd),
                                    .n_embd = n_embd,
                                    .n_vocab = static_cast<std::uint32_t>(tensor->shape[1]),
                                    .scale = scale,
                                    .to_float = type == GGML_TYPE_F32 ? nullptr : to_float});
  state->data = state->file.data(*state->file.tensor("token_embd.weight"));
  return TokenRows(std::move(state));
}

std::uint32_t TokenRows::n_vocab() const { return state_->n_vocab; }

void TokenRows::read(Token token, std::span<float> out) const {
  const auto row =
      state_->data.subspan(static_cast<std::size_t>(token) * state_->row_bytes, state_->row_bytes);
  if (state_->to_float == nullptr) {
    std::memcpy(out.data(), row.data(), row.size());
  } else {
    state_->to_float(row.data(), out.data(), state_->n_embd);
  }
  if (state_->scale != 1.0F) {
    for (float& value : out) value *= state_->scale;
  }
}

}  // namespace gogrid
