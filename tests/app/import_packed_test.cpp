// Models that GPTQ and AWQ packed, through the program: their logits are those of the same weights
// as 32-bit floats, within the error that the import states.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/format.h"
#include "support/packed_weights.h"
#include "support/process.h"
#include "support/stage_harness.h"
#include "support/temporary_folder.h"

namespace gogrid::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(GOGRID_SOURCE_DIR) / "tests/model/hf_fixtures";

struct Case {
  std::string name;
  PackedModel model;
  std::string type;  // of most weights
  double stated;     // the worst tensor's error is below; 0: nothing is lost
};

const std::vector<Case> kCases{
    {"Gptq4", {.packing = {.group_size = 128}}, "q4_1", 0.001},
    {"Gptq4Symmetric",
     {.architecture = "qwen2", .packing = {.group_size = 128, .symmetric = true}},
     "q4_0",
     0},
    {"Gptq4ActOrder", {.packing = {.group_size = 64, .act_order = true}}, "q6_K", 0.02},
    {"Gptq2", {.packing = {.bits = 2, .group_size = 64}}, "q4_0", 0},
    {"Gptq2ActOrder", {.packing = {.bits = 2, .group_size = 64, .act_order = true}}, "q4_K", 0.08},
    {"Gptq3", {.packing = {.bits = 3, .group_size = 0}, .made_up_biases = true}, "q4_0", 0},
    {"Gptq3ActOrder",
     {.architecture = "qwen2", .packing = {.bits = 3, .group_size = 64, .act_order = true}},
     "q5_K",
     0.05},
    {"Gptq8", {.packing = {.bits = 8, .group_size = 128, .symmetric = true}}, "q8_0", 0},
    {"Gptq8Asymmetric", {.architecture = "qwen2", .packing = {.bits = 8}}, "q8_0", 0.007},
    {"AwqLlama", {.packing = {.method = "awq", .group_size = 128}}, "q4_1", 0.001},
    {"AwqQwen2",
     {.architecture = "qwen2", .packing = {.method = "awq", .group_size = 64}},
     "q4_1",
     0.001}};

double relative_error(const std::vector<float>& came, const std::vector<float>& expected) {
  double error = 0;
  double all = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(double{came[i]} - double{expected[i]}, 2);
    all += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(error / all);
}

class ImportPacked : public ::testing::TestWithParam<Case> {
 protected:
  ImportPacked() {
    write_packed_model(kFixtures, folder_ / "packed", folder_ / "plain", GetParam().model);
  }
  Outcome gogrid(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), GOGRID_PROGRAM);
    Outcome outcome = run_program(std::move(arguments), folder_ / "data");
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome;
  }
  Json import(const std::string& name, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"models", "import", folder_ / name, "--name",
                                   name,     "--json", "--mode",       "aggressive"};
    words.insert(words.end(), more.begin(), more.end());
    return Json::parse(gogrid(words).out);
  }
  static std::vector<float> logits_of(const fs::path& model) {
    WholeModel::Options options;
    options.context = 64;
    return WholeModel(model, options).logits_after(some_tokens(48, 320));
  }
  const TemporaryFolder folder_;
};

TEST_P(ImportPacked, LogitsAreThoseOfTheDequantizedModelWithinTheStatedError) {
  const std::vector<float> expected = logits_of(import("plain", {"--type", "f32"})["path"]);
  const Json packed = import("packed");
  EXPECT_EQ(packed["quantization"], GetParam().type);
  const double stated = packed["repacked"]["worst_error"];
  EXPECT_LE(stated, GetParam().stated);
  EXPECT_EQ(stated == 0, GetParam().stated == 0);
  // With the weights as they are in the model, computed in 32 bits: an error of all weights is one
  // of all that follows from them, added over the layers.
  const std::string as_floats = folder_ / "floats.gguf";
  gogrid({"quantize", "packed", as_floats, "--type", "f32", "--allow-requantize"});
  EXPECT_LE(relative_error(logits_of(as_floats), expected), 3 * stated + 1e-5);
  // As it is served, activations are rounded to 8 bits too.
  EXPECT_LE(relative_error(logits_of(packed["path"]), expected), 3 * stated + 0.03);
}

TEST_P(ImportPacked, WhatWasLostIsPrintedAndKept) {
  const std::string printed =
      gogrid({"models", "import", folder_ / "packed", "--name", "packed", "--mode", "aggressive"})
          .out;
  const PackedModel& model = GetParam().model;
  const std::string from =
      format_text("from {} {} bit, ", model.packing.method, model.packing.bits);
  EXPECT_THAT(printed, HasSubstr("repacked " + from));
  EXPECT_THAT(printed,
              HasSubstr(GetParam().stated == 0 ? "14 tensors, exactly" : "% on average, "));
  EXPECT_THAT(gogrid({"models", "show", "packed"}).out, HasSubstr("repacked       " + from));
  const Json shown = Json::parse(gogrid({"models", "show", "packed", "--json"}).out);
  EXPECT_EQ(shown["repacked"]["tensors"], 14);
  EXPECT_GE(shown["repacked"]["worst_error"], shown["repacked"]["mean_error"]);
}

INSTANTIATE_TEST_SUITE_P(All, ImportPacked, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param.name; });

class ImportPackedTypes : public ImportPacked {};

TEST_P(ImportPackedTypes, AreThoseAskedFor) {
  EXPECT_EQ(import("packed", {"--type", "q4_k"})["quantization"], "q4_K");
  const Outcome plain = run_program(
      {GOGRID_PROGRAM, "models", "import", folder_ / "plain", "--type", "q4_k"}, folder_ / "data");
  EXPECT_EQ(plain.status, 2);
  EXPECT_THAT(plain.err, HasSubstr("gogrid quantize"));
}

INSTANTIATE_TEST_SUITE_P(One, ImportPackedTypes, ::testing::Values(kCases.front()),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace gogrid::testing
