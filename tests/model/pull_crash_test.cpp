// A process is killed (kill -9) at random moments of pulls of one address that names no digest, of
// which another version comes each time. Such pulls are small, so that most kills meet their end:
// the library takes the file, and what is left of it on its way goes.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/format.h"
#include "base/text.h"
#include "model/model_pull.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using testing::GgufBuilder;
using testing::TemporaryFolder;

constexpr int kKills = 150;
constexpr int kVersions = 3;

std::string version_bytes(int version) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy");
  builder.floats("a.weight", {32, 32}, static_cast<float>(version));
  return builder.build();
}

std::string name_of(int version) { return "k" + std::to_string(version); }
std::string etag_of(int version) { return '"' + name_of(version) + '"'; }

// A server without a network and without a thread: a process that forks must have none.
class MemoryClient final : public HttpClient {
 public:
  explicit MemoryClient(int version) : content_(version_bytes(version)), etag_(etag_of(version)) {}

  Result<HttpTransfer> start(const HttpRequest& request, HttpSink& sink) override {
    for (std::string_view header : request.headers) {
      if (!header.starts_with("Range: bytes=")) continue;
      header.remove_prefix(13);
      const std::size_t dash = header.find('-');
      const Bytes first = parse_number(header.substr(0, dash)).value();
      waiting_[++last_] = {{first, parse_number(header.substr(dash + 1)).value() + 1}, &sink};
    }
    return last_;
  }
  void drop(HttpTransfer transfer) override { waiting_.erase(transfer); }
  Result<std::vector<HttpEnd>> turn(Duration) override {
    std::vector<HttpEnd> ends;
    for (const auto& [transfer, part] : std::exchange(waiting_, {})) {
      HttpHead head;
      head.status = 206;
      head.etag = etag_;
      head.content_range =
          format_text("bytes {}-{}/{}", part.range.first, part.range.last - 1, content_.size());
      const auto body = std::span(content_).subspan(part.range.first, part.range.size());
      const bool whole = part.sink->head(head) && part.sink->bytes(std::as_bytes(body));
      ends.push_back({transfer, whole, {}});
    }
    return ends;
  }

 private:
  struct Part {
    ByteRange range;
    HttpSink* sink = nullptr;
  };
  const std::string content_;
  const std::string etag_;
  HttpTransfer last_ = 0;
  std::map<HttpTransfer, Part> waiting_;
};

class PullCrash : public ::testing::Test {
 protected:
  Result<PullReport> pull(ModelLibrary& library, int version) const {
    MemoryClient client(version);
    const RemoteFile remote{parse_url("http://127.0.0.1:1/m.gguf").value(),
                            "an address",
                            "m.gguf",
                            version_bytes(version).size(),
                            "",
                            etag_of(version)};
    return pull_model(library, client, remote, name_of(version), {}, {}, {}, clock_);
  }

  // What the children do until they are killed. They leave with 1 when something fails that must
  // not.
  [[noreturn]] void pull_and_remove(int first) const {
    for (int version = first;; version = (version + 1) % kVersions) {
      auto library = ModelLibrary::open(models());
      if (!library) ::_exit(1);
      if (library->find(name_of(version)) && !library->remove(name_of(version))) ::_exit(1);
      if (!pull(*library, version)) ::_exit(1);
    }
  }

  // True when the child was still at work when the signal came.
  bool kill_after(std::chrono::microseconds delay, int first) const {
    const pid_t child = ::fork();
    if (child == 0) pull_and_remove(first);
    std::this_thread::sleep_for(delay);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

  void expect_nothing_damaged() const {
    for (const fs::path& path : files_in("blobs"))
      EXPECT_EQ(sha256_file(path).value_or("unreadable"), path.stem());
    // Whoever writes into a file on its way must not write into a model.
    for (const fs::path& path : files_in("incoming")) {
      struct stat info{};
      ASSERT_EQ(::stat(path.c_str(), &info), 0);
      EXPECT_EQ(info.st_nlink, 1U) << path;
    }
  }

  // The next process: the same commands work, whichever it was that did not come to its end.
  void expect_it_goes_on() const {
    auto library = ModelLibrary::open(models());
    ASSERT_TRUE(library) << library.error().message;
    for (int version = 0; version < kVersions; ++version) {
      const auto report = pull(*library, version);
      if (!report && report.error().message.contains("already given")) {
        ASSERT_TRUE(library->find(name_of(version))) << "a name that is of no use is given anew";
        continue;  // an older version came since: nothing is known of this one any more
      }
      ASSERT_TRUE(report) << report.error().message;
    }
    EXPECT_EQ(library->list().size(), std::size_t{kVersions});
    for (const ModelEntry& entry : library->list()) EXPECT_TRUE(library->verify(entry.name));
  }

  fs::path models() const { return folder_ / "models"; }
  std::vector<fs::path> files_in(const char* where) const {
    std::vector<fs::path> found;
    if (!fs::exists(models() / where)) return found;
    for (const auto& entry : fs::directory_iterator(models() / where)) {
      if (!entry.path().filename().native().starts_with('.')) found.push_back(entry.path());
    }
    return found;
  }

  const SteadyClock clock_;
  const TemporaryFolder folder_;
};

TEST_F(PullCrash, AtAnyMomentOfThePullOfAnAddressDamagesNoModel) {
  std::mt19937 random(20261128);  // NOLINT: the same moments, as far as a machine allows
  std::uniform_int_distribution<int> micros(200, 30'000);
  int met = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    SCOPED_TRACE(kill);
    ASSERT_TRUE(kill_after(std::chrono::microseconds(micros(random)), kill % kVersions));
    met += files_in("incoming").size() > 1 ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(expect_nothing_damaged());
    if (kill % 5 != 4) continue;
    ASSERT_NO_FATAL_FAILURE(expect_it_goes_on());
  }
  EXPECT_GT(met, 0) << "no kill met a pull at work: the test is blind";
  RecordProperty("met", met);
}

}  // namespace
}  // namespace gogrid
