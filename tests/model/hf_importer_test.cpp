// Tiny models of every architecture that is imported (tests/model/hf_fixtures, written by
// scripts/make_hf_fixtures.py): tensors equal to those of llama.cpp's converter byte for byte, keys
// too, as expected.tsv beside each has them; and what is not imported is refused by name.
#include "model/hf_importer.h"

#include <ggml.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/format.h"
#include "model/gguf_file.h"
#include "model/hf_architectures.h"
#include "support/packed_weights.h"
#include "support/safetensors_builder.h"
#include "support/scaled_weights.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing::TemporaryFolder;
using testing::write_bytes;

const fs::path kFixtures = fs::path(GOGRID_SOURCE_DIR) / "tests/model/hf_fixtures";

std::vector<std::string> fixtures() {
  return {"bert", "gemma2", "gemma3", "llama", "mistral", "phi3", "qwen2", "qwen3"};
}

// Answers what packed weights lost.
Result<std::optional<RepackRecord>> convert_packed(const fs::path& folder, const fs::path& target,
                                                   const HfImportOptions& options) {
  GOGRID_ASSIGN_OR_RETURN(const HfImporter importer, HfImporter::open(folder, options));
  GOGRID_ASSIGN_OR_RETURN(AtomicFile empty, AtomicFile::create(target));
  GOGRID_ASSIGN_OR_RETURN(HfImported written, importer.write(std::move(empty), {}));
  GOGRID_RETURN_IF_ERROR(written.file.commit());
  return written.repacked;
}

Status convert(const fs::path& folder, const fs::path& target, const HfImportOptions& options) {
  GOGRID_ASSIGN_OR_RETURN(const auto repacked, convert_packed(folder, target, options));
  EXPECT_FALSE(repacked);
  return {};
}

std::string digest_of(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

// Name -> the rest of its line.
using Lines = std::map<std::string, std::string>;

struct Expected {
  Lines tensors;
  Lines keys;
};

Expected expected_of(const std::string& name) {
  std::ifstream in(kFixtures / name / "expected.tsv");
  Expected expected;
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find('\t');
    const std::size_t second = line.find('\t', first + 1);
    Lines& lines = line.starts_with("tensor") ? expected.tensors : expected.keys;
    lines[line.substr(first + 1, second - first - 1)] = line.substr(second + 1);
  }
  return expected;
}

Expected contents_of(const GgufFile& file) {
  Expected contents;
  for (const GgufTensor& tensor : file.tensors()) {
    std::string shape;
    for (std::uint32_t i = 0; i < tensor.n_dims; ++i) {
      shape += (i == 0 ? "" : "x") + std::to_string(tensor.shape[i]);
    }
    contents.tensors[std::string(tensor.name)] =
        format_text("{}\t{}\t{}", tensor.type, shape, digest_of(file.data(tensor)));
  }
  for (const auto& [key, value] : file.metadata()) {
    contents.keys[std::string(key)] =
        format_text("{}\t{}", static_cast<std::uint32_t>(value.type), digest_of(value.raw));
  }
  return contents;
}

// What the other converter takes from its folder's name, counts for people, writes only there, or
// computes from what says the same already.
bool is_its_own(const std::string& key) {
  static const std::set<std::string> kOwn{"general.name", "general.size_label",
                                          "tokenizer.ggml.add_sep_token"};
  return kOwn.contains(key) || key.starts_with("general.base_model") ||
         key.ends_with(".attention.key_length") || key.ends_with(".attention.value_length");
}

class HfFixtures : public ::testing::TestWithParam<std::string> {};

TEST_P(HfFixtures, TensorsAndKeysAreThoseOfTheReferenceConverter) {
  const TemporaryFolder folder;
  const auto status = convert(kFixtures / GetParam(), folder / "m.gguf", {GetParam(), {}});
  ASSERT_TRUE(status) << status.error().message;
  const auto file = GgufFile::open(folder / "m.gguf");
  ASSERT_TRUE(file) << file.error().message;
  const Expected expected = expected_of(GetParam());
  const Expected came = contents_of(*file);
  ASSERT_GE(expected.tensors.size(), 16U);
  EXPECT_EQ(came.tensors, expected.tensors);
  ASSERT_GE(expected.keys.size(), 20U);
  for (const auto& [key, value] : expected.keys) {
    if (is_its_own(key)) continue;
    ASSERT_TRUE(came.keys.contains(key)) << key;
    EXPECT_EQ(came.keys.at(key), value) << key;
  }
}

TEST_P(HfFixtures, EveryTypeHoldsTheSameModel) {
  const TemporaryFolder folder;
  for (const StoredType type : {StoredType::kF32, StoredType::kF16, StoredType::kBF16}) {
    const auto status = convert(kFixtures / GetParam(), folder / "m.gguf", {"m", type});
    ASSERT_TRUE(status) << status.error().message;
    const auto file = GgufFile::open(folder / "m.gguf");
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(file->tensor("token_embd.weight")->type, ggml_type_of(type));
    EXPECT_EQ(file->unsigned_of("general.file_type"), file_type_of(type));
  }
}

