#include "model/slice_cache.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>
#include <vector>

#include "base/files.h"
#include "support/gguf_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

const std::string kDigest(64, 'a');
constexpr std::uint32_t kLayers = 8;

class SliceCacheTest : public ::testing::Test {
 protected:
  SliceCacheTest() {
    GgufBuilder builder;
    builder.key_text("general.architecture", "toy").key_u32("toy.block_count", kLayers);
    builder.floats("token_embd.weight", {32, 64});
    for (std::uint32_t i = 0; i < kLayers; ++i) {
      builder.floats("blk." + std::to_string(i) + ".w", {32, 64}, static_cast<float>(i));
    }
    EXPECT_TRUE(write_file(folder_ / "source.gguf", builder.build()));
    source_.emplace(*GgufFile::open(folder_ / "source.gguf"));
    one_layer_ = *slice_size(*source_, {0, 1});
  }

  // A slice of one layer, all of which have the same size but for the last.
  auto get(const SliceCache& cache, std::uint32_t layer) {
    return cache.get(*source_, kDigest, {layer, layer + 1});
  }
  std::set<fs::path> slices() {
    std::set<fs::path> found;
    if (!fs::exists(folder_ / "slices")) return found;
    for (const auto& entry : fs::directory_iterator(folder_ / "slices")) {
      if (entry.path().extension() == ".gguf") found.insert(entry.path());
    }
    return found;
  }

  TemporaryFolder folder_;
  std::optional<GgufFile> source_;
  Bytes one_layer_ = 0;
};

TEST_F(SliceCacheTest, MakesASliceOnceAndThenHasIt) {
  const SliceCache cache(folder_ / "slices", 0);
  int steps = 0;
  const auto count = [&](Bytes, Bytes) { return ++steps > 0; };
  const auto first = cache.get(*source_, kDigest, {2, 4}, count);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_GT(steps, 0);
  const auto file = GgufFile::open((*first)->path());
  ASSERT_TRUE(file);
  EXPECT_EQ(file->unsigned_of("toy.block_count"), 2U);
  EXPECT_EQ(fs::file_size((*first)->path()), *slice_size(*source_, {2, 4}));
  steps = 0;
  const auto second = cache.get(*source_, kDigest, {2, 4}, count);
  ASSERT_TRUE(second);
  EXPECT_EQ((*second)->path(), (*first)->path());
  EXPECT_EQ(steps, 0) << "nothing was written again";
}

TEST_F(SliceCacheTest, KeepsASliceInASmallerTypeBesideTheOneAsItIs) {
  const SliceCache cache(folder_ / "slices", 0);
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_u32("toy.block_count", 2);
  builder.floats("token_embd.weight", {32, 64});
  builder.floats("blk.0.w.weight", {32, 64}).floats("blk.1.w.weight", {32, 64});
  ASSERT_TRUE(write_file(folder_ / "matrices.gguf", builder.build()));
  const GgufFile source = *GgufFile::open(folder_ / "matrices.gguf");
  const WeightType eight = *find_weight_type("q8_0");
  const WeightType four = *find_weight_type("q4_0");
  int steps = 0;
  const auto count = [&](Bytes, Bytes) { return ++steps > 0; };
  const auto own = cache.get(source, kDigest, {0, 1}, count);
  const auto smaller = cache.get(source, kDigest, {0, 1}, count, eight);
  const auto smallest = cache.get(source, kDigest, {0, 1}, count, four);
  ASSERT_TRUE(own && smaller && smallest);
  EXPECT_EQ(slices().size(), 3U);
  EXPECT_EQ(fs::file_size((*smaller)->path()), *slice_size(source, {0, 1}, eight));
  EXPECT_LT(fs::file_size((*smallest)->path()), fs::file_size((*smaller)->path()));
  steps = 0;
  EXPECT_EQ((*cache.get(source, kDigest, {0, 1}, count, eight))->path(), (*smaller)->path());
  EXPECT_EQ(steps, 0) << "nothing was quantized again";
  // Under the name of another type it is not what it promises, and is made again.
  const fs::path taken = (*smaller)->path();
  fs::copy_file((*smallest)->path(), taken, fs::copy_options::overwrite_existing);
  ASSERT_TRUE(cache.get(source, kDigest, {0, 1}, count, eight));
  EXPECT_EQ(GgufFile::open(taken)->tensor("blk.0.w.weight")->type_name, "q8_0");
}

