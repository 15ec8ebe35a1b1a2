// The program from outside: exit statuses, what goes to stdout, and the fixed fields of --json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "device/device_registry.h"
#include "engine/calibration.h"
#include "resource/policy_store.h"
#include "support/process.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::StartsWith;
using Json = nlohmann::json;

class Commands : public ::testing::Test {
 protected:
  Commands() { write_tiny_model(model()); }
  std::string model() const { return folder_ / "tiny.gguf"; }
  Outcome gogrid(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), GOGRID_PROGRAM);
    return run_program(std::move(arguments), folder_ / "data");
  }
  Outcome run(std::vector<std::string> more) const {
    more.insert(more.begin(), {"run", model(), "--context", "256", "-n", "8"});
    return gogrid(more);
  }
  Outcome run_greedily(std::vector<std::string> more) const {
    more.insert(more.end(), {"--temperature", "0"});
    return run(std::move(more));
  }
  Json json(const std::vector<std::string>& arguments) const {
    const Outcome outcome = gogrid(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return Json::parse(outcome.out);
  }

  const TemporaryFolder folder_;
};

TEST_F(Commands, HelpAndVersionAreResults) {
  for (const char* option : {"--help", "--version"}) {
    const Outcome outcome = gogrid({option});
    EXPECT_EQ(outcome.status, 0);
    EXPECT_THAT(outcome.out, StartsWith("gogrid "));
    EXPECT_THAT(outcome.err, IsEmpty());
  }
}

TEST_F(Commands, WrongUsageIsStatusTwoAndNothingOnStdout) {
  const std::vector<std::vector<std::string>> wrong{
      {},
      {"sevre"},
      {"run", model()},
      {"run", model(), "-p", "x", "--temperature", "9"},
      {"run", "no-such-model", "-p", "x"},
      {"run", "/nonexistent.gguf", "-p", "x"},
      {"run", model(), "-f", "/nonexistent.txt"},
      {"plan", model(), "--device", "nowhere7"},
      {"plan", model(), "--split", "0:2@cpu0"},
      {"models", "show", "no-such-model"},
      {"models", "import", "/nonexistent.gguf"},
      {"serve"},
      {"serve", "--model", model(), "--listen", "0.0.0.0:0"},
      {"serve", "--model", model(), "--config", "/nonexistent.toml"},
      {"serve", "--model", "no-such-model"},
      {"serve", "--library"},  // which is empty
      {"serve", "--model", model(), "--pin", "another"}};
  for (const auto& arguments : wrong) {
    const Outcome outcome = gogrid(arguments);
    EXPECT_EQ(outcome.status, 2) << ::testing::PrintToString(arguments) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, StartsWith("gogrid: "));
  }
}

TEST_F(Commands, WhatCanNeverRunHereIsStatusThreeWithWhatIsShort) {
  for (const char* command : {"plan", "run"}) {
    std::vector<std::string> arguments{command, model(), "--device", "cpu0:memory=64KiB"};
    if (std::string_view(command) == "run") arguments.insert(arguments.end(), {"-p", "x"});
    const Outcome outcome = gogrid(arguments);
    EXPECT_EQ(outcome.status, 3) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, HasSubstr("iB"));
  }
}

TEST_F(Commands, NoneLoadsAnythingWhereThePolicyGivesNothing) {
  const std::filesystem::path data = folder_ / "data";
  std::filesystem::create_directories(data);
  auto policies =
      PolicyStore::open(ResourcePolicy::of(ResourceMode::kBalanced), data / "policy.json");
  ASSERT_TRUE(policies) << policies.error().message;
  const PolicySetting nothing{"max_device_memory", 0.0};
  ASSERT_TRUE((*policies)->change({&nothing, 1}, "a test"));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", model(), "-p", "x"},
        {"bench", model()},
        {"plan", model()}}) {
    const Outcome outcome = gogrid(arguments);
    EXPECT_EQ(outcome.status, 3) << arguments[0] << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, HasSubstr("cap 0 B")) << arguments[0];
  }
}

