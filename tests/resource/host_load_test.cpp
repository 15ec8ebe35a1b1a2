#include "resource/host_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <functional>
#include <thread>
#include <vector>

#include "resource/fake_root.h"

namespace gogrid {
namespace {

using testing::FakeRoot;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::process_stat;

struct HostLoadTest : ::testing::Test {
  void SetUp() override {
    put_cpu(1000, 1000, 100);
    root.put("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 300 kB\n");
    root.put("proc/self/status", "RssAnon: 150 kB\nRssFile: 90 kB\nRssShmem: 50 kB\n");
  }
  // In ticks of this machine.
  void put_cpu(int busy, int idle, int own) {
    root.put("proc/stat",
             "cpu " + std::to_string(busy) + " 0 0 " + std::to_string(idle) + " 0 0 0 0 0 0\n");
    root.put("proc/self/stat", process_stat(42, "gogrid", own, 0));
    root.put("proc/42/stat", process_stat(42, "gogrid", own, 0));
  }
  FakeRoot root;
  HostLoadReader reader{root.path()};
};

TEST_F(HostLoadTest, KnowsTheCpuFromTheSecondLookOn) {
  EXPECT_THAT(reader.read().cpu.error(), HasSubstr("first look"));
  put_cpu(1300, 1100, 200);
  const HostLoad load = reader.read();
  ASSERT_TRUE(load.cpu.has_value()) << load.cpu.error();
  EXPECT_EQ(load.cpu->others, *Share::of(0.5));
  EXPECT_EQ(load.cpu->own, *Share::of(0.25));
}

TEST_F(HostLoadTest, CountsMemoryThatIsNotOurs) {
  EXPECT_EQ(reader.read().memory_of_others, *Share::of(0.5));
}

TEST_F(HostLoadTest, NamesWhatItDoesNotKnowAndTellsTheRest) {
  root.put("proc/meminfo", "rubbish");
  root.put("proc/pressure/memory", "some avg10=0.10 avg60=0.00 avg300=0.00 total=5\n");
  const HostLoad load = reader.read();
  EXPECT_THAT(load.memory_of_others.error(), HasSubstr("MemTotal"));
  EXPECT_THAT(load.pressure[0].error(), HasSubstr("pressure/cpu"));
  EXPECT_EQ(load.pressure[2]->some.microseconds, 5U);
  EXPECT_FALSE(load.power.has_value());
  EXPECT_FALSE(load.heat.has_value());
}

TEST_F(HostLoadTest, IsKnownAgainAfterALookThatFailed) {
  reader.read();
  root.put("proc/stat", "rubbish");
  EXPECT_THAT(reader.read().cpu.error(), HasSubstr("rubbish"));
  put_cpu(1300, 1100, 200);
  EXPECT_THAT(reader.read().cpu.error(), HasSubstr("rubbish")) << "of the look before";
  put_cpu(1400, 1400, 200);
  EXPECT_EQ(reader.read().cpu->others, *Share::of(0.25));
}

TEST_F(HostLoadTest, IsKnownAgainAfterCountersBeganAnew) {
  put_cpu(5000, 5000, 900);
  reader.read();
  put_cpu(100, 100, 10);
  EXPECT_THAT(reader.read().cpu.error(), HasSubstr("backwards"));
  put_cpu(200, 200, 10);
  EXPECT_EQ(reader.read().cpu->others, *Share::of(0.5));
}

TEST(HostLoad, OfThisMachineIsReadForReal) {
  HostLoadReader reader;
  const HostLoad load = reader.read();
  EXPECT_TRUE(load.memory_of_others.has_value()) << load.memory_of_others.error();
}

// What one look after another finds on this machine.
HostLoad load_while(const std::function<void()>& something) {
  HostLoadReader reader;
  reader.read();
  something();
  return reader.read();
}

void sleep_for(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// A process that computes until it is killed, or for 10 s.
[[noreturn]] void spin() {
  ::alarm(10);
  std::atomic<unsigned> turns = 0;
  while (true) ++turns;
}

TEST(HostLoad, OurOwnThreadsAreNotOthers) {
  double used = -cpu_seconds();
  const auto begin = std::chrono::steady_clock::now();
  const HostLoad load = load_while([] {
    const double end = cpu_seconds() + 0.4;
    while (cpu_seconds() < end) {
    }
  });
  used += cpu_seconds();
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(load.cpu.has_value()) << load.cpu.error();
  const double cores = static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_GE(load.cpu->own.number(), 0.8 * used / (passed.count() * cores));
  EXPECT_LE(load.cpu->others.number(), 1.001 - load.cpu->own.number());
}

TEST(HostLoad, AProcessThatWeStartedIsOurs) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) spin();
  const HostLoad load = load_while([] { sleep_for(500ms); });
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_TRUE(load.cpu.has_value()) << load.cpu.error();
  const double cores = static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_GT(load.cpu->own.number() * cores, 0.05) << "of a core";
  EXPECT_LE(load.cpu->others.number(), 1.001 - load.cpu->own.number());
}

TEST(HostLoad, AForeignProcessIsOthers) {
  // A child of a child that has ended is nobody's we know.
  const pid_t group = ::fork();
  ASSERT_GE(group, 0);
  if (group == 0) {
    ::setpgid(0, 0);
    for (long core = ::sysconf(_SC_NPROCESSORS_ONLN); core > 0; --core) {
      if (::fork() == 0) spin();
    }
    ::_exit(0);
  }
  ::waitpid(group, nullptr, 0);
  const HostLoad load = load_while([] { sleep_for(500ms); });
  ::kill(-group, SIGKILL);
  ASSERT_TRUE(load.cpu.has_value()) << load.cpu.error();
  EXPECT_GT(load.cpu->others.number(), 0.5);
  EXPECT_LT(load.cpu->own.number(), 0.3);
}

}  // namespace
}  // namespace gogrid