// Of its own: g++ 16 warns of a free that is not there where the macro makes it.
const std::vector<std::string> kAllFixtures = fixtures();

INSTANTIATE_TEST_SUITE_P(All, HfFixtures, ::testing::ValuesIn(kAllFixtures),
                         [](const auto& fixture) { return fixture.param; });

// A copy of a fixture, to be broken.
class HfImport : public ::testing::Test {
 protected:
  void copy(const std::string& fixture) {
    fs::copy(kFixtures / fixture, model(), fs::copy_options::recursive);
  }
  fs::path model() const { return folder_ / "model"; }
  // Replaces the first `from` in a file of the model.
  void edit(const std::string& name, std::string_view from, std::string_view to) {
    std::ifstream in(model() / name, std::ios::binary);
    std::stringstream all;
    all << in.rdbuf();
    std::string text = all.str();
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_bytes(model() / name, text.replace(at, from.size(), to));
  }
  Error refusal(const HfImportOptions& options = {"m", {}}) {
    const auto status = convert(model(), folder_ / "m.gguf", options);
    EXPECT_FALSE(status);
    EXPECT_FALSE(fs::exists(folder_ / "m.gguf"));
    return status ? Error{} : status.error();
  }

  const TemporaryFolder folder_;
};

TEST_F(HfImport, UnknownArchitecturesAreRefusedWithTheNearest) {
  copy("qwen2");
  edit("config.json", "Qwen2ForCausalLM", "Qwen2MoeForCausalLM");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message, HasSubstr("Qwen2MoeForCausalLM\" (did you mean Qwen2ForCausalLM"));
  edit("config.json", "\"architectures\"", "\"buildings\"");
  EXPECT_THAT(refusal().message, HasSubstr("config.json names none"));
}

TEST_F(HfImport, SpeechIsNamedAndServedLater) {
  copy("llama");
  write_bytes(model() / "model.bin", std::string("\x06\0\0\0\x0c\0WhisperSpec\0", 18));
  EXPECT_THAT(refusal().message, HasSubstr("speech, served by a later version"));
  fs::remove(model() / "model.bin");
  edit("config.json", "LlamaForCausalLM", "WhisperForConditionalGeneration");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message, HasSubstr("speech, served by a later version"));
}

TEST_F(HfImport, WeightsThatOthersQuantizedAreRefusedByTheirMethod) {
  copy("llama");
  edit("config.json", "{", R"({"quantization_config": {"quant_method": "hqq", "bits": 4},)");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message, HasSubstr("they are by \"hqq\""));
}

TEST_F(HfImport, WhatIsComputedOtherwiseHereIsRefused) {
  const std::vector<std::tuple<std::string, std::string, std::string, std::string>> cases{
      {"llama", "\"silu\"", "\"gelu\"", "hidden_act: expected silu: \"gelu\""},
      {"llama", "\"llama3\"", "\"dynamic\"", "rope_scaling: expected default, linear"},
      {"llama", "{", "{\"partial_rotary_factor\": 0.5,", "partial_rotary_factor: expected 1"},
      {"qwen2", "\"use_sliding_window\": false", "\"use_sliding_window\": true", "sliding windows"},
      {"gemma2", "\"query_pre_attn_scalar\": 16", "\"query_pre_attn_scalar\": 17",
       "expected 16: 17"},
      {"gemma3", "{", "{\"layer_types\": [\"full_attention\"],", "every 6th layer"},
      {"gemma3", "{", "{\"sliding_window_pattern\": 4,", "expected 6"},
      {"bert", "\"absolute\"", "\"relative_key\"", "position_embedding_type: expected absolute"}};
  for (const auto& [fixture, from, to, says] : cases) {
    fs::remove_all(model());
    copy(fixture);
    edit("config.json", from, to);
    EXPECT_EQ(refusal().code, ErrorCode::kUnsupported) << says;
    EXPECT_THAT(refusal().message, HasSubstr(says));
  }
}

TEST_F(HfImport, BrokenConfigurationsAreRefusedByTheirField) {
  const std::vector<std::tuple<std::string, std::string, std::string>> cases{
      {"\"hidden_size\": 32", "\"hidden_size\": \"wide\"", "hidden_size: expected a whole number"},
      {"\"hidden_size\": 32", "\"hidden_size\": -1", "hidden_size: expected a whole number"},
      {"\"hidden_size\": 32", "\"hidden_size\": 0", "hidden_size: expected a whole number from 1"},
      {"\"hidden_size\": 32", "\"hidden_size\": 9e99", "hidden_size: expected a whole number"},
      {"\"hidden_size\": 32", "\"hidden\": 32",
       "hidden_size: expected a whole number from 1 to "
       "2147483647: absent"},
      {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e99", "rms_norm_eps: expected a number"},
      {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "blk.2.attn_norm.weight): absent"},
      {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "expected layers below 1"},
      {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3",
       "expected 24 x 32, as config.json says: 16 x 32"},
      {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0",
       "num_key_value_heads: expected a whole number from 1"},
      {"\"hidden_size\": 32", "\"hidden_size\": 64", "x 64, as config.json says"},
      {"\"intermediate_size\": 48", "\"intermediate_size\": 49", "as config.json says"},
      {"\"head_dim\": 8", "\"head_dim\": 16", "as config.json says"},
      {"\"low_freq_factor\": 1.0", "\"low_freq_factor\": 5.0", "0 < low_freq_factor"},
      {"{", "[", "expected JSON"}};
  for (const auto& [from, to, says] : cases) {
    fs::remove_all(model());
    copy("llama");
    edit("config.json", from, to);
    EXPECT_EQ(refusal().code, ErrorCode::kCorrupt) << says;
    EXPECT_THAT(refusal().message, HasSubstr(says));
  }
  fs::remove(model() / "config.json");
  EXPECT_EQ(refusal().code, ErrorCode::kNotFound);
}

TEST_F(HfImport, TensorsThatAreUnknownOrAbsentAreRefusedByName) {
  copy("llama");
  edit("model.safetensors", "self_attn.q_proj.weight", "self_attn.z_proj.weight");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message, HasSubstr("self_attn.z_proj.weight"));
  edit("model.safetensors", "model.layers.0.self_attn.z_proj.weight",
       "model.layers.0.rotary_emb.inv_freq    ");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
}

