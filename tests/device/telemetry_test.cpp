#include "device/telemetry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <random>

#include "device/fake_nvml/loaded.h"
#include "device/gpu_sources.h"
#include "device/nvml_source.h"
#include "support/manual_clock.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using gogrid::testing::LoadedNvml;
using gogrid::testing::ManualClock;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using std::chrono::milliseconds;
using std::chrono::seconds;

// In real time: longer than any test, for a driver that does answer.
constexpr Duration kLong = seconds(30);
constexpr Duration kMaxAge = milliseconds(250);

// What a test wants of a source, and sees of it.
struct Script {
  std::atomic<bool> blocked{false};  // a driver that does not answer
  std::atomic<bool> throws{false};
  std::atomic<int> asked{0};
  std::atomic<int> answered{0};
  std::atomic<int> inside{0};
  std::atomic<int> most_inside{0};
  ManualClock* clock = nullptr;
  std::atomic<Duration::rep> takes{0};  // moves the clock

  void unblock() {
    blocked = false;
    blocked.notify_all();
  }
  void wait_until_asked(int times) const {
    for (int now = asked; now < times; now = asked) asked.wait(now);
  }
  void wait_until_answered(int times) const {
    for (int now = answered; now < times; now = answered) answered.wait(now);
  }
};

// Tells the number of times it was asked, as bytes that are used.
class ScriptedSource final : public GpuSource {
 public:
  ScriptedSource(std::string id, Script& script) : id_(std::move(id)), script_(script) {}
  std::string name() const override { return "source " + id_; }
  SourceReading read() override {
    const int inside = ++script_.inside;
    script_.most_inside = std::max(script_.most_inside.load(), inside);
    const int times = ++script_.asked;
    script_.asked.notify_all();
    script_.blocked.wait(true);
    if (script_.clock != nullptr) script_.clock->advance(Duration(script_.takes.load()));
    --script_.inside;
    ++script_.answered;
    script_.answered.notify_all();
    if (script_.throws) throw std::runtime_error("the driver threw a fit");
    GpuReading gpu;
    gpu.id = id_;
    gpu.name = "GPU " + id_;
    gpu.memory_used = static_cast<Bytes>(times);
    return {.gpus = {gpu}, .fault = std::nullopt};
  }

 private:
  const std::string id_;
  Script& script_;
};

class TelemetryTest : public ::testing::Test {
 protected:
  ~TelemetryTest() override {
    for (Script& script : scripts_) script.unblock();
  }
  Telemetry& start(std::size_t sources = 1) {
    std::vector<std::unique_ptr<GpuSource>> made;
    for (std::size_t i = 0; i < sources; ++i) {
      made.push_back(std::make_unique<ScriptedSource>(std::to_string(i), scripts_[i]));
    }
    telemetry_.emplace(std::move(made), clock_);
    return *telemetry_;
  }
  static std::optional<Bytes> used(const Telemetry::Readings& readings, std::size_t gpu = 0) {
    return readings->gpus.at(gpu).memory_used;
  }

  ManualClock clock_;
  std::array<Script, 2> scripts_;
  // Ends before the scripts; ~TelemetryTest has let every driver go by then.
  std::optional<Telemetry> telemetry_;
};

TEST_F(TelemetryTest, AsksTheDriverOnceUntilTheReadingIsTooOld) {
  Telemetry& telemetry = start();
  EXPECT_EQ(used(telemetry.read(kMaxAge, kLong)), 1U);
  clock_.advance(kMaxAge);
  EXPECT_EQ(used(telemetry.read(kMaxAge, kLong)), 1U);
  clock_.advance(Duration(1));
  EXPECT_EQ(used(telemetry.read(kMaxAge, kLong)), 2U);
  EXPECT_EQ(scripts_[0].asked, 2);
}

TEST_F(TelemetryTest, AsksNobodyWhileNobodyAsks) {
  start();
  clock_.advance(seconds(3600));
  EXPECT_EQ(scripts_[0].asked, 0);
}

TEST_F(TelemetryTest, ServesAnOldReadingToWhomItIsNewEnough) {
  Telemetry& telemetry = start();
  telemetry.read(kMaxAge, kLong);
  clock_.advance(seconds(3));
  EXPECT_EQ(used(telemetry.read(seconds(5), kLong)), 1U);
  EXPECT_EQ(scripts_[0].asked, 1);
}

TEST_F(TelemetryTest, DoesNotMakeAnybodyWaitForASlowDriverWhoDoesNotWantTo) {
  Telemetry& telemetry = start();
  telemetry.read(kMaxAge, kLong);
  scripts_[0].blocked = true;
  clock_.advance(seconds(1));
  const auto first = telemetry.read(kMaxAge, Duration(0));
  scripts_[0].wait_until_asked(2);
  clock_.advance(milliseconds(700));
  const auto second = telemetry.read(kMaxAge, Duration(0));
  EXPECT_EQ(used(first), std::nullopt);
  EXPECT_EQ(used(second), std::nullopt);
  EXPECT_EQ(second->gpus[0].name, "GPU 0") << "who it is, is known";
  EXPECT_THAT(second->gpus[0].notes, ElementsAre(HasSubstr("source 0: none for 700 ms")));
  EXPECT_EQ(used(telemetry.read(seconds(2), Duration(0))), 1U) << "new enough for this one";
}

