// What is said of devices and sets of them.
#include "placement/compatibility.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/memory_estimator.h"
#include "placement/fit_search.h"

namespace gogrid {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ModelProfile model(std::uint32_t layers, Bytes layer = 10 * kMiB) {
  ModelProfile profile;
  profile.name = "toy";
  profile.n_layers = layers;
  profile.n_embd = 64;
  profile.n_vocab = 256;
  profile.context_length = 8192;
  profile.layer_weights.assign(layers, layer);
  profile.kv_bytes_per_token.assign(layers, 1024);
  profile.token_embedding_bytes = profile.head_bytes = kMiB;
  profile.file_bytes = layers * layer;
  for (std::uint32_t cut = 1; cut < layers; ++cut) profile.allowed_cuts.push_back(cut);
  return profile;
}

CheckedDevice device(const char* id, Bytes memory) {
  return {.budget = {.id = id, .memory = memory, .layer_read_ms = 1, .layer_row_ms = 1},
          .memory_now = memory,
          .measured = true};
}

CompatibilityQuestion asked(std::uint32_t context = 1024, std::uint32_t parallel = 2) {
  return {.plan = {.model = "toy", .context = context, .parallel = parallel}};
}

CompatibilityReport check(const ModelProfile& profile, const std::vector<CheckedDevice>& devices,
                          const CompatibilityQuestion& question = asked(),
                          const std::vector<QuantizedModel>& smaller = {}) {
  return check_compatibility(profile, smaller, devices, question);
}

Bytes need(const ModelProfile& profile) {
  return estimate_memory(profile, {.layers = {0, profile.n_layers}, .context = 1024, .parallel = 2})
      .total();
}

std::vector<std::vector<std::string>> sets_of(const CompatibilityReport& report) {
  std::vector<std::vector<std::string>> sets;
  for (const SetVerdict& verdict : report.verdicts) sets.push_back(verdict.devices);
  return sets;
}

using Set = std::vector<std::string>;

TEST(Compatibility, LooksAtEachDeviceThenAtThoseWithMostMemoryThenAtAll) {
  const auto report =
      check(model(4), {device("a", kGiB), device("b", 3 * kGiB), device("c", 2 * kGiB)});
  EXPECT_THAT(sets_of(report),
              ElementsAre(Set{"a"}, Set{"b"}, Set{"c"}, Set{"b", "c"}, Set{"b", "c", "a"}));
  EXPECT_TRUE(report.runs());
  EXPECT_THAT(report.would_fit, IsEmpty());
}

TEST(Compatibility, OfAModelThatCannotBeCutLooksAtNoSetButTheWhole) {
  ModelProfile profile = model(4);
  profile.allowed_cuts.clear();
  profile.one_stage_why = "its layers are shy";
  const auto report =
      check(profile, {device("a", kGiB), device("b", 3 * kGiB), device("c", 2 * kGiB)});
  EXPECT_THAT(sets_of(report), ElementsAre(Set{"a"}, Set{"b"}, Set{"c"}, Set{"b", "c", "a"}));
  EXPECT_THAT(report.verdicts[0].why, Contains(HasSubstr("no place to cut: its layers are shy")));
}

TEST(Compatibility, TakesNoMoreDevicesThanAPlan) {
  std::vector<CheckedDevice> devices;
  for (int i = 0; i < 10; ++i) devices.push_back(device(("d" + std::to_string(i)).c_str(), kGiB));
  const auto report = check(model(2), devices);
  EXPECT_EQ(report.verdicts.size(), 10U + 7);
  EXPECT_EQ(report.verdicts.back().devices.size(), 8U);
}

TEST(Compatibility, LeavesRenderersInSoftwareOutWhereThereIsAnotherDevice) {
  CheckedDevice renderer = device("vulkan0", kGiB);
  renderer.budget.last_resort = true;
  EXPECT_THAT(sets_of(check(model(2), {renderer, device("cpu0", kGiB)})), ElementsAre(Set{"cpu0"}));
  EXPECT_THAT(sets_of(check(model(2), {renderer})), ElementsAre(Set{"vulkan0"}));
}

TEST(Compatibility, IsExactToTheByte) {
  const ModelProfile profile = model(4);
  const auto enough = check(profile, {device("a", need(profile))}).verdicts.front();
  EXPECT_TRUE(enough.fits);
  EXPECT_EQ(enough.short_bytes, 0U);
  const auto report = check(profile, {device("a", need(profile) - 7)});
  EXPECT_FALSE(report.verdicts.front().fits);
  EXPECT_EQ(report.verdicts.front().short_bytes, 7U);
  EXPECT_THAT(report.verdicts.front().why, Contains(HasSubstr("short by 7 bytes")));
  ASSERT_FALSE(report.runs());
  EXPECT_EQ(report.never->code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(report.never->message, HasSubstr("short by 7 bytes"));
}

TEST(Compatibility, SaysWhereTheEstimateIsTooCloseToBeSure) {
  const ModelProfile profile = model(4);
  const auto why = [&](Bytes memory) {
    return check(profile, {device("a", memory)}).verdicts.front().why;
  };
  EXPECT_THAT(why(need(profile)), Contains(HasSubstr("close:")));
  EXPECT_THAT(why(need(profile) * 109 / 100), Contains(HasSubstr("close:")));
  EXPECT_THAT(why(need(profile) * 111 / 100), Not(Contains(HasSubstr("close:"))));
  EXPECT_THAT(why(need(profile) - 1), Not(Contains(HasSubstr("close:"))));
}

TEST(Compatibility, FindsHowMuchWouldFit) {
  const ModelProfile profile = model(4);
  const std::vector<DeviceBudget> budget{{.id = "a", .memory = need(profile) + kMiB}};
  const auto verdict = check(profile, {device("a", need(profile) + kMiB)}).verdicts.front();
  EXPECT_TRUE(fits(profile, budget, {.model = "", .context = verdict.max_context, .parallel = 2}));
  EXPECT_FALSE(
      fits(profile, budget, {.model = "", .context = verdict.max_context + 1, .parallel = 2}));
  EXPECT_TRUE(
      fits(profile, budget, {.model = "", .context = 1024, .parallel = verdict.max_parallel}));
  EXPECT_FALSE(
      fits(profile, budget, {.model = "", .context = 1024, .parallel = verdict.max_parallel + 1}));
}

TEST(Compatibility, NeverPromisesMoreThanWasTrainedNorMoreThanCanBeAsked) {
  const auto verdict = check(model(2), {device("a", 999 * kGiB)}).verdicts.front();
  EXPECT_EQ(verdict.max_context, 8192U);
  EXPECT_EQ(verdict.max_parallel, 256U);
  // KV cells are counted in 32 bits.
  const auto many = check(model(2), {device("a", UINT64_MAX / 8)}, asked(16'777'216, 256));
  EXPECT_EQ(many.verdicts.front().max_context, 0x7FFFFFFFU / 256);
  EXPECT_EQ(many.verdicts.front().max_parallel, 0x7FFFFFFFU / 16'777'216);
}

TEST(Compatibility, CutsOverDevicesThatHoldItOnlyTogether) {
  const ModelProfile profile = model(4);
  const Bytes half = need(profile) * 3 / 4;
  const auto report = check(profile, {device("a", half), device("b", half)});
  ASSERT_EQ(report.verdicts.size(), 3U);
  EXPECT_FALSE(report.verdicts[0].fits);
  EXPECT_FALSE(report.verdicts[1].fits);
  EXPECT_TRUE(report.verdicts[2].fits);
  EXPECT_THAT(report.verdicts[2].why, Contains(HasSubstr("cut over several")));
  EXPECT_TRUE(report.runs());
}

TEST(Compatibility, PredictsAsThePlannerWhereAllWereMeasured) {
  const ModelProfile profile = model(4);
  const auto report = check(profile, {device("a", kGiB)});
  const std::vector<DeviceBudget> budgets{device("a", kGiB).budget};
  const auto plan = plan_stages(profile, budgets, asked().plan);
  ASSERT_TRUE(plan);
  ASSERT_TRUE(report.verdicts[0].predicted);
  EXPECT_EQ(report.verdicts[0].predicted->decode_tokens_per_s, plan->predicted.decode_tokens_per_s);
}

TEST(Compatibility, NamesWhatWasNotMeasuredInsteadOfGuessing) {
  CheckedDevice fresh = device("new", 2 * kGiB);
  fresh.measured = false;
  const auto report = check(model(4), {device("a", kGiB), fresh});
  EXPECT_TRUE(report.verdicts[0].predicted);
  for (std::size_t i : {1U, 2U}) {
    EXPECT_FALSE(report.verdicts[i].predicted);
    EXPECT_THAT(report.verdicts[i].why,
                Contains(HasSubstr("speed unknown: not measured yet for this model: new")));
  }
}

TEST(Compatibility, SaysWhatOthersHoldNow) {
  const ModelProfile profile = model(4);
  CheckedDevice busy = device("a", kGiB);
  busy.memory_now = need(profile) - 1;
  const auto report = check(profile, {busy});
  EXPECT_TRUE(report.verdicts[0].fits);
  EXPECT_THAT(report.verdicts[0].why,
              Contains(HasSubstr("not now: other models or programs hold")));
  busy.memory_now = need(profile);
  EXPECT_THAT(check(profile, {busy}).verdicts[0].why, Not(Contains(HasSubstr("not now"))));
}

TEST(Compatibility, CountsTheDiskOfSlicesWhereItMustBeCut) {
  const ModelProfile profile = model(4);
  const Bytes half = need(profile) * 3 / 4;
  CompatibilityQuestion question = asked();
  question.disk = profile.file_bytes - kMiB;
  const auto cut = check(profile, {device("a", half), device("b", half)}, question);
  EXPECT_FALSE(cut.verdicts[2].fits);
  EXPECT_EQ(cut.verdicts[2].short_bytes, 0U);
  ASSERT_FALSE(cut.runs());
  EXPECT_THAT(cut.never->message, HasSubstr("of disk"));
  EXPECT_THAT(cut.never->message, HasSubstr("short by 1.0 MiB"));
  EXPECT_TRUE(check(profile, {device("a", need(profile))}, question).runs());  // needs no slices
  question.disk = profile.file_bytes;
  EXPECT_TRUE(check(profile, {device("a", half), device("b", half)}, question).runs());
}

TEST(Compatibility, NamesTheTypesInWhichItWouldFit) {
  const ModelProfile profile = model(4);
  const std::vector<QuantizedModel> smaller{
      {.type = "q8_0", .bytes = 30 * kMiB, .loss = {}, .profile = model(4, 8 * kMiB)},
      {.type = "q4_0",
       .bytes = 16 * kMiB,
       .loss = PublishedLoss{0.5, "another model", "somewhere"},
       .profile = model(4, 4 * kMiB)},
      {.type = "q2_k", .bytes = 8 * kMiB, .loss = {}, .profile = model(4, 2 * kMiB)}};
  const Bytes room = need(model(4, 4 * kMiB));
  const auto report = check(profile, {device("a", room)}, asked(), smaller);
  ASSERT_FALSE(report.runs());
  ASSERT_EQ(report.would_fit.size(), 2U);
  EXPECT_EQ(report.would_fit[0].type, "q4_0");
  EXPECT_EQ(report.would_fit[0].bytes, 16 * kMiB);
  EXPECT_DOUBLE_EQ(report.would_fit[0].loss->added_perplexity, 0.5);
  EXPECT_EQ(report.would_fit[1].type, "q2_k");
  EXPECT_THAT(report.never->message, HasSubstr("as q4_0 (16.0 MiB) it would fit"));
}

TEST(Compatibility, WithoutAnyDeviceNothingRuns) {
  const auto report = check(model(2), {});
  EXPECT_FALSE(report.runs());
  EXPECT_THAT(report.verdicts, IsEmpty());
}

// The layers at half of their size.
CompatibilityQuestion with_halves(const ModelProfile& profile, bool allow) {
  CompatibilityQuestion question = asked();
  SmallerLayers half{.type = {"q8_0", 8, 32}, .cost = 0.0026, .profile = profile};
  for (Bytes& bytes : half.profile.layer_weights) bytes /= 2;
  question.plan.smaller = std::make_shared<const std::vector<SmallerLayers>>(1, half);
  question.plan.quantize.allow = allow;
  return question;
}

TEST(Compatibility, SaysThatItWouldFitWithSmallerStages) {
  const ModelProfile profile = model(8, 100 * kMiB);
  const std::vector<CheckedDevice> devices = {device("a", 520 * kMiB), device("b", 200 * kMiB)};
  const auto report = check(profile, devices, with_halves(profile, false));
  ASSERT_FALSE(report.runs());
  ASSERT_EQ(report.smaller_stages.size(), 1U);
  EXPECT_EQ(report.smaller_stages[0].device, "b");
  EXPECT_EQ(report.smaller_stages[0].layers.size(), 3U);
  EXPECT_EQ(report.smaller_stages[0].type.name, "q8_0");
  EXPECT_THAT(report.never->message, HasSubstr("with --quantize-stages allow it would: layers"));
  EXPECT_THAT(check(profile, devices).smaller_stages, IsEmpty());
  EXPECT_THAT(check(profile, devices).never->message, Not(HasSubstr("quantize-stages")));
}

TEST(Compatibility, CountsSmallerStagesWhereTheyAreAllowedAndSaysSo) {
  const ModelProfile profile = model(8, 100 * kMiB);
  const auto report = check(profile, {device("a", 520 * kMiB), device("b", 200 * kMiB)},
                            with_halves(profile, true));
  EXPECT_TRUE(report.runs());
  EXPECT_THAT(report.smaller_stages, IsEmpty());
  const SetVerdict& both = report.verdicts.back();
  EXPECT_TRUE(both.fits);
  EXPECT_THAT(both.why, Contains(HasSubstr("fits with smaller types only: layers")));
  EXPECT_GE(both.max_context, 1024U);
  EXPECT_FALSE(report.verdicts[1].fits);
  EXPECT_GT(report.verdicts[1].short_bytes, 0U);
}

}  // namespace
}  // namespace gogrid
