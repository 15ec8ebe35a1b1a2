// Pulling with the program itself: options, signals, and its death at any moment.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/files.h"
#include "base/format.h"
#include "base/sha256.h"
#include "model/partial_state.h"
#include "support/hub_server.h"
#include "support/process.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Json = nlohmann::json;
using std::chrono::milliseconds;

class PullCommand : public ::testing::Test {
 protected:
  static std::string made(const std::filesystem::path& path) {
    TinyModel tiny;
    tiny.n_embd = 256;
    tiny.n_ff = 1024;
    write_tiny_model(path, tiny);
    return read_file(path, kGiB).value();
  }

  HubReply reply(const HubRequest& request) {
    if (request.target.starts_with("/api/models/o/r/tree/")) {
      HubReply list;
      list.status = tree_status_;
      list.body = format_text(
          R"([{{"type":"file","path":"tiny.gguf","size":1,"lfs":{{"oid":"{}","size":{}}}}}])",
          digest_, content_.size());
      return list;
    }
    HubReply file = reply_with_file(request, content_);
    file.rate = rate_;
    ++downloads_;
    return file;
  }

  std::vector<std::string> words(std::vector<std::string> more = {}) const {
    // Other tests' load must not pause it.
    std::vector<std::string> all{GOGRID_PROGRAM, "models",        "pull",        "hf:o/r",
                                 "--json",       "--hf-endpoint", server_.url(), "--name",
                                 "tiny",         "--mode",        "aggressive"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome pull(std::vector<std::string> more = {}) const {
    return run_program(words(std::move(more)), data());
  }
  std::filesystem::path data() const { return folder_ / "data"; }

  // Waits until so many answers with bytes of the file have begun.
  void wait_for_downloads(int count) const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (downloads_ < count && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(milliseconds(2));
  }
  // Of the record on the disk.
  Bytes kept() const {
    const auto path = data() / "models" / "incoming" / ("sha256-" + digest_ + ".state");
    const auto text = read_file(path, kMiB);
    if (!text) return 0;
    const auto state = parse_partial_state(*text, path.native());
    EXPECT_TRUE(state) << "a record is whole at any moment: " << state.error().message;
    return state ? state->present.total() : 0;
  }
  void expect_right_bytes() const {
    const auto blob = data() / "models" / "blobs" / (digest_ + ".gguf");
    EXPECT_TRUE(read_file(blob, kGiB) == content_);
    EXPECT_TRUE(std::filesystem::is_empty(data() / "models" / "incoming"));
    const Outcome verify =
        run_program({GOGRID_PROGRAM, "models", "verify", "tiny", "--mode", "aggressive"}, data());
    EXPECT_EQ(verify.status, 0) << verify.err;
  }

  const TemporaryFolder folder_;
  const std::string content_ = made(folder_ / "tiny.gguf");
  const std::string digest_ = sha256_file(folder_ / "tiny.gguf").value();
  std::atomic<Bytes> rate_ = 0;
  std::atomic<int> downloads_ = 0;
  std::atomic<int> tree_status_ = 200;
  HubServer server_{[this](const HubRequest& request) { return reply(request); }};
};

TEST_F(PullCommand, FetchesAModelAndSaysWhatItIs) {
  const Outcome outcome = pull();
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Json model = Json::parse(outcome.out);
  EXPECT_EQ(model["name"], "tiny");
  EXPECT_EQ(model["digest"], "sha256:" + digest_);
  EXPECT_EQ(model["fetched_bytes"], content_.size());
  EXPECT_EQ(model["kept_bytes"], 0);
  expect_right_bytes();
  EXPECT_THAT(outcome.err, IsEmpty());
}

TEST_F(PullCommand, KilledAtThirtyRandomMomentsItGoesOnAndTheBytesAreRight) {
  constexpr int kKills = 30;
  rate_ = 250'000;  // each of four connections
  std::mt19937 random(20261128);
  Bytes before = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    const int seen = downloads_;
    Process process(words(), data());
    // Some die before they fetch anything: at their start, or while they ask the hub.
    if (kill % 6 != 0) wait_for_downloads(seen + 1);
    std::this_thread::sleep_for(milliseconds(random() % 500));
    process.signal(SIGKILL);
    EXPECT_EQ(process.finish().status, -SIGKILL) << "it was done before it could be killed";
    const Bytes now = kept();
    EXPECT_GE(now, before) << "what was kept is kept, kill " << kill;
    before = now;
  }
  EXPECT_GT(before, content_.size() / 40);
  EXPECT_LT(before, content_.size());
  rate_ = 0;
  const Outcome last = pull();
  ASSERT_EQ(last.status, 0) << last.err;
  const Json model = Json::parse(last.out);
  EXPECT_EQ(model["kept_bytes"], before);
  EXPECT_EQ(model["fetched_bytes"], content_.size() - before) << "fewer than from zero";
  expect_right_bytes();
  RecordProperty("kept_bytes", std::to_string(before));
  RecordProperty("size", std::to_string(content_.size()));
}

TEST_F(PullCommand, StopsAtCtrlCAndGoesOnWhenAskedAgain) {
  rate_ = 250'000;
  Process process(words(), data());
  wait_for_downloads(4);
  std::this_thread::sleep_for(milliseconds(300));
  process.signal(SIGINT);
  const Outcome stopped = process.finish();
  EXPECT_EQ(stopped.status, 1);
  EXPECT_THAT(stopped.err, HasSubstr("the same command goes on there"));
  rate_ = 0;
  const Outcome again = pull();
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_GT(Json::parse(again.out)["kept_bytes"], 0);
  expect_right_bytes();
}

TEST_F(PullCommand, TwoProcessesShareOneFetch) {
  rate_ = 2'000'000;
  Process first(words(), data());
  wait_for_downloads(1);
  const Outcome second = pull();
  const Outcome one = first.finish();
  EXPECT_EQ(one.status, 0) << one.err;
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_EQ(Json::parse(second.out)["fetched_bytes"], 0);
  EXPECT_THAT(second.err, HasSubstr("another pull fetches"));
  expect_right_bytes();
}

TEST_F(PullCommand, PausesAsAGuestAndSaysWhy) {
  rate_ = 50'000;
  ASSERT_TRUE(write_file(folder_ / "quiet.toml",
                         "[[resources.schedule]]\nfrom = \"00:00\"\nto = \"24:00\"\n"
                         "mode = \"off\"\n"));
  Process process(words({"--config", folder_ / "quiet.toml"}), data());
  std::this_thread::sleep_for(std::chrono::seconds(2));
  process.signal(SIGINT);
  const Outcome stopped = process.finish();
  EXPECT_EQ(stopped.status, 1) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("paused ("));
  EXPECT_THAT(stopped.err, HasSubstr("goes on when the pause ends"));
}

