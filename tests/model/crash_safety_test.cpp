// A process is killed (kill -9) at random moments of importing, removing, cutting and evicting.
// Whatever the moment: nothing damaged is under a final name, and the next process opens, cleans up
// and goes on.
#include <gtest/gtest.h>
#include <signal.h>
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
#include "model/model_library.h"
#include "model/slice_cache.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using testing::GgufBuilder;
using testing::TemporaryFolder;

constexpr std::uint32_t kLayers = 6;
constexpr int kKills = 60;
const std::string kDigest(64, 'c');

std::string model_bytes(int which) {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_u32("toy.block_count", kLayers);
  builder.floats("token_embd.weight", {64, 256});
  for (std::uint32_t i = 0; i < kLayers; ++i) {
    builder.floats("blk." + std::to_string(i) + ".w", {256, 256}, static_cast<float>(which * 100));
  }
  return builder.build();
}

class CrashSafety : public ::testing::Test {
 protected:
  CrashSafety() {
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(write_file(folder_ / ("m" + std::to_string(i)), model_bytes(i)));
    }
    source_.emplace(*GgufFile::open(folder_ / "m0"));
    const SliceCache reference(folder_ / "reference", 0);
    for (std::uint32_t layer = 0; layer + 1 < kLayers; ++layer) {
      const auto hold = reference.get(*source_, kDigest, {layer, layer + 2});
      EXPECT_TRUE(hold);
      const fs::path path = (*hold)->path();
      expected_slices_[path.filename()] = *read_file(path, 64 * kMiB);
      slice_bytes_ = std::max(slice_bytes_, Bytes{fs::file_size(path)});
    }
  }

  SliceCache cache() const { return SliceCache(folder_ / "slices", 3 * slice_bytes_); }

  // What the children do until they are killed. They leave with 1 when something fails that must
  // not.
  [[noreturn]] void import_and_remove() const {
    for (std::uint32_t i = 0;; ++i) {
      auto library = ModelLibrary::open(folder_ / "models");
      if (!library) ::_exit(1);
      // A content that no other name has, so that every import writes it.
      const std::string name = "name" + std::to_string(i % 2);
      if (library->find(name) && !library->remove(name)) ::_exit(1);
      if (!library->import_file(folder_ / ("m" + std::to_string(i % 2)), name)) ::_exit(1);
    }
  }
  [[noreturn]] void cut_and_evict() const {
    for (std::uint32_t layer = 0;; layer = (layer + 1) % (kLayers - 1)) {
      if (!cache().get(*source_, kDigest, {layer, layer + 2})) ::_exit(1);
    }
  }

  // True when the child was still at work when the signal came.
  template <class Work>
  static bool kill_after(std::chrono::microseconds delay, const Work& work) {
    const pid_t child = ::fork();
    if (child == 0) work();
    std::this_thread::sleep_for(delay);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

  // Kills `work` again and again, in the middle of writing into one of `folders` at least once.
  template <class Work>
  void expect_to_survive_kills(const std::vector<const char*>& folders, const Work& work) {
    std::mt19937 random(20240229);  // NOLINT: the same moments, as far as a machine allows
    std::uniform_int_distribution<int> micros(200, 40'000);
    int left_half_written = 0;
    for (int kill = 0; kill < kKills; ++kill) {
      SCOPED_TRACE(kill);
      ASSERT_TRUE(kill_after(std::chrono::microseconds(micros(random)), work));
      left_half_written += std::ranges::any_of(
          folders, [&](const char* folder) { return !files_in(folder, ".tmp").empty(); });
      expect_nothing_damaged();
      ASSERT_NO_FATAL_FAILURE(expect_it_goes_on());
    }
    EXPECT_GT(left_half_written, 0) << "no kill met a file being written: the test is blind";
    RecordProperty("left_half_written", left_half_written);
  }

  // Before anybody cleans up: what is under a final name is whole.
  void expect_nothing_damaged() const {
    for (const fs::path& path : files_in("models/blobs", ".gguf")) {
      EXPECT_EQ(sha256_file(path).value_or("unreadable"), path.stem());
    }
    for (const fs::path& path : files_in("slices", ".gguf")) {
      ASSERT_TRUE(expected_slices_.contains(path.filename()));
      EXPECT_TRUE(*read_file(path, 64 * kMiB) == expected_slices_.at(path.filename())) << path;
    }
  }

  // The next process.
  void expect_it_goes_on() const {
    auto library = ModelLibrary::open(folder_ / "models");
    ASSERT_TRUE(library) << library.error().message;
    const auto names = files_in("models/names", ".model");
    EXPECT_EQ(library->list().size(), names.size()) << "every manifest is whole, with its content";
    for (const ModelEntry& entry : library->list()) EXPECT_TRUE(library->verify(entry.name));
    ASSERT_TRUE(library->import_file(folder_ / "m2", "after-the-crash"));
    ASSERT_TRUE(library->remove("after-the-crash"));
    // A range that is never cut otherwise, so that this one is made and cleans up.
    ASSERT_TRUE(cache().get(*source_, std::string(64, 'f'), {0, 1}));
    for (const fs::path& path : files_in("slices", ".gguf")) {
      if (!expected_slices_.contains(path.filename())) fs::remove(path);
    }
    for (const char* where : {"models/blobs", "models/names", "slices"}) {
      EXPECT_TRUE(files_in(where, ".tmp").empty()) << where;
    }
  }

  std::vector<fs::path> files_in(const std::string& where, std::string_view extension) const {
    std::vector<fs::path> found;
    if (!fs::exists(folder_ / where)) return found;
    for (const auto& entry : fs::directory_iterator(folder_ / where)) {
      if (entry.path().extension() == extension) found.push_back(entry.path());
    }
    return found;
  }

  TemporaryFolder folder_;
  std::optional<GgufFile> source_;
  std::map<fs::path, std::string> expected_slices_;
  Bytes slice_bytes_ = 0;
};

TEST_F(CrashSafety, OfImporting) {
  expect_to_survive_kills({"models/blobs", "models/names"}, [this] { import_and_remove(); });
}

TEST_F(CrashSafety, OfSlicing) {
  expect_to_survive_kills({"slices"}, [this] { cut_and_evict(); });
}

}  // namespace
}  // namespace gogrid
