#include "placement/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr Bytes kLayer = 100 * kMiB;

// Layers of 100 MiB, a head of 50 MiB, and hardly any KV cache.
ModelProfile model(std::uint32_t layers, std::uint32_t period = 1) {
  ModelProfile profile;
  profile.name = "toy";
  profile.n_layers = layers;
  profile.n_embd = 64;
  profile.n_vocab = 1024;
  profile.layer_weights.assign(layers, kLayer);
  profile.kv_bytes_per_token.assign(layers, 64);
  profile.token_embedding_bytes = 50 * kMiB;
  profile.head_bytes = 50 * kMiB;
  profile.tied_embeddings = true;
  for (std::uint32_t cut = period; cut < layers; cut += period) {
    profile.allowed_cuts.push_back(cut);
  }
  return profile;
}

// Reads a layer in `read` ms and computes a row of it in `row` ms; a head costs two layers.
DeviceBudget device(const char* id, double read, double row, Bytes memory = 100 * kGiB) {
  return {.id = id,
          .memory = memory,
          .layer_read_ms = read,
          .layer_row_ms = row,
          .head_read_ms = 2 * read,
          .head_row_ms = 2 * row,
          .prefill_row_ms = row / 2};
}

PlanQuestion question(std::uint32_t parallel = 4) {
  return {.model = "toy", .context = 1024, .parallel = parallel, .hop_ms = 0.05};
}

Plan plan(const ModelProfile& profile, const std::vector<DeviceBudget>& devices,
          const PlanQuestion& asked) {
  auto made = plan_stages(profile, devices, asked);
  if (!made) throw std::runtime_error(made.error().message);
  return *std::move(made);
}

std::vector<std::uint32_t> bounds(const Plan& plan) {
  std::vector<std::uint32_t> bounds;
  for (const PlannedStage& stage : plan.stages) bounds.push_back(stage.layers.last);
  return bounds;
}

TEST(Planner, TakesOneDeviceForOneStream) {
  const Plan made = plan(model(12), {device("a", 1, 1), device("b", 1, 1)}, question(1));
  ASSERT_EQ(made.stages.size(), 1U);
  EXPECT_EQ(made.stages[0].device, "a");
  EXPECT_EQ(made.groups, 1U);
  // 12 layers and a head of two, each 2 ms.
  EXPECT_NEAR(made.stages[0].step_ms, 28.0, 1e-6);
  EXPECT_NEAR(made.predicted.decode_tokens_per_s, 1000.0 / 28.0, 1e-3);
  EXPECT_THAT(made.why, Contains(HasSubstr("one stage on a: 35.7 tokens/s")));
}

TEST(Planner, TakesTheFasterOfTwoDevices) {
  const Plan made = plan(model(12), {device("slow", 2, 2), device("fast", 1, 1)}, question(1));
  EXPECT_EQ(made.stages[0].device, "fast");
}

TEST(Planner, StaysOnOneDeviceWhenReadingWeightsIsAllTheWork) {
  // Two groups read the weights twice: nothing is gained.
  const Plan made = plan(model(12), {device("a", 1, 0), device("b", 1, 0)}, question(8));
  EXPECT_EQ(made.stages.size(), 1U);
}

TEST(Planner, CutsWorkThatIsBoundByComputeInHalves) {
  const Plan made = plan(model(14), {device("a", 0, 1), device("b", 0, 1)}, question(8));
  ASSERT_EQ(made.stages.size(), 2U);
  EXPECT_THAT(bounds(made), ::testing::ElementsAre(8, 14));  // the head is worth two layers
  EXPECT_GE(made.groups, 2U);
  EXPECT_NEAR(made.predicted.decode_tokens_per_s, 1000.0 / 8, 0.01);
}

TEST(Planner, CutsByTheSpeedOfTheDevices) {
  const Plan made = plan(model(30), {device("fast", 0, 1), device("slow", 0, 3)}, question(8));
  ASSERT_EQ(made.stages.size(), 2U);
  // A third of the speed, a quarter of the work; the head is worth two layers.
  const auto& slow = made.stages[0].device == "slow" ? made.stages[0] : made.stages[1];
  EXPECT_EQ(slow.layers.size() + (slow.layers.last == 30 ? 2 : 0), 8U);
  EXPECT_NEAR(made.predicted.decode_tokens_per_s, 1000.0 / 24, 0.01);
}

