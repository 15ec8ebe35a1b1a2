#include "resource/resource_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using Settings = std::vector<PolicySetting>;

ResourcePolicy balanced() { return ResourcePolicy::of(ResourceMode::kBalanced); }

std::vector<PolicyFault> faults_of(const Settings& settings) {
  auto policy = with_settings(balanced(), settings);
  EXPECT_FALSE(policy);
  return policy ? std::vector<PolicyFault>{} : policy.error();
}

// "name=value name=value", as the specification's table says it.
std::string text_of(const ResourcePolicy& policy) {
  std::string text;
  for (const auto& [name, value] : settings_of(policy)) {
    text += name + '=';
    if (const auto* words = std::get_if<std::string>(&value)) text += *words;
    if (const auto* flag = std::get_if<bool>(&value)) text += *flag ? "on" : "off";
    if (const auto* whole = std::get_if<std::int64_t>(&value)) text += std::to_string(*whole);
    if (const auto* number = std::get_if<double>(&value)) {
      text += std::to_string(std::lround(*number * 100)) + '%';
    }
    text += ' ';
  }
  return text;
}

TEST(ResourcePolicy, ModesHaveTheValuesOfTheSpecification) {
  EXPECT_EQ(text_of(ResourcePolicy::of(ResourceMode::kConservative)),
            "mode=conservative max_device_memory=50% max_compute=60% nice=15 io_class=3 io_level=7 "
            "min_request_interval_ms=100 max_batch=2 pause.enabled=on pause.cpu=50% pause.gpu=60% "
            "pause.memory=80% pause.check_s=3 pause.pause_s=60 ");
  EXPECT_EQ(text_of(balanced()),
            "mode=balanced max_device_memory=70% max_compute=80% nice=10 io_class=3 io_level=7 "
            "min_request_interval_ms=50 max_batch=4 pause.enabled=on pause.cpu=70% pause.gpu=80% "
            "pause.memory=90% pause.check_s=5 pause.pause_s=30 ");
  EXPECT_EQ(text_of(ResourcePolicy::of(ResourceMode::kAggressive)),
            "mode=aggressive max_device_memory=95% max_compute=95% nice=0 io_class=2 io_level=4 "
            "min_request_interval_ms=0 max_batch=16 pause.enabled=off pause.cpu=90% pause.gpu=95% "
            "pause.memory=95% pause.check_s=10 pause.pause_s=15 ");
}

TEST(ResourcePolicy, ModesHaveNames) {
  for (const auto mode :
       {ResourceMode::kConservative, ResourceMode::kBalanced, ResourceMode::kAggressive}) {
    EXPECT_EQ(find_resource_mode(name_of(mode)), mode);
  }
  EXPECT_FALSE(find_resource_mode("Balanced"));
  EXPECT_FALSE(find_resource_mode(""));
}

TEST(ResourcePolicy, ItsSettingsGiveItBack) {
  auto policy = with_settings(balanced(), Settings{{"max_compute", 0.123456},
                                                   {"nice", std::int64_t{-20}},
                                                   {"devices.vulkan0.max_compute", 0.5},
                                                   {"devices.cpu.a.max_device_memory", 1.0}});
  ASSERT_TRUE(policy);
  EXPECT_EQ(with_settings(ResourcePolicy::of(ResourceMode::kAggressive), settings_of(*policy)),
            *policy);
}

TEST(ResourcePolicy, EveryValueCanBeSetAloneAndChangesNoOther) {
  for (const PolicySetting& setting : settings_of(ResourcePolicy::of(ResourceMode::kAggressive))) {
    if (setting.name == "mode") continue;
    const auto policy = with_settings(balanced(), Settings{setting});
    ASSERT_TRUE(policy) << setting.name;
    std::size_t changed = 0;
    const auto before = settings_of(balanced());
    const auto after = settings_of(*policy);
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (before[i] == after[i]) continue;
      ++changed;
      EXPECT_EQ(after[i], setting);
    }
    EXPECT_EQ(changed, 1U) << setting.name;
  }
}

TEST(ResourcePolicy, AModeSetsAllValuesAndThoseGivenBesideItStand) {
  const auto policy = with_settings(
      balanced(), Settings{{"nice", std::int64_t{3}}, {"mode", std::string("conservative")}});
  ASSERT_TRUE(policy);
  auto expected = ResourcePolicy::of(ResourceMode::kConservative);
  expected.nice = 3;
  EXPECT_EQ(*policy, expected);
}

