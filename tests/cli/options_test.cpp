// The command line as values: what each option means, and what is refused with which words.
#include "cli/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Result<CommandLine> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "gogrid");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

// The command of type T; the test fails when parsing does, or gives another command.
template <class T>
T command(std::vector<const char*> arguments) {
  auto line = parse(std::move(arguments));
  if (!line) {
    ADD_FAILURE() << line.error().message;
    return {};
  }
  if (!std::holds_alternative<T>(line->command)) {
    ADD_FAILURE() << "another command, number " << line->command.index();
    return {};
  }
  return std::get<T>(std::move(line->command));
}

// What is said about arguments that must be refused as wrong usage.
std::string refusal(std::vector<const char*> arguments) {
  const auto line = parse(std::move(arguments));
  if (line) return "accepted";
  EXPECT_EQ(line.error().code, ErrorCode::kInvalidArgument);
  return line.error().message;
}

TEST(Serve, TakesModelsAddressAndConfig) {
  const auto serve = command<ServeCommand>({"serve", "--model", "a", "--model", "b.gguf",
                                            "--listen", "127.0.0.1:0", "--config", "g.toml"});
  EXPECT_THAT(serve.models, ElementsAre("a", "b.gguf"));
  EXPECT_EQ(serve.listen, "127.0.0.1:0");
  EXPECT_EQ(serve.policy.config, "g.toml");
}

TEST(Serve, SaysHowSeveralModelsAreKept) {
  const auto serve = command<ServeCommand>({"serve", "--library", "--on-demand", "--keep-alive",
                                            "5m", "--load-wait", "0", "--pin", "a", "--pin", "b",
                                            "--alias", "gpt=a", "--alias", "x/y=b"});
  EXPECT_TRUE(serve.keeping.library);
  EXPECT_TRUE(serve.keeping.on_demand);
  EXPECT_EQ(serve.keeping.keep_alive, std::chrono::minutes(5));
  EXPECT_EQ(serve.keeping.load_wait, std::chrono::seconds(0));
  EXPECT_THAT(serve.keeping.pinned, ElementsAre("a", "b"));
  ASSERT_EQ(serve.keeping.aliases.size(), 2U);
  EXPECT_EQ(serve.keeping.aliases[1].name, "x/y");
  EXPECT_EQ(serve.keeping.aliases[1].model, "b");
}

TEST(Serve, ATimeOrAnAliasThatIsNoneIsNamedWithItsOption) {
  EXPECT_THAT(refusal({"serve", "--keep-alive", "5"}), HasSubstr("--keep-alive: expected a time"));
  EXPECT_THAT(refusal({"serve", "--load-wait", "-1s"}), HasSubstr("--load-wait: expected a time"));
  for (const char* alias : {"gpt", "=a", "gpt=", ""})
    EXPECT_THAT(refusal({"serve", "--alias", alias}), HasSubstr("--alias: expected NAME=MODEL"));
}

TEST(Serve, LeavesToTheFileWhatWasNotSaid) {
  const auto serve = command<ServeCommand>({"serve"});
  EXPECT_THAT(serve.models, IsEmpty());
  EXPECT_FALSE(serve.listen);
  EXPECT_FALSE(serve.keeping.on_demand);
  EXPECT_FALSE(serve.keeping.keep_alive);
  EXPECT_TRUE(serve.policy.config.empty());
  EXPECT_THAT(serve.placement.devices, IsEmpty());
  EXPECT_THAT(serve.placement.split, IsEmpty());
  EXPECT_FALSE(serve.placement.context);
  EXPECT_FALSE(serve.placement.parallel);
  EXPECT_FALSE(serve.placement.deterministic);
}

TEST(Serve, OneModelOptionTakesOneName) {
  EXPECT_THAT(refusal({"serve", "--model", "a", "b"}), HasSubstr("'b'"));
}

TEST(Placement, ReadsDevicesWithCoresAndMemory) {
  const auto plan = command<PlanCommand>(
      {"plan", "m", "--device", "cpu-a:cores=0-2,5:memory=8GiB", "--device", "vulkan0"});
  ASSERT_EQ(plan.placement.devices.size(), 2u);
  EXPECT_EQ(plan.placement.devices[0].id, "cpu-a");
  EXPECT_THAT(plan.placement.devices[0].cores, ElementsAre(0, 1, 2, 5));
  EXPECT_EQ(plan.placement.devices[0].memory, 8 * kGiB);
  EXPECT_EQ(plan.placement.devices[1].id, "vulkan0");
  EXPECT_THAT(plan.placement.devices[1].cores, IsEmpty());
  EXPECT_FALSE(plan.placement.devices[1].memory);
}

TEST(Placement, ADeviceDoesNotSwallowTheModelAfterIt) {
  const auto plan = command<PlanCommand>({"plan", "--device", "cpu0", "the-model"});
  EXPECT_EQ(plan.model, "the-model");
}

