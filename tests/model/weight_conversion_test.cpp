#include "model/weight_conversion.h"

#include <ggml.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace gogrid {
namespace {

constexpr auto kInfinity = std::numeric_limits<float>::infinity();

std::uint16_t encoded(FloatType type, float value) {
  std::uint16_t bits = 0;
  encode(type, std::span(&value, 1), reinterpret_cast<std::byte*>(&bits));
  return bits;
}

float decoded(SafetensorsType type, std::uint32_t bits) {
  float value = 0;
  decode(type, reinterpret_cast<const std::byte*>(&bits), std::span(&value, 1));
  return value;
}

bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

TEST(WeightConversion, EveryHalfIsWhatGgmlSaysItIs) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<ggml_fp16_t>(bits);
    ASSERT_TRUE(same(decoded(SafetensorsType::kF16, bits), ggml_fp16_to_fp32(half))) << bits;
  }
}

TEST(WeightConversion, FloatsRoundToHalvesAsGgmlRoundsThem) {
  std::mt19937 engine(1);
  const auto random = [&] { return static_cast<std::uint32_t>(engine()); };
  for (int i = 0; i < 2'000'000; ++i) {
    // Exponents in and around the range of halves.
    const std::uint32_t exponent = 127 - 30 + random() % 50;
    const float value = std::bit_cast<float>((random() & 0x807FFFFFU) | exponent << 23);
    ASSERT_EQ(encoded(FloatType::kF16, value), ggml_fp32_to_fp16(value)) << value;
  }
  for (const float edge : {0.0F, -0.0F, 65504.0F, 65519.99F, 65520.0F, 0x1p-24F, 0x1p-25F,
                           0x1.8p-25F, 0x1.002p0F, 0x1.006p0F, 6.1e-5F}) {
    EXPECT_EQ(encoded(FloatType::kF16, edge), ggml_fp32_to_fp16(edge)) << edge;
  }
}

TEST(WeightConversion, FloatsRoundToBfloatsAsGgmlRoundsThem) {
  std::mt19937 engine(2);
  for (int i = 0; i < 1'000'000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(engine()));
    ASSERT_EQ(encoded(FloatType::kBF16, value), ggml_fp32_to_bf16(value).bits) << value;
  }
}

TEST(WeightConversion, WhatATypeDoesNotHoldIsTold) {
  const auto holds = [](FloatType type, float value) {
    std::uint32_t bits = 0;
    return encode(type, std::span(&value, 1), reinterpret_cast<std::byte*>(&bits));
  };
  EXPECT_TRUE(holds(FloatType::kF16, 65504));
  EXPECT_FALSE(holds(FloatType::kF16, 65520));
  EXPECT_TRUE(holds(FloatType::kBF16, 65520));
  EXPECT_FALSE(holds(FloatType::kBF16, std::numeric_limits<float>::max()));
  EXPECT_TRUE(holds(FloatType::kF32, std::numeric_limits<float>::max()));
  for (const FloatType type : {FloatType::kF16, FloatType::kBF16, FloatType::kF32}) {
    EXPECT_FALSE(holds(type, -kInfinity));
    EXPECT_FALSE(holds(type, std::numeric_limits<float>::quiet_NaN()));
  }
}

TEST(WeightConversion, EightBitFloatsAreThoseOfTheirSpecification) {
  const auto e4m3 = [](std::uint32_t bits) { return decoded(SafetensorsType::kF8E4M3, bits); };
  EXPECT_EQ(e4m3(0x00), 0.0F);
  EXPECT_EQ(e4m3(0x01), 0x1p-9F);
  EXPECT_EQ(e4m3(0x08), 0x1p-6F);
  EXPECT_EQ(e4m3(0x38), 1.0F);
  EXPECT_EQ(e4m3(0xBC), -1.5F);
  EXPECT_EQ(e4m3(0x7E), 448.0F);
  EXPECT_TRUE(std::isnan(e4m3(0x7F)) && std::isnan(e4m3(0xFF)));
  const auto e5m2 = [](std::uint32_t bits) { return decoded(SafetensorsType::kF8E5M2, bits); };
  EXPECT_EQ(e5m2(0x01), 0x1p-16F);
  EXPECT_EQ(e5m2(0x3C), 1.0F);
  EXPECT_EQ(e5m2(0x7B), 57344.0F);
  EXPECT_EQ(e5m2(0xFC), -kInfinity);
}

TEST(WeightConversion, TensorsMayBeginAtAnyByte) {
  std::vector<std::byte> bytes(9);
  const std::vector<float> values{1.5F, -2};
  std::memcpy(bytes.data() + 1, values.data(), 8);
  std::vector<float> out(2);
  decode(SafetensorsType::kF32, bytes.data() + 1, out);
  EXPECT_EQ(out, values);
}

TEST(WeightConversion, NamesAreReadAsTheyArePrinted) {
  for (const FloatType type : {FloatType::kF32, FloatType::kF16, FloatType::kBF16}) {
    EXPECT_EQ(weight_type_named(to_string(type)), type);
  }
  EXPECT_FALSE(weight_type_named("q4_0"));
  EXPECT_FALSE(weight_type_named(""));
}

}  // namespace
}  // namespace gogrid
