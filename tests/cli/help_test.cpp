// What --help, --version and the completion script say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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
                                                         {"models", "check"},
                                                         {"models", "pull"},
                                                         {"models", "rm"},
                                                         {"models", "verify"},
                                                         {"models", "loss"},
                                                         {"quantize"},
                                                         {"imatrix"},
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

// The lines from `title` to the next empty line or the end, `title` included.
std::string section_of(const std::string& page, const std::string& title) {
  const std::size_t begin = page.find("\n\n" + title + "\n");
  if (begin == page.npos) return "";
  const std::size_t end = page.find("\n\n", begin + 2);
  return page.substr(begin + 2, end == page.npos ? page.npos : end - begin - 1);
}

TEST(Help, KeepsTheLinesAndTheIndentationOfExamples) {
  EXPECT_EQ(section_of(printed({"serve", "--help"}), "EXAMPLES"),
            "EXAMPLES\n"
            "  gogrid serve --model smollm2-135m\n"
            "  gogrid serve --library --keep-alive 10m\n"
            "  gogrid serve --model big --model small --pin small --alias gpt-4o-mini=small\n"
            "  gogrid serve --model small --model small+polite --alias polite=small+polite\n"
            "  gogrid serve --model big.gguf --device cpu-a:cores=0 --device vulkan0 \\\n"
            "      --split 0:15@cpu-a,15:30@vulkan0\n"
            "  curl http://127.0.0.1:8080/v1/chat/completions"
            " -H 'Content-Type: application/json' \\\n"
            "      -d '{\"model\":\"smollm2-135m\",\"messages\":"
            "[{\"role\":\"user\",\"content\":\"Hi\"}]}'\n");
  EXPECT_EQ(section_of(printed({"--help"}), "RESULTS"),
            "RESULTS\n"
            "  Results go to stdout, everything else to stderr. Exit status:\n"
            "  0  done\n"
            "  1  failed while running\n"
            "  2  wrong usage or configuration; the message names the option, or file:line\n"
            "  3  it can never run here (does not fit, unsupported), with what is short by how"
            " much\n");
}

// A title at the left edge after an empty line; under it nothing but indented lines; no trailing
// space, no two empty lines.
TEST(Help, IsLaidOutAsAPageOfTheManual) {
  auto pages = commands();
  pages.emplace_back();  // the program's own
  for (auto command : pages) {
    command.push_back("--help");
    std::istringstream lines(printed(command));
    std::string before;
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_EQ(line.find("gogrid"), 0U);
    for (before = line; std::getline(lines, line); before = line) {
      SCOPED_TRACE(line);
      if (line.empty()) {
        EXPECT_FALSE(before.empty());
        continue;
      }
      EXPECT_NE(line.back(), ' ');
      const bool is_title =
          std::ranges::all_of(line, [](char c) { return c == ' ' || (c >= 'A' && c <= 'Z'); });
      if (before.empty())
        EXPECT_TRUE(is_title && line[0] != ' ');
      else
        EXPECT_EQ(line.substr(0, 2), "  ");
    }
    EXPECT_FALSE(before.empty()) << "the page ends with an empty line";
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