TEST(HfTensorPlace, ABraceInANameStandsForNoLayer) {
  const auto llama = architecture_named("LlamaForCausalLM");
  ASSERT_TRUE(llama);
  EXPECT_TRUE(place_of(**llama, "model.layers.1.input_layernorm.weight"));
  const auto odd = place_of(**llama, "model.layers.{}.input_layernorm.weight");
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().code, ErrorCode::kUnsupported);
}

TEST_F(HfImport, AddedTokensAreTextsWithIdsThatCanBe) {
  copy("llama");
  for (const char* bad : {"[4294967297, 1]", "{\"zzz\": 4294967299}", "{\"zzz\": -1}", "3"}) {
    write_bytes(model() / "added_tokens.json", bad);
    EXPECT_EQ(refusal().code, ErrorCode::kCorrupt) << bad;
    EXPECT_THAT(refusal().message, HasSubstr("added_tokens.json")) << bad;
  }
}

TEST_F(HfImport, APipeInPlaceOfAFileIsRefusedAndNotWaitedFor) {
  copy("llama");
  for (const char* name : {"tokenizer_config.json", "added_tokens.json", "config.json"}) {
    fs::remove(model() / name);
    ASSERT_EQ(::mkfifo((model() / name).c_str(), 0600), 0);
    EXPECT_EQ(refusal().code, ErrorCode::kIo) << name;
    EXPECT_THAT(refusal().message, HasSubstr("expected a regular file")) << name;
  }
}

TEST_F(HfImport, AMissingTensorIsNamed) {
  copy("llama");
  // As long as the name was, and of a kind that is left out.
  edit("model.safetensors", "\"model.norm.weight\"", "\"pooler.norm.weigh\"");
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message,
              HasSubstr("expected the tensor norm (output_norm.weight): absent"));
}

TEST_F(HfImport, WeightsThatATypeDoesNotHoldAreRefusedWithTheWayOut) {
  copy("qwen2");
  // The last tensor's first number: 1e30.
  const float large = 1e30F;
  const auto size = fs::file_size(model() / "model.safetensors");
  std::fstream file(model() / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  std::vector<char> whole(size);
  file.read(whole.data(), static_cast<std::streamsize>(size));
  for (std::size_t at = size / 2 / 4 * 4; at + 4 <= size; at += 4096) {
    file.seekp(static_cast<std::streamoff>(at));
    file.write(reinterpret_cast<const char*>(&large), sizeof large);
  }
  file.close();
  EXPECT_EQ(refusal({"m", StoredType::kF16}).code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refusal({"m", StoredType::kF16}).message, HasSubstr("import with --type bf16"));
  EXPECT_TRUE(convert(model(), folder_ / "m.gguf", {"m", StoredType::kBF16}));
}

TEST_F(HfImport, AWindowThatIsNotComputedCutsTheContext) {
  copy("mistral");
  edit("config.json", "\"sliding_window\": null", "\"sliding_window\": 64");
  const auto importer = HfImporter::open(model(), {"m", {}});
  ASSERT_TRUE(importer) << importer.error().message;
  ASSERT_EQ(importer->notes().size(), 1U);
  EXPECT_THAT(importer->notes()[0], HasSubstr("context cut from 128 to 64"));
  ASSERT_TRUE(convert(model(), folder_ / "m.gguf", {"m", {}}));
  EXPECT_EQ(GgufFile::open(folder_ / "m.gguf")->unsigned_of("llama.context_length"), 64U);
}

TEST_F(HfImport, MergesBecomeScoresWhereThereIsNoSentencePieceModel) {
  copy("mistral");
  fs::remove(model() / "tokenizer.model");
  EXPECT_EQ(refusal().code, ErrorCode::kNotFound);
  write_bytes(model() / "tokenizer.json", R"({
    "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    "added_tokens": [{"id": 1, "content": "<s>", "special": true},
                     {"id": 7, "content": "<tool▁>", "special": false}],
    "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "merges": ["a b", "▁ ab"],
              "vocab": {"<unk>": 0, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5, "▁ab": 6}}})");
  ASSERT_TRUE(convert(model(), folder_ / "m.gguf", {"m", {}}));
  const auto file = GgufFile::open(folder_ / "m.gguf");
  ASSERT_TRUE(file);
  const auto texts = file->array_of("tokenizer.ggml.tokens")->strings();
  const auto kinds = file->array_of("tokenizer.ggml.token_type")->integers();
  const auto scores = file->array_of("tokenizer.ggml.scores")->floats();
  ASSERT_EQ(texts.size(), 400U);
  EXPECT_EQ(kinds[0], 2);  // unknown
  EXPECT_EQ(kinds[1], 3);  // control
  EXPECT_EQ(kinds[2], 6);  // byte
  EXPECT_EQ(kinds[7], 4);  // any text may have it, as it is shown
  EXPECT_EQ(texts[7], "<tool >");
  EXPECT_EQ(kinds[8], 5);  // a row without a token
  EXPECT_EQ(texts[8], "[PAD8]");
  EXPECT_GT(scores[5], scores[6]);
  EXPECT_GT(scores[6], scores[3]);
  EXPECT_EQ(file->bool_of("tokenizer.ggml.add_space_prefix"), false);
}