TEST(Planner, CutsWhereTheMemoryEnds) {
  // The fast device would take far more, but holds 10 layers.
  const Plan made =
      plan(model(30),
           {device("fast", 0, 1, 10 * kLayer + 60 * kMiB), device("slow", 0, 10, 100 * kLayer)},
           question(8));
  ASSERT_EQ(made.stages.size(), 2U);
  const auto& fast = made.stages[0].device == "fast" ? made.stages[0] : made.stages[1];
  EXPECT_EQ(fast.layers.size(), 10U);
}

TEST(Planner, SaysThatNoDeviceHoldsItAlone) {
  const Plan made = plan(
      model(30), {device("a", 1, 1, 20 * kLayer), device("b", 1, 1, 20 * kLayer)}, question(1));
  ASSERT_EQ(made.stages.size(), 2U);
  EXPECT_EQ(made.groups, 1U);
  EXPECT_THAT(made.why, Contains(HasSubstr("no device holds it alone: it takes 3.0 GiB")));
}

TEST(Planner, CutsOnThePeriodOnly) {
  const Plan made = plan(model(24, 6), {device("a", 0, 1), device("b", 0, 2)}, question(8));
  ASSERT_EQ(made.stages.size(), 2U);
  EXPECT_EQ(made.stages[0].layers.last % 6, 0U);
  EXPECT_THAT(made.predicted.decode_tokens_per_s, ::testing::DoubleNear(1000.0 / 18, 0.01));
}

TEST(Planner, RunsWhatCannotBeCutAsOneStageAndSaysWhy) {
  ModelProfile profile = model(12);
  profile.allowed_cuts.clear();
  profile.one_stage_why = "its graph does not name the output of a layer";
  const Plan made = plan(profile, {device("a", 0, 1), device("b", 0, 1)}, question(8));
  EXPECT_EQ(made.stages.size(), 1U);
  EXPECT_THAT(made.why, Contains(HasSubstr("does not name the output")));
}

TEST(Planner, UsesThreeDevicesWhenThreeAreNeeded) {
  const std::vector<DeviceBudget> devices = {device("a", 1, 1, 11 * kLayer),
                                             device("b", 1, 1, 11 * kLayer),
                                             device("c", 1, 1, 11 * kLayer)};
  const Plan made = plan(model(30), devices, question(6));
  ASSERT_EQ(made.stages.size(), 3U);
  EXPECT_EQ(made.stages.back().layers.last, 30U);
}

TEST(Planner, LeavesOutADeviceThatWouldOnlySlowItDown) {
  const Plan made =
      plan(model(12), {device("a", 0, 1), device("b", 0, 1), device("snail", 0, 500)}, question(8));
  EXPECT_EQ(made.stages.size(), 2U);
  for (const PlannedStage& stage : made.stages) EXPECT_NE(stage.device, "snail");
}

TEST(Planner, UsesALastResortOnlyWhenThereIsNothingElse) {
  DeviceBudget software = device("vulkan0", 0, 0.001);
  software.last_resort = true;
  const Plan made = plan(model(12), {software, device("cpu0", 1, 1)}, question());
  ASSERT_EQ(made.stages.size(), 1U);
  EXPECT_EQ(made.stages[0].device, "cpu0");
  EXPECT_THAT(made.why, Contains(HasSubstr("vulkan0 renders in software")));
  EXPECT_EQ(plan(model(12), {software}, question()).stages[0].device, "vulkan0");
}

TEST(Planner, GivesTheSameAnswerToTheSameQuestion) {
  const std::vector<DeviceBudget> devices = {device("a", 1, 1), device("b", 1, 1),
                                             device("c", 1, 1)};
  const Plan first = plan(model(24), devices, question(6));
  const Plan second = plan(model(24), devices, question(6));
  EXPECT_EQ(bounds(first), bounds(second));
  EXPECT_EQ(first.why, second.why);
}

TEST(Planner, NeverHasMoreGroupsThanSequences) {
  for (const std::uint32_t parallel : {1U, 2U, 3U, 16U}) {
    const Plan made =
        plan(model(30), {device("a", 0, 1, 20 * kLayer), device("b", 0, 1, 20 * kLayer)},
             question(parallel));
    EXPECT_LE(made.groups, std::min(parallel, 4U));
    EXPECT_EQ(made.parallel, parallel);
  }
}

