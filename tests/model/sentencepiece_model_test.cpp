#include "model/sentencepiece_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <string>

namespace gogrid {
namespace {

using ::testing::HasSubstr;

// Protocol buffers by hand: https://protobuf.dev/programming-guides/encoding/
std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string number(std::uint32_t field, std::uint64_t value) {
  return varint(field << 3) + varint(value);
}
std::string bytes(std::uint32_t field, std::string_view value) {
  return varint(field << 3 | 2) + varint(value.size()) + std::string(value);
}
std::string real(std::uint32_t field, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  std::string text = varint(field << 3 | 5);
  for (int shift = 0; shift < 32; shift += 8) text += static_cast<char>(bits >> shift);
  return text;
}
std::string piece(std::string_view text, float score, std::uint64_t kind = 1) {
  return bytes(1, bytes(1, text) + real(2, score) + number(3, kind));
}

std::string refusal(const std::string& model, const SentencePieceLimits& limits = {}) {
  const auto parsed = parse_sentencepiece(model, "x", limits);
  EXPECT_FALSE(parsed);
  return parsed ? std::string() : parsed.error().message;
}

TEST(SentencePieceModel, PiecesAndSettingsAreRead) {
  const std::string model = piece("<unk>", 0, 2) + piece("<0x0A>", 0, 6) + piece("▁a", -1.5F) +
                            bytes(2, number(3, 2) + bytes(1, "input.txt")) +
                            bytes(3, bytes(2, "table") + number(3, 0) + number(4, 0)) +
                            number(200, 7) + bytes(4, "self-test");
  const auto parsed = parse_sentencepiece(model, "x");
  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->pieces.size(), 3U);
  EXPECT_EQ(parsed->pieces[0].kind, PieceKind::kUnknown);
  EXPECT_EQ(parsed->pieces[1].kind, PieceKind::kByte);
  EXPECT_EQ(parsed->pieces[2].text, "▁a");
  EXPECT_EQ(parsed->pieces[2].score, -1.5F);
  EXPECT_EQ(parsed->algorithm, PieceAlgorithm::kBytePair);
  EXPECT_FALSE(parsed->adds_prefix);
  EXPECT_FALSE(parsed->removes_extra_spaces);
  EXPECT_TRUE(parsed->normalizes);
}

TEST(SentencePieceModel, WhatIsAbsentHasTheFormatsDefaults) {
  const auto parsed = parse_sentencepiece(bytes(1, bytes(1, "a")), "x");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->pieces[0].kind, PieceKind::kNormal);
  EXPECT_EQ(parsed->algorithm, PieceAlgorithm::kUnigram);
  EXPECT_TRUE(parsed->adds_prefix);
}

TEST(SentencePieceModel, EveryCutIsRefusedOrShorter) {
  const std::string whole = piece("abc", -1) + piece("d", -2) + bytes(2, number(3, 2));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto parsed = parse_sentencepiece(whole.substr(0, size), "x");
    if (parsed) {
      EXPECT_LE(parsed->pieces.size(), 2U);
    } else {
      EXPECT_THAT(parsed.error().message, HasSubstr("[sentencepiece] x: expected"));
    }
  }
}

TEST(SentencePieceModel, BrokenOnesAreRefusedInTheirOwnWords) {
  EXPECT_THAT(refusal(""), HasSubstr("expected pieces: none"));
  EXPECT_THAT(refusal("not a model"), HasSubstr("they break off"));
  EXPECT_THAT(refusal(std::string(20, '\xFF')), HasSubstr("they break off"));
  EXPECT_THAT(refusal(varint(1 << 3 | 2) + varint(UINT64_MAX)), HasSubstr("they break off"));
  EXPECT_THAT(refusal(varint(1 << 3 | 3)), HasSubstr("they break off"));
  EXPECT_THAT(refusal(varint(0)), HasSubstr("they break off"));
  EXPECT_THAT(refusal(bytes(1, "")), HasSubstr("piece 0: expected a text"));
  EXPECT_THAT(refusal(piece("a", std::bit_cast<float>(0x7FC00000U))), HasSubstr("a finite score"));
  EXPECT_THAT(refusal(piece("a", 0, 7)), HasSubstr("a kind from 1 to 6: 7"));
  EXPECT_THAT(refusal(piece("a", 0) + bytes(2, number(3, 9))), HasSubstr("from 1 to 4: 9"));
  EXPECT_THAT(refusal(piece("abc", 0), {.piece = 2}), HasSubstr("at most 2 bytes: 3"));
  EXPECT_THAT(refusal(piece("a", 0) + piece("b", 0), {.pieces = 1}), HasSubstr("at most 1 pieces"));
  EXPECT_THAT(refusal(piece("a", 0), {.size = 3}), HasSubstr("at most 3 B"));
}

}  // namespace
}  // namespace gogrid
