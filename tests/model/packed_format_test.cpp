#include "model/packed_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "support/safetensors_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::write_bytes;

Result<PackedFormat> format_of(const std::string& json, const char* otherwise = "") {
  const auto fields = HfConfig::of(nlohmann::json::parse(json), "config.json");
  EXPECT_TRUE(fields);
  return packed_format_of(*fields, otherwise);
}

TEST(PackedFormat, ReadsWhatGptqToolsWrite) {
  const auto format = format_of(
      R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "desc_act": false,
          "damp_percent": 0.01, "true_sequential": true})");
  ASSERT_TRUE(format) << format.error().message;
  EXPECT_EQ(format->method, PackingMethod::kGptq);
  EXPECT_EQ(format->bits, 4U);
  EXPECT_EQ(format->group_size, 128U);
  EXPECT_TRUE(format->symmetric);
  EXPECT_FALSE(format->act_order);
  EXPECT_EQ(format->zeros, StoredZeros::kLessOne);
  EXPECT_EQ(to_string(*format), "gptq 4 bit, groups of 128");
}

TEST(PackedFormat, ReadsWhatAwqToolsWrite) {
  for (const char* json :
       {R"({"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": true,
            "version": "gemm", "modules_to_not_convert": null})",
        R"({"w_bit": 4, "q_group_size": 64, "zero_point": true, "version": "GEMM"})"}) {
    const auto format = format_of(json, "awq");
    ASSERT_TRUE(format) << format.error().message;
    EXPECT_EQ(format->method, PackingMethod::kAwq);
    EXPECT_EQ(format->group_size, 64U);
    EXPECT_EQ(format->zeros, StoredZeros::kPlain);
  }
}

TEST(PackedFormat, BelowZeroIsAGroupARow) {
  const auto format =
      format_of(R"({"quant_method": "gptq", "bits": 3, "group_size": -1, "desc_act": true})");
  ASSERT_TRUE(format) << format.error().message;
  EXPECT_EQ(format->group_size, 0U);
  EXPECT_EQ(to_string(*format), "gptq 3 bit, a group a row, act-order");
}

TEST(PackedFormat, ZerosAreStoredAsTheFormatAndItsWriterSay) {
  const auto zeros = [](const std::string& bits, const std::string& more) {
    const auto format = format_of(R"({"quant_method": "gptq", "group_size": 128, "bits": )" + bits +
                                  ", " + more + "}");
    EXPECT_TRUE(format) << format.error().message;
    return format->zeros;
  };
  EXPECT_EQ(zeros("4", R"("checkpoint_format": "gptq")"), StoredZeros::kLessOne);
  EXPECT_EQ(zeros("4", R"("checkpoint_format": "gptq_v2")"), StoredZeros::kPlain);
  EXPECT_EQ(zeros("4", R"("format": "gptq_v2")"), StoredZeros::kPlain);
  const std::string writer = R"("meta": {"quantizer": ["gptqmodel:2.1.0"]})";
  EXPECT_EQ(zeros("3", writer), StoredZeros::kLessOneSwapped);
  EXPECT_EQ(zeros("3", R"("meta": {"quantizer": "gptqmodel:1.0"})"), StoredZeros::kLessOneSwapped);
  EXPECT_EQ(zeros("3", R"("meta": {"quantizer": "optimum:1.2"})"), StoredZeros::kLessOne);
  EXPECT_EQ(zeros("4", writer), StoredZeros::kLessOne);
}

TEST(PackedFormat, WhatIsNotReadIsRefusedByName) {
  const std::string gptq = R"({"quant_method": "gptq", "group_size": 128, )";
  const std::string awq = R"({"quant_method": "awq", "group_size": 128, )";
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"({"quant_method": "bitsandbytes"})", "they are by \"bitsandbytes\""},
      {R"({"quant_method": "fp8", "weight_block_size": [128, 128]})", "they are by \"fp8\""},
      {R"({"bits": 4})", "they are by an unnamed method"},
      {gptq + R"("bits": 5})", "bits: expected 2, 3, 4 or 8: 5"},
      {gptq + R"("bits": 4, "checkpoint_format": "marlin"})",
       "checkpoint_format: expected gptq or gptq_v2: \"marlin\""},
      {gptq + R"("bits": 4, "is_marlin_format": true})", "is_marlin_format: expected false"},
      {gptq + R"("bits": 4, "dynamic": {"-:lm_head": {}}})", "dynamic: expected one way"},
      {gptq + R"("bits": 4, "pack_dtype": "int8"})", "pack_dtype: expected int32"},
      {awq + R"("bits": 3})", "bits: expected 4: 3"},
      {awq + R"("bits": 4, "version": "gemv"})", "version: expected gemm: \"gemv\""},
      {awq + R"("bits": 4, "zero_point": false})", "zero_point: expected true"}};
  for (const auto& [json, says] : cases) {
    const auto format = format_of(json);
    ASSERT_FALSE(format) << json;
    EXPECT_EQ(format.error().code, ErrorCode::kUnsupported) << json;
    EXPECT_THAT(format.error().message, HasSubstr(says));
  }
}

TEST(PackedFormat, BrokenFieldsAreRefusedByName) {
  const std::string gptq = R"({"quant_method": "gptq", )";
  const std::vector<std::pair<std::string, std::string>> cases{
      {gptq + R"("bits": 4, "group_size": 0})", "group_size: expected -1 or a size from 1: 0"},
      {gptq + R"("bits": 4})", "group_size: expected -1 or a size: absent"},
      {gptq + R"("bits": 4, "group_size": 1e300})", "group_size: expected a whole number"},
      {gptq + R"("bits": 4, "group_size": 99999999999})", "group_size: expected a whole number"},
      {gptq + R"("bits": "4", "group_size": 128})", "bits: expected a whole number"},
      {gptq + R"("group_size": 128})", "bits: expected a whole number from 1"},
      {gptq + R"("bits": 4, "group_size": 128, "desc_act": 1})", "desc_act: expected true or"},
      {gptq + R"("bits": 4, "group_size": 128, "model_file_base_name": "../x"})",
       "model_file_base_name: expected the name of a file"},
      {R"({"quant_method": 4})", "quant_method: expected a text"}};
  for (const auto& [json, says] : cases) {
    const auto format = format_of(json);
    ASSERT_FALSE(format) << json;
    EXPECT_EQ(format.error().code, ErrorCode::kCorrupt) << json;
    EXPECT_THAT(format.error().message, HasSubstr(says));
  }
}

TEST(PackedFormat, IsReadWhereOlderToolsPutIt) {
  const TemporaryFolder folder;
  const auto plain = HfConfig::of(nlohmann::json::object(), "config.json");
  EXPECT_FALSE(*read_packed_format(folder.path(), *plain));
  write_bytes(folder / "quant_config.json",
              R"({"w_bit": 4, "q_group_size": 128, "version": "GEMM", "zero_point": true})");
  EXPECT_EQ((*read_packed_format(folder.path(), *plain))->method, PackingMethod::kAwq);
  write_bytes(folder / "quantize_config.json",
              R"({"bits": 3, "group_size": 32, "model_file_base_name": "gptq_model-3bit"})");
  const auto format = read_packed_format(folder.path(), *plain);
  ASSERT_TRUE(format && *format);
  EXPECT_EQ((*format)->bits, 3U);
  EXPECT_EQ((*format)->stem, "gptq_model-3bit");
  const auto own = HfConfig::of(
      nlohmann::json::parse(
          R"({"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128}})"),
      "config.json");
  EXPECT_EQ((*read_packed_format(folder.path(), *own))->bits, 8U);
}

}  // namespace
}  // namespace gogrid
