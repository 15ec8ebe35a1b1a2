// The token embedding as a table of rows, read from the mapped model file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/result.h"
#include "request/sampling_spec.h"

namespace gogrid {

// Immutable after open(); thread-safe.
class TokenRows {
 public:
  // kCorrupt when the file has no `token_embd.weight` of `n_embd` columns; kUnsupported for a type
  // that cannot be read row by row.
  static Result<TokenRows> open(const std::filesystem::path& model, std::uint32_t n_embd,
                                float scale);
  TokenRows(TokenRows&&) noexcept;
  TokenRows& operator=(TokenRows&&) noexcept;
  ~TokenRows();

  std::uint32_t n_vocab() const;
  // Writes the row of `token` (0 <= token < n_vocab()), scaled, to `out`: n_embd floats.
  void read(Token token, std::span<float> out) const;

 private:
  struct State;
  explicit TokenRows(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gogrid
