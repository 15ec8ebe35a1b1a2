#include "model/quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <list>

#include "base/files.h"
#include "model/model_profile.h"
#include "support/quantized.h"
#include "support/tiny_gguf.h"

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::importance_of;
using testing::quantize_to;
using testing::TinyModel;
using testing::TinyWeights;

// An importance matrix as libllama takes it, with the keys that llama-quantize adds for it.
class LlamaImportance {
 public:
  explicit LlamaImportance(const QuantizeOptions& options) : options_(options) {}

  void add_to(llama_model_quantize_params& params) {
    const ImportanceMatrix& matrix = *options_.importance;
    for (const auto& [name, entry] : matrix.entries) {
      const auto& means = means_.emplace_back(entry.means());
      data_.push_back({name.c_str(), means.data(), means.size()});
    }
    data_.push_back({nullptr, nullptr, 0});
    add_text("quantize.imatrix.file", options_.importance_name);
    add_text("quantize.imatrix.dataset", matrix.datasets.front());
    add_number("quantize.imatrix.entries_count", static_cast<std::int64_t>(matrix.entries.size()));
    add_number("quantize.imatrix.chunks_count", matrix.chunks);
    keys_.emplace_back();
    params.imatrix = data_.data();
    params.kv_overrides = keys_.data();
  }

 private:
  void add_text(std::string_view name, std::string_view text) {
    auto& key = keys_.emplace_back();
    name.copy(key.key, sizeof key.key - 1);
    key.tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    text.copy(key.val_str, sizeof key.val_str - 1);
  }
  void add_number(std::string_view name, std::int64_t number) {
    auto& key = keys_.emplace_back();
    name.copy(key.key, sizeof key.key - 1);
    key.tag = LLAMA_KV_OVERRIDE_TYPE_INT;
    key.val_i64 = number;
  }

  const QuantizeOptions& options_;
  std::list<std::vector<float>> means_;
  std::vector<llama_model_imatrix_data> data_;
  std::vector<llama_model_kv_override> keys_;
};

class Quantizing : public testing::QuantizableModels {
 protected:
  Status quantize(const GgufFile& file, const QuantizeOptions& options,
                  const Progress& progress = {}) {
    const auto plan = plan_quantization(file, options);
    if (!plan) return std::unexpected(plan.error());
    return testing::write_quantized(file, folder_ / "made.gguf", options, *plan, progress);
  }
  static std::string type_in(const GgufFile& file, std::string_view name) {
    const GgufTensor* tensor = file.tensor(name);
    return tensor == nullptr ? "absent" : std::string(tensor->type_name);
  }

  std::string made_bytes() const { return read_file(folder_ / "made.gguf", 64 * kMiB).value(); }
  // What libllama's own quantization writes of model.gguf.
  std::string libllamas_bytes(const QuantizeOptions& options, bool with_importance = false) {
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = static_cast<llama_ftype>(options.mix.file_type);
    params.nthread = 2;
    params.allow_requantize = options.allow_requantize;
    params.pure = options.pure;
    LlamaImportance importance(options);
    if (with_importance) importance.add_to(params);
    const auto target = folder_ / "theirs.gguf";
    if (llama_model_quantize((folder_ / "model.gguf").c_str(), target.c_str(), &params) != 0)
      throw std::runtime_error("libllama refuses");
    return read_file(target, 64 * kMiB).value();
  }
};

TEST_F(Quantizing, WritesTheFileThatLibllamaWritesInEveryType) {
  const GgufFile file = model({.n_layers = 1, .n_kv_heads = 1});
  const ImportanceMatrix importance = importance_of(file);
  for (const bool with_importance : {false, true}) {
    for (const std::string& mix : mix_names()) {
      QuantizeOptions options = quantize_to(mix);
      options.threads = 3;
      options.importance_name = "m.imatrix";
      if (with_importance) options.importance = &importance;
      const auto plan = plan_quantization(file, options);
      if (!plan && !with_importance) {
        EXPECT_THAT(plan.error().message, HasSubstr("importance matrix")) << mix;
        continue;
      }
      ASSERT_TRUE(plan) << mix << ": " << plan.error().message;
      const Status done = quantize(file, options);
      ASSERT_TRUE(done) << mix << ": " << done.error().message;
      EXPECT_TRUE(made_bytes() == libllamas_bytes(options, with_importance)) << mix;
      const GgufFile made = open("made.gguf");
      EXPECT_LE(made.file_size(), plan->file_bytes) << mix;
      EXPECT_GT(made.file_size() + kMiB, plan->file_bytes) << mix;
      EXPECT_TRUE(read_profile(made)) << mix;
    }
  }
}