TEST_F(HfImport, TokensBeyondTheEmbeddingsAreNotedAndTwiceTheSameIsRefused) {
  copy("mistral");
  write_bytes(model() / "added_tokens.json", R"({"<far>": 5000})");
  const auto importer = HfImporter::open(model(), {"m", {}});
  ASSERT_TRUE(importer) << importer.error().message;
  ASSERT_EQ(importer->notes().size(), 1U);
  EXPECT_THAT(importer->notes()[0], HasSubstr("1 tokens beyond the 400 rows"));
  write_bytes(model() / "added_tokens.json", R"({"<s>": 399})");
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message, HasSubstr("expected a text of its own: \"<s>\""));
  write_bytes(model() / "added_tokens.json", R"({"<s>": "x"})");
  EXPECT_THAT(refusal().message, HasSubstr("expected an id"));
}

TEST_F(HfImport, ChatTemplatesMayHaveNamesOrAFileOfTheirOwn) {
  copy("mistral");
  write_bytes(model() / "chat_template.jinja", "{{ 1 }}");
  const auto templates = [&](const char* key) {
    EXPECT_TRUE(convert(model(), folder_ / "m.gguf", {"m", {}}));
    const auto file = GgufFile::open(folder_ / "m.gguf");
    return std::string(file->string_of(key).value_or("none"));
  };
  EXPECT_EQ(templates("tokenizer.chat_template"), "{{ 1 }}");
  edit(
      "tokenizer_config.json", "{",
      R"({"chat_template": [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}],)");
  EXPECT_EQ(templates("tokenizer.chat_template"), "a");
  EXPECT_EQ(templates("tokenizer.chat_template.rag"), "b");
  edit("tokenizer_config.json", "\"rag\"", "\"../x\"");
  fs::remove(folder_ / "m.gguf");
  EXPECT_THAT(refusal().message, HasSubstr("a template's name of letters"));
}

TEST_F(HfImport, CancellingLeavesNothing) {
  copy("llama");
  const auto importer = HfImporter::open(model(), {"m", {}});
  ASSERT_TRUE(importer);
  auto file = AtomicFile::create(folder_ / "m.gguf");
  const auto written =
      importer->write(*std::move(file), [](Bytes done, Bytes) { return done == 0; });
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kCancelled);
  EXPECT_FALSE(fs::exists(folder_ / "m.gguf"));
}

TEST_F(HfImport, TheLicenceIsTheOneOfTheReadme) {
  copy("llama");
  ASSERT_TRUE(convert(model(), folder_ / "m.gguf", {"m", {}}));
  EXPECT_EQ(GgufFile::open(folder_ / "m.gguf")->string_of("general.license"), "apache-2.0");
}

// --- weights that GPTQ and AWQ packed

struct PackedCase {
  std::string name;
  testing::PackedModel model;
};

std::vector<PackedCase> packed_cases() {
  std::vector<PackedCase> cases;
  for (const std::uint32_t bits : {2U, 3U, 4U, 8U}) {
    for (const bool act_order : {false, true}) {
      const std::string name = format_text("Gptq{}{}", bits, act_order ? "ActOrder" : "");
      cases.push_back(
          {name, {.packing = {.bits = bits, .group_size = 64, .act_order = act_order}}});
      cases.push_back(
          {name + "Sym",
           {.architecture = "qwen2",
            .packing = {.bits = bits, .group_size = 128, .symmetric = true, .act_order = act_order},
            .made_up_biases = bits == 4}});
    }
  }
  cases.push_back({"GptqV2", {.packing = {.zeros_less_one = false}}});
  cases.push_back({"GptqWholeRow", {.packing = {.group_size = 0}, .made_up_biases = true}});
  cases.push_back({"AwqLlama", {.packing = {.method = "awq", .group_size = 64}}});
  cases.push_back(
      {"AwqQwen2", {.architecture = "qwen2", .packing = {.method = "awq", .group_size = 128}}});
  return cases;
}