TEST(Planner, CarriesTheMemoryOfEachStage) {
  const Plan made =
      plan(model(30), {device("a", 1, 1, 20 * kLayer), device("b", 1, 1, 20 * kLayer)}, question());
  for (const PlannedStage& stage : made.stages) {
    EXPECT_GE(stage.memory.weights, stage.layers.size() * kLayer);
    EXPECT_LE(stage.memory.total(), 20 * kLayer);
  }
}

TEST(Planner, NamesTheShortfallAndWhatWouldFit) {
  ModelProfile profile = model(10);
  profile.kv_bytes_per_token.assign(10, 100 * kKiB);  // 1 GiB for 1024 tokens of one sequence
  const std::vector<DeviceBudget> devices = {device("a", 1, 1, 3 * kGiB)};
  const auto made = plan_stages(profile, devices, question(4));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kDoesNotFit);
  const auto needed =
      estimate_memory(profile, {.layers = {0, 10}, .context = 1024, .parallel = 4}).total();
  EXPECT_THAT(made.error().message,
              HasSubstr("short by " + std::to_string(needed - 3 * kGiB) + " bytes"));
  EXPECT_THAT(made.error().message, HasSubstr("a context of 512 fits, or 2 sequences"));
}

TEST(Planner, SaysWhenOnlyOneShortSequenceFits) {
  ModelProfile profile = model(10);
  profile.kv_bytes_per_token.assign(10, kMiB);  // 10 MiB a token, in steps of 256
  const auto made = plan_stages(profile, std::vector{device("a", 1, 1, 4 * kGiB)}, question(4));
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("one sequence of 256 tokens fits"));
}

TEST(Planner, SaysWhenNothingFits) {
  const auto made = plan_stages(model(10), std::vector{device("a", 1, 1, kLayer)}, question());
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("no context fits"));
}

TEST(Planner, MentionsThatAModelThatIsShortCannotBeCut) {
  ModelProfile profile = model(10);
  profile.allowed_cuts.clear();
  profile.one_stage_why = "reasons";
  const auto made = plan_stages(
      profile, std::vector{device("a", 1, 1, 6 * kLayer), device("b", 1, 1, 6 * kLayer)},
      question());
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("it runs as one stage: reasons"));
}

TEST(Planner, RefusesQuestionsWithoutSense) {
  const std::vector<DeviceBudget> devices = {device("a", 1, 1)};
  EXPECT_FALSE(plan_stages(model(4), {}, question()));
  EXPECT_FALSE(plan_stages(model(4), devices, question(0)));
  PlanQuestion no_context = question();
  no_context.context = 0;
  EXPECT_FALSE(plan_stages(model(4), devices, no_context));
}

TEST(Planner, TakesTheFastestEightOfManyDevices) {
  std::vector<DeviceBudget> devices;
  std::vector<std::string> ids;
  for (int i = 0; i < 10; ++i) ids.push_back("d" + std::to_string(i));
  for (int i = 0; i < 10; ++i) devices.push_back(device(ids[i].c_str(), 0, 10.0 - i));
  const Plan made = plan(model(40), devices, question(16));
  EXPECT_THAT(made.why, Contains(HasSubstr("d0 was left out")));
  for (const PlannedStage& stage : made.stages) EXPECT_NE(stage.device, "d0");
}

// --- stages in smaller types

// Of the model: 8 of 16 bits, 6.5 and 4.5; and one that is never taken unasked.
PlanQuestion with_types(const ModelProfile& profile, PlanQuestion asked, bool allow = true) {
  auto made = std::make_shared<std::vector<SmallerLayers>>();
  const auto add = [&](std::string_view name, std::uint32_t number, double share,
                       std::optional<double> cost) {
    SmallerLayers layers{.type = {name, number, 32}, .cost = cost, .profile = profile};
    const auto part = [&](Bytes bytes) {
      return static_cast<Bytes>(static_cast<double>(bytes) * share);
    };
    for (Bytes& bytes : layers.profile.layer_weights) bytes = part(bytes);
    layers.profile.head_bytes = part(profile.head_bytes);
    layers.profile.token_embedding_bytes = part(profile.token_embedding_bytes);
    made->push_back(std::move(layers));
  };
  add("q8_0", 8, 8.5 / 16, 0.0026);
  add("q6_K", 14, 6.5 / 16, 0.0217);
  add("q4_K", 12, 4.5 / 16, 0.2689);
  add("q4_0", 2, 4.5 / 16, std::nullopt);
  asked.smaller = std::move(made);
  asked.quantize.allow = allow;
  return asked;
}

