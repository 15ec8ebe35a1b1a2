// The completion script in a real bash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "support/process.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

class BashCompletion : public ::testing::Test {
 protected:
  // What is offered when TAB is pressed at the end of these words.
  std::vector<std::string> offered(const std::vector<std::string>& words) const {
    std::vector<std::string> command{
        "/bin/bash", "-c",
        "source <(\"$1\" completion bash)\n"
        "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _gogrid\n"
        "for word in \"${COMPREPLY[@]}\"; do printf '%s\\n' \"$word\"; done",
        "bash", GOGRID_PROGRAM};
    command.insert(command.end(), words.begin(), words.end());
    const Outcome outcome = run_program(std::move(command), data());
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    std::istringstream lines(outcome.out);
    std::vector<std::string> replies;
    for (std::string line; std::getline(lines, line);) replies.push_back(line);
    return replies;
  }
  std::filesystem::path data() const { return folder_ / "data"; }

  const TemporaryFolder folder_;
};

TEST_F(BashCompletion, OffersCommandsFirst) {
  EXPECT_THAT(offered({"mo"}), ElementsAre("models"));
  EXPECT_THAT(offered({""}), IsSupersetOf({"serve", "run", "plan", "bench", "devices"}));
}

TEST_F(BashCompletion, OffersTheOptionsOfTheCommand) {
  EXPECT_THAT(offered({"run", "model", "--te"}), ElementsAre("--temperature"));
  EXPECT_THAT(offered({"serve", "--"}), Not(Contains("--temperature")));
}

TEST_F(BashCompletion, GoesDownToTheCommandsOfModels) {
  EXPECT_THAT(offered({"models", "v"}), ElementsAre("verify"));
  EXPECT_THAT(offered({"models", "import", "x.gguf", "--sha"}), ElementsAre("--sha256"));
}

TEST_F(BashCompletion, OffersModelsOfTheLibraryWhereAModelIsMeant) {
  write_tiny_model(folder_ / "m.gguf");
  ASSERT_EQ(run_program({GOGRID_PROGRAM, "models", "import", folder_ / "m.gguf", "--name", "mine"},
                        data())
                .status,
            0);
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"run", "mi"}, {"plan", "mi"}, {"models", "rm", "mi"}, {"serve", "--model", "mi"}})
    EXPECT_THAT(offered(words), ElementsAre("mine")) << words.front();
}

TEST_F(BashCompletion, OffersWordsForALevelAndNothingForANumber) {
  EXPECT_THAT(offered({"run", "m", "--log-level", "w"}), ElementsAre("warning"));
  EXPECT_THAT(offered({"run", "m", "--seed", ""}), IsEmpty());
  EXPECT_THAT(offered({"quantize", "m", "--type", "q4_k"}), ElementsAre("q4_k_s", "q4_k_m"));
}

TEST_F(BashCompletion, OffersFilesWhereAFileIsMeant) {
  write_tiny_model(folder_ / "unlikely-name.gguf");
  const std::string start = folder_ / "unlikely-n";
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"run", start}, {"models", "import", start}, {"run", "m", "-f", start}})
    EXPECT_THAT(offered(words), ElementsAre((folder_ / "unlikely-name.gguf").string()));
}

}  // namespace
}  // namespace gogrid::testing
