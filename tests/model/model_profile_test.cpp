#include "model/model_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/architectures.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using gogrid::testing::GgufBuilder;
using gogrid::testing::TemporaryFolder;
using gogrid::testing::TinyModel;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint32_t kWidth = 4;
constexpr Bytes kLayerBytes = 3 * sizeof(float);

// A file of `layers` layers of rows of 4, with a vocabulary of 8, and whatever keys are added.
class File {
 public:
  File(std::string_view architecture, std::uint32_t layers) : arch_(architecture) {
    builder_.key_text("general.architecture", architecture);
    number("block_count", layers).number("embedding_length", kWidth);
    number("context_length", 64).number("attention.head_count", 2);
    builder_.floats("token_embd.weight", {kWidth, 8});
    for (std::uint32_t i = 0; i < layers; ++i) {
      builder_.floats("blk." + std::to_string(i) + ".ffn_up.weight", {3});
    }
  }
  File& number(const std::string& key, std::uint32_t value) {
    builder_.key_u32(arch_ + "." + key, value);
    return *this;
  }
  File& numbers(const std::string& key, const std::vector<std::uint32_t>& values) {
    builder_.key(arch_ + "." + key, GgufBuilder::kArray,
                 GgufBuilder::array_of(GgufBuilder::kU32, values));
    return *this;
  }
  File& real(const std::string& key, float value) {
    builder_.key(arch_ + "." + key, GgufBuilder::kF32, GgufBuilder::number(value));
    return *this;
  }
  GgufBuilder& builder() { return builder_; }

  Result<ModelProfile> profile() const {
    const std::string bytes = builder_.build();
    const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "toy.gguf");
    if (!file) return std::unexpected(file.error());
    return read_profile(*file);
  }

 private:
  std::string arch_;
  GgufBuilder builder_;
};

ModelProfile profile_of(const File& file) {
  auto profile = file.profile();
  if (!profile) throw std::runtime_error(profile.error().message);
  return *std::move(profile);
}

TEST(ModelProfile, CountsWhatEachLayerAndTheHeadWeigh) {
  File file("llama", 3);
  file.builder().floats("output.weight", {kWidth, 8}).floats("output_norm.weight", {kWidth});
  const ModelProfile profile = profile_of(file);
  EXPECT_EQ(profile.n_layers, 3U);
  EXPECT_EQ(profile.n_embd, kWidth);
  EXPECT_EQ(profile.n_vocab, 8U);
  EXPECT_EQ(profile.context_length, 64U);
  EXPECT_THAT(profile.layer_weights, ElementsAre(kLayerBytes, kLayerBytes, kLayerBytes));
  EXPECT_EQ(profile.token_embedding_bytes, 8 * kWidth * sizeof(float));
  EXPECT_EQ(profile.head_bytes, 8 * kWidth * sizeof(float));
  EXPECT_EQ(profile.other_bytes, kWidth * sizeof(float));
  EXPECT_FALSE(profile.tied_embeddings);
}

TEST(ModelProfile, KnowsAHeadThatIsTheTokenEmbedding) {
  const ModelProfile profile = profile_of(File("llama", 2));
  EXPECT_TRUE(profile.tied_embeddings);
  EXPECT_EQ(profile.head_bytes, profile.token_embedding_bytes);
}

TEST(ModelProfile, TakesNamesFromTheFileAndSaysUnknownOtherwise) {
  EXPECT_EQ(profile_of(File("llama", 2)).name, "toy");
  EXPECT_EQ(profile_of(File("llama", 2)).license, "unknown");
  File file("llama", 2);
  file.builder().key_text("general.name", "Toy 1B").key_text("general.license", "mit");
  file.builder().key_text("tokenizer.chat_template", "{{ x }}");
  EXPECT_EQ(profile_of(file).name, "Toy 1B");
  EXPECT_EQ(profile_of(file).license, "mit");
  EXPECT_EQ(profile_of(file).chat_template, "{{ x }}");
}

TEST(ModelProfile, MeasuresTheKvCacheOfEqualHeads) {
  // Two heads of two: keys and values of four each, two bytes a number.
  EXPECT_THAT(profile_of(File("llama", 2)).kv_bytes_per_token, ElementsAre(16, 16));
}

TEST(ModelProfile, MeasuresTheKvCacheOfSharedAndWideHeads) {
  File file("minicpm3", 2);  // keys may be wider than values
  file.number("attention.head_count_kv", 1);
  file.number("attention.key_length", 8).number("attention.value_length", 4);
  EXPECT_THAT(profile_of(file).kv_bytes_per_token, ElementsAre(24, 24));
}

