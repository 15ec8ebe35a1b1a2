// `gogrid quantize` from outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/files.h"
#include "model/gguf_file.h"
#include "resource/policy_store.h"
#include "support/process.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Json = nlohmann::json;

class QuantizeCommand : public ::testing::Test {
 protected:
  QuantizeCommand() {
    fs::create_directory(out_);
    write_tiny_model(source_, {.n_embd = 256, .n_ff = 512, .weights = TinyWeights::kF16});
  }
  // Unlimited: other tests are others' load, and it would pause for them.
  std::vector<std::string> words(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(),
                     {GOGRID_PROGRAM, "quantize", source_, "--mode", "aggressive"});
    return arguments;
  }
  Outcome quantize(std::vector<std::string> arguments) const {
    return run_program(words(std::move(arguments)), data_);
  }
  std::vector<std::string> written() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(out_)) names.push_back(entry.path().filename());
    return names;
  }

  const TemporaryFolder folder_;
  const fs::path data_ = folder_ / "data";
  const fs::path out_ = folder_ / "out";
  const fs::path source_ = folder_ / "tiny.gguf";
};

TEST_F(QuantizeCommand, WritesAFileAndSaysWhatIsInIt) {
  const Outcome outcome = quantize({out_ / "q8.gguf", "--type", "q8_0", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Json made = Json::parse(outcome.out);
  EXPECT_EQ(made["path"], (out_ / "q8.gguf").string());
  EXPECT_EQ(made["name"], nullptr);
  EXPECT_EQ(made["type"], "q8_0");
  EXPECT_EQ(made["bytes"], fs::file_size(out_ / "q8.gguf"));
  EXPECT_LT(made["tensor_bytes"], made["tensor_bytes_before"]);
  EXPECT_GT(made["types"]["q8_0"], 20);
  EXPECT_THAT(written(), ElementsAre("q8.gguf"));
  EXPECT_EQ(GgufFile::open(out_ / "q8.gguf")->tensor("token_embd.weight")->type_name, "q8_0");
}

TEST_F(QuantizeCommand, WritesIntoTheLibraryAndTheModelAnswers) {
  const Outcome outcome = quantize({"--name", "small", "--type", "Q4_K_M"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("wrote small"));
  EXPECT_EQ(
      run_program({GOGRID_PROGRAM, "models", "verify", "small", "--mode", "aggressive"}, data_)
          .status,
      0);
  const Outcome answer = run_program(
      {GOGRID_PROGRAM, "run", "small", "--raw", "-p", "hello", "-n", "2", "--context", "256"},
      data_);
  EXPECT_EQ(answer.status, 0) << answer.err;
  const Outcome again = quantize({"--name", "small", "--type", "q8_0"});
  EXPECT_EQ(again.status, 2);
  EXPECT_THAT(again.err, HasSubstr("'small'"));
}

TEST_F(QuantizeCommand, ReadsAModelOfTheLibraryAndARecipe) {
  ASSERT_EQ(
      run_program({GOGRID_PROGRAM, "models", "import", source_, "--name", "mine"}, data_).status,
      0);
  ASSERT_TRUE(write_file(folder_ / "recipe", "attn_v=q8_0  # values\nffn_down=q6_k\n"));
  const Outcome outcome =
      run_program({GOGRID_PROGRAM, "quantize", "mine", out_ / "made.gguf", "--mode", "aggressive",
                   "--type", "q4_0", "--recipe", folder_ / "recipe", "--tensor-type", "attn_k=f16"},
                  data_);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto made = GgufFile::open(out_ / "made.gguf");
  ASSERT_TRUE(made);
  EXPECT_EQ(made->tensor("blk.0.attn_v.weight")->type_name, "q8_0");
  EXPECT_EQ(made->tensor("blk.0.attn_k.weight")->type_name, "f16");
  EXPECT_EQ(made->tensor("blk.0.ffn_down.weight")->type_name, "q6_K");
}

TEST_F(QuantizeCommand, DryRunWritesNothing) {
  const Outcome outcome = quantize({out_ / "q8.gguf", "--type", "q8_0", "--dry-run"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("would write"), HasSubstr("q8_0")));
  EXPECT_THAT(written(), IsEmpty());
}

TEST_F(QuantizeCommand, RefusesBeforeItWrites) {
  ASSERT_TRUE(write_file(out_ / "there.gguf", "mine"));
  ASSERT_TRUE(write_file(folder_ / "text.gguf", "no model"));
  const std::string out = out_ / "made.gguf";
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{out, "--type", "q4_m_k"}, "did you mean q4_k_m"},
      {{"--type", "q4_0"}, "--name"},
      {{out}, "--type"},
      {{out, "--type", "q4_0", "--name", "x"}, "--name"},
      {{out_ / "there.gguf", "--type", "q4_0"}, "exists"},
      {{out, "--type", "q4_0", "--tensor-type", "attn_q"}, "NAME=TYPE"},
      {{out, "--type", "q4_0", "--tensor-type", "nothing=q8_0"}, "none of"},
      {{out, "--type", "q4_0", "--output-type", "q8_1"}, "--output-type"},
      {{out, "--type", "iq2_xs"}, "--imatrix"},
      {{out, "--type", "q4_0", "--recipe", folder_ / "absent"}, "absent"},
      {{out, "--type", "q4_0", "--threads", "0"}, "--threads"},
      {{"--name", "No Name", "--type", "q4_0"}, "a model name"}};
  for (const auto& [arguments, what] : wrong) {
    const Outcome outcome = quantize(arguments);
    EXPECT_EQ(outcome.status, 2) << what << ": " << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, HasSubstr(what));
  }
  EXPECT_THAT(written(), ElementsAre("there.gguf"));
  EXPECT_EQ(read_file(out_ / "there.gguf", kKiB).value(), "mine");
  EXPECT_EQ(quantize({folder_ / "nowhere/made.gguf", "--type", "q4_0"}).status, 2);
  EXPECT_EQ(
      run_program({GOGRID_PROGRAM, "quantize", folder_ / "text.gguf", out, "--type", "q4_0"}, data_)
          .status,
      1);
}