TEST_F(TelemetryTest, WaitsForASlowDriverNoLongerThanTold) {
  Telemetry& telemetry = start();
  scripts_[0].blocked = true;
  const auto before = std::chrono::steady_clock::now();
  const auto readings = telemetry.read(kMaxAge, milliseconds(30));
  const auto waited = std::chrono::steady_clock::now() - before;
  EXPECT_GE(waited, milliseconds(30));
  EXPECT_LT(waited, seconds(10)) << "the driver would not have answered at all";
  EXPECT_THAT(readings->gpus, IsEmpty());
  EXPECT_THAT(readings->faults, ElementsAre(Field(&Error::code, ErrorCode::kUnavailable)));
}

TEST_F(TelemetryTest, WaitsOnlyOnceForADriverThatHangs) {
  Telemetry& telemetry = start();
  scripts_[0].blocked = true;
  telemetry.read(kMaxAge, Duration(0));
  scripts_[0].wait_until_asked(1);
  clock_.advance(kLong);
  const auto before = std::chrono::steady_clock::now();
  telemetry.read(kMaxAge, kLong);  // silent for as long already: not waited for
  EXPECT_LT(std::chrono::steady_clock::now() - before, kLong / 2);
  EXPECT_EQ(scripts_[0].asked, 1) << "nor asked twice";
}

TEST_F(TelemetryTest, AsksOnceForAllWhoAskedWhileTheDriverWasSilent) {
  Telemetry& telemetry = start();
  scripts_[0].blocked = true;
  telemetry.read(kMaxAge, Duration(0));
  scripts_[0].wait_until_asked(1);
  for (int i = 0; i < 5; ++i) telemetry.read(kMaxAge, Duration(0));
  scripts_[0].unblock();
  while (telemetry.read(kMaxAge, milliseconds(1))->gpus.empty()) {
  }
  telemetry_.reset();
  EXPECT_EQ(scripts_[0].asked, 1);
}

TEST_F(TelemetryTest, DoesNotServeWhatWasOldWhenItCame) {
  scripts_[0].clock = &clock_;
  scripts_[0].takes = Duration(seconds(2)).count();
  Telemetry& telemetry = start();
  const auto readings = telemetry.read(kMaxAge, kLong);
  EXPECT_EQ(used(readings), std::nullopt);
  EXPECT_THAT(readings->gpus[0].notes, ElementsAre(HasSubstr("it came after 2000 ms")));
  EXPECT_EQ(used(telemetry.read(seconds(2), kLong)), 1U) << "to whom it is new enough";
}

TEST_F(TelemetryTest, KeepsASlowDriversSilenceFromTheOthers) {
  Telemetry& telemetry = start(2);
  telemetry.read(kMaxAge, kLong);
  scripts_[0].blocked = true;
  clock_.advance(seconds(1));
  telemetry.read(kMaxAge, Duration(0));
  scripts_[1].wait_until_answered(2);
  std::optional<Bytes> seen;
  // The answer is published a moment after it is given.
  while (!seen) seen = used(telemetry.read(kMaxAge, milliseconds(1)), 1);
  EXPECT_EQ(seen, 2U);
  EXPECT_EQ(used(telemetry.read(kMaxAge, Duration(0)), 0), std::nullopt);
}

TEST_F(TelemetryTest, HearsADriverThatAnswersAgain) {
  Telemetry& telemetry = start();
  scripts_[0].blocked = true;
  telemetry.read(kMaxAge, Duration(0));
  scripts_[0].wait_until_asked(1);
  clock_.advance(seconds(2));
  EXPECT_THAT(telemetry.read(kMaxAge, Duration(0))->faults, SizeIs(1));
  scripts_[0].unblock();
  std::optional<Bytes> seen;
  while (!seen) {
    const auto readings = telemetry.read(kMaxAge, milliseconds(1));
    if (!readings->gpus.empty()) seen = used(readings);
  }
  EXPECT_EQ(seen, 2U) << "the first answer was two seconds old";
  EXPECT_THAT(telemetry.read(kMaxAge, kLong)->faults, IsEmpty());
}

TEST_F(TelemetryTest, TurnsADriversFitIntoAFault) {
  Telemetry& telemetry = start();
  telemetry.read(kMaxAge, kLong);
  scripts_[0].throws = true;
  clock_.advance(seconds(1));
  const auto readings = telemetry.read(kMaxAge, kLong);
  ASSERT_THAT(readings->faults, SizeIs(1));
  EXPECT_THAT(readings->faults[0].message, HasSubstr("the driver threw a fit"));
  EXPECT_EQ(used(readings), std::nullopt);
  EXPECT_EQ(readings->gpus[0].name, "GPU 0");
  scripts_[0].throws = false;
  clock_.advance(seconds(1));
  EXPECT_EQ(used(telemetry.read(kMaxAge, kLong)), 3U);
}