TEST_F(Quantizing, WritesTheFileThatLibllamaWritesOfWeightsOfEveryKind) {
  for (const TinyWeights weights : {TinyWeights::kF32, TinyWeights::kF16, TinyWeights::kQ8_0}) {
    testing::write_tiny_model(folder_ / "model.gguf",
                              {.n_embd = 256, .n_ff = 512, .weights = weights});
    const GgufFile file = open("model.gguf");
    for (const char* mix : {"q4_k_m", "q5_0", "bf16", "f32"}) {
      QuantizeOptions options = quantize_to(mix);
      options.allow_requantize = true;
      options.pure = true;
      const Status done = quantize(file, options);
      ASSERT_TRUE(done) << mix << ": " << done.error().message;
      EXPECT_TRUE(made_bytes() == libllamas_bytes(options)) << mix;
    }
  }
}

TEST_F(Quantizing, OfAModelWithExpertsIsWhatLibllamaWrites) {
  const GgufFile file = model({.n_experts = 4});
  ImportanceMatrix importance = importance_of(file);
  auto& sums = importance.entries.at("blk.0.ffn_up_exps.weight").sums;
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = 0.5F + static_cast<float>(i % 97);
  QuantizeOptions options = quantize_to("q2_k");
  options.importance = &importance;
  options.importance_name = std::string(300, 'x');  // longer than llama.cpp has room for
  ASSERT_TRUE(quantize(file, options));
  EXPECT_TRUE(made_bytes() == libllamas_bytes(options, true));
}

TEST_F(Quantizing, AgainReplacesTheKeysOfTheFirstTime) {
  const GgufFile file = model();
  const ImportanceMatrix importance = importance_of(file);
  QuantizeOptions options = quantize_to("q8_0");
  options.importance = &importance;
  options.importance_name = "first.imatrix";
  ASSERT_TRUE(quantize(file, options));
  std::filesystem::rename(folder_ / "made.gguf", folder_ / "model.gguf");
  const GgufFile once = open("model.gguf");
  options.mix = find_mix("q4_0").value();
  options.importance_name = "second.imatrix";
  options.allow_requantize = true;
  ASSERT_TRUE(quantize(once, options));
  EXPECT_EQ(open("made.gguf").string_of("quantize.imatrix.file"), "second.imatrix");
  EXPECT_TRUE(made_bytes() == libllamas_bytes(options, true));
  options.importance = nullptr;
  ASSERT_TRUE(quantize(once, options));
  EXPECT_EQ(open("made.gguf").string_of("quantize.imatrix.file"), "first.imatrix");
  EXPECT_TRUE(made_bytes() == libllamas_bytes(options));
}

TEST_F(Quantizing, GivesTheSameBytesWhateverTheNumberOfThreads) {
  const GgufFile file = model();
  QuantizeOptions options = quantize_to("q4_k_m");
  options.threads = 1;
  ASSERT_TRUE(quantize(file, options));
  const std::string alone = made_bytes();
  for (const unsigned threads : {2U, 5U, 64U}) {
    options.threads = threads;
    ASSERT_TRUE(quantize(file, options));
    EXPECT_TRUE(made_bytes() == alone) << threads;
  }
}

TEST_F(Quantizing, TellsEachByteOfTheModelOnceToOneThreadAtATime) {
  const GgufFile file = model();
  QuantizeOptions options = quantize_to("q4_0");
  options.threads = 4;
  Bytes total = 0;
  for (const GgufTensor& tensor : file.tensors()) total += tensor.size;
  std::atomic<int> inside = 0;
  Bytes last = 0;
  ASSERT_TRUE(quantize(file, options, [&](Bytes done, Bytes of) {
    EXPECT_EQ(inside.fetch_add(1), 0);
    EXPECT_EQ(of, total);
    EXPECT_GT(done, last);
    last = done;
    --inside;
    return true;
  }));
  EXPECT_EQ(last, total);
}

TEST_F(Quantizing, StopsWhenToldToAndLeavesNothing) {
  const GgufFile file = model();
  QuantizeOptions options = quantize_to("q4_0");
  options.threads = 4;
  int told = 0;
  const Status done = quantize(file, options, [&](Bytes, Bytes) { return ++told < 3; });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(told, 3) << "nobody is told anything after it";
  for (const auto& left : std::filesystem::directory_iterator(folder_ / ""))
    EXPECT_EQ(left.path().filename(), "model.gguf");
}

