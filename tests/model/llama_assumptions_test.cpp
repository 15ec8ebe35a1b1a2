// Each of these files was seen to end the process inside libllama or ggml (abort, segmentation
// fault, endless loop) when it was loaded unchecked.
#include "model/llama_assumptions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/model_profile.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using gogrid::testing::GgufBuilder;
using gogrid::testing::TemporaryFolder;
using ::testing::HasSubstr;

// A llama of two layers: heads of 8, all turned.
class File {
 public:
  explicit File(const std::string& architecture = "llama") : arch_(architecture) {
    builder_.key_text("general.architecture", architecture);
    number("block_count", 2).number("embedding_length", 32).number("attention.head_count", 4);
    builder_.floats("blk.0.attn_norm.weight", {32}).floats("blk.0.attn_q.weight", {32, 32});
  }
  File& number(const std::string& key, std::uint32_t value) {
    builder_.key_u32(arch_ + "." + key, value);
    return *this;
  }
  File& real(const std::string& key, float value) {
    builder_.key(arch_ + "." + key, GgufBuilder::kF32, GgufBuilder::number(value));
    return *this;
  }
  File& numbers(const std::string& key, const std::vector<std::uint32_t>& values) {
    builder_.key(arch_ + "." + key, GgufBuilder::kArray,
                 GgufBuilder::array_of(GgufBuilder::kU32, values));
    return *this;
  }
  File& text(const std::string& key, std::string_view value) {
    builder_.key_text(key, value);
    return *this;
  }
  File& array(const std::string& key, const std::string& value) {
    builder_.key(key, GgufBuilder::kArray, value);
    return *this;
  }
  File& tensor(const std::string& name, std::vector<std::uint64_t> shape, std::uint32_t type,
               std::size_t bytes) {
    builder_.tensor({name, std::move(shape), type, std::string(bytes, '\1'), {}, {}});
    return *this;
  }
  File& experts() {
    builder_.floats("blk.1.ffn_gate_inp.weight", {32, 8});
    return *this;
  }

  // Empty when compatible.
  std::string complaint() const {
    const std::string bytes = builder_.build();
    const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "toy");
    if (!file) return "unreadable: " + file.error().message;
    const Status status = check_assumptions(*file);
    return status ? std::string() : status.error().message;
  }

 private:
  std::string arch_;
  GgufBuilder builder_;
};

TEST(LlamaAssumptions, AcceptsWhatIsInOrder) { EXPECT_EQ(File().complaint(), ""); }

TEST(LlamaAssumptions, AcceptsEveryArchitectureOfTheTinyModels) {
  const TemporaryFolder folder;
  for (const std::string& architecture : testing::tiny_architectures()) {
    testing::TinyModel tiny;
    tiny.architecture = architecture;
    if (architecture == "phi2" || architecture == "gpt2" || architecture == "cogvlm") {
      tiny.n_kv_heads = tiny.n_heads;
    }
    testing::write_tiny_model(folder / "tiny.gguf", tiny);
    const auto file = GgufFile::open(folder / "tiny.gguf");
    ASSERT_TRUE(file);
    const Status status = check_assumptions(*file);
    EXPECT_TRUE(status) << architecture << ": " << status.error().message;
  }
}

TEST(LlamaAssumptions, WantsWeightsThatHaveKernels) {
  constexpr std::uint32_t kI32 = 26;
  constexpr std::uint32_t kF64 = 28;
  constexpr std::uint32_t kBf16 = 30;
  EXPECT_THAT(File().tensor("blk.1.attn_q.weight", {32, 2}, kI32, 256).complaint(),
              HasSubstr("tensor 'blk.1.attn_q.weight' is i32"));
  EXPECT_THAT(File().tensor("output.weight", {32, 2}, kF64, 512).complaint(),
              HasSubstr("tensor 'output.weight' is f64"));
  EXPECT_EQ(File().tensor("output.weight", {32, 2}, kBf16, 128).complaint(), "");
  EXPECT_EQ(File().tensor("output.weight", {32, 2}, GgufBuilder::kTensorQ4_0, 36).complaint(), "");
}

