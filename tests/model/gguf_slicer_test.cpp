#include "model/gguf_slicer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <cstring>

#include "base/files.h"
#include "device/device_registry.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

// Four layers, 64 tokens, rows of 4: enough to see what goes where.
GgufBuilder four_layers() {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_u32("toy.block_count", 4);
  builder.key("tokenizer.ggml.tokens", GgufBuilder::kArray, GgufBuilder::strings({"a", "b"}));
  builder.key_text("tokenizer.ggml.model", "gpt2").key_u32("toy.context_length", 77);
  builder.floats("token_embd.weight", {4, 64}, 1000).floats("rope_freqs.weight", {2}, 5);
  for (int layer = 0; layer < 4; ++layer) {
    builder.floats("blk." + std::to_string(layer) + ".attn_q.weight", {3},
                   static_cast<float>(100 * layer));
  }
  builder.floats("output_norm.weight", {4}, 1).floats("output.weight", {4, 64}, 2000);
  return builder;
}

// A source on disk and the slices made of it.
class GgufSlicer : public ::testing::Test {
 protected:
  GgufFile source(const std::string& bytes) {
    EXPECT_TRUE(write_file(folder_ / "source.gguf", bytes));
    auto file = GgufFile::open(folder_ / "source.gguf");
    if (!file) throw std::runtime_error(file.error().message);
    return *std::move(file);
  }
  GgufFile slice(const GgufFile& from, LayerRange range) {
    const Status written = write_slice(from, range, folder_ / "slice.gguf");
    if (!written) throw std::runtime_error(written.error().message);
    auto file = GgufFile::open(folder_ / "slice.gguf");
    if (!file) throw std::runtime_error(file.error().message);
    return *std::move(file);
  }
  Error refusal(const std::string& bytes, LayerRange range) {
    const GgufFile from = source(bytes);
    const Status written = write_slice(from, range, folder_ / "slice.gguf");
    EXPECT_FALSE(written);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "slice.gguf"));
    return written ? Error{} : written.error();
  }

  TemporaryFolder folder_;
};

float first_float(const GgufFile& file, std::string_view name) {
  const GgufTensor* tensor = file.tensor(name);
  if (tensor == nullptr) return -1;
  float value = 0;
  std::memcpy(&value, file.data(*tensor).data(), sizeof value);
  return value;
}

TEST_F(GgufSlicer, RenumbersTheLayersOfTheRangeFromZero) {
  const GgufFile whole = source(four_layers().build());
  const GgufFile middle = slice(whole, {1, 3});
  EXPECT_EQ(middle.unsigned_of("toy.block_count"), 2U);
  EXPECT_EQ(first_float(middle, "blk.0.attn_q.weight"), 100.0F);
  EXPECT_EQ(first_float(middle, "blk.1.attn_q.weight"), 200.0F);
  EXPECT_EQ(middle.tensor("blk.2.attn_q.weight"), nullptr);
  EXPECT_EQ(first_float(middle, "rope_freqs.weight"), 5.0F);
  EXPECT_EQ(middle.unsigned_of("toy.context_length"), 77U);
}

TEST_F(GgufSlicer, LeavesAStubOfTheVocabularyWhereNobodyAsksForLogits) {
  const GgufFile whole = source(four_layers().build());
  const GgufFile first = slice(whole, {0, 2});
  EXPECT_EQ(first.string_of("tokenizer.ggml.model"), "no_vocab");
  EXPECT_EQ(first.unsigned_of("toy.vocab_size"), 32U);
  EXPECT_EQ(first.find("tokenizer.ggml.tokens"), nullptr);
  EXPECT_THAT(first.tensor("token_embd.weight")->shape, ElementsAre(4, 32, 1, 1));
  EXPECT_THAT(first.tensor("output.weight")->shape, ElementsAre(4, 32, 1, 1));
  EXPECT_EQ(first_float(first, "token_embd.weight"), 1000.0F);
  EXPECT_EQ(first_float(first, "output_norm.weight"), 1.0F);
}