TEST(ResourcePolicy, ADeviceHasItsOwnValuesUntilTheyAreTakenBack) {
  auto policy = with_settings(balanced(), Settings{{"devices.vulkan0.max_compute", 0.25}});
  ASSERT_TRUE(policy);
  EXPECT_EQ(policy->compute_of("vulkan0").millionths(), 250'000U);
  EXPECT_EQ(policy->memory_of("vulkan0"), policy->max_device_memory);
  EXPECT_EQ(policy->compute_of("cpu0"), policy->max_compute);
  policy = with_settings(*policy, Settings{{"mode", std::string("aggressive")}});
  EXPECT_EQ(policy->compute_of("vulkan0").millionths(), 250'000U);
  policy = with_settings(*policy, Settings{{"devices.vulkan0.max_compute", std::monostate{}}});
  ASSERT_TRUE(policy);
  EXPECT_TRUE(policy->devices.empty());
}

TEST(ResourcePolicy, TakesBoundsAndRefusesWhatLiesBeyond) {
  struct Range {
    const char* name;
    std::int64_t least, most;
  };
  for (const Range& range :
       {Range{"nice", -20, 19}, Range{"io_class", 0, 3}, Range{"io_level", 0, 7},
        Range{"min_request_interval_ms", 0, 3'600'000}, Range{"max_batch", 1, 1024},
        Range{"pause.check_s", 1, 3600}, Range{"pause.pause_s", 1, 86'400}}) {
    for (const std::int64_t good : {range.least, range.most}) {
      EXPECT_TRUE(with_settings(balanced(), Settings{{range.name, good}})) << range.name;
    }
    for (const std::int64_t bad :
         {range.least - 1, range.most + 1, std::numeric_limits<std::int64_t>::max(),
          std::numeric_limits<std::int64_t>::min()}) {
      const auto faults = faults_of({{range.name, bad}});
      ASSERT_EQ(faults.size(), 1U);
      EXPECT_EQ(faults[0].name, range.name);
      EXPECT_THAT(faults[0].message, AllOf(HasSubstr(range.name), HasSubstr(std::to_string(bad)),
                                           HasSubstr(std::to_string(range.least) + ".." +
                                                     std::to_string(range.most))));
    }
  }
}

TEST(ResourcePolicy, SharesAreFiniteAndWithinNothingAndAll) {
  for (const char* name : {"max_device_memory", "max_compute", "pause.cpu", "pause.gpu",
                           "pause.memory", "devices.cpu0.max_compute"}) {
    for (const PolicyValue& good :
         {PolicyValue(0.0), PolicyValue(1.0), PolicyValue(std::int64_t{1})}) {
      EXPECT_TRUE(with_settings(balanced(), Settings{{name, good}})) << name;
    }
    for (const PolicyValue& bad :
         {PolicyValue(-0.1), PolicyValue(1.1), PolicyValue(std::int64_t{70}), PolicyValue(true),
          PolicyValue(std::string("0.5")), PolicyValue(std::numeric_limits<double>::quiet_NaN()),
          PolicyValue(std::numeric_limits<double>::infinity())}) {
      const auto faults = faults_of({{name, bad}});
      ASSERT_EQ(faults.size(), 1U) << name;
      EXPECT_THAT(faults[0].message, HasSubstr("0..1"));
    }
  }
}

TEST(ResourcePolicy, AWholeNumberMayBeWrittenWithAPoint) {
  EXPECT_EQ(with_settings(balanced(), Settings{{"max_batch", 8.0}})->max_batch, 8U);
  for (const double bad : {8.5, 1e300, -1e300, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(faults_of({{"max_batch", bad}}).size(), 1U) << bad;
  }
}

TEST(ResourcePolicy, SaysAllThatIsWrongAtOnceAndThenChangesNothing) {
  const auto faults = faults_of({{"max_compute", 70.0},
                                 {"nice", std::int64_t{5}},
                                 {"io_class", std::int64_t{9}},
                                 {"mode", std::string("gentle")},
                                 {"pause.enabled", std::int64_t{1}},
                                 {"pause.cpu", std::monostate{}}});
  std::vector<std::string> names;
  for (const auto& fault : faults) names.push_back(fault.name);
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("max_compute", "io_class", "mode",
                                                     "pause.enabled", "pause.cpu"));
}

TEST(ResourcePolicy, AnUnknownNameSuggestsTheNearest) {
  EXPECT_THAT(faults_of({{"max_conpute", 0.5}})[0].message, HasSubstr("did you mean max_compute"));
  EXPECT_THAT(faults_of({{"pause.cpus", 0.5}})[0].message, HasSubstr("pause.cpu"));
  for (const char* bad : {"", "pause", "devices.", "devices.cpu0", "devices..max_compute",
                          "devices.cpu0.nice", "devices.max_compute"}) {
    EXPECT_EQ(faults_of({{bad, 0.5}}).size(), 1U) << bad;
  }
  EXPECT_LT(faults_of({{std::string(100'000, 'x'), 0.5}})[0].message.size(), 1000U);
}

TEST(ResourcePolicy, TheStricterOfTwoTakesOfEachValueTheOneThatYieldsMore) {
  const auto conservative = ResourcePolicy::of(ResourceMode::kConservative);
  auto expected = conservative;
  expected.mode = ResourceMode::kAggressive;
  EXPECT_EQ(stricter(ResourcePolicy::of(ResourceMode::kAggressive), conservative), expected);
  EXPECT_EQ(stricter(conservative, ResourcePolicy::of(ResourceMode::kAggressive)), conservative);
  // An I/O level belongs to its class.
  auto best_effort = ResourcePolicy::of(ResourceMode::kAggressive);
  best_effort.io_level = 2;
  EXPECT_EQ(stricter(best_effort, ResourcePolicy::of(ResourceMode::kAggressive)).io_level, 4);
  EXPECT_EQ(stricter(best_effort, conservative).io_level, conservative.io_level);
}

TEST(ResourcePolicy, NoWorkIsWantedWhereNoDeviceMayCompute) {
  auto policy = ResourcePolicy::of(ResourceMode::kBalanced);
  EXPECT_FALSE(wants_no_work(policy));
  policy.max_compute = Share();
  EXPECT_TRUE(wants_no_work(policy));
  policy.devices["cpu0"].max_compute = Share::percent(10);
  EXPECT_FALSE(wants_no_work(policy));
  policy.max_compute = Share::percent(10);
  policy.devices["cpu0"].max_compute = Share();
  EXPECT_FALSE(wants_no_work(policy));
}

}  // namespace
}  // namespace gogrid