class PackedModels : public ::testing::TestWithParam<PackedCase> {
 protected:
  PackedModels() {
    testing::write_packed_model(kFixtures, folder_ / "packed", folder_ / "plain", GetParam().model);
  }
  Lines tensors(const std::string& name) const {
    return contents_of(*GgufFile::open(folder_ / name)).tensors;
  }
  // A file's tensor as floats.
  static std::vector<float> floats_of(const GgufFile& file, const GgufTensor& tensor) {
    std::vector<float> values(tensor.shape[0] * tensor.shape[1]);
    const auto data = file.data(tensor);
    if (tensor.type == GGML_TYPE_F32) {
      std::memcpy(values.data(), data.data(), data.size());
    } else {
      ggml_get_type_traits(static_cast<ggml_type>(tensor.type))
          ->to_float(data.data(), values.data(), static_cast<std::int64_t>(values.size()));
    }
    return values;
  }
  const TemporaryFolder folder_;
};

TEST_P(PackedModels, AsFloatsAreTheModelThatWasPacked) {
  ASSERT_TRUE(convert(folder_ / "plain", folder_ / "plain.gguf", {"m", StoredType::kF32}));
  const auto repacked =
      convert_packed(folder_ / "packed", folder_ / "packed.gguf", {"m", StoredType::kF32});
  ASSERT_TRUE(repacked) << repacked.error().message;
  EXPECT_EQ(tensors("packed.gguf"), tensors("plain.gguf"));
  ASSERT_TRUE(*repacked);
  EXPECT_EQ((*repacked)->tensors, 14U);
  EXPECT_EQ((*repacked)->worst, 0);
}

TEST_P(PackedModels, LoseWhatIsRecorded) {
  ASSERT_TRUE(convert(folder_ / "plain", folder_ / "plain.gguf", {"m", StoredType::kF32}));
  const auto repacked = convert_packed(folder_ / "packed", folder_ / "packed.gguf", {"m", {}});
  ASSERT_TRUE(repacked) << repacked.error().message;
  ASSERT_TRUE(*repacked);
  const auto plain = GgufFile::open(folder_ / "plain.gguf");
  const auto packed = GgufFile::open(folder_ / "packed.gguf");
  double sum = 0;
  double worst = 0;
  std::uint64_t count = 0;
  for (const GgufTensor& tensor : packed->tensors()) {
    if (tensor.type == GGML_TYPE_F32 || tensor.type == GGML_TYPE_F16) continue;
    const std::vector<float> came = floats_of(*packed, tensor);
    const std::vector<float> expected = floats_of(*plain, *plain->tensor(tensor.name));
    double error = 0;
    double all = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      error += std::pow(double{came[i]} - double{expected[i]}, 2);
      all += std::pow(double{expected[i]}, 2);
    }
    sum += std::sqrt(error / all);
    worst = std::max(worst, std::sqrt(error / all));
    ++count;
  }
  EXPECT_EQ((*repacked)->tensors, count);
  EXPECT_EQ(count, 14U);
  EXPECT_NEAR((*repacked)->mean, sum / static_cast<double>(count), 1e-9);
  EXPECT_NEAR((*repacked)->worst, worst, 1e-9);
  const std::string method = GetParam().model.packing.method;
  EXPECT_THAT((*repacked)->from,
              StartsWith(format_text("{} {} bit, ", method, GetParam().model.packing.bits)));
  EXPECT_THAT((*repacked)->worst_tensor, StartsWith("blk."));
}

const std::vector<PackedCase> kPackedCases = packed_cases();
INSTANTIATE_TEST_SUITE_P(All, PackedModels, ::testing::ValuesIn(kPackedCases),
                         [](const auto& one) { return one.param.name; });

// A packed model, to be broken.
class PackedImport : public HfImport {
 protected:
  explicit PackedImport(const testing::PackedModel& made = {.packing = {.symmetric = true}}) {
    testing::write_packed_model(kFixtures, model(), folder_ / "plain", made);
  }
};

TEST_F(PackedImport, TheFileSaysWhatMostWeightsAre) {
  ASSERT_TRUE(convert_packed(model(), folder_ / "m.gguf", {"m", {}}));
  const auto file = GgufFile::open(folder_ / "m.gguf");
  EXPECT_EQ(file->unsigned_of("general.file_type"), 2U);  // llama_ftype: mostly q4_0
  EXPECT_EQ(file->tensor("output.weight")->type, GGML_TYPE_F16);
  EXPECT_EQ(file->tensor("blk.0.attn_q.weight")->type, GGML_TYPE_Q4_0);
}

TEST_F(PackedImport, AnotherTypeIsOfThePackedWeightsOnly) {
  const auto repacked =
      convert_packed(model(), folder_ / "m.gguf", {"m", {}, std::uint32_t{GGML_TYPE_Q4_K}});
  ASSERT_TRUE(repacked) << repacked.error().message;
  EXPECT_GT((*repacked)->mean, 0.01);
  const auto file = GgufFile::open(folder_ / "m.gguf");
  EXPECT_EQ(file->tensor("output.weight")->type, GGML_TYPE_F16);
  EXPECT_EQ(file->tensor("blk.1.ffn_down.weight")->type, GGML_TYPE_Q4_K);
  const HfImportOptions plain{"m", {}, std::uint32_t{GGML_TYPE_Q4_K}};
  const auto refused = HfImporter::open(folder_ / "plain", plain);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("gogrid quantize"));
}

