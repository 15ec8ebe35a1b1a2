// What --help, --version and the completion script say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/options.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;

std::string printed(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "gogrid");
  const auto line = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  if (!line || !std::holds_alternative<PrintCommand>(line->command)) return "";
  return std::get<PrintCommand>(line->command).text;
}

const std::vector<std::vector<const char*>>& commands() {
  static const std::vector<std::vector<const char*>> all{{"serve"},
                                                         {"run"},
                                                         {"plan"},
                                                         {"bench"},
                                                         {"devices"},
                                                         {"models"},
                                                         {"models", "list"},
                                                         {"models", "import"},
                                                         {"models", "show"},
                                                         {"models", "rm"},
                                                         {"models", "verify"},
                                                         {"completion"}};
  return all;
}

TEST(Help, OfTheProgramNamesEveryCommandAndTheExitStatuses) {
  const std::string text = printed({"--help"});
  for (const auto& command : commands()) EXPECT_THAT(text, HasSubstr(command[0]));
  for (const char* word : {"USAGE", "gogrid run", "Exit status", "does not fit"})
    EXPECT_THAT(text, HasSubstr(word));
}

TEST(Help, ExistsForEveryCommandAndNamesIt) {
  for (auto command : commands()) {
    std::string name = "gogrid";
    for (const char* word : command) name += std::string(" ") + word;
    command.push_back("--help");
    const std::string text = printed(command);
    EXPECT_THAT(text, HasSubstr(name));
    EXPECT_THAT(text, HasSubstr("USAGE")) << name;
    EXPECT_THAT(text, HasSubstr("--help")) << name;
  }
}

TEST(Help, WinsOverWhatIsMissingAndMayBeShort) {
  EXPECT_THAT(printed({"run", "-h"}), HasSubstr("--temperature"));
}

TEST(Help, FitsATerminalOfAHundredColumns) {
  for (auto command : commands()) {
    command.push_back("--help");
    std::istringstream lines(printed(command));
    for (std::string line; std::getline(lines, line);)
      EXPECT_LE(line.size(), 100u) << command[0] << ": " << line;
  }
}

TEST(Help, ShowsDefaultsAndRangesOfNumbers) {
  const std::string text = printed({"run", "--help"});
  for (const char* words : {"0..2; default 1", "0..1; default 0.05", "default 256", "--top-k"})
    EXPECT_THAT(text, HasSubstr(words));
}

TEST(Version, IsOneLine) {
  const std::string text = printed({"--version"});
  EXPECT_EQ(text.find("gogrid "), 0u);
  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
}

TEST(Completion, IsAsked) {
  const std::vector<const char*> arguments{"gogrid", "completion", "bash"};
  const auto line = parse_command_line(3, arguments.data());
  ASSERT_TRUE(line);
  EXPECT_EQ(std::get<CompletionCommand>(line->command).shell, "bash");
}

TEST(Completion, KnowsEveryCommandAndOption) {
  const std::string script = bash_completion();
  for (const char* word : {"serve", "import", "--split", "--temperature", "--sha256", "--config"})
    EXPECT_THAT(script, HasSubstr(word));
}

}  // namespace
}  // namespace gogrid