TEST_F(QuantizeCommand, StaysWithinTheMemoryItMayUse) {
  // The policy's own file, as an operator leaves it.
  fs::create_directory(data_);
  auto policies =
      PolicyStore::open(ResourcePolicy::of(ResourceMode::kBalanced), data_ / "policy.json");
  const PolicySetting nothing{"max_device_memory", 0.0};
  ASSERT_TRUE((*policies)->change({&nothing, 1}, "a test"));
  const Outcome outcome = quantize({out_ / "q8.gguf", "--type", "q8_0"});
  EXPECT_EQ(outcome.status, 3) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("cap 0 B"));
  EXPECT_THAT(written(), IsEmpty());
}

// A text of 600 tokens and more for the tiny vocabulary, which has one a byte.
fs::path write_text(const TemporaryFolder& folder) {
  std::string text;
  for (int i = 0; text.size() < 1200; ++i)
    text += "line " + std::to_string(i * 7919) + " of a text that says little\n";
  EXPECT_TRUE(write_file(folder / "text.txt", text));
  return folder / "text.txt";
}

TEST_F(QuantizeCommand, ReachesASizeAndSaysHow) {
  const std::string text = write_text(folder_);
  const Bytes size = fs::file_size(source_) / 3;
  const Outcome outcome = quantize({out_ / "made.gguf", "--target-size", std::to_string(size),
                                    "--text", text, "--threads", "2", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Json made = Json::parse(outcome.out);
  EXPECT_EQ(made["target_bytes"], size);
  EXPECT_LE(made["bytes"], size);
  EXPECT_EQ(made["bytes"], fs::file_size(out_ / "made.gguf"));
  EXPECT_GT(made["bytes"], size * 98 / 100) << "bytes that are there are used";
  EXPECT_GT(made["predicted_kl"], 0);
  EXPECT_TRUE(fs::is_empty(data_ / "slices")) << "the trial model is gone";
  // The recipe makes the same file.
  std::string recipe;
  for (const auto& line : made["recipe"]) recipe += line.get<std::string>() + "\n";
  ASSERT_TRUE(write_file(folder_ / "recipe", recipe));
  ASSERT_EQ(quantize({out_ / "again.gguf", "--type", made["type"], "--recipe", folder_ / "recipe"})
                .status,
            0);
  EXPECT_EQ(read_file(out_ / "again.gguf", kGiB).value(),
            read_file(out_ / "made.gguf", kGiB).value());
}

TEST_F(QuantizeCommand, KeepsToWhatWasChosenByHandWhileItReachesASize) {
  const std::string text = write_text(folder_);
  const Bytes size = fs::file_size(source_) / 2;
  const Outcome outcome =
      quantize({"--name", "made", "--target-size", std::to_string(size), "--text", text,
                "--tensor-type", "attn_v=q4_0", "--token-embedding-type", "q5_1"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("recipe (--type"), HasSubstr("groups of tensors")));
  EXPECT_THAT(outcome.out, Not(HasSubstr("attn_v")));
  const Outcome shown =
      run_program({GOGRID_PROGRAM, "models", "show", "made", "--tensors", "--json"}, data_);
  const Json model = Json::parse(shown.out);
  EXPECT_LE(model["bytes"], size);
  for (const auto& tensor : model["tensors"]) {
    if (tensor["name"] == "token_embd.weight") {
      EXPECT_EQ(tensor["type"], "q5_1");
    }
    if (tensor["name"].get<std::string>().contains("attn_v")) {
      EXPECT_EQ(tensor["type"], "q4_0");
    }
  }
}

TEST_F(QuantizeCommand, RefusesSizesThatCannotBeReached) {
  const std::string text = write_text(folder_);
  ASSERT_TRUE(write_file(folder_ / "short.txt", "a text of too few words"));
  const std::string out = out_ / "made.gguf";
  const std::string half = std::to_string(fs::file_size(source_) / 2);
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{out, "--target-size", "100KiB", "--text", text}, "expected at least"},
      {{out, "--target-size", "1GiB", "--text", text}, "less than the model has"},
      {{out, "--target-size", half, "--text", folder_ / "short.txt"}, "a text of at least 512"},
      {{out, "--target-size", half}, "--text"},
      {{out, "--target-size", "many", "--text", text}, "--target-size"},
      {{out, "--target-size", half, "--text", text, "--type", "q4_0"}, "--type"},
      {{out, "--target-size", half, "--text", text, "--pure"}, "--pure"},
      {{out, "--type", "q4_0", "--text", text}, "--text"},
      {{out}, "--target-size"}};
  for (const auto& [arguments, what] : wrong) {
    const Outcome outcome = quantize(arguments);
    EXPECT_EQ(outcome.status, 2) << what << ": " << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(what));
  }
  EXPECT_THAT(written(), IsEmpty());
}

