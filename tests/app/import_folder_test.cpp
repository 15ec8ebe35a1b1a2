// Folders of safetensors through the program: imported, shown, and answering.
#include "app/import_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/process.h"
#include "support/temporary_folder.h"

namespace gogrid::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

const std::string kFixtures = std::string(GOGRID_SOURCE_DIR) + "/tests/model/hf_fixtures/";

class ImportFolder : public ::testing::Test {
 protected:
  Outcome gogrid(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), GOGRID_PROGRAM);
    return run_program(std::move(arguments), folder_ / "data");
  }
  const TemporaryFolder folder_;
};

TEST_F(ImportFolder, EveryArchitectureThatWritesTextAnswers) {
  for (const std::string fixture :
       {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"}) {
    SCOPED_TRACE(fixture);
    // Not by its own name: libllama expects certain tokens of a model that calls itself phi3.
    const std::string name = "tiny-" + fixture.substr(0, 2) + fixture.back();
    const Outcome imported = gogrid({"models", "import", kFixtures + fixture, "--name", name,
                                     "--json", "--mode", "aggressive"});
    ASSERT_EQ(imported.status, 0) << imported.err;
    EXPECT_EQ(Json::parse(imported.out)["name"], name);
    const Outcome run = gogrid({"run", name, "-p", "the model is", "--raw", "-n", "4", "--context",
                                "64", "--temperature", "0", "--json"});
    ASSERT_EQ(run.status, 0) << run.err;
    EXPECT_GT(Json::parse(run.out)["prompt_tokens"], 0);
  }
}

TEST_F(ImportFolder, TheTypeAndTheNameAreThoseAskedFor) {
  const Outcome imported = gogrid({"models", "import", kFixtures + "llama/", "--name", "tiny",
                                   "--type", "f32", "--json", "--mode", "aggressive"});
  ASSERT_EQ(imported.status, 0) << imported.err;
  const Json entry = Json::parse(imported.out);
  EXPECT_EQ(entry["name"], "tiny");
  EXPECT_EQ(entry["quantization"], "f32");
  EXPECT_EQ(entry["architecture"], "llama");
  EXPECT_EQ(entry["license"], "apache-2.0");
  EXPECT_EQ(gogrid({"models", "verify", "tiny", "--mode", "aggressive"}).status, 0);
}

TEST_F(ImportFolder, WhatMakesNoSenseIsWrongUsage) {
  const Outcome digest =
      gogrid({"models", "import", kFixtures + "llama", "--sha256", std::string(64, 'a')});
  EXPECT_EQ(digest.status, 2);
  EXPECT_THAT(digest.err, HasSubstr("--sha256 is for files"));
  EXPECT_EQ(gogrid({"models", "import", kFixtures + "llama", "--type", "q4_0"}).status, 2);
  const Outcome file = gogrid({"models", "import", "/nonexistent.gguf", "--type", "f16"});
  EXPECT_EQ(file.status, 2);
  EXPECT_THAT(file.err, HasSubstr("--type is for folders"));
  EXPECT_EQ(gogrid({"models", "import", folder_.path()}).status, 2);
}

TEST(NameFromFolder, KeepsTheDotsOfAVersion) {
  EXPECT_EQ(name_from_folder("/models/Qwen3-0.6B"), "qwen3-0.6b");
  EXPECT_EQ(name_from_folder("/models/Qwen3-0.6B/"), "qwen3-0.6b");
  EXPECT_EQ(name_from_folder("/models/a/../Phi 3/."), "phi-3");
}

}  // namespace
}  // namespace gogrid::testing
