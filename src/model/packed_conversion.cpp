#include "model/packed_conversion.h"

#include <ggml.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "base/format.h"
#include "model/weight_conversion.h"

namespace gogrid {
namespace {

// Elements of a block of q4_0, q4_1 and q8_0, and of the k types.
constexpr std::uint32_t kBlock = 32;
constexpr std::uint32_t kWideBlock = 256;
constexpr std::uint32_t kHalfBlock = kBlock / 2;

bool keeps_groups(const PackedMatrix& matrix) {
  return matrix.inputs() % kBlock == 0 &&
         (matrix.groups() == 1 || (matrix.run() != 0 && matrix.run() % kBlock == 0));
}

// The type in which the codes stay, GGML_TYPE_COUNT when there is none.
ggml_type code_type(const PackedMatrix& matrix) {
  if (!keeps_groups(matrix)) return GGML_TYPE_COUNT;
  const int most = static_cast<int>(matrix.format().highest_code() - matrix.least_zero());
  const int least = -static_cast<int>(matrix.most_zero());
  if (matrix.format().bits == 8) {
    return least >= -128 && most <= 127 ? GGML_TYPE_Q8_0 : GGML_TYPE_COUNT;
  }
  return least >= -8 && most <= 7 ? GGML_TYPE_Q4_0 : GGML_TYPE_Q4_1;
}

ggml_type rounded_type(const PackedMatrix& matrix) {
  if (matrix.inputs() % kBlock != 0) return GGML_TYPE_F16;
  const bool wide = matrix.inputs() % kWideBlock == 0;
  switch (matrix.format().bits) {
    case 2:
      return wide ? GGML_TYPE_Q4_K : GGML_TYPE_Q4_0;
    case 3:
      return wide ? GGML_TYPE_Q5_K : GGML_TYPE_Q5_0;
    case 4:
      return wide ? GGML_TYPE_Q6_K : GGML_TYPE_Q8_0;
    default:
      return GGML_TYPE_Q8_0;
  }
}

std::uint16_t half(float value, bool& finite) {
  const ggml_fp16_t bits = ggml_fp32_to_fp16(value);
  constexpr std::uint32_t kMagnitude = 0x7FFF;
  constexpr std::uint32_t kInfinity = 0x7C00;
  finite = finite && (bits & kMagnitude) < kInfinity;
  return bits;
}

// Appends the halves and bytes of blocks. Blocks are laid out as in ggml-common.h.
class Blocks {
 public:
  explicit Blocks(std::byte* out) : out_(out) {}
  void half(std::uint16_t bits) {
    std::memcpy(out_, &bits, sizeof bits);
    out_ += sizeof bits;
  }
  // Element i and i + 16 share a byte.
  void nibbles(const std::uint8_t* codes, int shift) {
    for (std::uint32_t i = 0; i < kHalfBlock; ++i) {
      byte(codes[i] + shift + ((codes[i + kHalfBlock] + shift) << 4));
    }
  }
  void byte(int value) { *out_++ = static_cast<std::byte>(value); }

 private:
  std::byte* out_;
};

const ggml_type_traits& traits_of(std::uint32_t type) {
  return *ggml_get_type_traits(static_cast<ggml_type>(type));
}

std::optional<StoredType> stored_type(std::uint32_t type) {
  for (const StoredType stored : {StoredType::kF32, StoredType::kF16, StoredType::kBF16}) {
    if (ggml_type_of(stored) == type) return stored;
  }
  return std::nullopt;
}

}  // namespace

std::uint32_t natural_type(const PackedMatrix& matrix) {
  const ggml_type kept = code_type(matrix);
  return kept != GGML_TYPE_COUNT ? kept : rounded_type(matrix);
}

std::uint32_t file_type_of_packed(std::uint32_t type) {
  // Of the k types, those in which all matrices are of the one.
  constexpr auto kFileTypes =
      std::to_array<std::pair<ggml_type, llama_ftype>>({{GGML_TYPE_F32, LLAMA_FTYPE_ALL_F32},
                                                        {GGML_TYPE_BF16, LLAMA_FTYPE_MOSTLY_BF16},
                                                        {GGML_TYPE_Q4_0, LLAMA_FTYPE_MOSTLY_Q4_0},
                                                        {GGML_TYPE_Q4_1, LLAMA_FTYPE_MOSTLY_Q4_1},
                                                        {GGML_TYPE_Q5_0, LLAMA_FTYPE_MOSTLY_Q5_0},
                                                        {GGML_TYPE_Q5_1, LLAMA_FTYPE_MOSTLY_Q5_1},
                                                        {GGML_TYPE_Q8_0, LLAMA_FTYPE_MOSTLY_Q8_0},
                                                        {GGML_TYPE_Q2_K, LLAMA_FTYPE_MOSTLY_Q2_K_S},
                                                        {GGML_TYPE_Q3_K, LLAMA_FTYPE_MOSTLY_Q3_K_S},
                                                        {GGML_TYPE_Q4_K, LLAMA_FTYPE_MOSTLY_Q4_K_S},
                                                        {GGML_TYPE_Q5_K, LLAMA_FTYPE_MOSTLY_Q5_K_S},
                                                        {GGML_TYPE_Q6_K, LLAMA_FTYPE_MOSTLY_Q6_K}});
  for (const auto& [weights, file] : kFileTypes) {
    if (static_cast<std::uint32_t>(weights) == type) return file;
  }
  return LLAMA_FTYPE_MOSTLY_F16;
}

double SquaredError::relative() const {
  if (error == 0) return 0;
  return weights == 0 ? 1 : std::sqrt(error / weights);
}

SquaredError error_of(std::uint32_t type, const std::byte* stored, std::span<const float> weights,
                      std::span<float> read_back) {
  if (type == GGML_TYPE_F32) {
    std::memcpy(read_back.data(), stored, read_back.size_bytes());
  } else {
    traits_of(type).to_float(stored, read_back.data(), static_cast<std::int64_t>(read_back.size()));
  }
  SquaredError sum;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double difference = double{read_back[i]} - double{weights[i]};
    sum.error += difference * difference;
    sum.weights += double{weights[i]} * double{weights[i]};
  }
  return sum;
}