TEST_F(GgufSlicer, KeepsVocabularyAndHeadInTheLastRange) {
  const GgufFile whole = source(four_layers().build());
  const GgufFile last = slice(whole, {3, 4});
  EXPECT_EQ(last.string_of("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(last.array_of("tokenizer.ggml.tokens")->count, 2U);
  EXPECT_EQ(last.find("toy.vocab_size"), nullptr);
  EXPECT_THAT(last.tensor("token_embd.weight")->shape, ElementsAre(4, 64, 1, 1));
  EXPECT_THAT(last.tensor("output.weight")->shape, ElementsAre(4, 64, 1, 1));
  EXPECT_EQ(first_float(last, "output.weight"), 2000.0F);
  EXPECT_EQ(first_float(last, "blk.0.attn_q.weight"), 300.0F);
}

TEST_F(GgufSlicer, SlicesArraysThatHaveOneElementPerLayer) {
  GgufBuilder builder = four_layers();
  builder.key("toy.attention.head_count_kv", GgufBuilder::kArray,
              GgufBuilder::array_of<std::uint32_t>(GgufBuilder::kU32, {1, 2, 3, 4}));
  builder.key("toy.attention.sliding_window_pattern", GgufBuilder::kArray,
              GgufBuilder::array_of<std::uint8_t>(GgufBuilder::kBool, {1, 0, 1, 1}));
  builder.key("toy.rope.dimension_sections", GgufBuilder::kArray,
              GgufBuilder::array_of<std::int32_t>(GgufBuilder::kI32, {9, 8, 7, 6}));
  builder.key("other.four", GgufBuilder::kArray,
              GgufBuilder::array_of<std::int32_t>(GgufBuilder::kI32, {1, 2, 3, 4}));
  builder.key("toy.five", GgufBuilder::kArray,
              GgufBuilder::array_of<std::int32_t>(GgufBuilder::kI32, {1, 2, 3, 4, 5}));
  const GgufFile whole = source(builder.build());
  const GgufFile middle = slice(whole, {1, 3});
  const auto numbers = [&](std::string_view key) { return middle.array_of(key)->integers(); };
  EXPECT_THAT(numbers("toy.attention.head_count_kv"), ElementsAre(2, 3));
  EXPECT_THAT(numbers("toy.attention.sliding_window_pattern"), ElementsAre(0, 1));
  EXPECT_EQ(middle.array_of("toy.attention.sliding_window_pattern")->type, GgufType::kBool);
  EXPECT_THAT(numbers("toy.rope.dimension_sections"), ElementsAre(9, 8, 7, 6));
  EXPECT_THAT(numbers("other.four"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(numbers("toy.five"), ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(GgufSlicer, CountsTheLeadingDenseLayersInsideTheRange) {
  GgufBuilder builder = four_layers();
  builder.key_u32("toy.leading_dense_block_count", 2);
  const GgufFile whole = source(builder.build());
  const auto dense = [&](LayerRange range) {
    return slice(whole, range).unsigned_of("toy.leading_dense_block_count");
  };
  EXPECT_EQ(dense({0, 1}), 1U);
  EXPECT_EQ(dense({0, 3}), 2U);
  EXPECT_EQ(dense({1, 4}), 1U);
  EXPECT_EQ(dense({2, 4}), 0U);
}

TEST_F(GgufSlicer, LeavesPredictionLayersToTheLastRange) {
  GgufBuilder builder = four_layers();
  builder.key_u32("toy.nextn_predict_layers", 1);
  const GgufFile whole = source(builder.build());
  EXPECT_EQ(slice(whole, {0, 2}).unsigned_of("toy.nextn_predict_layers"), 0U);
  EXPECT_EQ(slice(whole, {2, 4}).unsigned_of("toy.nextn_predict_layers"), 1U);
}

TEST_F(GgufSlicer, SaysWhatItWasCutFrom) {
  const GgufFile whole = source(four_layers().build());
  const GgufFile middle = slice(whole, {1, 3});
  EXPECT_EQ(middle.unsigned_of("gogrid.slice.version"), kSliceFormatVersion);
  EXPECT_EQ(middle.unsigned_of("gogrid.slice.first_layer"), 1U);
  EXPECT_EQ(middle.unsigned_of("gogrid.slice.last_layer"), 3U);
  EXPECT_EQ(middle.unsigned_of("gogrid.slice.model_layers"), 4U);
}

// Two layers with matrices of 64 columns.
GgufBuilder two_layers_of_matrices() {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_u32("toy.block_count", 2);
  builder.key_u32("general.file_type", 1).key_u32("general.quantization_version", 99);
  builder.floats("token_embd.weight", {64, 64}, 1000);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string name = "blk." + std::to_string(layer);
    builder.floats(name + ".attn_q.weight", {64, 4}).floats(name + ".attn_norm.weight", {64}, 3);
  }
  return builder.floats("output.weight", {64, 64}, 2000);
}

TEST_F(GgufSlicer, MakesTheMatricesOfASliceSmallerWhereItIsToldTo) {
  const GgufFile whole = source(two_layers_of_matrices().build());
  const WeightType type = *find_weight_type("q8_0");
  ASSERT_TRUE(write_slice(whole, {0, 1}, folder_ / "slice.gguf", {}, type));
  const GgufFile first = *GgufFile::open(folder_ / "slice.gguf");
  EXPECT_EQ(first.string_of("gogrid.slice.type"), "q8_0");
  EXPECT_EQ(first.find("general.file_type"), nullptr);  // of other weights
  EXPECT_EQ(first.unsigned_of("general.quantization_version"), 2U);
  EXPECT_EQ(first.tensor("blk.0.attn_q.weight")->type_name, "q8_0");
  EXPECT_EQ(first_float(first, "blk.0.attn_norm.weight"), 3.0F);
  // What nobody computes with is as it was.
  EXPECT_EQ(first_float(first, "token_embd.weight"), 1000.0F);
  ASSERT_TRUE(write_slice(whole, {1, 2}, folder_ / "slice.gguf", {}, type));
  const GgufFile last = *GgufFile::open(folder_ / "slice.gguf");
  EXPECT_EQ(last.tensor("output.weight")->type_name, "q8_0");
  EXPECT_EQ(slice(whole, {0, 1}).find("gogrid.slice.type"), nullptr);
}

TEST_F(GgufSlicer, NamesTheTensorWhoseWeightsAreNoNumbers) {
  GgufBuilder builder = two_layers_of_matrices();
  std::string nan(64 * 4, '\xFF');
  builder.tensor({"blk.1.ffn_up.weight", {64, 1}, GgufBuilder::kTensorF32, nan, {}, {}});
  const GgufFile whole = source(builder.build());
  EXPECT_TRUE(write_slice(whole, {1, 2}, folder_ / "slice.gguf"));
  std::filesystem::remove(folder_ / "slice.gguf");
  const Status written =
      write_slice(whole, {1, 2}, folder_ / "slice.gguf", {}, *find_weight_type("q8_0"));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(written.error().message, HasSubstr("blk.1.ffn_up.weight"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "slice.gguf"));
}

TEST_F(GgufSlicer, ThatIsToldToStopWhileItQuantizesLeavesNothing) {
  const GgufFile whole = source(two_layers_of_matrices().build());
  int asked = 0;
  const Status written = write_slice(
      whole, {1, 2}, folder_ / "slice.gguf", [&](Bytes, Bytes) { return ++asked < 2; },
      *find_weight_type("q8_0"));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kCancelled);
  std::filesystem::remove(folder_ / "source.gguf");
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(GgufSlicer, GivesTheSameBytesEveryTime) {
  const GgufFile whole = source(four_layers().build());
  slice(whole, {1, 4});
  const std::string once = *read_file(folder_ / "slice.gguf", kMiB);
  slice(whole, {1, 4});
  EXPECT_TRUE(once == *read_file(folder_ / "slice.gguf", kMiB));
}

TEST_F(GgufSlicer, WritesTheSameFromMemoryAsFromDisk) {
  const std::string bytes = four_layers().build();
  const GgufFile on_disk = source(bytes);
  slice(on_disk, {1, 3});
  const std::string expected = *read_file(folder_ / "slice.gguf", kMiB);
  const auto in_memory = GgufFile::parse(std::as_bytes(std::span(bytes)), "memory");
  ASSERT_TRUE(in_memory);
  slice(*in_memory, {1, 3});
  EXPECT_TRUE(expected == *read_file(folder_ / "slice.gguf", kMiB));
}

TEST_F(GgufSlicer, KeepsTheLayersAtTheirPlaceInsideABlockSoThatBlocksCanBeShared) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_u32("toy.block_count", 3);
  builder.floats("token_embd.weight", {32, 100});
  for (int layer = 0; layer < 3; ++layer) {
    builder.floats("blk." + std::to_string(layer) + ".ffn_up.weight", {32, 100});
    builder.floats("blk." + std::to_string(layer) + ".attn_norm.weight", {5});
  }
  const GgufFile whole = source(builder.build());
  for (const LayerRange range : {LayerRange{0, 1}, {1, 2}, {1, 3}, {2, 3}}) {
    const GgufFile part = slice(whole, range);
    for (std::uint32_t layer = range.first; layer < range.last; ++layer) {
      for (const std::string rest : {".ffn_up.weight", ".attn_norm.weight"}) {
        const GgufTensor* before = whole.tensor("blk." + std::to_string(layer) + rest);
        const GgufTensor* after = part.tensor("blk." + std::to_string(layer - range.first) + rest);
        EXPECT_EQ(before->offset % 4096, after->offset % 4096) << to_string(range) << rest;
        EXPECT_TRUE(std::ranges::equal(whole.data(*before), part.data(*after)));
      }
    }
  }
}

TEST_F(GgufSlicer, FollowsTheAlignmentOfTheSource) {
  GgufBuilder builder = four_layers();
  builder.alignment = 8192;
  builder.key_u32("general.alignment", 8192);
  const GgufFile whole = source(builder.build());
  const GgufFile last = slice(whole, {2, 4});
  EXPECT_EQ(last.alignment(), 8192U);
  EXPECT_EQ(first_float(last, "blk.1.attn_q.weight"), 300.0F);
}

TEST_F(GgufSlicer, RefusesLayersThatTheModelDoesNotHave) {
  const std::string bytes = four_layers().build();
  for (const LayerRange range : {LayerRange{0, 5}, {4, 5}, {2, 2}, {3, 1}}) {
    const Error error = refusal(bytes, range);
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.message, "[gguf_slicer] layers " + to_string(range) + ": model has 4 layers");
  }
}

TEST_F(GgufSlicer, RefusesModelsWithoutNumberedLayers) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "t5").key_u32("t5.block_count", 2);
  builder.floats("token_embd.weight", {4, 4}).floats("enc.blk.0.attn_q.weight", {4});
  builder.floats("blk.x.attn_q.weight", {4}).floats("blk.12", {4});
  const Error error = refusal(builder.build(), {0, 1});
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("architecture 't5' has none"));
}