TEST_F(PackedImport, ATypeWhoseBlocksDoNotFitIsRefusedWithTheTensor) {
  fs::remove_all(model());
  fs::remove_all(folder_ / "plain");
  testing::write_packed_model(kFixtures, model(), folder_ / "plain", {.feed_forward = 384});
  const Error error = refusal({"m", {}, std::uint32_t{GGML_TYPE_Q4_K}});
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("blk.0.ffn_down.weight"));
  EXPECT_THAT(error.message, HasSubstr("choose another --type"));
}

TEST_F(PackedImport, HowItIsPackedHasToBeSaid) {
  edit("config.json", "quantization_config", "quantisation_config");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message, HasSubstr("expected quantization_config in config.json"));
  // As AutoGPTQ left it in its time, with a name of its own for the weights.
  write_bytes(model() / "quantize_config.json",
              R"({"bits": 4, "group_size": 32, "sym": true, "desc_act": false,
                  "model_file_base_name": "gptq_model-4bit-32g"})");
  fs::rename(model() / "model.safetensors", model() / "gptq_model-4bit-32g.safetensors");
  EXPECT_TRUE(convert_packed(model(), folder_ / "m.gguf", {"m", {}}));
}

TEST_F(PackedImport, PartsWithoutTheirCodesAreRefused) {
  edit("model.safetensors", "layers.1.mlp.up_proj.qweight", "layers.1.mlp.up_proj.qwright");
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message, HasSubstr("up_proj.g_idx\": expected qweight beside it: absent"));
}

TEST_F(PackedImport, GroupsThatAreNotThoseOfTheConfigurationAreRefused) {
  edit("config.json", "\"group_size\": 32", "\"group_size\": 64");
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message, HasSubstr("for gptq 4 bit, groups of 64"));
  edit("config.json", "\"group_size\": 64", "\"group_size\": 0");
  EXPECT_THAT(refusal().message, HasSubstr("group_size: expected -1 or a size from 1: 0"));
}

TEST_F(PackedImport, ZerosThatAreNotStoredAsSaidAreNoted) {
  edit("config.json", "\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"gptq_v2\"");
  const auto importer = HfImporter::open(model(), {"m", {}});
  ASSERT_TRUE(importer) << importer.error().message;
  ASSERT_EQ(importer->notes().size(), 1U);
  EXPECT_THAT(importer->notes()[0], HasSubstr("zeros of 14 tensors are not stored as"));
  ASSERT_TRUE(convert_packed(model(), folder_ / "m.gguf", {"m", StoredType::kF32}));
  ASSERT_TRUE(convert(folder_ / "plain", folder_ / "plain.gguf", {"m", StoredType::kF32}));
  EXPECT_EQ(contents_of(*GgufFile::open(folder_ / "m.gguf")).tensors,
            contents_of(*GgufFile::open(folder_ / "plain.gguf")).tensors);
}

// --- FP8 weights with scales

const std::string kFp8 = R"({"quant_method": "fp8", "activation_scheme": "static"})";
const std::string kFp8Blocks = R"({"quant_method": "fp8", "weight_block_size": [128, 128]})";

std::string compressed_tensors(const std::string& strategy) {
  return R"({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups":
             {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float",
             "symmetric": true, "strategy": )" +
         strategy + R"(}}}, "ignore": ["lm_head", "re:.*o_proj"]})";
}

struct ScaledCase {
  std::string name;
  std::string from;  // as the record says it
  testing::ScaledModel model;
};

std::vector<ScaledCase> scaled_cases() {
  using enum testing::ScaleShape;
  const std::string rows = ", a scale a tensor or row";
  return {
      {"AutoFp8",
       "fp8" + rows,
       {.quantization = kFp8, .scales = {.shape = kNumber}, .activation_scales = true}},
      {"AutoFp8OfOne",
       "fp8" + rows,
       {.quantization = kFp8, .scales = {.shape = kOne, .type = "BF16"}}},
      {"Fp8WithoutBlocksByTheOtherName",
       "fp8" + rows,
       {.quantization = kFp8, .scales = {.shape = kNumber, .part = "weight_scale_inv"}}},
      {"CompressedTensors",
       "compressed-tensors fp8" + rows,
       {.quantization = compressed_tensors("\"tensor\""),
        .scales = {.shape = kOne},
        .plain = {"self_attn.o_proj"},
        .activation_scales = true}},
      {"CompressedTensorsByRow",
       "compressed-tensors fp8" + rows,
       {.quantization = compressed_tensors("\"channel\""),
        .scales = {.shape = kRowsOfOne, .type = "BF16"}}},
      {"CompressedTensorsByPlainRow",
       "compressed-tensors fp8" + rows,
       {.quantization = compressed_tensors("\"channel\""),
        .scales = {.shape = kRows, .type = "F16"}}},
      {"CompressedTensorsInBlocks",
       "compressed-tensors fp8, blocks of 48 x 32",
       {.quantization = compressed_tensors(R"("block", "block_structure": [48, 32])"),
        .scales = {.shape = kBlocks, .block_rows = 48, .block_columns = 32}}},
      {"DeepSeek",
       "fp8, blocks of 128 x 128",
       {.quantization = kFp8Blocks, .scales = {.shape = kBlocks, .part = "weight_scale_inv"}}},
      {"Qwen3",
       "fp8, blocks of 128 x 128",
       {.quantization = kFp8Blocks,
        .scales = {.shape = kBlocks, .part = "weight_scale_inv", .type = "BF16"},
        .plain = {"mlp.down_proj", "self_attn.k_proj"}}},
  };
}