TEST_F(Commands, DevicesHaveTheirFixedFields) {
  const Json devices = json({"devices", "--json"})["devices"];
  const auto cpu = std::ranges::find(devices, "cpu0", [](const Json& d) { return d["id"]; });
  ASSERT_NE(cpu, devices.end());
  EXPECT_EQ((*cpu)["kind"], "cpu");
  EXPECT_GT((*cpu)["memory_total"], 0);
  EXPECT_FALSE((*cpu)["cores"].empty());
  for (const Json& device : devices) {
    for (const char* field :
         {"id", "backend", "name", "kind", "memory_total", "memory_free", "cores", "notes"})
      EXPECT_TRUE(device.contains(field)) << field;
    EXPECT_NE(device["memory_total"], 0);
  }
}

TEST_F(Commands, TheDoctorSaysOfEachLimitWhetherItHoldsAndWhy) {
  const Json report = json({"doctor", "--json", "--device", "cpu0", "--mode", "conservative"});
  EXPECT_EQ(report["mode"], "conservative");
  ASSERT_TRUE(report["all_hold"].is_boolean());
  std::vector<std::string> names;
  bool all = true;
  for (const Json& finding : report["findings"]) {
    names.push_back(finding["name"]);
    EXPECT_THAT(finding["holds"], AnyOf("yes", "partly", "no", "unused"));
    EXPECT_THAT(finding["kind"], AnyOf("enforced", "measured"));
    EXPECT_FALSE(finding["what"].get<std::string>().empty()) << finding;
    all = all && (finding["holds"] == "yes" || finding["holds"] == "unused");
  }
  EXPECT_EQ(report["all_hold"], all);
  EXPECT_THAT(names,
              IsSupersetOf({"max_device_memory", "max_compute", "nice", "io_class",
                            "priority.policy", "priority.timer_slack_ns", "priority.oom_score_adj",
                            "priority.back_up", "min_request_interval_ms", "max_batch", "pause.cpu",
                            "pause.gpu", "pause.memory", "pressure", "pause.power", "pause.heat",
                            "presence", "quiet_hours"}));
}

TEST_F(Commands, TheDoctorGoesByWhatIsConfiguredAndChangedAndPrintsItForPeopleToo) {
  const Outcome outcome = gogrid(
      {"doctor", "--device", "cpu0", "--limit", "max_compute=0.125", "--limit", "max_batch=9"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("The balanced mode on this machine"),
                                 HasSubstr("computes for 12.5 % of the time"),
                                 HasSubstr("at most 9 sequences in a step")));
  EXPECT_EQ(gogrid({"doctor", "--limit", "max_compute=2"}).status, 2);
}

TEST_F(Commands, APlanHasItsFixedFieldsAndCoversAllLayers) {
  const Json plan = json({"plan", model(), "--json", "--device", "cpu0", "--context", "256"});
  EXPECT_EQ(plan["model"], "tiny");
  ASSERT_EQ(plan["stages"].size(), 1u);
  const Json& stage = plan["stages"][0];
  EXPECT_EQ(stage["device"], "cpu0");
  EXPECT_EQ(stage["layers"], Json({0, 4}));
  for (const char* field : {"weights_bytes", "kv_bytes", "compute_bytes"})
    EXPECT_GT(stage[field], 0) << field;
  EXPECT_GT(stage["step_ms"], 0.0);
  EXPECT_EQ(stage["type"], nullptr);
  EXPECT_EQ(plan["loss"], nullptr);
  EXPECT_GE(plan["groups"], 1);
  EXPECT_GT(plan["predicted"]["decode_tokens_per_s"], 0.0);
  EXPECT_GT(plan["predicted"]["prefill_tokens_per_s"], 0.0);
  EXPECT_FALSE(plan["why"].empty());
}