TEST(ModelProfile, MeasuresTheKvCacheLayerByLayer) {
  File file("llama", 3);
  file.numbers("attention.head_count_kv", {0, 1, 2});
  EXPECT_THAT(profile_of(file).kv_bytes_per_token, ElementsAre(0, 8, 16));
}

TEST(ModelProfile, CountsOneRowForLatentAttention) {
  File file("deepseek2", 2);
  file.number("attention.head_count_kv", 1).number("attention.key_length_mla", 3);
  file.number("attention.key_length", 576).number("attention.value_length", 512);
  EXPECT_THAT(profile_of(file).kv_bytes_per_token, ElementsAre(1152, 1152));
}

TEST(ModelProfile, MeasuresTheStateOfLayersWithoutAttention) {
  File file("lfm2", 3);
  file.numbers("attention.head_count_kv", {0, 2, 0}).number("shortconv.l_cache", 3);
  const ModelProfile profile = profile_of(file);
  EXPECT_TRUE(profile.recurrent);
  EXPECT_THAT(profile.kv_bytes_per_token, ElementsAre(0, 16, 0));
  EXPECT_THAT(profile.state_bytes, ElementsAre(2 * kWidth * 4, 0, 2 * kWidth * 4));
}

TEST(ModelProfile, MeasuresTheStateOfMamba) {
  File file("mamba2", 2);
  file.number("attention.head_count_kv", 0);
  file.number("ssm.inner_size", 16).number("ssm.state_size", 8);
  file.number("ssm.conv_kernel", 4).number("ssm.group_count", 2);
  // The state, and three columns of the convolution over inner + 2 * groups * state channels.
  constexpr Bytes kNumbers = 16 * 8 + 3 * (16 + 2 * 2 * 8);
  EXPECT_THAT(profile_of(file).state_bytes, ElementsAre(4 * kNumbers, 4 * kNumbers));
  EXPECT_EQ(profile_of(file).scanned_bytes, 4U * 16 * 8);
}

TEST(ModelProfile, MeasuresTheStateOfKimiLinear) {
  File file("kimi-linear", 2);
  file.numbers("attention.head_count_kv", {0, 2});
  file.number("kda.head_dim", 4).number("ssm.conv_kernel", 4);
  // Two heads: a square each, and three columns of Q, K and V.
  EXPECT_THAT(profile_of(file).state_bytes, ElementsAre(4 * 2 * (4 * 4 + 3 * 3 * 4), 0));
}

TEST(ModelProfile, KnowsThatAttentionComesEverySoManyLayers) {
  File file("qwen3next", 5);
  file.number("ssm.inner_size", 4).number("ssm.state_size", 4);
  EXPECT_THAT(profile_of(file).kv_bytes_per_token, ElementsAre(0, 0, 0, 16, 0));
  EXPECT_THAT(profile_of(file).state_bytes, ElementsAre(64, 64, 64, 0, 64));
  file.number("full_attention_interval", 2);
  EXPECT_THAT(profile_of(file).kv_bytes_per_token, ElementsAre(0, 16, 0, 16, 0));
  EXPECT_THAT(profile_of(file).state_bytes, ElementsAre(64, 0, 64, 0, 64));
  file.numbers("attention.recurrent_layers", {1, 1, 0, 1, 0});
  EXPECT_THAT(profile_of(file).kv_bytes_per_token, ElementsAre(0, 0, 16, 0, 16));
  EXPECT_THAT(profile_of(file).state_bytes, ElementsAre(64, 64, 0, 64, 0));
}

TEST(ModelProfile, CountsStateAndKvCacheWhereEveryLayerHasBoth) {
  File file("falcon-h1", 2);
  file.number("ssm.inner_size", 4).number("ssm.state_size", 4);
  EXPECT_THAT(profile_of(file).kv_bytes_per_token, ElementsAre(16, 16));
  EXPECT_THAT(profile_of(file).state_bytes, ElementsAre(64, 64));
}

TEST(ModelProfile, CutsHybridsWhereEachSideHasBothKinds) {
  File file("lfm2", 8);
  file.numbers("attention.head_count_kv", {0, 0, 2, 0, 2, 2, 0, 0});
  EXPECT_THAT(profile_of(file).allowed_cuts, ElementsAre(3, 5));
  File one("lfm2", 3);
  one.numbers("attention.head_count_kv", {0, 2, 0});
  EXPECT_THAT(profile_of(one).allowed_cuts, IsEmpty());
  EXPECT_THAT(profile_of(one).one_stage_why, HasSubstr("too few layers with attention"));
}

TEST(ModelProfile, MayCutAnywhereBetweenLayersThatAreAlike) {
  const ModelProfile profile = profile_of(File("qwen2", 4));
  EXPECT_THAT(profile.allowed_cuts, ElementsAre(1, 2, 3));
  EXPECT_EQ(profile.one_stage_why, "");
  EXPECT_EQ(profile.embedding_scale, 1.0F);
}