TEST_F(QuantizeCommand, ToldToStopWhileItMeasuresItLeavesNothingBehind) {
  const std::string text = write_text(folder_);
  const Bytes size = fs::file_size(source_) / 3;
  Process process(words({out_ / "made.gguf", "--target-size", std::to_string(size), "--text", text,
                         "--threads", "1"}),
                  data_);
  const fs::path slices = data_ / "slices";
  while (!fs::exists(slices) || fs::is_empty(slices)) std::this_thread::yield();  // the trial model
  process.signal(SIGINT);
  const Outcome outcome = process.finish();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("nothing was written"));
  EXPECT_THAT(written(), IsEmpty());
  EXPECT_TRUE(fs::is_empty(slices));
}

TEST_F(QuantizeCommand, ToldToStopItLeavesNothingBehind) {
  write_tiny_model(source_,
                   {.n_layers = 24, .n_embd = 1024, .n_ff = 2048, .weights = TinyWeights::kF16});
  Process process(words({out_ / "made.gguf", "--type", "iq4_nl", "--threads", "1"}), data_);
  while (written().empty()) std::this_thread::yield();  // the file that it writes aside
  process.signal(SIGINT);
  const Outcome outcome = process.finish();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("nothing was written"));
  EXPECT_THAT(written(), IsEmpty());
}

}  // namespace
}  // namespace gogrid::testing