TEST_F(GgufSlicer, RefusesALayerWithoutTensors) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_u32("toy.block_count", 3);
  builder.floats("token_embd.weight", {4, 4}).floats("blk.0.attn_q.weight", {4});
  builder.floats("blk.2.attn_q.weight", {4});
  const Error error = refusal(builder.build(), {0, 3});
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("layer 1 has none"));
}

TEST_F(GgufSlicer, RefusesFilesThatAreNoWholeModel) {
  GgufBuilder part = four_layers();
  part.key("split.count", GgufBuilder::kU16, GgufBuilder::number(std::uint16_t{2}));
  const std::string bytes = part.build();
  const auto alone = GgufFile::parse(std::as_bytes(std::span(bytes)), "part");
  ASSERT_TRUE(alone);
  EXPECT_THAT(write_slice(*alone, {0, 1}, folder_ / "slice.gguf").error().message,
              HasSubstr("merge them first"));
  GgufBuilder nameless;
  nameless.floats("blk.0.x", {1});
  EXPECT_THAT(refusal(nameless.build(), {0, 1}).message, HasSubstr("general.architecture"));
  GgufBuilder uncounted;
  uncounted.key_text("general.architecture", "toy").floats("blk.0.x", {1});
  EXPECT_THAT(refusal(uncounted.build(), {0, 1}).message, HasSubstr("toy.block_count"));
  GgufBuilder headless;
  headless.key_text("general.architecture", "toy").key_u32("toy.block_count", 1);
  headless.floats("blk.0.x", {1});
  EXPECT_THAT(refusal(headless.build(), {0, 1}).message, HasSubstr("token_embd.weight"));
}