TEST(Placement, ReadsASplitByHand) {
  const auto run = command<RunCommand>({"run", "m", "--split", "0:15@cpu-a,15:30@vulkan0"});
  EXPECT_FALSE(run.placement.quantize);
  ASSERT_EQ(run.placement.split.size(), 2u);
  EXPECT_EQ(run.placement.split[0].device, "cpu-a");
  EXPECT_EQ(run.placement.split[0].layers.last, 15u);
  EXPECT_EQ(run.placement.split[1].layers.first, 15u);
  EXPECT_EQ(run.placement.split[1].layers.last, 30u);
}

TEST(Options, SayWhichStagesMayBeSmaller) {
  const auto plan = command<PlanCommand>({"plan", "m", "--quantize-stages", "allow,cpu-b=q4_k"});
  ASSERT_TRUE(plan.placement.quantize);
  EXPECT_TRUE(plan.placement.quantize->allow);
  EXPECT_EQ(plan.placement.quantize->forced.at("cpu-b").name, "q4_K");
  const auto check = command<ModelsCommand>({"models", "check", "m", "--quantize-stages", "off"});
  ASSERT_TRUE(check.placement.quantize);
  EXPECT_FALSE(check.placement.quantize->allow);
}

TEST(Placement, IsTheSameForEveryCommandThatPlaces) {
  const auto check = [](const PlacementOptions& placement) {
    EXPECT_EQ(placement.devices.size(), 1u);
    EXPECT_EQ(placement.context, 512u);
    EXPECT_EQ(placement.parallel, 3u);
    EXPECT_TRUE(placement.deterministic);
  };
  const auto with = [](std::vector<const char*> arguments) {
    for (const char* more :
         {"--device", "cpu0", "--context", "512", "--parallel", "3", "--deterministic"})
      arguments.push_back(more);
    return arguments;
  };
  check(command<ServeCommand>(with({"serve"})).placement);
  check(command<RunCommand>(with({"run", "m"})).placement);
  check(command<PlanCommand>(with({"plan", "m"})).placement);
  check(command<BenchCommand>(with({"bench", "m"})).placement);
}

TEST(Run, HasTheDefaultsItsHelpNames) {
  const auto run = command<RunCommand>({"run", "m"});
  EXPECT_EQ(run.model, "m");
  EXPECT_EQ(run.max_tokens, 256u);
  EXPECT_FLOAT_EQ(run.sampling.temperature, 1.0F);
  EXPECT_EQ(run.sampling.top_k, 0);
  EXPECT_FLOAT_EQ(run.sampling.top_p, 1.0F);
  EXPECT_FLOAT_EQ(run.sampling.min_p, 0.05F);
  EXPECT_FALSE(run.seed);
  EXPECT_FALSE(run.raw);
}

TEST(Run, TakesEverythingAboutSampling) {
  const auto run = command<RunCommand>({"run", "m", "-p", "hello there", "-n", "7", "--temperature",
                                        "0", "--top-k", "40", "--top-p", "0.9", "--min-p", "0.1",
                                        "--seed", "18446744073709551615", "--raw"});
  EXPECT_EQ(run.prompt, "hello there");
  EXPECT_EQ(run.max_tokens, 7u);
  EXPECT_FLOAT_EQ(run.sampling.temperature, 0.0F);
  EXPECT_EQ(run.sampling.top_k, 40);
  EXPECT_FLOAT_EQ(run.sampling.top_p, 0.9F);
  EXPECT_FLOAT_EQ(run.sampling.min_p, 0.1F);
  EXPECT_EQ(run.seed, 18446744073709551615ULL);
  EXPECT_TRUE(run.raw);
}

TEST(Run, APromptMayBeginWithADash) {
  EXPECT_EQ(command<RunCommand>({"run", "m", "--prompt=-1 is a number"}).prompt, "-1 is a number");
}

TEST(Run, APromptMayBeEmptyOrManyLines) {
  EXPECT_EQ(command<RunCommand>({"run", "m", "-p", ""}).prompt, "");
  EXPECT_EQ(command<RunCommand>({"run", "m", "-p", "a\n\"b\"\n"}).prompt, "a\n\"b\"\n");
}

TEST(Run, ReadsThePromptFromAFileOrStandardInput) {
  EXPECT_EQ(command<RunCommand>({"run", "m", "-f", "story.txt"}).prompt_file, "story.txt");
  EXPECT_EQ(command<RunCommand>({"run", "m", "-f", "-"}).prompt_file, "-");
}

TEST(Run, TakesOnePromptOnly) {
  EXPECT_THAT(refusal({"run", "m", "-p", "x", "-f", "y"}),
              AllOf(HasSubstr("--prompt"), HasSubstr("--file")));
}