std::string types_of(const Plan& plan) {
  std::string text;
  for (const PlannedStage& stage : plan.stages) {
    text += (text.empty() ? "" : ", ") + std::to_string(stage.layers.size()) + " on " +
            stage.device + (stage.type ? " as " + std::string(stage.type->name) : "");
  }
  return text;
}

TEST(SmallerStages, AreTakenOnlyWhereTheModelDoesNotFitWithout) {
  const ModelProfile profile = model(16);
  const std::vector<DeviceBudget> roomy = {device("a", 1, 1, 10 * kLayer),
                                           device("b", 1, 1, 10 * kLayer)};
  const Plan made = plan(profile, roomy, with_types(profile, question()));
  EXPECT_FALSE(has_smaller_stages(made));
  EXPECT_EQ(made.why, plan(profile, roomy, question()).why);
}

// 16.5 layers' worth of weights: 1.6 times what the larger device holds; the other holds a quarter.
TEST(SmallerStages, AreGivenToTheDeviceThatIsTooSmallForItsShare) {
  const ModelProfile profile = model(16);
  const std::vector<DeviceBudget> devices = {device("large", 1, 1, 10 * kLayer + 60 * kMiB),
                                             device("small", 1, 1, 4 * kLayer + 20 * kMiB)};
  EXPECT_FALSE(plan_stages(profile, devices, question()));
  EXPECT_FALSE(plan_stages(profile, devices, with_types(profile, question(), false)));
  const Plan made = plan(profile, devices, with_types(profile, question()));
  EXPECT_EQ(types_of(made), "6 on small as q8_0, 10 on large");
  EXPECT_EQ(smaller_stages_text(made), "layers 0-6 on small as q8_0");
  EXPECT_LE(made.stages[0].memory.total(), devices[1].memory);
  EXPECT_LE(made.stages[0].memory.weights, 6 * kLayer * 6 / 10);
  EXPECT_THAT(made.why, Contains(AllOf(HasSubstr("as it is it does not fit: short by"),
                                       HasSubstr("layers 0-6 on small as q8_0"),
                                       HasSubstr("--quantize-stages allow"))));
  EXPECT_THAT(made.why, Contains(HasSubstr("as with the model's own weights")));
}

TEST(SmallerStages, AreTheLargestThatFit) {
  const ModelProfile profile = model(16);
  const auto alone_on = [&](Bytes memory) {
    return types_of(plan(profile, {device("a", 1, 1, memory)}, with_types(profile, question())));
  };
  EXPECT_EQ(alone_on(17 * kLayer), "16 on a");
  EXPECT_EQ(alone_on(16 * kLayer), "16 on a as q8_0");
  EXPECT_EQ(alone_on(9 * kLayer), "16 on a as q8_0");
  EXPECT_EQ(alone_on(8 * kLayer), "16 on a as q6_K");
  EXPECT_EQ(alone_on(6 * kLayer), "16 on a as q4_K");
}

// Six layers of six bits would lose more than fourteen of eight: 6 x 0.0217 and 14 x 0.0026.
TEST(SmallerStages, AreManyInManyBitsRatherThanFewInFew) {
  const ModelProfile profile = model(16);
  const Plan made = plan(profile,
                         {device("large", 1, 1, 10 * kLayer + 60 * kMiB),
                          device("small", 1, 1, 3 * kLayer - 10 * kMiB)},
                         with_types(profile, question()));
  EXPECT_EQ(types_of(made), "14 on large as q8_0, 2 on small");
  // The head, half a layer, is on the small one, which is last.
  EXPECT_NEAR(made.expected_loss, 0.0026 * 14 / 16.5, 1e-9);
}

TEST(SmallerStages, ThatDoNotHelpEitherAreSaidToBeShort) {
  const ModelProfile profile = model(16);
  const auto made = plan_stages(profile, std::vector{device("a", 1, 1, 2 * kLayer)},
                                with_types(profile, question()));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(made.error().message, HasSubstr("with the smallest types that stages may have"));
}