TEST(ModelProfile, CutsOnThePeriodOfTheSlidingWindow) {
  File file("gemma3", 13);
  file.number("attention.sliding_window", 512);
  const ModelProfile profile = profile_of(file);
  EXPECT_THAT(profile.allowed_cuts, ElementsAre(6, 12));
  EXPECT_EQ(profile.sliding_window, 512U);
  EXPECT_EQ(profile.embedding_scale, std::sqrt(4.0F));
}

TEST(ModelProfile, FollowsThePatternTheFileGives) {
  File scalar("gemma3", 8);
  scalar.number("attention.sliding_window", 512).number("attention.sliding_window_pattern", 3);
  EXPECT_THAT(profile_of(scalar).allowed_cuts, ElementsAre(3, 6));
  File array("gemma3", 4);
  array.number("attention.sliding_window", 512);
  array.numbers("attention.sliding_window_pattern", {1, 0, 0, 1});
  EXPECT_THAT(profile_of(array).allowed_cuts, ElementsAre(1, 2, 3));
}

TEST(ModelProfile, IgnoresThePatternOfAWindowThatIsOff) {
  EXPECT_THAT(profile_of(File("olmo2", 4)).allowed_cuts, ElementsAre(1, 2, 3));
}

TEST(ModelProfile, CombinesPatterns) {
  File file("llama4", 24);
  file.number("interleave_moe_layer_step", 6);
  EXPECT_THAT(profile_of(file).allowed_cuts, ElementsAre(12));
}

TEST(ModelProfile, ExplainsAModelShorterThanItsPattern) {
  const ModelProfile profile = profile_of(File("smollm3", 4));
  EXPECT_THAT(profile.allowed_cuts, IsEmpty());
  EXPECT_EQ(profile.one_stage_why, "its layers are alike every 4, and it has 4");
}

TEST(ModelProfile, RunsAsOneStageWhatCannotBeCutAndSaysWhy) {
  const auto with = [](File file, auto change) {
    change(file);
    return file;
  };
  const auto nothing = [](File&) {};
  const struct {
    File file;
    const char* why;
  } cases[] = {
      {with(File("gpt2", 4), nothing), "position embeddings"},
      {with(File("gemma2", 4), nothing), "scales hidden rows"},
      {with(File("cogvlm", 4), nothing), "does not name"},
      {with(File("mamba", 4), nothing), "recurrent state"},
      {with(File("gemma3", 62), nothing), "62 layers"},
      {with(File("novel", 4), nothing), "'novel' is not known"},
      {with(File("glm4", 4), [](File& f) { f.numbers("rope.dimension_sections", {1, 1, 1, 0}); }),
       "more than one axis"},
      {with(File("qwen3", 4), [](File& f) { f.number("nextn_predict_layers", 1); }),
       "predict further tokens"},
      {with(File("granite", 4), [](File& f) { f.real("embedding_scale", 12.0F); }),
       "scales hidden rows"},
  };
  for (const auto& c : cases) {
    const auto profile = c.file.profile();
    ASSERT_TRUE(profile) << c.why << ": " << profile.error().message;
    EXPECT_THAT(profile->allowed_cuts, IsEmpty()) << c.why;
    EXPECT_THAT(profile->one_stage_why, HasSubstr(c.why));
  }
}

TEST(ModelProfile, CutsGraniteWhoseScaleIsOne) {
  File file("granite", 3);
  file.real("embedding_scale", 1.0F);
  EXPECT_THAT(profile_of(file).allowed_cuts, ElementsAre(1, 2));
}

TEST(ModelProfile, RefusesModelsThatDoNotWriteText) {
  for (const auto* architecture : {"bert", "t5", "llada", "eagle3", "clip"}) {
    const auto profile = File(architecture, 2).profile();
    ASSERT_FALSE(profile) << architecture;
    EXPECT_EQ(profile.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(profile.error().message, HasSubstr(architecture));
  }
}

TEST(ModelProfile, RefusesOnePartOfSeveral) {
  File file("llama", 2);
  file.builder().key("split.count", GgufBuilder::kU16, GgufBuilder::number(std::uint16_t{2}));
  EXPECT_EQ(file.profile().error().code, ErrorCode::kUnsupported);
}

// A file with one thing wrong, built from the ground up.
Result<ModelProfile> broken(std::uint32_t layers, std::uint32_t width, std::uint32_t context,
                            std::uint64_t embedding_width, const char* layer_tensor,
                            const std::vector<std::uint32_t>& kv_heads) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "llama").key_u32("llama.block_count", layers);
  builder.key_u32("llama.embedding_length", width).key_u32("llama.context_length", context);
  builder.key_u32("llama.attention.head_count", 2);
  builder.key("llama.attention.head_count_kv", GgufBuilder::kArray,
              GgufBuilder::array_of(GgufBuilder::kU32, kv_heads));
  builder.floats("token_embd.weight", {embedding_width, 8}).floats(layer_tensor, {3});
  const std::string bytes = builder.build();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "broken.gguf");
  if (!file) throw std::runtime_error(file.error().message);
  return read_profile(*file);
}

