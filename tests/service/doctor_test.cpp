#include "service/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace gogrid {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Device cpu() {
  Device device;
  device.id = "cpu0";
  device.memory_total = 10 * kGiB;
  device.cores = {0, 1};
  return device;
}

Device gpu(std::string id, std::optional<Bytes> memory = 8 * kGiB) {
  Device device;
  device.id = std::move(id);
  device.kind = DeviceKind::kGpu;
  device.memory_total = memory;
  return device;
}

PriorityReport priority_as_wanted() {
  return {.items = {{.name = "nice", .wanted = "10", .in_force = "10"},
                    {.name = "io", .wanted = "idle", .in_force = "idle"},
                    {.name = "policy", .wanted = "SCHED_OTHER", .in_force = "SCHED_OTHER"},
                    {.name = "timer_slack_ns"},
                    {.name = "oom_score_adj"}},
          .threads = {},
          .warning = {}};
}

// A machine on which everything holds.
MachineFacts good_machine() {
  MachineFacts facts{.devices = {cpu()},
                     .lowered = priority_as_wanted(),
                     .restored = priority_as_wanted(),
                     .nice_in_session_only = false,
                     .io_scheduler = "bfq",
                     .host = {},
                     .gpus = {},
                     .presence = {.state = PresenceState::kNobody, .since = {}, .why = {}},
                     .time_zone = "Europe/Berlin"};
  facts.host.cpu = CpuLoad{.others = Share::percent(3), .own = Share()};
  facts.host.memory_of_others = Share::percent(20);
  facts.host.power = Power{};
  facts.host.heat = Heat{.zone = "x86_pkg_temp", .now = 50'000, .limit = 95'000};
  return facts;
}

const ResourcePolicy kBalanced = ResourcePolicy::of(ResourceMode::kBalanced);

Finding finding_of(const std::vector<Finding>& findings, std::string_view name,
                   std::string_view of = {}) {
  const auto found = std::ranges::find_if(findings, [&](const Finding& finding) {
    return finding.name == name && (of.empty() || finding.of == of);
  });
  if (found == findings.end()) {
    ADD_FAILURE() << "no finding of " << name << ' ' << of;
    return {};
  }
  return *found;
}

TEST(Doctor, FindsNothingWrongWithAMachineOnWhichAllHolds) {
  const auto findings = diagnose(kBalanced, good_machine());
  EXPECT_TRUE(all_hold(findings));
  for (const Finding& finding : findings) {
    EXPECT_FALSE(finding.what.empty()) << finding.name;
    EXPECT_THAT(finding.advice, IsEmpty()) << finding.name;
  }
}

TEST(Doctor, SaysWhatEachDeviceMayGiveInBytes) {
  const Finding memory =
      finding_of(diagnose(kBalanced, good_machine()), "max_device_memory", "cpu0");
  EXPECT_EQ(memory.holds, Holds::kYes);
  EXPECT_THAT(memory.what, HasSubstr("at most 7.0 GiB (70 %"));
}

TEST(Doctor, AsksForABoundWhereADriverTellsNoMemory) {
  MachineFacts facts = good_machine();
  facts.devices.push_back(gpu("vulkan0", std::nullopt));
  const Finding memory = finding_of(diagnose(kBalanced, facts), "max_device_memory", "vulkan0");
  EXPECT_EQ(memory.holds, Holds::kNo);
  EXPECT_THAT(memory.advice, HasSubstr("--device vulkan0:memory="));
  facts.devices.back().memory_budget = 4 * kGiB;
  EXPECT_EQ(finding_of(diagnose(kBalanced, facts), "max_device_memory", "vulkan0").holds,
            Holds::kYes);
}