TEST(Bench, TakesTheLengthsOfItsSequences) {
  const auto bench = command<BenchCommand>({"bench", "m", "--prompt-tokens", "512", "-n", "32"});
  EXPECT_EQ(bench.prompt_tokens, 512u);
  EXPECT_EQ(bench.max_tokens, 32u);
}

TEST(Devices, CanBeChosenHereToo) {
  const auto devices = command<DevicesCommand>({"devices", "--device", "cpu-a:cores=0"});
  ASSERT_EQ(devices.devices.size(), 1u);
  EXPECT_THAT(devices.devices[0].cores, ElementsAre(0));
}

TEST(Models, ImportTakesAFileANameAndADigest) {
  const auto import =
      command<ModelsCommand>({"models", "import", "m.gguf", "--name", "mine", "--sha256",
                              "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"});
  EXPECT_EQ(import.action, ModelsCommand::Action::kImport);
  EXPECT_EQ(import.file, "m.gguf");
  EXPECT_EQ(import.name, "mine");
  EXPECT_EQ(import.sha256.size(), 64u);
}

TEST(Models, EachActionHasItsName) {
  using Action = ModelsCommand::Action;
  const auto pull = command<ModelsCommand>(
      {"models", "pull", "hf:o/r:Q4_0", "--name", "mine", "--limit-rate", "5MiB", "--connections",
       "2", "--token-file", "t", "--hf-endpoint", "https://hub", "--allow-http"});
  EXPECT_EQ(pull.action, Action::kPull);
  EXPECT_EQ(pull.pull.source, "hf:o/r:Q4_0");
  EXPECT_EQ(pull.name, "mine");
  EXPECT_EQ(pull.pull.limit_rate, 5 * kMiB);
  EXPECT_EQ(pull.pull.connections, 2U);
  EXPECT_EQ(pull.pull.token_file, "t");
  EXPECT_EQ(pull.pull.hf_endpoint, "https://hub");
  EXPECT_TRUE(pull.pull.allow_http);
  EXPECT_EQ(command<ModelsCommand>({"models", "pull", "hf:o/r"}).pull.limit_rate, 0U);
  EXPECT_EQ(command<ModelsCommand>({"models", "list"}).action, Action::kList);
  const auto show = command<ModelsCommand>({"models", "show", "./m.gguf", "--tensors"});
  EXPECT_EQ(show.action, Action::kShow);
  EXPECT_EQ(show.name, "./m.gguf");
  EXPECT_TRUE(show.tensors);
  EXPECT_EQ(command<ModelsCommand>({"models", "show", "a", "--diff", "b"}).diff, "b");
  const auto check = command<ModelsCommand>({"models", "check", "m", "--device", "cpu0:memory=1GiB",
                                             "--context", "64", "--parallel", "2"});
  EXPECT_EQ(check.action, Action::kCheck);
  EXPECT_EQ(check.placement.devices.at(0).memory, kGiB);
  EXPECT_EQ(check.placement.context, 64U);
  EXPECT_EQ(check.placement.parallel, 2U);
  EXPECT_EQ(command<ModelsCommand>({"models", "verify", "m"}).action, Action::kVerify);
  const auto remove = command<ModelsCommand>({"models", "rm", "m"});
  EXPECT_EQ(remove.action, Action::kRemove);
  EXPECT_EQ(remove.name, "m");
}

TEST(Common, IsUnderstoodByEveryCommand) {
  for (const std::vector<const char*>& words :
       std::vector<std::vector<const char*>>{{"serve"},
                                             {"run", "m"},
                                             {"plan", "m"},
                                             {"bench", "m"},
                                             {"devices"},
                                             {"models", "list"}}) {
    std::vector<const char*> arguments = words;
    for (const char* more : {"--data-dir", "/d", "--log-level", "debug", "--log-json"})
      arguments.push_back(more);
    const auto line = parse(arguments);
    ASSERT_TRUE(line) << words[0] << ": " << line.error().message;
    EXPECT_EQ(line->common.data_dir, "/d");
    EXPECT_EQ(line->common.log_level, "debug");
    EXPECT_TRUE(line->common.json_log);
    EXPECT_FALSE(line->common.json);
  }
}

TEST(Common, JsonIsOnEveryCommandThatPrints) {
  for (const std::vector<const char*>& words :
       std::vector<std::vector<const char*>>{{"run", "m"},
                                             {"plan", "m"},
                                             {"bench", "m"},
                                             {"devices"},
                                             {"models", "list"},
                                             {"models", "import", "f"},
                                             {"models", "show", "m"},
                                             {"models", "check", "m"},
                                             {"models", "verify", "m"},
                                             {"models", "rm", "m"}}) {
    std::vector<const char*> arguments = words;
    arguments.push_back("--json");
    const auto line = parse(arguments);
    ASSERT_TRUE(line) << words[0] << ": " << line.error().message;
    EXPECT_TRUE(line->common.json);
  }
}

}  // namespace
}  // namespace gogrid