class ScaledModels : public ::testing::TestWithParam<ScaledCase> {
 protected:
  ScaledModels() {
    testing::write_scaled_model(kFixtures, folder_ / "scaled", folder_ / "plain", GetParam().model);
  }
  std::uint64_t matrices() const { return 2 * (7 - GetParam().model.plain.size()); }
  Lines tensors(const std::string& name) const {
    return contents_of(*GgufFile::open(folder_ / name)).tensors;
  }
  // Imports both; answers what the scaled ones lost.
  RepackRecord convert_both(const std::optional<StoredType>& type) {
    EXPECT_TRUE(convert(folder_ / "plain", folder_ / "plain.gguf", {"m", type}));
    const auto record = convert_packed(folder_ / "scaled", folder_ / "scaled.gguf", {"m", type});
    EXPECT_TRUE(record) << record.error().message;
    return record && *record ? **record : RepackRecord{};
  }
  const TemporaryFolder folder_;
};

TEST_P(ScaledModels, AsFloatsAreTheModelThatWasScaled) {
  const RepackRecord record = convert_both(StoredType::kF32);
  EXPECT_EQ(tensors("scaled.gguf"), tensors("plain.gguf"));
  EXPECT_EQ(record.tensors, matrices());
  EXPECT_EQ(record.worst, 0);
  EXPECT_EQ(record.from, GetParam().from);
}

TEST_P(ScaledModels, AreRoundedAsTheirWeightsAndWhatThatLosesIsRecorded) {
  const RepackRecord halves = convert_both({});
  EXPECT_EQ(tensors("scaled.gguf"), tensors("plain.gguf"));
  EXPECT_EQ(GgufFile::open(folder_ / "scaled.gguf")->tensor("blk.0.attn_q.weight")->type,
            GGML_TYPE_F16);
  EXPECT_EQ(halves.tensors, matrices());
  // A float is at most half a step of the type from what it is rounded to.
  EXPECT_GT(halves.mean, 1e-6);
  EXPECT_LE(halves.mean, halves.worst);
  EXPECT_LE(halves.worst, 0x1p-11);
  EXPECT_THAT(halves.worst_tensor, StartsWith("blk."));
  const RepackRecord shorter = convert_both(StoredType::kBF16);
  EXPECT_EQ(tensors("scaled.gguf"), tensors("plain.gguf"));
  EXPECT_GE(shorter.worst, halves.worst);
  EXPECT_LE(shorter.worst, 0x1p-8);
}

const std::vector<ScaledCase> kScaledCases = scaled_cases();
INSTANTIATE_TEST_SUITE_P(All, ScaledModels, ::testing::ValuesIn(kScaledCases),
                         [](const auto& one) { return one.param.name; });

// A scaled model, to be broken.
class ScaledImport : public HfImport {
 protected:
  void make(const testing::ScaledModel& made) {
    for (const fs::path& folder : {model(), folder_ / "plain"}) fs::remove_all(folder);
    testing::write_scaled_model(kFixtures, model(), folder_ / "plain", made);
  }
  void make_blocks() {
    make({.quantization = kFp8Blocks,
          .scales = {.shape = testing::ScaleShape::kBlocks, .part = "weight_scale_inv"}});
  }
};

TEST_F(ScaledImport, TheErrorIsThatOfWhatWasWritten) {
  make({.quantization = kFp8, .scales = {.shape = testing::ScaleShape::kRows}});
  const auto record = convert_packed(model(), folder_ / "m.gguf", {"m", StoredType::kBF16});
  ASSERT_TRUE(record && *record) << record.error().message;
  ASSERT_TRUE(convert(folder_ / "plain", folder_ / "plain.gguf", {"m", StoredType::kF32}));
  const auto plain = GgufFile::open(folder_ / "plain.gguf");
  const auto came = GgufFile::open(folder_ / "m.gguf");
  const GgufTensor* tensor = came->tensor((*record)->worst_tensor);
  ASSERT_NE(tensor, nullptr);
  std::vector<float> expected(tensor->shape[0] * tensor->shape[1]);
  std::memcpy(expected.data(), plain->data(*plain->tensor(tensor->name)).data(),
              expected.size() * sizeof(float));
  double error = 0;
  double all = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    std::uint16_t stored = 0;
    std::memcpy(&stored, came->data(*tensor).data() + i * sizeof stored, sizeof stored);
    const float value = std::bit_cast<float>(std::uint32_t{stored} << 16);
    error += std::pow(double{value} - double{expected[i]}, 2);
    all += std::pow(double{expected[i]}, 2);
  }
  EXPECT_GT(error, 0);
  EXPECT_NEAR((*record)->worst, std::sqrt(error / all), 1e-9);
}

