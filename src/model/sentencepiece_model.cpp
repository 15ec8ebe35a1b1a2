#include "model/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/files.h"
#include "base/format.h"

namespace gogrid {
namespace {

// Numbers of the fields, from sentencepiece_model.proto.
constexpr std::uint32_t kModelPieces = 1;
constexpr std::uint32_t kModelTrainer = 2;
constexpr std::uint32_t kModelNormalizer = 3;
constexpr std::uint32_t kPieceText = 1;
constexpr std::uint32_t kPieceScore = 2;
constexpr std::uint32_t kPieceKind = 3;
constexpr std::uint32_t kTrainerAlgorithm = 3;
constexpr std::uint32_t kNormalizerTable = 2;
constexpr std::uint32_t kNormalizerPrefix = 3;
constexpr std::uint32_t kNormalizerSpaces = 4;

// How a field is stored: https://protobuf.dev/programming-guides/encoding/
enum class Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  std::uint32_t number = 0;
  Wire wire = Wire::kVarint;
  std::uint64_t value = 0;  // of a varint or a fixed one
  std::string_view bytes;
};

// The fields of one message, in order. Not thread-safe.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }
  // Empty when the bytes are no field.
  std::optional<Field> next();

 private:
  std::optional<std::uint64_t> varint();
  template <class T>
  std::optional<std::uint64_t> fixed();

  std::string_view rest_;
};

std::optional<std::uint64_t> Fields::varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if ((byte & 0x80U) == 0) return value;
  }
  return std::nullopt;
}

template <class T>
std::optional<std::uint64_t> Fields::fixed() {
  if (rest_.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, rest_.data(), sizeof value);
  rest_.remove_prefix(sizeof value);
  return value;
}

std::optional<Field> Fields::next() {
  const auto tag = varint();
  if (!tag || *tag >> 3 == 0 || *tag >> 3 > 0x1FFFFFFFU) return std::nullopt;
  Field field{static_cast<std::uint32_t>(*tag >> 3), static_cast<Wire>(*tag & 7U), 0, {}};
  std::optional<std::uint64_t> value;
  switch (field.wire) {
    case Wire::kFixed64:
      value = fixed<std::uint64_t>();
      break;
    case Wire::kFixed32:
      value = fixed<std::uint32_t>();
      break;
    case Wire::kVarint:
    case Wire::kBytes:
      value = varint();
      break;
    default:  // groups, which nobody writes any more
      return std::nullopt;
  }
  if (!value) return std::nullopt;
  field.value = *value;
  if (field.wire == Wire::kBytes) {
    if (*value > rest_.size()) return std::nullopt;
    field.bytes = rest_.substr(0, *value);
    rest_.remove_prefix(*value);
  }
  return field;
}

class ModelReader {
 public:
  ModelReader(std::string_view name, const SentencePieceLimits& limits)
      : name_(name), limits_(limits) {}

  Result<SentencePieceModel> read(std::string_view bytes);

 private:
  std::unexpected<Error> corrupt(const std::string& what) const {
    return fail(ErrorCode::kCorrupt, format_text("[sentencepiece] {}: {}", name_, what));
  }
  // Calls `take` with each field of a message.
  template <class Take>
  Status each(std::string_view message, std::string_view what, const Take& take) const;
  Status take_part(const Field& field);
  Status add_piece(std::string_view message);
  Status take_piece_field(const Field& field, SentencePiece& piece) const;
  Status take_trainer(const Field& field);
  Status take_normalizer(const Field& field);

  const std::string_view name_;
  const SentencePieceLimits& limits_;
  SentencePieceModel out_;
};

template <class Take>
Status ModelReader::each(std::string_view message, std::string_view what, const Take& take) const {
  for (Fields fields(message); !fields.done();) {
    const auto field = fields.next();
    if (!field) return corrupt(format_text("expected the fields of {}: they break off", what));
    GOGRID_RETURN_IF_ERROR(take(*field));
  }
  return {};
}