TEST_F(PullCommand, HoldsTheRateThatWasAskedFor) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string rate = std::to_string(content_.size());  // all of it in a second
  const Outcome outcome = pull({"--limit-rate", rate});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(800));
}

TEST_F(PullCommand, ATokenComesFromAFileAndIsNeverShown) {
  ASSERT_TRUE(write_file(folder_ / "token", "hf_very-secret\n"));
  tree_status_ = 401;
  const Outcome refused = pull({"--token-file", folder_ / "token", "--log-level", "debug"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("token is not accepted"), Not(HasSubstr("very-secret"))));
  EXPECT_EQ(server_.requests().front().headers.at("authorization"), "Bearer hf_very-secret");
  ASSERT_TRUE(write_file(folder_ / "token", "very-secret\nX-Header: y"));
  const Outcome bad = pull({"--token-file", folder_ / "token"});
  EXPECT_EQ(bad.status, 2);
  EXPECT_THAT(bad.err, Not(HasSubstr("very-secret")));
}

TEST_F(PullCommand, AnotherDigestThanTheHubsIsRefusedBeforeItIsFetched) {
  const Outcome outcome = pull({"--sha256", std::string(64, '0')});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("there it is " + digest_));
  EXPECT_EQ(downloads_, 0);
}

TEST_F(PullCommand, AModelIsLookedAtAndCheckedBeforeItIsFetched) {
  const auto look = [&](const char* action, std::vector<std::string> more = {}) {
    std::vector<std::string> all{GOGRID_PROGRAM, "models",        action,       "hf:o/r",
                                 "--json",       "--hf-endpoint", server_.url()};
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all, data());
  };
  const Outcome shown = look("show");
  ASSERT_EQ(shown.status, 0) << shown.err;
  EXPECT_EQ(Json::parse(shown.out)["path"], "hf:o/r");
  EXPECT_EQ(Json::parse(shown.out)["bytes"], content_.size());
  EXPECT_EQ(Json::parse(shown.out)["digest"], "sha256:" + digest_);
  EXPECT_LE(server_.body_bytes(), kMiB + 4 * kKiB);
  const Outcome checked = look("check", {"--context", "64", "--mode", "aggressive"});
  ASSERT_EQ(checked.status, 0) << checked.err;
  EXPECT_TRUE(Json::parse(checked.out)["runs"]);
  EXPECT_EQ(Json::parse(checked.out)["model"], "tiny");
  // What the limits of the command line leave.
  EXPECT_EQ(look("check", {"--limit", "max_device_memory=0.0000001"}).status, 3);
  tree_status_ = 404;
  EXPECT_EQ(look("check").status, 2);
  // Nothing of it stays.
  for (const auto& entry : std::filesystem::directory_iterator(data()))
    EXPECT_FALSE(entry.is_regular_file()) << entry.path();
}

