// `gogrid serve` is killed (kill -9) at moments spread over all of its life: measuring, slicing,
// loading, answering. Whatever the moment, the next one starts on what is left, its library is
// whole, and it gives the answer of the first. Importing is killed as well.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "http/http_client.h"
#include "model/model_library.h"
#include "support/process.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

namespace gogrid::testing {
namespace {

namespace fs = std::filesystem;
using Seconds = std::chrono::duration<double>;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// Each round kills a server that starts and one that answers. Sanitizers make a start ten times as
// long, and the moments are the same.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRounds = 4;
#else
constexpr int kRounds = 26;
#endif

double seconds_since(std::chrono::steady_clock::time_point start) {
  return Seconds(std::chrono::steady_clock::now() - start).count();
}

class ServeCrash : public ::testing::Test {
 protected:
  ServeCrash() {
    write_tiny_model(file("tiny"));
    write_tiny_model(file("other"), {.seed = 2});
    EXPECT_EQ(models({"import", file("tiny"), "--name", "tiny"}).status, 0);
  }

  fs::path data() const { return folder_ / "data"; }
  std::string file(const std::string& name) const { return folder_ / (name + ".gguf"); }

  Outcome models(std::vector<std::string> words) const {
    words.insert(words.begin(), {GOGRID_PROGRAM, "models"});
    return run_program(std::move(words), data());
  }

  // Two stages, so that slices are made; the answer must not depend on a choice of the planner's.
  Process serve() const {
    return Process({GOGRID_PROGRAM, "serve", "--model", "tiny", "--device", "cpu0", "--split",
                    "0:2@cpu0,2:4@cpu0", "--context", "256", "--listen", "127.0.0.1:0", "--mode",
                    "aggressive"},
                   data());
  }

  // A moment of `length` in the round's own part of it, so that no part is left to chance.
  void sleep_for_a_part(double length, int round) {
    const double share = (round + std::uniform_real_distribution<double>()(random_)) / kRounds;
    std::this_thread::sleep_for(Seconds(length * share));
  }

  std::size_t files_of(std::string_view extension) const {
    std::error_code ignored;  // the folder may not be there yet
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(data() / "slices", ignored))
      count += entry.path().extension() == extension ? 1 : 0;
    return count;
  }

  // Slices of a tiny model are written within milliseconds: chance alone would miss them.
  void wait_for_a_slice_in_the_making() const {
    const auto begin = std::chrono::steady_clock::now();
    while (files_of(".tmp") == 0 && seconds_since(begin) < 2 * start_s_) std::this_thread::yield();
  }

  void kill_an_import(int round) {
    Process import({GOGRID_PROGRAM, "models", "import", file("other"), "--name", "other"}, data());
    sleep_for_a_part(import_s_, round);
    import.signal(SIGKILL);
    imports_cut_ += import.finish().status == -SIGKILL ? 1 : 0;
  }

  // With everything to be made anew: otherwise later rounds would only load.
  void kill_a_start(int round) {
    for (const char* folder : {"slices", "measurements", "digests"})
      fs::remove_all(data() / folder);
    Process server = serve();
    if (round % 4 == 3)
      wait_for_a_slice_in_the_making();
    else
      sleep_for_a_part(start_s_, round);
    server.signal(SIGKILL);
    ASSERT_EQ(server.finish().status, -SIGKILL);
    ++kills_;
    ++starts_killed_with_[files_of(".gguf")];
    slices_cut_ += files_of(".tmp") > 0 ? 1 : 0;
  }

  // The next start, on what is left; its port.
  std::uint16_t expect_it_starts(Process& server) const {
    const std::string line = server.read_line();
    EXPECT_THAT(line, StartsWith("listening on http://127.0.0.1:"));
    const std::size_t colon = line.rfind(':');
    return colon == line.npos ? 0 : static_cast<std::uint16_t>(std::stoi(line.substr(colon + 1)));
  }