TEST(Doctor, SaysOfADevicesOwnShareOfTimeWhatItIs) {
  ResourcePolicy policy = kBalanced;
  policy.devices["cpu0"].max_compute = Share::of_millionths(125'000);
  EXPECT_THAT(finding_of(diagnose(policy, good_machine()), "max_compute", "cpu0").what,
              HasSubstr("for 12.5 % of the time"));
  policy.devices["cpu0"].max_compute = Share::percent(100);
  EXPECT_EQ(finding_of(diagnose(policy, good_machine()), "max_compute").holds, Holds::kUnused);
}

TEST(Doctor, SaysThatNiceCountsInASessionOnlyAndWhatToDo) {
  MachineFacts facts = good_machine();
  facts.nice_in_session_only = true;
  const auto findings = diagnose(kBalanced, facts);
  for (const char* name : {"nice", "priority.policy"}) {
    const Finding finding = finding_of(findings, name);
    EXPECT_EQ(finding.holds, Holds::kPartly) << name;
    EXPECT_THAT(finding.what, HasSubstr("one session only")) << name;
    EXPECT_THAT(finding.advice, HasSubstr("CPUWeight=idle")) << name;
  }
  EXPECT_FALSE(all_hold(findings));
}

TEST(Doctor, SaysThatADiskWithoutASchedulerServesAllClassesAlike) {
  MachineFacts facts = good_machine();
  facts.io_scheduler = "none";
  const Finding io = finding_of(diagnose(kBalanced, facts), "io_class");
  EXPECT_EQ(io.holds, Holds::kPartly);
  EXPECT_THAT(io.what, HasSubstr("scheduled by 'none'"));
  EXPECT_THAT(io.advice, HasSubstr("bfq"));
}

TEST(Doctor, SaysWhatIsNotPermittedInTheWordsOfWhoeverTried) {
  MachineFacts facts = good_machine();
  facts.lowered->items[0].as_wanted = false;
  facts.lowered->items[0].warning = "[priority] nice -5: not in force: needs CAP_SYS_NICE";
  const Finding nice = finding_of(diagnose(kBalanced, facts), "nice");
  EXPECT_EQ(nice.holds, Holds::kNo);
  EXPECT_THAT(nice.what, HasSubstr("needs CAP_SYS_NICE"));
}

TEST(Doctor, SaysWhereALoweredPriorityCannotBeRaisedAgain) {
  MachineFacts facts = good_machine();
  facts.restored->items[0].as_wanted = false;
  facts.restored->items[0].warning = "[priority] nice 0: needs RLIMIT_NICE of at least 20";
  const Finding back = finding_of(diagnose(kBalanced, facts), "priority.back_up");
  EXPECT_EQ(back.holds, Holds::kPartly);
  EXPECT_THAT(back.what, AllOf(HasSubstr("until a restart"), HasSubstr("RLIMIT_NICE")));
}

TEST(Doctor, SaysByNameThatAnUnknownSystemHasNoPriorities) {
  MachineFacts facts = good_machine();
  facts.lowered = std::unexpected("priorities are not supported on plan9");
  const Finding nice = finding_of(diagnose(kBalanced, facts), "nice");
  EXPECT_EQ(nice.holds, Holds::kNo);
  EXPECT_THAT(nice.what, HasSubstr("plan9"));
}

TEST(Doctor, SaysWhichLoadCannotBeSeenAndWhy) {
  MachineFacts facts = good_machine();
  facts.host.cpu = std::unexpected("[load] cpu: /proc/stat is absent");
  const Finding cpu_pause = finding_of(diagnose(kBalanced, facts), "pause.cpu");
  EXPECT_EQ(cpu_pause.holds, Holds::kNo);
  EXPECT_THAT(cpu_pause.what, HasSubstr("/proc/stat is absent"));
}

TEST(Doctor, SaysOfEachGpuWhetherOthersCanBeSeenOnIt) {
  MachineFacts facts = good_machine();
  GpuReading seen;
  seen.id = "0000:01:00.0";
  seen.name = "RTX 3060";
  seen.busy_by_others = Share::percent(7);
  GpuReading unseen;
  unseen.id = "0000:02:00.0";
  unseen.notes = {"utilization is not supported"};
  facts.gpus.gpus = {seen, unseen};
  const auto findings = diagnose(kBalanced, facts);
  EXPECT_THAT(finding_of(findings, "pause.gpu", seen.id).what, HasSubstr("others use 7 % now"));
  EXPECT_EQ(finding_of(findings, "pause.gpu", unseen.id).holds, Holds::kNo);
  EXPECT_THAT(finding_of(findings, "pause.gpu", unseen.id).what, HasSubstr("not supported"));
}

TEST(Doctor, MissesADriverOnlyWhereThereIsAGpuToWatch) {
  MachineFacts facts = good_machine();
  facts.gpus.faults = {{ErrorCode::kUnavailable, "libnvidia-ml.so.1 not found", {}, {}}};
  EXPECT_EQ(finding_of(diagnose(kBalanced, facts), "pause.gpu").holds, Holds::kUnused);
  facts.devices.push_back(gpu("cuda0"));
  const Finding finding = finding_of(diagnose(kBalanced, facts), "pause.gpu");
  EXPECT_EQ(finding.holds, Holds::kNo);
  EXPECT_THAT(finding.what, HasSubstr("libnvidia-ml.so.1 not found"));
}

TEST(Doctor, CallsWhatIsSwitchedOffUnusedHoweverLittleCanBeSeen) {
  MachineFacts facts = good_machine();
  facts.host = {};
  ResourcePolicy policy = kBalanced;
  policy.pause.enabled = false;
  policy.min_request_interval = {};
  const auto findings = diagnose(policy, facts);
  for (const char* name :
       {"pause.cpu", "pause.memory", "pause.power", "pause.heat", "min_request_interval_ms"}) {
    EXPECT_EQ(finding_of(findings, name).holds, Holds::kUnused) << name;
  }
}

TEST(Doctor, SaysWhoToldNothingOfTheOwnerAndOfTheTime) {
  MachineFacts facts = good_machine();
  facts.presence = {.state = PresenceState::kUnknown, .since = {}, .why = "no system bus"};
  facts.time_zone = std::unexpected("no time zone data");
  const auto findings = diagnose(kBalanced, facts);
  EXPECT_THAT(finding_of(findings, "presence").what, HasSubstr("no system bus"));
  EXPECT_EQ(finding_of(findings, "presence").holds, Holds::kNo);
  EXPECT_THAT(finding_of(findings, "quiet_hours").advice, HasSubstr("tzdata"));
}

}  // namespace
}  // namespace gogrid
