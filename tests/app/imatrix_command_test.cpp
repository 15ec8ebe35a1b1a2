// `gogrid imatrix` from outside: what it keeps, and what it says before and after hours of work.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/files.h"
#include "base/format.h"
#include "support/process.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using std::chrono::milliseconds;

class ImatrixCommandTest : public ::testing::Test {
 protected:
  ImatrixCommandTest() {
    write_tiny_model(folder_ / "tiny.gguf");
    std::string text;
    for (int i = 0; i < 200; ++i) text += "the model is here and there ";
    EXPECT_TRUE(write_file(folder_ / "text.txt", text));
  }
  std::vector<std::string> words(const std::vector<std::string>& more) const {
    std::vector<std::string> all{GOGRID_PROGRAM,
                                 "imatrix",
                                 folder_ / "tiny.gguf",
                                 "--text",
                                 folder_ / "text.txt",
                                 "--context",
                                 "16",
                                 "--mode",
                                 "aggressive"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome imatrix(const std::vector<std::string>& more) const {
    return run_program(words(more), folder_ / "data");
  }
  fs::path out() const { return folder_ / "out.gguf"; }

  const TemporaryFolder folder_;
};

// Whether every thread of the process sleeps, and waits for no disk.
bool sleeps(pid_t process) {
  std::error_code error;
  for (const auto& thread : fs::directory_iterator(format_text("/proc/{}/task", process), error)) {
    const auto stat = read_file(thread.path() / "stat", kMiB);
    if (!stat || stat->substr(stat->rfind(')') + 2, 1) != "S") return false;
  }
  return !error;
}

void wait_until_it_rests(pid_t process) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  for (int looks = 0; looks < 60 && std::chrono::steady_clock::now() < end;) {
    looks = sleeps(process) ? looks + 1 : 0;
    std::this_thread::sleep_for(milliseconds(50));
  }
}

TEST_F(ImatrixCommandTest, KeepsWhatIsDoneWhenItIsStoppedWhileItRests) {
  // After any work at all it rests for hours.
  Process process(words({"-o", out(), "--limit", "max_compute=0.000001"}), folder_ / "data");
  wait_until_it_rests(process.id());
  process.signal(SIGINT);
  const Outcome stopped = process.finish();
  EXPECT_EQ(stopped.status, 1);
  EXPECT_THAT(stopped.err, HasSubstr("stopped after 1 chunks, which are in"));
  const Outcome again = imatrix({"-o", out(), "--chunks", "3", "--json"});
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(Json::parse(again.out)["chunks"], 3);
  EXPECT_EQ(Json::parse(again.out)["written"], true);
}

TEST_F(ImatrixCommandTest, SaysThatItWroteNothingWhereTheFileHasMore) {
  ASSERT_EQ(imatrix({"-o", out(), "--chunks", "3"}).status, 0);
  const auto before = fs::last_write_time(out());
  const Outcome fewer = imatrix({"-o", out(), "--chunks", "2"});
  EXPECT_EQ(fewer.status, 0) << fewer.err;
  EXPECT_THAT(fewer.out, HasSubstr("has 3 chunks of 16 tokens already, 2 were asked for"));
  EXPECT_EQ(Json::parse(imatrix({"-o", out(), "--chunks", "3", "--json"}).out)["written"], false);
  EXPECT_EQ(fs::last_write_time(out()), before);
}

TEST_F(ImatrixCommandTest, FindsAFolderThatIsNotThereAtTheStart) {
  const Outcome outcome = imatrix({"-o", folder_ / "absent" / "out.gguf"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("absent is not there"));
}

}  // namespace
}  // namespace gogrid::testing
