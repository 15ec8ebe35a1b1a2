// What is refused on the command line, and whether the words help: option, value, range, nearest
// name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/options.h"

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Refused {
  std::vector<const char*> arguments;
  std::vector<const char*> words;  // all of them are in the message
};

class Refusals : public ::testing::TestWithParam<Refused> {};

TEST_P(Refusals, NameWhatWasWrong) {
  std::vector<const char*> arguments = GetParam().arguments;
  arguments.insert(arguments.begin(), "gogrid");
  const auto line = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  ASSERT_FALSE(line) << ::testing::PrintToString(GetParam().arguments) << " was accepted";
  EXPECT_EQ(line.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(traits(line.error().code).exit_status, 2);
  for (const char* word : GetParam().words) EXPECT_THAT(line.error().message, HasSubstr(word));
}

// clang-format off
INSTANTIATE_TEST_SUITE_P(Commands, Refusals, ::testing::Values(
    Refused{{}, {"a command is expected", "serve", "--help"}},
    Refused{{"sevre"}, {"'sevre'", "did you mean serve?"}},
    Refused{{"xyzzy"}, {"'xyzzy'", "known:", "models"}},
    Refused{{"models"}, {"a command is expected", "import", "gogrid models --help"}},
    Refused{{"models", "lsit"}, {"'lsit'", "list"}},
    Refused{{"models", "show"}, {"MODEL"}},
    Refused{{"models", "rm"}, {"NAME"}},
    Refused{{"models", "import"}, {"FILE"}},
    Refused{{"run"}, {"MODEL", "gogrid run --help"}},
    Refused{{"plan"}, {"MODEL"}},
    Refused{{"bench"}, {"MODEL"}},
    Refused{{"completion"}, {"SHELL"}},
    Refused{{"completion", "tcsh"}, {"tcsh", "bash"}},
    Refused{{"run", "a", "b"}, {"'b'"}},
    Refused{{"devices", "serve"}, {"'serve'"}}));

INSTANTIATE_TEST_SUITE_P(Options, Refusals, ::testing::Values(
    Refused{{"run", "m", "--temprature", "1"}, {"no option --temprature", "did you mean --temperature?"}},
    Refused{{"run", "m", "--contxt=5"}, {"no option --contxt", "--context"}},
    Refused{{"serve", "--modle", "m"}, {"no option --modle", "--model"}},
    Refused{{"serve", "--mode", "gentle"}, {"--mode", "conservative, balanced, aggressive", "gentle"}},
    Refused{{"models", "import", "f", "--nmae", "x"}, {"no option --nmae", "--name", "gogrid models import --help"}},
    Refused{{"run", "m", "-x"}, {"no option -x"}},
    Refused{{"quantize", "m", "o"}, {"--type TYPE", "--target-size SIZE", "gogrid quantize --help"}},
    Refused{{"quantize", "m", "o", "--target-size", "big", "--text", "t"}, {"--target-size", "big"}},
    Refused{{"quantize", "m", "o", "--target-size", "1GiB"}, {"--target-size", "--text"}},
    Refused{{"quantize", "m", "o", "--target-size", "1GiB", "--text", "t", "--type", "q4_0"}, {"--target-size", "--type"}},
    Refused{{"quantize", "m", "o", "--type", "q4_0", "--device", "cpu0"}, {"--device", "--target-size"}},
    Refused{{"--josn"}, {"no option --josn"}},
    Refused{{"serve", "--json"}, {"no option --json"}},
    Refused{{"run", "m", "--seed"}, {"--seed"}},
    Refused{{"run", "m", "--context"}, {"--context"}}));

INSTANTIATE_TEST_SUITE_P(Ranges, Refusals, ::testing::Values(
    Refused{{"run", "m", "--temperature", "2.5"}, {"--temperature", "2.5", "0", "2"}},
    Refused{{"run", "m", "--temperature", "-0.1"}, {"--temperature", "-0.1"}},
    Refused{{"run", "m", "--temperature", "nan"}, {"--temperature", "nan"}},
    Refused{{"run", "m", "--temperature", "warm"}, {"--temperature", "warm"}},
    Refused{{"run", "m", "--top-p", "1.01"}, {"--top-p", "1.01"}},
    Refused{{"run", "m", "--min-p", "-1"}, {"--min-p", "-1"}},
    Refused{{"run", "m", "--top-k", "-1"}, {"--top-k", "-1"}},
    Refused{{"run", "m", "--top-k", "2.5"}, {"--top-k", "2.5"}},
    Refused{{"run", "m", "--seed", "-1"}, {"--seed", "-1"}},
    Refused{{"run", "m", "--seed", "18446744073709551616"}, {"--seed", "18446744073709551616"}},
    Refused{{"run", "m", "-n", "0"}, {"--max-tokens", "0"}},
    Refused{{"run", "m", "--context", "15"}, {"--context", "15", "16", "16777216"}},
    Refused{{"run", "m", "--context", "4294967296"}, {"--context", "4294967296"}},
    Refused{{"run", "m", "--parallel", "0"}, {"--parallel", "0", "1", "256"}},
    Refused{{"run", "m", "--parallel", "257"}, {"--parallel", "257"}},
    Refused{{"bench", "m", "-n", "1"}, {"--max-tokens", "1"}},
    Refused{{"bench", "m", "--prompt-tokens", "0"}, {"--prompt-tokens", "0"}},
    Refused{{"devices", "--log-level", "loud"}, {"--log-level", "loud", "warning"}},
    Refused{{"models", "import", "f", "--sha256", "abc"}, {"--sha256", "abc", "64"}},
    Refused{{"plan", "m", "--device", "cpu-a:cores=3-1"}, {"3-1"}},
    Refused{{"plan", "m", "--device", "cpu-a:memory=8GB"}, {"8GB"}},
    Refused{{"plan", "m", "--device", "cpu-a:colour=red"}, {"colour"}},
    Refused{{"plan", "m", "--device", ""}, {"--device"}},
    Refused{{"plan", "m", "--split", "0:15"}, {"0:15"}},
    Refused{{"plan", "m", "--split", "a:b@cpu0"}, {"a:b@cpu0"}},
    Refused{{"plan", "m", "--quantize-stages", "on"}, {"--quantize-stages", "off, allow or DEVICE=TYPE", "on"}},
    Refused{{"serve", "--quantize-stages", "cpu-b=q4_k_m"}, {"--quantize-stages", "did you mean q4_k"}},
    Refused{{"plan", "m", "--split", ""}, {"--split"}}));
// clang-format on

TEST(Refusal, IsShortWhateverWasTyped) {
  const std::string monster(100'000, 'x');
  const std::string option = "--" + monster;
  const std::vector<const char*> arguments{"gogrid", "run", "m", option.c_str()};
  const auto line = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  ASSERT_FALSE(line);
  EXPECT_LT(line.error().message.size(), 1000u);
}

TEST(Refusal, SpeaksOfAnOptionByTheNameItHasInTheHelp) {
  const std::vector<const char*> arguments{"gogrid", "run", "m", "-n", "many"};
  const auto line = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  ASSERT_FALSE(line);
  EXPECT_THAT(line.error().message, AllOf(HasSubstr("--max-tokens"), HasSubstr("many"),
                                          Not(HasSubstr("Could not convert"))));
}

}  // namespace
}  // namespace gogrid
