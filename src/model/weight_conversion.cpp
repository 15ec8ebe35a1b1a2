#include "model/weight_conversion.h"

#include <ggml.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace gogrid {
namespace {

struct WeightRow {
  std::string_view name;
  ggml_type type;
  std::uint32_t file_type;  // enum llama_ftype
  std::size_t size;
  SafetensorsType same;
};
// In the order of FloatType.
constexpr auto kRows =
    std::to_array<WeightRow>({{"f32", GGML_TYPE_F32, 0, 4, SafetensorsType::kF32},
                              {"f16", GGML_TYPE_F16, 1, 2, SafetensorsType::kF16},
                              {"bf16", GGML_TYPE_BF16, 32, 2, SafetensorsType::kBF16}});

const WeightRow& row_of(FloatType type) { return kRows[static_cast<std::size_t>(type)]; }

// The loops below have no branches in them, so that compilers make vector code of them.

template <class Bits>
Bits load(const std::byte* in, std::size_t i) {
  Bits bits;
  std::memcpy(&bits, in + i * sizeof(Bits), sizeof bits);
  return bits;
}

template <class Bits>
void store(std::byte* out, std::size_t i, Bits bits) {
  std::memcpy(out + i * sizeof(Bits), &bits, sizeof bits);
}

// A half's smallest step below its normal numbers is 2^-24.
constexpr float kHalfStep = 0x1p-24F;

float half_to_float(std::uint16_t half) {
  const std::uint32_t magnitude = half & 0x7FFFU;
  const std::uint32_t sign = (half & 0x8000U) << 16;
  // The exponents' biases differ by 112; infinity's exponent needs as much again.
  const std::uint32_t top = magnitude >= 0x7C00U ? 112U << 23 : 0U;
  const std::uint32_t normal = (magnitude << 13) + (112U << 23) + top;
  const auto small =
      std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<int>(magnitude)) * kHalfStep);
  return std::bit_cast<float>(sign | (magnitude < 0x0400U ? small : normal));
}

std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  // Half of what is dropped, less one where the last bit kept is even. A carry out of the fraction
  // raises the exponent, up to infinity's.
  const std::uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
  const std::uint32_t normal = (rounded - (112U << 23)) >> 13;
  // One half has the step that small numbers need: the addition rounds to it.
  const std::uint32_t small =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3F000000U;
  const std::uint32_t finite = magnitude < 0x38800000U ? small : normal;
  // From 65520 on: infinite, or no number.
  const std::uint32_t infinite = magnitude > 0x7F800000U ? 0x7E00U : 0x7C00U;
  const std::uint32_t half = magnitude >= 0x477FF000U ? infinite : finite;
  return static_cast<std::uint16_t>(((bits >> 16) & 0x8000U) | half);
}

std::uint16_t float_to_bfloat(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const std::uint32_t quiet = (bits >> 16) | 0x40U;
  const bool no_number = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return static_cast<std::uint16_t>(no_number ? quiet : rounded);
}

// Open Compute Project, 8-bit floating point specification: E5M2 is the upper half of a half; E4M3
// has no infinity, and one pair of no number.
constexpr std::uint8_t kE4M3NoNumber = 0x7F;

float e4m3_to_float(std::uint8_t bits) {
  const std::uint32_t magnitude = bits & 0x7FU;
  float value = 0;
  if (magnitude == kE4M3NoNumber) {
    value = std::numeric_limits<float>::quiet_NaN();
  } else if (magnitude < 0x08U) {
    value = static_cast<float>(magnitude) * 0x1p-9F;
  } else {
    value = std::bit_cast<float>((magnitude << 20) + (120U << 23));
  }
  return (bits & 0x80U) != 0 ? -value : value;
}

const std::array<float, 256>& table_of(SafetensorsType type) {
  static const auto tables = [] {
    std::array<std::array<float, 256>, 2> made{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      made[0][i] = e4m3_to_float(static_cast<std::uint8_t>(i));
      made[1][i] = half_to_float(static_cast<std::uint16_t>(i << 8));
    }
    return made;
  }();
  return tables[type == SafetensorsType::kF8E4M3 ? 0 : 1];
}

}  // namespace

std::string_view to_string(FloatType type) { return row_of(type).name; }

std::optional<FloatType> weight_type_named(std::string_view name) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) return static_cast<FloatType>(i);
  }
  return std::nullopt;
}

std::uint32_t ggml_type_of(FloatType type) { return row_of(type).type; }
std::uint32_t file_type_of(FloatType type) { return row_of(type).file_type; }
std::size_t element_size(FloatType type) { return row_of(type).size; }

std::optional<FloatType> same_as(SafetensorsType type) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].same == type) return static_cast<FloatType>(i);
  }
  return std::nullopt;
}

bool is_weight(SafetensorsType type) {
  return same_as(type) || type == SafetensorsType::kF8E4M3 || type == SafetensorsType::kF8E5M2;
}

void decode(SafetensorsType type, const std::byte* in, std::span<float> out) {
  switch (type) {
    case SafetensorsType::kF32:
      std::memcpy(out.data(), in, out.size_bytes());
      return;
    case SafetensorsType::kF16:
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = half_to_float(load<std::uint16_t>(in, i));
      }
      return;
    case SafetensorsType::kBF16:
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(in, i)} << 16);
      }
      return;
    default: {
      const std::array<float, 256>& table = table_of(type);
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = table[load<std::uint8_t>(in, i)];
    }
  }
}

bool encode(FloatType type, std::span<const float> in, std::byte* out) {
  // The largest magnitude of all: what is not finite has the largest.
  std::uint32_t most = 0;
  switch (type) {
    case FloatType::kF32:
      for (const float value : in) {
        most = std::max(most, std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU);
      }
      std::memcpy(out, in.data(), in.size_bytes());
      return most < 0x7F800000U;
    case FloatType::kF16:
      for (std::size_t i = 0; i < in.size(); ++i) {
        const std::uint16_t half = float_to_half(in[i]);
        store(out, i, half);
        most = std::max(most, std::uint32_t{half} & 0x7FFFU);
      }
      return most < 0x7C00U;
    case FloatType::kBF16:
      for (std::size_t i = 0; i < in.size(); ++i) {
        const std::uint16_t bfloat = float_to_bfloat(in[i]);
        store(out, i, bfloat);
        most = std::max(most, std::uint32_t{bfloat} & 0x7FFFU);
      }
      return most < 0x7F80U;
  }
  return false;
}

}  // namespace gogrid