TEST(LlamaAssumptions, WantsPlainFloatsWhereElementsAreMultiplied) {
  const auto q4 = GgufBuilder::kTensorQ4_0;
  const auto f16 = GgufBuilder::kTensorF16;
  EXPECT_THAT(File().tensor("blk.1.attn_norm.weight", {32}, q4, 18).complaint(),
              HasSubstr("of type f32: tensor 'blk.1.attn_norm.weight' is q4_0"));
  EXPECT_THAT(File().tensor("output_norm.weight", {32}, f16, 64).complaint(), HasSubstr("f16"));
  EXPECT_THAT(File().tensor("blk.1.attn_q_norm.weight", {32, 2}, q4, 36).complaint(),
              HasSubstr("q4_0"))
      << "a norm for each head";
  EXPECT_THAT(File().tensor("blk.1.ffn_up_exps.bias", {32, 2}, f16, 128).complaint(),
              HasSubstr("f16"));
}

TEST(LlamaAssumptions, LetsMatricesWithAlikeNamesBeQuantized) {
  const auto q4 = GgufBuilder::kTensorQ4_0;
  for (const char* name : {"blk.1.ssm_alpha.weight", "blk.1.ssm_dt.weight", "blk.1.ssm_in.weight",
                           "blk.1.shortconv.in_proj.weight"}) {
    EXPECT_EQ(File().tensor(name, {32, 2}, q4, 36).complaint(), "") << name;
  }
  EXPECT_THAT(File().tensor("blk.1.ssm_a", {32, 2}, q4, 36).complaint(), HasSubstr("q4_0"));
  EXPECT_THAT(File().tensor("blk.1.ssm_conv1d.weight", {32, 2}, q4, 36).complaint(),
              HasSubstr("q4_0"));
}

TEST(LlamaAssumptions, WantsNumbersToBeNumbers) {
  EXPECT_THAT(File().real("attention.layer_norm_rms_epsilon", -1).complaint(),
              HasSubstr("layer_norm_rms_epsilon from 0 to 1: -1"));
  EXPECT_THAT(File().real("attention.layer_norm_rms_epsilon", NAN).complaint(), HasSubstr("nan"));
  EXPECT_THAT(File().real("attention.layer_norm_epsilon", INFINITY).complaint(), HasSubstr("inf"));
  EXPECT_THAT(File().real("rope.freq_base", NAN).complaint(), HasSubstr("rope.freq_base: nan"));
  EXPECT_EQ(File().real("attention.layer_norm_rms_epsilon", 1e-5F).complaint(), "");
  EXPECT_EQ(File().real("attention.max_alibi_bias", -8).complaint(), "");
}

TEST(LlamaAssumptions, WantsRotaryPositionsThatFitTheHead) {
  for (const std::uint32_t turned : {0U, 1U, 3U, 7U, 9U, 10U, 0xFFFFFFFFU}) {
    EXPECT_THAT(File("gemma3").number("rope.dimension_count", turned).complaint(),
                HasSubstr("even, and from 2 to the width of a head (8)"))
        << turned;
  }
  EXPECT_EQ(File("phi2").number("rope.dimension_count", 4).complaint(), "") << "half a head";
  EXPECT_THAT(File("qwen2").number("rope.dimension_count", 4).complaint(),
              HasSubstr("over the whole head of 8, as architecture 'qwen2'"));
  EXPECT_EQ(File("qwen2").number("rope.dimension_count", 8).complaint(), "");
  File wide("qwen3");
  wide.number("attention.key_length", 16).number("rope.dimension_count", 16);
  EXPECT_EQ(wide.complaint(), "") << "the head is as wide as its keys";
  File hybrid("granitehybrid");
  hybrid.number("ssm.state_size", 4).number("rope.dimension_count", 0);
  EXPECT_EQ(hybrid.complaint(), "") << "no positions at all";
}