RowPacker::RowPacker(const PackedMatrix& matrix, std::uint32_t type)
    : matrix_(matrix),
      type_(type),
      keeps_codes_(code_type(matrix) == static_cast<ggml_type>(type)),
      row_bytes_(
          ggml_row_size(static_cast<ggml_type>(type), static_cast<std::int64_t>(matrix.inputs()))),
      weights_(matrix.inputs()),
      read_back_(matrix.inputs()) {}

Result<SquaredError> RowPacker::pack(std::span<const std::uint64_t> rows,
                                     std::span<std::byte> out) {
  const std::size_t inputs = matrix_.inputs();
  codes_.resize(rows.size() * inputs);
  matrix_.unpack(rows, codes_);
  SquaredError sum;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto codes = std::span(codes_).subspan(i * inputs, inputs);
    std::byte* row = out.data() + i * row_bytes_;
    matrix_.read_groups(rows[i], groups_);
    dequantize(codes);
    if (!encode_row(codes, row)) {
      return fail(ErrorCode::kInvalidArgument,
                  format_text("expected scales and weights within the range of {}: import with "
                              "--type bf16",
                              traits_of(type_).type_name));
    }
    sum += error_of(type_, row, weights_, read_back_);
  }
  return sum;
}

void RowPacker::dequantize(std::span<const std::uint8_t> codes) {
  for (std::size_t input = 0; input < codes.size(); ++input) {
    const std::uint64_t group = matrix_.group_of(input);
    weights_[input] =
        groups_.scales[group] * (static_cast<float>(codes[input]) - groups_.zeros[group]);
  }
}

bool RowPacker::encode_row(std::span<const std::uint8_t> codes, std::byte* out) {
  if (keeps_codes_) return keep_codes(codes, out);
  if (const auto stored = stored_type(type_)) return encode(*stored, weights_, out);
  if (!std::ranges::all_of(weights_, [](float weight) { return std::isfinite(weight); })) {
    return false;
  }
  ggml_quantize_chunk(static_cast<ggml_type>(type_), weights_.data(), out, 0, 1,
                      static_cast<std::int64_t>(weights_.size()), nullptr);
  return ggml_validate_row_data(static_cast<ggml_type>(type_), out, row_bytes_);
}

bool RowPacker::keep_codes(std::span<const std::uint8_t> codes, std::byte* out) {
  Blocks blocks(out);
  bool finite = true;
  for (std::size_t first = 0; first < codes.size(); first += kBlock) {
    const std::uint64_t group = matrix_.group_of(first);
    const float scale = groups_.scales[group];
    const int zero = static_cast<int>(groups_.zeros[group]);
    blocks.half(half(scale, finite));
    if (type_ == GGML_TYPE_Q4_0) {
      blocks.nibbles(codes.data() + first, 8 - zero);
    } else if (type_ == GGML_TYPE_Q4_1) {
      // Exact before it is rounded once: 11 bits of the scale times 4 of the zero are fewer
      // than 24.
      blocks.half(half(-scale * groups_.zeros[group], finite));
      blocks.nibbles(codes.data() + first, 0);
    } else {
      for (std::uint32_t i = 0; i < kBlock; ++i) blocks.byte(codes[first + i] - zero);
    }
  }
  return finite;
}

}  // namespace gogrid