TEST_F(Quantizing, NamesTheTensorThatHasAWeightThatIsNoNumber) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    testing::write_tiny_model(folder_ / "model.gguf",
                              {.n_embd = 256, .n_ff = 512, .weights = TinyWeights::kF32});
    for (const char* name : {"blk.1.ffn_up.weight", "blk.1.ffn_norm.weight"}) {
      std::string bytes = read_file(folder_ / "model.gguf", 64 * kMiB).value();
      const GgufTensor tensor = *open("model.gguf").tensor(name);
      std::memcpy(bytes.data() + tensor.offset + 400, &bad, sizeof bad);
      ASSERT_TRUE(write_file(folder_ / "bad.gguf", bytes));
      const Status done = quantize(open("bad.gguf"), quantize_to("iq4_xs"));
      ASSERT_FALSE(done) << name;
      EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
      EXPECT_THAT(done.error().message, AllOf(HasSubstr(name), HasSubstr("NaN or infinite")));
    }
  }
}

TEST_F(Quantizing, RefusesANumberThatTheTypeCannotHold) {
  testing::write_tiny_model(folder_ / "model.gguf",
                            {.n_embd = 256, .n_ff = 512, .weights = TinyWeights::kF32});
  std::string bytes = read_file(folder_ / "model.gguf", 64 * kMiB).value();
  const GgufTensor tensor = *open("model.gguf").tensor("blk.0.attn_q.weight");
  const float large = 1e6F;  // f16 ends at 65504
  std::memcpy(bytes.data() + tensor.offset, &large, sizeof large);
  ASSERT_TRUE(write_file(folder_ / "large.gguf", bytes));
  const Status done = quantize(open("large.gguf"), quantize_to("f16"));
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("blk.0.attn_q.weight"));
}

TEST_F(Quantizing, TakesTheFirstOverrideThatFits) {
  const GgufFile file = model();
  QuantizeOptions options = quantize_to("q4_0");
  for (const char* text : {"blk\\.1\\.attn_v=f16", "attn_v=q8_0"})
    options.overrides.push_back(parse_tensor_override(text).value());
  options.token_embedding_type = find_weight_type("q5_1").value();
  options.output_type = find_weight_type("bf16").value();
  const auto done = quantize(file, options);
  ASSERT_TRUE(done) << done.error().message;
  const GgufFile made = open("made.gguf");
  EXPECT_EQ(type_in(made, "blk.0.attn_v.weight"), "q8_0");
  EXPECT_EQ(type_in(made, "blk.1.attn_v.weight"), "f16");
  EXPECT_EQ(type_in(made, "blk.0.attn_k.weight"), "q4_0");
  EXPECT_EQ(type_in(made, "token_embd.weight"), "q5_1");
  EXPECT_EQ(type_in(made, "output.weight"), "bf16");
}

TEST_F(Quantizing, WritesDownWhichImportanceMatrixItUsed) {
  const GgufFile file = model();
  const ImportanceMatrix importance = importance_of(file);
  QuantizeOptions options = quantize_to("q4_k_m");
  options.importance = &importance;
  options.importance_name = "m.imatrix";
  ASSERT_TRUE(quantize(file, options));
  const GgufFile made = open("made.gguf");
  EXPECT_EQ(made.string_of("quantize.imatrix.file"), "m.imatrix");
  EXPECT_EQ(made.string_of("quantize.imatrix.dataset"), "a text");
  EXPECT_EQ(made.unsigned_of("quantize.imatrix.entries_count"), importance.entries.size());
  EXPECT_EQ(made.unsigned_of("quantize.imatrix.chunks_count"), 7U);
}

TEST_F(Quantizing, UsesTheImportanceOfEachExpert) {
  const GgufFile file = model({.n_experts = 4});
  ImportanceMatrix importance = importance_of(file);
  QuantizeOptions options = quantize_to("q2_k");
  options.importance = &importance;
  ASSERT_TRUE(quantize(file, options));
  const auto even = read_head(folder_ / "made.gguf", 16 * kMiB).value();
  // Only the second expert's first columns matter.
  auto& sums = importance.entries.at("blk.0.ffn_up_exps.weight").sums;
  std::fill_n(sums.begin() + 256, 64, 1e6F);
  ASSERT_TRUE(quantize(file, options));
  const auto uneven = read_head(folder_ / "made.gguf", 16 * kMiB).value();
  const GgufTensor tensor = *open("made.gguf").tensor("blk.0.ffn_up_exps.weight");
  const auto expert = [&](const std::string& bytes, std::size_t i) {
    return bytes.substr(tensor.offset + i * tensor.size / 4, tensor.size / 4);
  };
  EXPECT_EQ(expert(even, 0), expert(uneven, 0));
  EXPECT_NE(expert(even, 1), expert(uneven, 1));
}

}  // namespace
}  // namespace gogrid