TEST(LlamaAssumptions, WantsKeysAsWideAsValuesWhereTheGraphDoes) {
  File file("qwen3");
  file.number("attention.key_length", 16).number("attention.value_length", 8);
  EXPECT_THAT(file.complaint(), HasSubstr("values as wide as keys (16): 8"));
  File other("deepseek2");
  other.number("attention.key_length", 16).number("attention.value_length", 8);
  EXPECT_EQ(other.complaint(), "");
}

TEST(LlamaAssumptions, WantsExpertsThatExist) {
  const auto experts = [](std::uint32_t count, std::uint32_t used) {
    return File("qwen3moe")
        .experts()
        .number("expert_count", count)
        .number("expert_used_count", used)
        .complaint();
  };
  EXPECT_EQ(experts(8, 2), "");
  EXPECT_EQ(experts(8, 8), "");
  EXPECT_THAT(experts(8, 9), HasSubstr("from 1 to the number of experts (8): 9"));
  EXPECT_THAT(experts(8, 0), HasSubstr("from 1 to the number of experts (8): 0"));
  EXPECT_THAT(experts(0, 0), HasSubstr("expert_count from 1 to 512: 0"));
  EXPECT_THAT(experts(513, 2), HasSubstr("expert_count from 1 to 512: 513"));
  EXPECT_THAT(File("qwen3moe").complaint(), HasSubstr("expert_count from 1 to 512: 0"));
  EXPECT_THAT(File("llama").experts().complaint(), HasSubstr("expert_count from 1 to 512: 0"));
}

TEST(LlamaAssumptions, WantsExpertsUsedInEachLayerThatHasSome) {
  const auto used = [](const std::vector<std::uint32_t>& layers) {
    return File("llama")
        .experts()
        .number("expert_count", 8)
        .numbers("expert_used_count", layers)
        .complaint();
  };
  EXPECT_EQ(used({0, 2}), "") << "the first layer has none";
  EXPECT_THAT(used({2, 0}), HasSubstr("at least 1 expert used in layer 1: 0"));
  EXPECT_THAT(used({2, 9}), HasSubstr("from 1 to the number of experts (8): 9"));
  EXPECT_THAT(used({}), HasSubstr("from 1 to the number of experts (8): 0"));
}

TEST(LlamaAssumptions, WantsExpertsInEqualGroups) {
  const auto groups = [](std::uint32_t count, std::uint32_t used) {
    return File("llama")
        .number("expert_count", 8)
        .number("expert_used_count", 2)
        .number("expert_group_count", count)
        .number("expert_group_used_count", used)
        .complaint();
  };
  EXPECT_EQ(groups(4, 2), "");
  EXPECT_EQ(groups(1, 1), "") << "one group is none";
  EXPECT_THAT(File().number("expert_group_count", 1).complaint(), HasSubstr("0 experts"));
  for (const auto& [count, used] : {std::pair(3U, 1U), {8U, 2U}, {4U, 4U}, {4U, 0U}}) {
    EXPECT_THAT(groups(count, used), HasSubstr("in equal groups")) << count << " " << used;
  }
}

TEST(LlamaAssumptions, WantsLayersBesideThoseWithASpecialRole) {
  EXPECT_EQ(File().number("nextn_predict_layers", 1).complaint(), "");
  EXPECT_THAT(File().number("nextn_predict_layers", 2).complaint(),
              HasSubstr("below the number of layers (2): 2"));
  EXPECT_THAT(File().number("attention.shared_kv_layers", 1).complaint(),
              HasSubstr("at least 2 below the number of layers (2): 1"));
}