TEST(ModelProfile, RefusesImpossibleShapesNamingTheKey) {
  ASSERT_TRUE(broken(2, 4, 64, 4, "blk.1.x", {1, 1}));
  const struct {
    Result<ModelProfile> profile;
    const char* text;
  } cases[] = {
      {broken(0, 4, 64, 4, "blk.1.x", {1, 1}), "llama.block_count"},
      {broken(513, 4, 64, 4, "blk.1.x", {1, 1}), "llama.block_count"},
      {broken(2, 0, 64, 4, "blk.1.x", {1, 1}), "llama.embedding_length"},
      {broken(2, 4, 0, 4, "blk.1.x", {1, 1}), "llama.context_length"},
      {broken(2, 4, 64, 5, "blk.1.x", {1, 1}), "token_embd.weight"},
      {broken(2, 4, 64, 4, "blk.2.x", {1, 1}), "blk.2.x"},
      {broken(2, 4, 64, 4, "blk.1.x", {1}), "head_count_kv"},
      {broken(2, 4, 64, 4, "blk.1.x", {1, 0xFFFFFFFFU}), "head_count_kv"},
  };
  for (const auto& c : cases) {
    ASSERT_FALSE(c.profile) << c.text;
    EXPECT_EQ(c.profile.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(c.profile.error().message, HasSubstr(c.text));
  }
}

TEST(ModelProfile, RefusesAFileThatNamesNoArchitecture) {
  const std::string bytes = GgufBuilder().floats("token_embd.weight", {4, 8}).build();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "x");
  ASSERT_TRUE(file);
  EXPECT_EQ(read_profile(*file).error().code, ErrorCode::kCorrupt);
}

TEST(ModelProfile, ReadsEveryTinyModel) {
  const TemporaryFolder folder;
  for (const std::string& architecture : gogrid::testing::tiny_architectures()) {
    TinyModel model{.architecture = architecture};
    if (architecture == "phi2" || architecture == "gpt2" || architecture == "cogvlm") {
      model.n_kv_heads = model.n_heads;
    }
    write_tiny_model(folder / "tiny.gguf", model);
    const auto file = GgufFile::open(folder / "tiny.gguf");
    ASSERT_TRUE(file) << architecture;
    const auto profile = read_profile(*file);
    ASSERT_TRUE(profile) << profile.error().message;
    EXPECT_EQ(profile->architecture, architecture);
    EXPECT_EQ(profile->n_layers, model.n_layers);
    EXPECT_EQ(profile->n_vocab, tiny_vocabulary_size(model));
    EXPECT_THAT(profile->layer_weights, Each(::testing::Gt(0U)));
    EXPECT_EQ(profile->allowed_cuts.empty(), !profile->one_stage_why.empty());
  }
}

TEST(CheckCut, AcceptsTheWholeModelAlways) {
  EXPECT_TRUE(check_cut(profile_of(File("gpt2", 4)), {0, 4}));
}

TEST(CheckCut, NamesTheAllowedPlaces) {
  File file("gemma3", 13);
  file.number("attention.sliding_window", 512);
  const ModelProfile profile = profile_of(file);
  EXPECT_TRUE(check_cut(profile, {6, 12}));
  EXPECT_TRUE(check_cut(profile, {12, 13}));
  const auto refused = check_cut(profile, {6, 11});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("6, 12: 11"));
}

TEST(CheckCut, SaysWhyAModelRunsAsOneStage) {
  const auto refused = check_cut(profile_of(File("gpt2", 4)), {0, 2});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("position embeddings"));
}

TEST(CheckCut, RefusesRangesOutsideTheModel) {
  const ModelProfile profile = profile_of(File("llama", 4));
  for (const LayerRange range : {LayerRange{2, 2}, LayerRange{3, 2}, LayerRange{0, 5}}) {
    EXPECT_FALSE(check_cut(profile, range)) << to_string(range);
  }
}

TEST(Architectures, AreListedOnceWithAReasonWhereOneIsDue) {
  EXPECT_EQ(find_architecture("no-such"), nullptr);
  for (const auto* name : {"llama", "gemma3", "gpt2", "bert", "mamba", "cogvlm", "qwen3moe"}) {
    const Architecture* found = find_architecture(name);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(found->why.empty(), found->use == ArchitectureUse::kCuttable) << name;
  }
}

}  // namespace
}  // namespace gogrid