TEST(SmallerStages, ThatAreForcedHoldWhateverFits) {
  const ModelProfile profile = model(14);
  PlanQuestion asked = with_types(profile, question(8), false);
  asked.quantize.forced["b"] = {"q4_0", 2, 32};
  const std::vector<DeviceBudget> devices = {device("a", 0, 1), device("b", 0, 1)};
  const Plan made = plan(profile, devices, asked);
  ASSERT_EQ(made.stages.size(), 2U);
  for (const PlannedStage& stage : made.stages) {
    EXPECT_EQ(stage.type.has_value(), stage.device == "b");
  }
  EXPECT_THAT(made.why, Contains(HasSubstr("on b as q4_0: asked for (--quantize-stages)")));
  // A device that it makes large enough.
  EXPECT_EQ(types_of(plan(profile, {device("b", 1, 1, 6 * kLayer)}, asked)), "14 on b as q4_0");
}

TEST(SmallerStages, OfATypeThatMakesNothingSmallerStayAsTheyAreAndThePlanSaysSo) {
  const ModelProfile profile = model(4);
  PlanQuestion asked = with_types(profile, question(), false);
  asked.quantize.forced["a"] = {"q5_0", 6, 32};
  const Plan made = plan(profile, {device("a", 1, 1)}, asked);
  EXPECT_FALSE(has_smaller_stages(made));
  EXPECT_THAT(made.why, Contains(HasSubstr("q5_0 would not make them smaller")));
}

TEST(SmallerStages, AreFoundWhereTheyAreNotAllowedToSayWhatWouldHelp) {
  const ModelProfile profile = model(16);
  const std::vector<DeviceBudget> devices = {device("large", 1, 1, 10 * kLayer + 60 * kMiB),
                                             device("small", 1, 1, 4 * kLayer + 20 * kMiB)};
  const auto would =
      plan_with_smaller_stages(profile, devices, with_types(profile, question(), false));
  ASSERT_TRUE(would);
  EXPECT_EQ(smaller_stages_text(*would), "layers 0-6 on small as q8_0");
  EXPECT_FALSE(plan_with_smaller_stages(profile, devices, question()));
  EXPECT_FALSE(plan_with_smaller_stages(profile, std::vector{device("a", 1, 1)},
                                        with_types(profile, question(), false)));
}

TEST(SmallerStages, ByHandHaveTheLargestTypeThatTheirDeviceHolds) {
  const ModelProfile profile = model(16);
  const std::vector<DeviceBudget> devices = {device("large", 1, 1, 100 * kLayer),
                                             device("small", 1, 1, 4 * kLayer)};
  const std::vector<StageChoice> stages = {
      {{0, 3}, "small"}, {{3, 10}, "large"}, {{10, 16}, "small"}};
  EXPECT_FALSE(plan_by_hand(profile, devices, question(), stages));
  const auto made = plan_by_hand(profile, devices, with_types(profile, question()), stages);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(types_of(*made), "3 on small as q6_K, 7 on large, 6 on small as q6_K");
  EXPECT_THAT(made->why, Contains(HasSubstr("it does not fit as it is")));
}

TEST(QuantizeStages, AreReadPartByPart) {
  EXPECT_FALSE(parse_quantize_stages("off")->allow);
  EXPECT_TRUE(parse_quantize_stages("off")->forced.empty());
  EXPECT_TRUE(parse_quantize_stages("allow")->allow);
  const auto both = parse_quantize_stages("allow,cpu-b=Q4_K,vulkan0=q8_0");
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_TRUE(both->allow);
  EXPECT_EQ(both->forced.at("cpu-b").name, "q4_K");
  EXPECT_EQ(both->forced.at("vulkan0").name, "q8_0");
  EXPECT_FALSE(parse_quantize_stages("cpu-b=q4_k")->allow);
}