  void expect_nothing_damaged() const {
    const Outcome verified = models({"verify", "tiny", "--mode", "aggressive"});
    EXPECT_EQ(verified.status, 0) << verified.err;
    EXPECT_THAT(verified.out, StartsWith("tiny is intact"));
    auto library = ModelLibrary::open(data() / "models");
    ASSERT_TRUE(library) << library.error().message;
    // There only when the kill came after the import; then whole.
    if (library->find("other")) {
      EXPECT_TRUE(library->verify("other"));
      EXPECT_TRUE(library->remove("other"));
    }
    EXPECT_TRUE(library->import_file(file("other"), "other"));
    EXPECT_TRUE(library->verify("other"));
    EXPECT_TRUE(library->remove("other"));
    for (const auto& entry : fs::recursive_directory_iterator(data()))
      EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  }

  static std::string greedy_answer(std::uint16_t port) {
    HttpClient client(port);
    const HttpReply reply =
        client.request("POST", "/v1/completions",
                       R"({"model":"tiny","prompt":"The answer is","temperature":0,)"
                       R"("max_tokens":24})",
                       "Content-Type: application/json\r\n");
    EXPECT_EQ(reply.status, 200) << reply.body;
    const auto json = nlohmann::json::parse(reply.body, nullptr, false);
    if (!json.is_object() || !json.contains("choices")) return {};
    return json["choices"].at(0).value("text", "");
  }

  // While four streams run; most are cut off.
  void kill_under_requests(Process& server, std::uint16_t port, int round) {
    std::vector<HttpClient> clients;
    for (int i = 0; i < 4; ++i) {
      clients.emplace_back(port);
      EXPECT_TRUE(clients.back().send_request(
          "POST", "/v1/completions",
          R"({"model":"tiny","prompt":"Once upon a time","max_tokens":200,"stream":true})",
          "Content-Type: application/json\r\n"));
    }
    sleep_for_a_part(kStreaming_s, round);
    server.signal(SIGKILL);
    ASSERT_EQ(server.finish().status, -SIGKILL);
    ++kills_;
    for (HttpClient& client : clients) streams_cut_ += client.receive().status == 0 ? 1 : 0;
  }

  static constexpr double kStreaming_s = 0.15;

  const TemporaryFolder folder_;
  std::mt19937 random_{20240229};  // NOLINT: the same moments, as far as a machine allows
  double start_s_ = 0;             // of a start that makes everything
  double import_s_ = 0;
  int kills_ = 0;                                  // of serve
  std::map<std::size_t, int> starts_killed_with_;  // so many slices made
  int slices_cut_ = 0;
  int imports_cut_ = 0;
  int streams_cut_ = 0;
};

TEST_F(ServeCrash, IsForgottenByTheNextStartWhateverTheMoment) {
  auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(models({"import", file("other"), "--name", "other"}).status, 0);
  import_s_ = seconds_since(begin);
  ASSERT_EQ(models({"rm", "other"}).status, 0);
  std::string expected;
  {
    begin = std::chrono::steady_clock::now();
    Process first = serve();
    const std::uint16_t port = expect_it_starts(first);
    start_s_ = seconds_since(begin);
    expected = greedy_answer(port);
    ASSERT_THAT(expected, ::testing::Not(IsEmpty()));
  }
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    kill_an_import(round);
    kill_a_start(round);
    Process server = serve();
    const std::uint16_t port = expect_it_starts(server);
    EXPECT_EQ(greedy_answer(port), expected);
    expect_nothing_damaged();
    kill_under_requests(server, port, round);
  }
  EXPECT_EQ(kills_, 2 * kRounds);
  EXPECT_GT(starts_killed_with_.size(), 1U) << "all at one moment: the test is blind";
  EXPECT_GT(slices_cut_, 0);
  EXPECT_GT(imports_cut_, 0);
  EXPECT_GT(streams_cut_, 0);
  RecordProperty("slices_cut", slices_cut_);
  RecordProperty("imports_cut", imports_cut_);
  RecordProperty("streams_cut", streams_cut_);
  for (const auto& [slices, kills] : starts_killed_with_)
    RecordProperty("starts_killed_with_" + std::to_string(slices) + "_slices", kills);
}

}  // namespace
}  // namespace gogrid::testing