TEST_F(GgufSlicer, EndsWithNothingWrittenWhenToldTo) {
  const GgufFile whole = source(four_layers().build());
  int calls = 0;
  const Status written =
      write_slice(whole, {0, 4}, folder_ / "slice.gguf", [&](Bytes, Bytes) { return ++calls < 3; });
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(calls, 3);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "slice.gguf"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(GgufSlicer, SaysHowFarItIs) {
  const GgufFile whole = source(four_layers().build());
  Bytes last = 0;
  Bytes all = 0;
  ASSERT_TRUE(write_slice(whole, {0, 4}, folder_ / "slice.gguf", [&](Bytes done, Bytes total) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
    all = total;
    return true;
  }));
  EXPECT_EQ(last, all);
  EXPECT_GT(all, 0U);
}

// What the whole thing is for: stock libllama takes every slice of every architecture as a model.
class SlicesOf : public GgufSlicer, public ::testing::WithParamInterface<std::string> {};

TEST_P(SlicesOf, LoadInLibllama) {
  initialize_backends();
  testing::TinyModel tiny;
  tiny.architecture = GetParam();
  tiny.n_layers = 6;
  if (tiny.architecture == "phi2" || tiny.architecture == "gpt2" || tiny.architecture == "cogvlm") {
    tiny.n_kv_heads = tiny.n_heads;
  }
  testing::write_tiny_model(folder_ / "tiny.gguf", tiny);
  const auto whole = GgufFile::open(folder_ / "tiny.gguf");
  ASSERT_TRUE(whole) << whole.error().message;
  for (const LayerRange range : {LayerRange{0, 3}, {3, 6}, {0, 6}, {2, 4}}) {
    const GgufFile part = slice(*whole, range);
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    llama_model* model = llama_model_load_from_file(part.path().c_str(), params);
    ASSERT_NE(model, nullptr) << GetParam() << " " << to_string(range);
    EXPECT_EQ(llama_model_n_layer(model), static_cast<int>(range.size()));
    const auto tokens =
        static_cast<std::uint32_t>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
    EXPECT_EQ(tokens, range.last == 6 ? testing::tiny_vocabulary_size(tiny) : 32U);
    llama_model_free(model);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryArchitecture, SlicesOf,
                         ::testing::ValuesIn(testing::tiny_architectures()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace gogrid