TEST_F(Commands, ASplitByHandIsRunAsAsked) {
  const Outcome outcome =
      run_greedily({"-p", "hello", "--json", "--device", "cpu0", "--split", "0:1@cpu0,1:4@cpu0"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Json answer = Json::parse(outcome.out);
  ASSERT_EQ(answer["stages"].size(), 2u);
  EXPECT_EQ(answer["stages"][0]["layers"], Json({0, 1}));
  EXPECT_EQ(answer["stages"][1]["layers"], Json({1, 4}));
}

TEST_F(Commands, StagesThatAreMadeSmallerAreNeverSilent) {
  const std::vector<std::string> placement{
      "--device",          "cpu0",     "--context", "256", "--split", "0:2@cpu0,2:4@cpu0",
      "--quantize-stages", "cpu0=q4_0"};
  std::vector<std::string> arguments{"plan", model(), "--json"};
  arguments.insert(arguments.end(), placement.begin(), placement.end());
  const Json plan = json(arguments);
  EXPECT_EQ(plan["stages"][0]["type"], "q4_0");
  EXPECT_EQ(plan["stages"][1]["type"], "q4_0");
  EXPECT_GT(plan["loss"]["mean_kl"], 0);
  EXPECT_GT(plan["loss"]["positions"], 100);
  EXPECT_EQ(json(arguments)["loss"], plan["loss"]) << "measured once";
  arguments[2] = "--log-level=warning";
  EXPECT_THAT(gogrid(arguments).out, AllOf(HasSubstr("as q4_0"), HasSubstr("against tiny: KL")));
  arguments = {"run", model(), "-p", "hello", "-n", "4"};
  arguments.insert(arguments.end(), placement.begin(), placement.end());
  const Outcome run = gogrid(arguments);
  EXPECT_EQ(run.status, 0);
  EXPECT_THAT(run.err, AllOf(HasSubstr("layers 0-2 on cpu0 as q4_0"), HasSubstr("KL")));
  const Json shown = json({"models", "show", model(), "--json"});
  EXPECT_EQ(shown["stage_losses"][0]["mean_kl"], plan["loss"]["mean_kl"]);
  const Outcome wrong =
      gogrid({"plan", model(), "--device", "cpu0", "--quantize-stages", "cpu1=q4_0"});
  EXPECT_EQ(wrong.status, 2) << wrong.err;
  EXPECT_THAT(wrong.err, HasSubstr("no device 'cpu1'"));
}

TEST_F(Commands, ARunSaysTheSameAsTextAndAsJson) {
  const Outcome text = run_greedily({"-p", "hello"});
  const Outcome structured = run_greedily({"-p", "hello", "--json"});
  ASSERT_EQ(text.status, 0) << text.err;
  ASSERT_EQ(structured.status, 0) << structured.err;
  const Json answer = Json::parse(structured.out);
  EXPECT_EQ(answer["text"].get<std::string>() + "\n", text.out);
  EXPECT_EQ(answer["tokens"].size(), answer["completion_tokens"]);
  EXPECT_LE(answer["completion_tokens"], 8);
  EXPECT_GT(answer["prompt_tokens"], 0);
  EXPECT_THAT(answer["finish_reason"].get<std::string>(), ::testing::AnyOf("stop", "length"));
  EXPECT_GT(answer["timings"]["prefill_s"], 0.0);
  EXPECT_EQ(answer["stages"].size(), 1u);
}

TEST_F(Commands, ASeedDecidesASampledText) {
  const auto sampled = [&](const char* seed) {
    const Outcome outcome =
        run({"-p", "hello", "--raw", "--temperature", "2", "--min-p", "0", "--seed", seed});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out;
  };
  EXPECT_EQ(sampled("7"), sampled("7"));
  EXPECT_NE(sampled("7"), sampled("8"));
}

TEST_F(Commands, AModelGoesThroughTheLibrary) {
  EXPECT_THAT(json({"models", "list", "--json"})["models"], IsEmpty());
  const Json imported = json({"models", "import", model(), "--name", "mine", "--json"});
  EXPECT_EQ(imported["name"], "mine");
  EXPECT_THAT(imported["digest"].get<std::string>(), StartsWith("sha256:"));
  EXPECT_EQ(json({"models", "list", "--json"})["models"].size(), 1u);
  EXPECT_EQ(json({"models", "show", "mine", "--json"})["layers"], 4);
  EXPECT_EQ(json({"models", "verify", "mine", "--json", "--mode", "aggressive"})["intact"], true);
  EXPECT_EQ(json({"plan", "mine", "--json", "--context", "256"})["model"], "mine");
  EXPECT_EQ(json({"models", "rm", "mine", "--json"})["removed"], true);
  EXPECT_EQ(gogrid({"models", "show", "mine"}).status, 2);
}

TEST_F(Commands, AModelIsShownByPathAsByNameAndEveryTensorWhereAsked) {
  const Json shown = json({"models", "show", model(), "--json"});
  EXPECT_EQ(shown["name"], "tiny");
  EXPECT_EQ(shown["digest"], nullptr);  // nobody has read all of it
  EXPECT_EQ(shown["layers"], 4);
  EXPECT_EQ(shown["allowed_cuts"], Json({1, 2, 3}));
  EXPECT_EQ(shown["cannot_run_why"], nullptr);
  EXPECT_GT(shown["parameters"], 0);
  EXPECT_EQ(shown["bits_per_weight"], 32.0);
  EXPECT_FALSE(shown.contains("tensors"));
  const Json tensors = json({"models", "show", model(), "--json", "--tensors"})["tensors"];
  const auto head =
      std::ranges::find(tensors, "output.weight", [](const Json& t) { return t["name"]; });
  ASSERT_NE(head, tensors.end());
  EXPECT_EQ((*head)["type"], "f32");
  EXPECT_EQ((*head)["shape"][0], 128);
  const Outcome text = gogrid({"models", "show", model(), "--tensors"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("before layer 1, 2, 3"), HasSubstr("32.00 bits a weight"),
                              HasSubstr("blk.3.ffn_down.weight")));
}

TEST_F(Commands, TwoModelsAreShownByWhatDiffers) {
  const std::string other = folder_ / "other.gguf";
  write_tiny_model(other, {.n_layers = 3, .weights = TinyWeights::kQ8_0});
  const Json difference = json({"models", "show", model(), "--diff", other, "--json"});
  EXPECT_EQ(difference["metadata"],
            Json::array({{{"name", "llama.block_count"}, {"left", "4"}, {"right", "3"}}}));
  const Json& tensors = difference["tensors"];
  const auto gone =
      std::ranges::find(tensors, "blk.3.attn_q.weight", [](const Json& t) { return t["name"]; });
  ASSERT_NE(gone, tensors.end());
  EXPECT_EQ((*gone)["left"], "f32 128x128, 65536 bytes");
  EXPECT_EQ((*gone)["right"], "absent");
  const Outcome same = gogrid({"models", "show", model(), "--diff", model()});
  EXPECT_EQ(same.status, 0) << same.err;
  EXPECT_THAT(same.out, HasSubstr("tensors: the same"));
}

TEST_F(Commands, AModelIsCheckedAgainstDevicesWithoutMeasuring) {
  const std::vector<std::string> check{"models", "check",     model(), "--json",     "--device",
                                       "cpu0",   "--context", "256",   "--parallel", "2"};
  const Json report = json(check);
  EXPECT_EQ(report["model"], "tiny");
  EXPECT_EQ(report["context"], 256);
  EXPECT_EQ(report["runs"], true);
  ASSERT_EQ(report["verdicts"].size(), 1u);
  const Json verdict = report["verdicts"][0];
  EXPECT_EQ(verdict["devices"], Json({"cpu0"}));
  EXPECT_EQ(verdict["fits"], true);
  EXPECT_EQ(verdict["short_bytes"], 0);
  EXPECT_EQ(verdict["max_context"], 1024);  // what it was trained for
  EXPECT_EQ(verdict["predicted"]["decode_tokens_per_s"], nullptr);
  EXPECT_EQ(report["would_fit"], Json::array());
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "data" / "measurements"));
}

