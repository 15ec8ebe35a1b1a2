#include "model/scaled_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gogrid {
namespace {

using ::testing::HasSubstr;

Result<std::optional<ScaledFormat>> format_of(const std::string& json) {
  const auto fields = HfConfig::of(nlohmann::json::parse(json), "config.json");
  EXPECT_TRUE(fields);
  return scaled_format_of(*fields);
}

// A group of compressed-tensors with these fields of its weights.
std::string compressed(const std::string& weights, const std::string& more = "") {
  return R"({"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
             "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null,
             "weights": {)" +
         weights + "}}}" + more + "}";
}

const std::string kChannel = R"("num_bits": 8, "type": "float", "strategy": "channel")";
const std::string kBlock =
    R"("num_bits": 8, "type": "float", "strategy": "block", "block_structure": )";

TEST(ScaledFormat, ReadsWhatDeepSeekAndQwenWrite) {
  const auto format = format_of(
      R"({"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
          "weight_block_size": [128, 64], "modules_to_not_convert": ["lm_head"]})");
  ASSERT_TRUE(format && *format) << format.error().message;
  EXPECT_EQ((*format)->block, (BlockSize{128, 64}));
  EXPECT_EQ(to_string(**format), "fp8, blocks of 128 x 64");
  EXPECT_TRUE((*format)->is_plain("lm_head"));
}

TEST(ScaledFormat, ReadsWhatAutoFp8Writes) {
  const auto format = format_of(
      R"({"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": null,
          "ignored_layers": ["model.layers.3.mlp.down_proj"], "kv_cache_scheme": "static"})");
  ASSERT_TRUE(format && *format) << format.error().message;
  EXPECT_FALSE((*format)->block);
  EXPECT_EQ(to_string(**format), "fp8, a scale a tensor or row");
  EXPECT_TRUE((*format)->is_plain("model.layers.3.mlp.down_proj"));
}

TEST(ScaledFormat, ReadsWhatCompressedTensorsWrites) {
  for (const std::string strategy : {"tensor", "channel"}) {
    const auto format = format_of(compressed(
        R"("num_bits": 8, "type": "float", "symmetric": true, "strategy": ")" + strategy + "\"",
        R"(, "kv_cache_scheme": null, "sparsity_config": {"format": "dense"})"));
    ASSERT_TRUE(format && *format) << format.error().message;
    EXPECT_FALSE((*format)->block);
    EXPECT_TRUE((*format)->is_plain("lm_head"));
    EXPECT_EQ(to_string(**format), "compressed-tensors fp8, a scale a tensor or row");
  }
  for (const std::string block : {"[128, 64]", "\"128x64\""}) {
    const auto format = format_of(compressed(kBlock + block));
    ASSERT_TRUE(format && *format) << format.error().message;
    EXPECT_EQ((*format)->block, (BlockSize{128, 64}));
  }
}