TEST(LlamaAssumptions, WantsAVocabularyThatFitsTogether) {
  const auto tokens = [] {
    return File().array("tokenizer.ggml.tokens", GgufBuilder::strings({"a", "", "b", ""}));
  };
  EXPECT_EQ(tokens().complaint(), "") << "tokens without text may be many";
  EXPECT_THAT(
      File().array("tokenizer.ggml.tokens", GgufBuilder::strings({"a", "b", "a"})).complaint(),
      HasSubstr("one comes twice"));
  EXPECT_THAT(File()
                  .array("tokenizer.ggml.tokens",
                         GgufBuilder::array_of<std::uint32_t>(GgufBuilder::kU32, {1, 2}))
                  .complaint(),
              HasSubstr("with strings"));
  const auto scores = [&](std::vector<float> values) {
    return tokens()
        .array("tokenizer.ggml.scores", GgufBuilder::array_of(GgufBuilder::kF32, values))
        .complaint();
  };
  EXPECT_EQ(scores({0, 1, 2, 3}), "");
  EXPECT_THAT(scores({0, 1, 2}), HasSubstr("one f32 for each of 4 tokens: 3"));
  EXPECT_THAT(scores({}), HasSubstr("one f32 for each of 4 tokens: 0"));
  const auto types = GgufBuilder::array_of<std::uint8_t>(GgufBuilder::kU8, {1, 1, 1, 1});
  EXPECT_THAT(tokens().array("tokenizer.ggml.token_type", types).complaint(),
              HasSubstr("one i32 for each of 4 tokens"))
      << "bytes read as words would be read beyond their end";
}

std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    tokens.emplace_back(name);
  }
  return tokens;
}

TEST(LlamaAssumptions, WantsATokenForEachByteWhereTextIsSpelledInThem) {
  const auto spelled = [](const std::vector<std::string>& tokens) {
    return File()
        .text("tokenizer.ggml.model", "llama")
        .array("tokenizer.ggml.tokens", GgufBuilder::strings(tokens));
  };
  std::vector<std::string> tokens = byte_tokens();
  EXPECT_EQ(spelled(tokens).complaint(), "");
  tokens['A'] = "A";
  EXPECT_EQ(spelled(tokens).complaint(), "") << "the byte itself is a token for it";
  tokens['A'] = "B";
  EXPECT_THAT(spelled(tokens).complaint(), HasSubstr("<0x41> is absent"));
}

TEST(LlamaAssumptions, WantsNoByteTokensBesideWholeWords) {
  const auto words = [](std::int32_t type) {
    return File()
        .text("tokenizer.ggml.model", "bert")
        .array("tokenizer.ggml.tokens", GgufBuilder::strings({"a", "b"}))
        .array("tokenizer.ggml.token_type",
               GgufBuilder::array_of<std::int32_t>(GgufBuilder::kI32, {1, type}))
        .complaint();
  };
  EXPECT_EQ(words(1), "");
  EXPECT_THAT(words(6), HasSubstr("no tokens for bytes"));
}

TEST(LlamaAssumptions, WantsAKnownScalingOfPositions) {
  EXPECT_EQ(File().text("llama.rope.scaling.type", "yarn").complaint(), "");
  EXPECT_THAT(File().text("llama.rope.scaling.type", "x").complaint(),
              HasSubstr("rope.scaling.type one of"));
}

TEST(LlamaAssumptions, IsAskedByWhoeverReadsAProfile) {
  const TemporaryFolder folder;
  testing::TinyModel tiny;
  tiny.architecture = "qwen2";
  testing::write_tiny_model(folder / "tiny.gguf", tiny);
  ASSERT_TRUE(read_profile(*GgufFile::open(folder / "tiny.gguf")));
  GgufBuilder builder;
  builder.key_text("general.architecture", "qwen2");
  builder.tensor(
      {"output_norm.weight", {32}, GgufBuilder::kTensorQ4_0, std::string(18, 'x'), {}, {}});
  const std::string bytes = builder.build();
  const auto profile =
      read_profile(*GgufFile::parse(std::as_bytes(std::span(bytes)), "hostile.gguf"));
  ASSERT_FALSE(profile);
  EXPECT_EQ(profile.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(profile.error().message, HasSubstr("[llama_assumptions]"));
}

}  // namespace
}  // namespace gogrid