TEST_F(PullCommand, WrongUsageIsStatusTwo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{"models", "pull", "http://192.0.2.1/m.gguf"}, "--allow-http"},
      {{"models", "pull", "m.gguf"}, "hf:owner/repo"},
      {{"models", "pull", "hf:o/r", "--limit-rate", "fast"}, "--limit-rate"},
      {{"models", "pull", "hf:o/r", "--connections", "17"}, "1..16"},
      {{"models", "pull", "hf:o/r", "--hf-endpoint", "nonsense"}, "https://"}};
  for (const auto& [arguments, text] : wrong) {
    std::vector<std::string> all = arguments;
    all.insert(all.begin(), GOGRID_PROGRAM);
    const Outcome outcome = run_program(all, data());
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(text));
    EXPECT_THAT(outcome.out, IsEmpty());
  }
}

TEST_F(PullCommand, TakesAModelFromTheLibraryOfAnotherGoGrid) {
  const auto there = folder_ / "there";
  ASSERT_EQ(run_program({GOGRID_PROGRAM, "models", "import", folder_ / "tiny.gguf"}, there).status,
            0);
  Process server({GOGRID_PROGRAM, "serve", "--model", "tiny", "--listen", "127.0.0.1:0", "--mode",
                  "aggressive", "--context", "64"},
                 there);
  const std::string line = server.read_line();
  ASSERT_THAT(line, HasSubstr("listening on http://"));
  const std::string source = "gogrid:" + line.substr(line.rfind(' ') + 1) + "/tiny";
  const auto run = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {GOGRID_PROGRAM, "models"});
    return run_program(words, data());
  };
  const Outcome shown = run({"show", source, "--json"});
  ASSERT_EQ(shown.status, 0) << shown.err;
  EXPECT_EQ(Json::parse(shown.out)["digest"], "sha256:" + digest_);
  const Outcome pulled =
      run({"pull", source, "--json", "--mode", "aggressive", "--connections", "3"});
  ASSERT_EQ(pulled.status, 0) << pulled.err;
  EXPECT_EQ(Json::parse(pulled.out)["name"], "tiny");
  expect_right_bytes();
  const Outcome unknown = run({"pull", source + "y", "--mode", "aggressive"});
  EXPECT_EQ(unknown.status, 2) << unknown.err;
  EXPECT_THAT(unknown.err, HasSubstr("tinyy"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.finish().status, 0);
}

}  // namespace
}  // namespace gogrid::testing