TEST(QuantizeStages, RefuseAnythingElseNamingThePart) {
  for (const auto* text : {"", "on", "off,allow", "allow,", "=q4_k", "cpu-b=", "cpu-b=q4_k_m",
                           "cpu-b=iq2_xxs", "a=q8_0,a=q4_k", "allow;off"}) {
    const auto read = parse_quantize_stages(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(read.error().param, "quantize-stages");
  }
  EXPECT_THAT(parse_quantize_stages("cpu-b=q4_k_m").error().message,
              HasSubstr("did you mean q4_k"));
}

TEST(PlanByHand, PredictsWhatItIsGiven) {
  const std::vector<DeviceBudget> devices = {device("a", 0, 1), device("b", 0, 1)};
  const std::vector<StageChoice> stages = {{{0, 5}, "b"}, {{5, 14}, "a"}};
  const auto made = plan_by_hand(model(14), devices, question(8), stages);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->stages[0].device, "b");
  EXPECT_NEAR(made->predicted.decode_tokens_per_s, 1000.0 / 11, 0.01);
}

TEST(PlanByHand, LetsStagesShareADeviceAndItsTime) {
  const std::vector<DeviceBudget> devices = {device("a", 0, 1)};
  const std::vector<StageChoice> stages = {{{0, 7}, "a"}, {{7, 14}, "a"}};
  const auto made = plan_by_hand(model(14), devices, question(8), stages);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_LE(made->predicted.decode_tokens_per_s, 1000.0 / 16 + 0.01);
}

TEST(PlanByHand, RefusesStagesThatDoNotCoverTheModel) {
  const std::vector<DeviceBudget> devices = {device("a", 1, 1), device("b", 1, 1, 3 * kLayer)};
  const struct {
    std::vector<StageChoice> stages;
    ErrorCode code;
    const char* text;
  } cases[] = {
      {{}, ErrorCode::kInvalidArgument, "end at 0"},
      {{{{0, 6}, "a"}}, ErrorCode::kInvalidArgument, "end at 6"},
      {{{{0, 6}, "a"}, {{7, 12}, "b"}}, ErrorCode::kInvalidArgument, "layers 7-12 after 6"},
      {{{{6, 12}, "a"}, {{0, 6}, "b"}}, ErrorCode::kInvalidArgument, "layers 6-12 after 0"},
      {{{{0, 5}, "a"}, {{5, 12}, "b"}}, ErrorCode::kInvalidArgument, "6"},
      {{{{0, 13}, "a"}}, ErrorCode::kInvalidArgument, "12 layers"},
      {{{{0, 6}, "a"}, {{6, 12}, "c"}}, ErrorCode::kNotFound, "'c'"},
      {{{{0, 6}, "a"}, {{6, 12}, "b"}}, ErrorCode::kDoesNotFit, "short by"},
  };
  for (const auto& c : cases) {
    const auto made = plan_by_hand(model(12, 6), devices, question(), c.stages);
    ASSERT_FALSE(made) << c.text;
    EXPECT_EQ(made.error().code, c.code) << made.error().message;
    EXPECT_THAT(made.error().message, HasSubstr(c.text));
  }
}

TEST(PlanByHand, CountsTheMemoryOfADeviceOnce) {
  const std::vector<DeviceBudget> devices = {device("a", 1, 1, 9 * kLayer)};
  const std::vector<StageChoice> stages = {{{0, 6}, "a"}, {{6, 12}, "a"}};
  const auto made = plan_by_hand(model(12), devices, question(), stages);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kDoesNotFit);
}

TEST(Split, IsReadStageByStage) {
  const auto stages = parse_split("0:15@cpu-a,15:30@vulkan0");
  ASSERT_TRUE(stages);
  ASSERT_EQ(stages->size(), 2U);
  EXPECT_EQ(stages->at(1).layers, (LayerRange{15, 30}));
  EXPECT_EQ(stages->at(1).device, "vulkan0");
}

TEST(Split, RefusesAnythingElseNamingThePart) {
  for (const auto* text :
       {"", "0:15", "0@cpu", "a:b@cpu", "5:5@cpu", "6:5@cpu", "0:15@", "0:15@cpu,", ",0:15@cpu",
        "0-15@cpu", "0:-1@cpu", "0:99999999999@cpu", "0@15:cpu"}) {
    const auto stages = parse_split(text);
    ASSERT_FALSE(stages) << text;
    EXPECT_EQ(stages.error().param, "split");
  }
}

TEST(Split, BoundsTheNumberOfStages) {
  std::string text = "0:1@c";
  for (int i = 1; i < 300; ++i) text += ",0:1@c";
  EXPECT_FALSE(parse_split(text));
}

}  // namespace
}  // namespace gogrid