TEST_F(Commands, ACheckKnowsTheSpeedOfDevicesThatWereMeasured) {
  const std::string digest =
      json({"models", "import", model(), "--name", "mine", "--json"})["digest"];
  const std::vector<std::string> check{"models", "check", "mine", "--json", "--device", "cpu0"};
  EXPECT_EQ(json(check)["verdicts"][0]["predicted"]["decode_tokens_per_s"], nullptr);
  const SteadyClock clock;
  const std::vector<DeviceSpec> specs{parse_device_spec("cpu0").value()};
  const Device device = DeviceRegistry::detect(specs, clock).value().find("cpu0").value();
  const DeviceBudget measured{.id = "cpu0", .layer_read_ms = 1};
  ASSERT_TRUE(calibration_cache(folder_ / "data" / "measurements")
                  .keep(digest.substr(std::string_view("sha256:").size()), device, measured));
  // Four layers at a millisecond each, four sequences.
  EXPECT_NEAR(json(check)["verdicts"][0]["predicted"]["decode_tokens_per_s"], 1000.0, 1.0);
}

TEST_F(Commands, ACheckOfWhatCanNeverRunHereIsStatusThreeWithTheReport) {
  const Outcome outcome =
      gogrid({"models", "check", model(), "--json", "--device", "cpu0:memory=64KiB"});
  EXPECT_EQ(outcome.status, 3) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("short by"));
  const Json report = Json::parse(outcome.out);
  EXPECT_EQ(report["runs"], false);
  EXPECT_GT(report["verdicts"][0]["short_bytes"], 0);
  const Outcome text = gogrid({"models", "check", model(), "--device", "cpu0:memory=64KiB"});
  EXPECT_EQ(text.status, 3);
  EXPECT_THAT(text.out, HasSubstr("tiny cannot run here"));
}