TEST(ScaledFormat, AGroupMayHaveAFormatOfItsOwnOrNoWeights) {
  const auto format = format_of(
      R"({"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": {
          "a": {"weights": null}, "b": {"format": "float-quantized", "weights": {)" +
      kChannel + "}}}}");
  ASSERT_TRUE(format) << format.error().message;
  EXPECT_TRUE(*format);
}

TEST(ScaledFormat, ModulesArePlainByTheirNamesOrWholePartsOfThem) {
  ScaledFormat format;
  format.plain = {"lm_head", "model.layers.1", "mlp.gate_proj", "re:.*q_proj", ""};
  EXPECT_TRUE(format.is_plain("lm_head"));
  EXPECT_TRUE(format.is_plain("model.layers.1.self_attn.k_proj"));
  EXPECT_TRUE(format.is_plain("model.layers.2.mlp.gate_proj"));
  EXPECT_FALSE(format.is_plain("model.layers.10.self_attn.k_proj"));
  EXPECT_FALSE(format.is_plain("model.layers.2.mlp.up_proj"));
  EXPECT_FALSE(format.is_plain("model.layers.2.self_attn.q_proj"));
}

TEST(ScaledFormat, IsReadWhereOlderToolsPutItAndIsNoneOfOtherMethods) {
  const auto read = [](const std::string& json) {
    return *read_scaled_format(*HfConfig::of(nlohmann::json::parse(json), "config.json"));
  };
  EXPECT_FALSE(read("{}"));
  EXPECT_FALSE(read(R"({"quantization_config": {"quant_method": "gptq"}})"));
  EXPECT_FALSE(read(R"({"quantization_config": {"bits": 4}})"));
  EXPECT_TRUE(read(R"({"quantization_config": {"quant_method": "fp8"}})"));
  EXPECT_TRUE(read(R"({"compression_config": )" + compressed(kChannel) + "}"));
}

TEST(ScaledFormat, WhatIsNotReadIsRefusedByName) {
  const std::string bits4 = R"("num_bits": 4, "type": "float")";
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"({"quant_method": "fp8", "fmt": "e5m2"})", "fmt: expected e4m3: \"e5m2\""},
      {compressed(bits4), "num_bits: expected 8: 4"},
      {compressed(R"("num_bits": 8, "type": "int")"), "type: expected float: \"int\""},
      {compressed(kChannel + R"(, "symmetric": false)"), "symmetric: expected true: false"},
      {compressed(R"("num_bits": 8, "type": "float", "strategy": "group")"),
       "strategy: expected tensor, channel or block: \"group\""},
      {compressed(kChannel, R"(, "sparsity_config": {"format": "sparse-24-bitmask"})"),
       "sparsity_config: expected dense: \"sparse-24-bitmask\""},
      {R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
           "a": {"weights": {"num_bits": 4, "type": "int"}}}})",
       "format: expected float-quantized: \"pack-quantized\""},
      {R"({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {
           "a": {"weights": {)" +
           kChannel + R"(}}, "b": {"weights": {)" + kBlock + "[128, 128]}}}}",
       "config_groups: expected scales of one size of blocks"}};
  for (const auto& [json, says] : cases) {
    const auto format = format_of(json);
    ASSERT_FALSE(format) << json;
    EXPECT_EQ(format.error().code, ErrorCode::kUnsupported) << json;
    EXPECT_THAT(format.error().message, HasSubstr(says));
  }
}

TEST(ScaledFormat, BrokenFieldsAreRefusedByName) {
  const auto block = [](const std::string& size) {
    return R"({"quant_method": "fp8", "weight_block_size": )" + size + "}";
  };
  const std::string sides = "expected rows and columns of a block, 1 to 1048576 each: ";
  const std::vector<std::pair<std::string, std::string>> cases{
      {block("[0, 128]"), "weight_block_size: " + sides + "0 x 128"},
      {block("[128, -1]"), sides + "128 x -1"},
      {block("[128, 0.5]"), sides + "128 x 0.5"},
      {block("[128]"), sides + "128"},
      {block("[]"), sides + "none"},
      {block("[128, 1048577]"), sides + "128 x 1048577"},
      {block("[128, 1e300]"), "weight_block_size: expected numbers"},
      {block("[1, 2, 3]"), "weight_block_size: expected at most 2 numbers"},
      {block("\"128by128\""), sides + "none"},
      {block("128"), "weight_block_size: expected a text: \"128\""},
      {compressed(R"("num_bits": 8, "type": "float", "strategy": "block")"),
       "block_structure: " + sides + "none"},
      {compressed(kBlock + "\"128x\""), sides + "128"},
      {compressed(kBlock + "\"99999999999x1\""), sides + "none"},
      {compressed(R"("type": "float")"), "num_bits: expected a whole number from 1"},
      {R"({"quant_method": "compressed-tensors", "format": "float-quantized"})",
       "config_groups: expected one that has weights: none"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"a": 1}})",
       "a: expected an object"},
      {R"({"quant_method": "fp8", "modules_to_not_convert": "lm_head"})",
       "modules_to_not_convert: expected at most"},
      {R"({"quant_method": 8})", "quant_method: expected a text"}};
  for (const auto& [json, says] : cases) {
    const auto format = format_of(json);
    ASSERT_FALSE(format) << json;
    EXPECT_EQ(format.error().code, ErrorCode::kCorrupt) << json;
    EXPECT_THAT(format.error().message, HasSubstr(says));
  }
}

}  // namespace
}  // namespace gogrid