TEST_F(SliceCacheTest, ForgetsASliceUnlessSomebodyElseHasIt) {
  const SliceCache cache(folder_ / "slices", 0);
  auto mine = *get(cache, 1);
  auto other = *get(cache, 1);
  SliceCache::forget(std::move(mine));
  EXPECT_EQ(slices().size(), 1U);
  SliceCache::forget(std::move(other));
  EXPECT_TRUE(slices().empty());
  SliceCache::forget(nullptr);
}

TEST_F(SliceCacheTest, KeepsOneFilePerSourceAndRange) {
  const SliceCache cache(folder_ / "slices", 0);
  ASSERT_TRUE(cache.get(*source_, kDigest, {0, 1}));
  ASSERT_TRUE(cache.get(*source_, kDigest, {0, 2}));
  ASSERT_TRUE(cache.get(*source_, std::string(64, 'b'), {0, 1}));
  EXPECT_EQ(slices().size(), 3U);
}

TEST_F(SliceCacheTest, IsReadByTheNextProcessToo) {
  {
    ASSERT_TRUE(get(SliceCache(folder_ / "slices", 0), 1));
  }
  const SliceCache later(folder_ / "slices", 0);
  const auto hold = later.get(*source_, kDigest, {1, 2}, [](Bytes, Bytes) { return false; });
  EXPECT_TRUE(hold) << "would have been cancelled, had it been made again";
}

TEST_F(SliceCacheTest, GivesUpTheLeastRecentlyUsedFirst) {
  const SliceCache cache(folder_ / "slices", 3 * one_layer_);
  const fs::path zero = (*get(cache, 0))->path();
  const fs::path one = (*get(cache, 1))->path();
  const fs::path two = (*get(cache, 2))->path();
  ASSERT_TRUE(get(cache, 0));  // used again: now 1 is the oldest
  const fs::path three = (*get(cache, 3))->path();
  EXPECT_EQ(slices(), (std::set{zero, two, three}));
  const fs::path four = (*get(cache, 4))->path();
  EXPECT_EQ(slices(), (std::set{zero, three, four}));
}

TEST_F(SliceCacheTest, NeverGivesUpWhatIsHeld) {
  const SliceCache cache(folder_ / "slices", 2 * one_layer_);
  const auto held = *get(cache, 0);
  const fs::path one = (*get(cache, 1))->path();
  const fs::path two = (*get(cache, 2))->path();
  EXPECT_EQ(slices(), (std::set{held->path(), two}));
}

TEST_F(SliceCacheTest, SaysWhenEverythingIsHeldAndWorksAgainAfterwards) {
  const SliceCache cache(folder_ / "slices", 2 * one_layer_);
  auto zero = get(cache, 0);
  const auto one = get(cache, 1);
  ASSERT_TRUE(zero && one);
  const auto refused = get(cache, 2);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("held"));
  zero->reset();
  EXPECT_TRUE(get(cache, 2));
}

TEST_F(SliceCacheTest, SaysWhenASliceIsLargerThanTheCache) {
  const SliceCache cache(folder_ / "slices", one_layer_ - 1);
  const auto refused = get(cache, 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDoesNotFit);
  EXPECT_TRUE(slices().empty());
}

TEST_F(SliceCacheTest, HoldsOnItsExactCapacity) {
  const SliceCache cache(folder_ / "slices", one_layer_);
  EXPECT_TRUE(get(cache, 0));
  EXPECT_TRUE(get(cache, 1));
  EXPECT_EQ(slices().size(), 1U);
}