Result<SentencePieceModel> ModelReader::read(std::string_view bytes) {
  GOGRID_RETURN_IF_ERROR(
      each(bytes, "a SentencePiece model", [&](const Field& field) { return take_part(field); }));
  if (out_.pieces.empty()) return corrupt("expected pieces: none");
  return std::move(out_);
}

Status ModelReader::take_part(const Field& field) {
  if (field.wire != Wire::kBytes) return {};
  switch (field.number) {
    case kModelPieces:
      return add_piece(field.bytes);
    case kModelTrainer:
      return each(field.bytes, "the trainer",
                  [&](const Field& inner) { return take_trainer(inner); });
    case kModelNormalizer:
      return each(field.bytes, "the normalizer",
                  [&](const Field& inner) { return take_normalizer(inner); });
    default:
      return {};
  }
}

Status ModelReader::add_piece(std::string_view message) {
  if (out_.pieces.size() == limits_.pieces) {
    return corrupt(format_text("expected at most {} pieces: more", limits_.pieces));
  }
  SentencePiece piece;
  GOGRID_RETURN_IF_ERROR(
      each(message, "a piece", [&](const Field& field) { return take_piece_field(field, piece); }));
  if (piece.text.empty()) {
    return corrupt(format_text("piece {}: expected a text: none", out_.pieces.size()));
  }
  out_.pieces.push_back(std::move(piece));
  return {};
}

Status ModelReader::take_piece_field(const Field& field, SentencePiece& piece) const {
  const auto bad = [&](const std::string& what) {
    return corrupt(format_text("piece {}: {}", out_.pieces.size(), what));
  };
  if (field.number == kPieceText && field.wire == Wire::kBytes) {
    if (field.bytes.size() > limits_.piece) {
      return bad(format_text("expected at most {} bytes: {}", limits_.piece, field.bytes.size()));
    }
    piece.text = field.bytes;
  } else if (field.number == kPieceScore && field.wire == Wire::kFixed32) {
    piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    if (!std::isfinite(piece.score)) return bad("expected a finite score: it is not");
  } else if (field.number == kPieceKind && field.wire == Wire::kVarint) {
    if (field.value < 1 || field.value > static_cast<std::uint64_t>(PieceKind::kByte)) {
      return bad(format_text("expected a kind from 1 to 6: {}", field.value));
    }
    piece.kind = static_cast<PieceKind>(field.value);
  }
  return {};
}

Status ModelReader::take_trainer(const Field& field) {
  if (field.number != kTrainerAlgorithm || field.wire != Wire::kVarint) return {};
  if (field.value < 1 || field.value > static_cast<std::uint64_t>(PieceAlgorithm::kCharacter)) {
    return corrupt(format_text("expected an algorithm from 1 to 4: {}", field.value));
  }
  out_.algorithm = static_cast<PieceAlgorithm>(field.value);
  return {};
}

Status ModelReader::take_normalizer(const Field& field) {
  if (field.number == kNormalizerTable && field.wire == Wire::kBytes) {
    out_.normalizes = !field.bytes.empty();
  } else if (field.number == kNormalizerPrefix && field.wire == Wire::kVarint) {
    out_.adds_prefix = field.value != 0;
  } else if (field.number == kNormalizerSpaces && field.wire == Wire::kVarint) {
    out_.removes_extra_spaces = field.value != 0;
  }
  return {};
}

}  // namespace

Result<SentencePieceModel> parse_sentencepiece(std::string_view bytes, std::string_view name,
                                               const SentencePieceLimits& limits) {
  if (bytes.size() > limits.size) {
    return fail(ErrorCode::kCorrupt,
                format_text("[sentencepiece] {}: expected at most {}: {}", name,
                            format_bytes(limits.size), format_bytes(bytes.size())));
  }
  return ModelReader(name, limits).read(bytes);
}

Result<SentencePieceModel> read_sentencepiece(const std::filesystem::path& path,
                                              const SentencePieceLimits& limits) {
  GOGRID_ASSIGN_OR_RETURN(const std::string bytes, read_file(path, limits.size));
  return parse_sentencepiece(bytes, path.native(), limits);
}

}  // namespace gogrid