TEST_F(TelemetryTest, OfNoSourcesTellsOfNoGpus) {
  Telemetry& telemetry = start(0);
  EXPECT_THAT(telemetry.read()->gpus, IsEmpty());
  EXPECT_THAT(telemetry.read()->faults, IsEmpty());
}

TEST_F(TelemetryTest, NeverServesAnOlderFigureThanToldHoweverItIsAsked) {
  // Each answer is the clock's time when the driver was asked, so its age can be seen.
  class Stamp final : public GpuSource {
   public:
    explicit Stamp(const ManualClock& clock) : clock_(clock) {}
    std::string name() const override { return "stamp"; }
    SourceReading read() override {
      GpuReading gpu;
      gpu.memory_used = static_cast<Bytes>(clock_.now().time_since_epoch().count());
      return {.gpus = {gpu}, .fault = std::nullopt};
    }

   private:
    const ManualClock& clock_;
  };
  std::vector<std::unique_ptr<GpuSource>> sources;
  sources.push_back(std::make_unique<Stamp>(clock_));
  sources.push_back(std::make_unique<Stamp>(clock_));
  Telemetry telemetry(std::move(sources), clock_);
  std::atomic<bool> over{false};
  std::atomic<int> served{0};
  const auto ask = [&](unsigned seed) {
    std::mt19937 random(seed);
    while (!over) {
      const Duration max_age = milliseconds(random() % 400);
      const TimePoint before = clock_.now();
      const auto readings = telemetry.read(max_age, milliseconds(random() % 3));
      for (const GpuReading& gpu : readings->gpus) {
        if (!gpu.memory_used) continue;
        const TimePoint taken{Duration(static_cast<Duration::rep>(*gpu.memory_used))};
        // Older than told already when it was asked for: old by any account.
        ASSERT_LE(before - taken, max_age);
        ++served;
      }
    }
  };
  std::vector<std::thread> callers;
  for (unsigned i = 0; i < 3; ++i) callers.emplace_back(ask, i);
  for (int i = 0; i < 20'000 || served < 1000; ++i) {
    clock_.advance(std::chrono::microseconds(500));
    std::this_thread::yield();
  }
  over = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_GE(served, 1000);
}

TEST_F(TelemetryTest, LetsOneThreadAtATimeIntoADriver) {
  Telemetry& telemetry = start(2);
  std::latch begin(4);
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      begin.arrive_and_wait();
      for (int n = 0; n < 500; ++n) {
        clock_.advance(milliseconds(100));
        telemetry.read(kMaxAge, milliseconds(n % 2));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const Script& script : scripts_) {
    EXPECT_EQ(script.most_inside, 1);
    EXPECT_GT(script.asked, 0);
  }
}

TEST(TelemetryOfNvml, BlocksNobodyWhileTheDriverBlocks) {
  LoadedNvml fake;
  ManualClock clock;
  const gogrid::testing::TemporaryFolder root;
  std::vector<std::unique_ptr<GpuSource>> sources;
  sources.push_back(std::make_unique<NvmlSource>(
      NvmlOptions{.library = fake.path(), .root = root.path(), .own_pid = 1, .host_pids = true},
      clock));
  Telemetry telemetry(std::move(sources), clock);
  EXPECT_EQ(telemetry.read(kMaxAge, kLong)->gpus.at(0).memory_used, 0U);
  fake->blocked = true;
  fake->memory_used = 99;
  clock.advance(seconds(1));
  telemetry.read(kMaxAge, Duration(0));
  while (fake->inside == 0) std::this_thread::yield();
  clock.advance(seconds(2));
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      // Would wait for the driver to the end of the test if it waited for it at all.
      const auto readings = telemetry.read(kMaxAge, seconds(2));
      EXPECT_EQ(readings->gpus.at(0).memory_used, std::nullopt);
      EXPECT_THAT(readings->gpus[0].notes, Contains(HasSubstr("NVML: none for 2000 ms")));
    });
  }
  for (std::thread& caller : callers) caller.join();
  fake->blocked = false;
  fake->blocked.notify_all();
  std::optional<Bytes> seen;
  while (!seen) seen = telemetry.read(kMaxAge, milliseconds(1))->gpus.at(0).memory_used;
  EXPECT_EQ(seen, 99U);
  EXPECT_FALSE(fake->shared) << "two threads were in the library at once";
}

TEST(TelemetryOfThisMachine, AnswersWhateverIsInstalledHere) {
  const SteadyClock clock;
  Telemetry telemetry(make_gpu_sources(clock), clock);
  const auto readings = telemetry.read(kLong, kLong);
  for (const GpuReading& gpu : readings->gpus) {
    EXPECT_FALSE(gpu.id.empty());
    EXPECT_LE(gpu.busy.value_or(Share()), Share::percent(100));
    EXPECT_TRUE(gpu.busy || !gpu.notes.empty()) << "unknown without a reason";
  }
  for (const Error& fault : readings->faults) EXPECT_THAT(fault.message, HasSubstr("["));
}

}  // namespace
}  // namespace gogrid
