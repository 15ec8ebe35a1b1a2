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
  EXPECT_EQ(run_program({GOGRID_PROGRAM, "models", "verify", "small"}, data_).status, 0);
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