TEST_F(ScaledImport, WeightsWithoutTheirScalesAreRefused) {
  make_blocks();
  edit("model.safetensors", "layers.1.mlp.up_proj.weight_scale_inv",
       "layers.1.mlp.up_proj.activation_scale");
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message,
              HasSubstr("model.layers.1.mlp.up_proj\".weight: expected weight_scale or "
                        "weight_scale_inv beside it, since config.json says fp8, blocks of "
                        "128 x 128: absent"));
  // But for those of which it says that they have none.
  edit("config.json", "\"weight_block_size\"",
       "\"modules_to_not_convert\": [\"mlp.up_proj\"], \"weight_block_size\"");
  const auto record = convert_packed(model(), folder_ / "m.gguf", {"m", {}});
  ASSERT_TRUE(record && *record) << record.error().message;
  EXPECT_EQ((*record)->tensors, 13U);
}

TEST_F(ScaledImport, ScalesWithoutTheirWeightAreRefused) {
  make_blocks();
  edit("model.safetensors", "model.layers.1.mlp.up_proj.weight\"",
       "vision_tower.x.mlp.up_proj.weight\"");
  // A weight of nobody's is left out, and wants no scales.
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message,
              HasSubstr("layers.1.mlp.up_proj\".weight_scale_inv: expected weight beside it: "
                        "absent"));
}

TEST_F(ScaledImport, ScalesOfWeightsThatAreNotFp8AreRefused) {
  make({.quantization = kFp8, .plain = {"mlp.up_proj"}, .plain_has_scales = true});
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message,
              HasSubstr("layers.0.mlp.up_proj\".weight_scale: expected a weight of F8_E4M3 beside "
                        "it: BF16"));
}

TEST_F(ScaledImport, HowItIsScaledHasToBeSaid) {
  make_blocks();
  edit("config.json", "quantization_config", "quantisation_config");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message,
              HasSubstr(".weight_scale_inv: expected quantization_config of fp8 or "
                        "compressed-tensors in config.json"));
}

TEST_F(ScaledImport, BlocksThatAreNotThoseOfTheConfigurationAreRefused) {
  make_blocks();
  edit("config.json", "[128, 128]", "[128, 64]");
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message, HasSubstr("expected 2 x 4 of F32, BF16 or F16 for fp8, blocks of "
                                           "128 x 64: 2 x 2 of F32"));
  edit("config.json", "[128, 64]", "[0, 128]");
  EXPECT_EQ(refusal().code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal().message, HasSubstr("weight_block_size: expected rows and columns"));
  edit("config.json", "[0, 128]", "null");
  EXPECT_THAT(refusal().message, HasSubstr("expected one number, or 160 for as many rows, of F32"));
}

TEST_F(ScaledImport, ScalesOfActivationsAreUnknownWhereNothingIsScaled) {
  make({.quantization = kFp8, .activation_scales = true});
  edit("config.json", "\"fp8\"", "\"hqq\"");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message,
              HasSubstr("by gptq, awq, fp8 or compressed-tensors: they are by \"hqq\""));
  edit("config.json", "quantization_config", "quantisation_config");
  EXPECT_EQ(refusal().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refusal().message, HasSubstr("mlp.down_proj.input_scale"));
}

TEST_F(ScaledImport, WeightsBeyondTheRangeAreRefusedWithTheWayOut) {
  make({.quantization = kFp8, .scales = {.size = 1e4F}});
  EXPECT_EQ(refusal().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refusal().message, HasSubstr("import with --type bf16"));
  EXPECT_TRUE(convert_packed(model(), folder_ / "m.gguf", {"m", StoredType::kBF16}));
  fs::remove(folder_ / "m.gguf");
  make({.quantization = kFp8, .scales = {.size = 1e38F}});
  EXPECT_EQ(refusal({"m", StoredType::kBF16}).code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal({"m", StoredType::kF32}).message, HasSubstr("expected finite weights"));
}

TEST_F(ScaledImport, WeightsThatAreNoNumbersAreRefused) {
  make({.quantization = kFp8, .has_no_number = true});
  EXPECT_EQ(refusal({"m", StoredType::kBF16}).code, ErrorCode::kCorrupt);
  EXPECT_THAT(refusal({"m", StoredType::kBF16}).message, HasSubstr("expected finite weights"));
  EXPECT_EQ(refusal().code, ErrorCode::kInvalidArgument);
}

TEST_F(ScaledImport, TypesOfBlocksAreForPackedWeightsOnly) {
  make_blocks();
  const Error error = refusal({"m", {}, std::uint32_t{GGML_TYPE_Q4_K}});
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("gogrid quantize"));
}

}  // namespace
}  // namespace gogrid
