// tokenizer.model: the protocol buffer in which SentencePiece keeps a tokenizer. Only what libllama
// needs is read. Format: sentencepiece_model.proto of https://github.com/google/sentencepiece
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// On-disk numbers.
enum class PieceKind : std::uint8_t {
  kNormal = 1,
  kUnknown,
  kControl,
  kUserDefined,
  kUnused,
  kByte
};
enum class PieceAlgorithm : std::uint8_t { kUnigram = 1, kBytePair, kWord, kCharacter };

struct SentencePiece {
  std::string text;
  float score = 0;
  PieceKind kind = PieceKind::kNormal;
};

struct SentencePieceModel {
  std::vector<SentencePiece> pieces;
  PieceAlgorithm algorithm = PieceAlgorithm::kUnigram;
  bool adds_prefix = true;  // a space before every text
  bool removes_extra_spaces = true;
  bool normalizes = false;  // with a table of characters
};

struct SentencePieceLimits {
  Bytes size = 32 * kMiB;
  std::size_t pieces = 1U << 20;
  std::size_t piece = 1024;  // bytes
};

// kCorrupt "[sentencepiece] NAME: what was expected: what came".
Result<SentencePieceModel> parse_sentencepiece(std::string_view bytes, std::string_view name,
                                               const SentencePieceLimits& limits = {});
Result<SentencePieceModel> read_sentencepiece(const std::filesystem::path& path,
                                              const SentencePieceLimits& limits = {});

}  // namespace gogrid