TEST_F(SliceCacheTest, RespectsHoldsOfOtherProcesses) {
  int ready[2];
  int done[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(done), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto hold = get(SliceCache(folder_ / "slices", 0), 0);
    char byte = hold ? 1 : 0;
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(done[0], &byte, 1);
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 1);
  const SliceCache cache(folder_ / "slices", one_layer_);
  EXPECT_EQ(get(cache, 1).error().code, ErrorCode::kExhausted);
  EXPECT_TRUE(get(cache, 0)) << "shared with the other process";
  ASSERT_EQ(::write(done[1], &byte, 1), 1);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(get(cache, 1)) << "the kernel let go of a dead process's hold";
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) ::close(fd);
}

TEST_F(SliceCacheTest, MakesASliceAgainThatWasDamaged) {
  const SliceCache cache(folder_ / "slices", 0);
  const fs::path path = (*get(cache, 5))->path();
  const std::string good = *read_file(path, kMiB);
  for (const std::string& bad : {std::string("not a model"), good.substr(0, good.size() / 2),
                                 std::string(), *read_file((*get(cache, 6))->path(), kMiB)}) {
    ASSERT_TRUE(write_file(path, bad));
    ASSERT_TRUE(get(cache, 5));
    EXPECT_TRUE(*read_file(path, kMiB) == good);
  }
}

TEST_F(SliceCacheTest, LeavesForeignFilesAlone) {
  fs::create_directories(folder_ / "slices");
  ASSERT_TRUE(write_file(folder_ / "slices" / "mine.gguf", std::string(100'000, 'x')));
  const SliceCache cache(folder_ / "slices", one_layer_);
  EXPECT_TRUE(get(cache, 0)) << "not counted";
  EXPECT_TRUE(get(cache, 1));
  EXPECT_TRUE(fs::exists(folder_ / "slices" / "mine.gguf"));
}

TEST_F(SliceCacheTest, RemovesWhatACrashLeft) {
  const SliceCache cache(folder_ / "slices", 0);
  ASSERT_TRUE(get(cache, 0));
  ASSERT_TRUE(write_file(folder_ / "half", "half a slice"));
  fs::rename(folder_ / "half", folder_ / "slices" / ".gogrid-0123456789abcdef.tmp");
  ASSERT_TRUE(get(cache, 1));
  EXPECT_FALSE(fs::exists(folder_ / "slices" / ".gogrid-0123456789abcdef.tmp"));
}

TEST_F(SliceCacheTest, LeavesNothingWhenCancelled) {
  const SliceCache cache(folder_ / "slices", 0);
  const auto hold = cache.get(*source_, kDigest, {0, 1}, [](Bytes, Bytes) { return false; });
  ASSERT_FALSE(hold);
  EXPECT_EQ(hold.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(slices().empty());
}

TEST_F(SliceCacheTest, WantsADigestForAName) {
  const SliceCache cache(folder_ / "slices", 0);
  for (const std::string& bad : {std::string(), std::string(63, 'a'), std::string(64, 'G'),
                                 std::string("../../../etc/passwd")}) {
    const auto hold = cache.get(*source_, bad, {0, 1});
    ASSERT_FALSE(hold);
    EXPECT_EQ(hold.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(cache.get(*source_, kDigest, {0, 99}).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(SliceCacheTest, MayBeUsedByManyThreadsAtOnce) {
  // Room for a few slices only, so that making, holding and evicting meet.
  const SliceCache cache(folder_ / "slices", 5 * one_layer_);
  std::vector<std::jthread> threads;
  for (std::uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < 25; ++i) {
        const std::uint32_t layer = (t + i * 3) % (kLayers - 1);
        const auto hold = get(cache, layer);
        ASSERT_TRUE(hold) << hold.error().message;
        const auto file = GgufFile::open((*hold)->path());
        ASSERT_TRUE(file) << file.error().message;
        EXPECT_EQ(file->unsigned_of("gogrid.slice.first_layer"), layer);
      }
    });
  }
  threads.clear();
  EXPECT_LE(slices().size(), 5U);
}

}  // namespace
}  // namespace gogrid