TEST_F(Commands, WhatDoesNotFitAsItIsIsToldInWhichTypeItWould) {
  write_tiny_model(model(),
                   {.n_embd = 512, .n_heads = 8, .n_ff = 1536, .weights = TinyWeights::kF16});
  // 27 MiB of weights, and 11 of all else; 70 % of these 32 MiB may be used.
  const std::vector<std::string> placement{"--device", "cpu0:memory=32MiB", "--context",
                                           "256",      "--parallel",        "1"};
  std::vector<std::string> check{"models", "check", model(), "--json"};
  check.insert(check.end(), placement.begin(), placement.end());
  const Outcome outcome = gogrid(check);
  ASSERT_EQ(outcome.status, 3) << outcome.err << outcome.out;
  const Json report = Json::parse(outcome.out);
  ASSERT_FALSE(report["would_fit"].empty()) << outcome.out;
  const std::string type = report["would_fit"][0]["type"];
  std::vector<std::string> plan{"plan", model()};
  plan.insert(plan.end(), placement.begin(), placement.end());
  EXPECT_THAT(gogrid(plan).err, HasSubstr("as " + type));
}

TEST_F(Commands, ADamagedFileIsRefusedAsFailedNotAsWrongUsage) {
  std::filesystem::resize_file(model(), std::filesystem::file_size(model()) / 2);
  const Outcome outcome = gogrid({"models", "import", model()});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("tiny.gguf"));
}

TEST_F(Commands, MistypedModelsAreToldTheNearest) {
  ASSERT_EQ(gogrid({"models", "import", model(), "--name", "smollm"}).status, 0);
  EXPECT_THAT(gogrid({"run", "smolm", "-p", "x"}).err,
              AllOf(HasSubstr("'smolm'"), HasSubstr("did you mean smollm?")));
}

}  // namespace
}  // namespace gogrid::testing
