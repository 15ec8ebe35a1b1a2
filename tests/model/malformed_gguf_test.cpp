// Every file of tests/model/malformed_gguf (written by scripts/make_malformed_ggufs.py) is refused
// with its own words, soon, and without taking memory; and so are shapes of files that are too
// large to keep.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/files.h"
#include "model/gguf_file.h"
#include "support/gguf_builder.h"
#include "support/slowness.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

const fs::path kFolder = fs::path(GOGRID_SOURCE_DIR) / "tests/model/malformed_gguf";

struct Expectation {
  std::string file;
  std::string code;
  std::string part;
};

std::vector<Expectation> expectations() {
  std::ifstream in(kFolder / "expectations.tsv");
  std::vector<Expectation> all;
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    Expectation expected;
    std::getline(fields, expected.file, '\t');
    std::getline(fields, expected.code, '\t');
    std::getline(fields, expected.part);
    all.push_back(std::move(expected));
  }
  return all;
}

Bytes peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<Bytes>(usage.ru_maxrss) * kKiB;
}

// Of this thread: what else the machine does is not the reader's fault.
std::chrono::nanoseconds cpu_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

// Runs `action`, which must take less than a second and 256 MiB more than what was taken before.
template <class Action>
auto within_bounds(const Action& action) {
  const Bytes before = peak_memory();
  const auto start = cpu_time();
  auto result = action();
  EXPECT_LT(cpu_time() - start, std::chrono::seconds(1) * testing::kSlowness);
  EXPECT_LT(peak_memory() - before, 256 * kMiB * testing::kSlowness);
  return result;
}

TEST(MalformedGguf, EachIsRefusedInItsOwnWords) {
  const auto all = expectations();
  ASSERT_GE(all.size(), 40U);
  for (const Expectation& expected : all) {
    SCOPED_TRACE(expected.file);
    const auto file = within_bounds([&] { return GgufFile::open(kFolder / expected.file); });
    ASSERT_FALSE(file) << "accepted";
    EXPECT_EQ(traits(file.error().code).name, expected.code) << file.error().message;
    EXPECT_THAT(file.error().message, HasSubstr(expected.part));
    EXPECT_THAT(file.error().message, HasSubstr("[gguf] "));
    EXPECT_THAT(file.error().message, HasSubstr(expected.file)) << "names the file";
    EXPECT_LT(file.error().message.size(), 600U);
  }
}

TEST(MalformedGguf, NoneIsWithoutAnExpectation) {
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    files += entry.path().extension() == ".gguf" ? 1 : 0;
  }
  EXPECT_EQ(files, expectations().size());
}

// A file of `size` bytes that begins with `start`; the rest is a hole, read as zeros.
fs::path sparse(const TemporaryFolder& folder, const std::string& start, Bytes size) {
  const fs::path path = folder / "sparse.gguf";
  EXPECT_TRUE(write_file(path, start));
  fs::resize_file(path, size);
  return path;
}

TEST(HugeGguf, WithAHeaderThatNeverEndsIsRefusedAtTheLimit) {
  const TemporaryFolder folder;
  GgufBuilder builder;
  builder.key_count = 3;
  std::string start = builder.header();
  start += GgufBuilder::text("a") + GgufBuilder::number(GgufBuilder::kString) +
           GgufBuilder::number(std::uint64_t{1} << 26);
  const fs::path path = sparse(folder, start, kGiB);
  // The second key's name is all zeros, that is empty: give it a length that fits.
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(start.size() + (Bytes{1} << 26)));
    const std::string second = GgufBuilder::text("b") + GgufBuilder::number(GgufBuilder::kString) +
                               GgufBuilder::number(std::uint64_t{1} << 26);
    file.write(second.data(), static_cast<std::streamsize>(second.size()));
  }
  const auto file = within_bounds([&] { return GgufFile::open(path); });
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message, HasSubstr("expected a header of at most 128.0 MiB"));
}

TEST(HugeGguf, WithMillionsOfEmptyStringsIsReadSoon) {
  const TemporaryFolder folder;
  GgufBuilder builder;
  const std::uint64_t count = GgufLimits{}.max_array_elements;
  builder.raw_key(GgufBuilder::text("a") + GgufBuilder::number(GgufBuilder::kArray) +
                  GgufBuilder::number(GgufBuilder::kString) + GgufBuilder::number(count));
  const std::string start = builder.header();
  const fs::path path = sparse(folder, start, start.size() + count * 8);
  const auto strings = within_bounds([&] {
    const auto file = GgufFile::open(path);
    EXPECT_TRUE(file) << file.error().message;
    return file ? file->array_of("a")->strings().size() : 0;
  });
  EXPECT_EQ(strings, count);
}

TEST(HugeGguf, WithAsManyTensorsAsAllowedIsReadSoon) {
  GgufBuilder builder;
  const auto count = static_cast<std::uint32_t>(GgufLimits{}.max_tensors);
  std::string tensors;
  // Long equal beginnings, last name first: the most work for whoever sorts them.
  for (std::uint32_t i = count; i > 0; --i) {
    const std::string number = std::to_string(1'000'000 + i);
    tensors += GgufBuilder::text(std::string(kMaxTensorName - number.size(), 'n') + number) +
               GgufBuilder::number(std::uint32_t{1}) + GgufBuilder::number(std::uint64_t{1}) +
               GgufBuilder::number(std::uint32_t{0}) +
               GgufBuilder::number(std::uint64_t{i - 1} * 32);
  }
  builder.tensor_count = count;
  std::string bytes = builder.header() + tensors;
  bytes.resize((bytes.size() + 31) / 32 * 32 + std::size_t{count} * 32);
  const auto file =
      within_bounds([&] { return GgufFile::parse(std::as_bytes(std::span(bytes)), "many.gguf"); });
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->tensors().size(), count);
}

TEST(HugeGguf, WithAsManyKeysAsAllowedIsReadSoon) {
  GgufBuilder builder;
  const auto count = static_cast<std::uint32_t>(GgufLimits{}.max_keys);
  for (std::uint32_t i = count; i > 0; --i) {
    const std::string number = std::to_string(1'000'000 + i);
    builder.key(std::string(GgufLimits{}.max_key_length - number.size(), 'k') + number,
                GgufBuilder::kU8, "x");
  }
  const std::string bytes = builder.build();
  const auto file =
      within_bounds([&] { return GgufFile::parse(std::as_bytes(std::span(bytes)), "many.gguf"); });
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->metadata().size(), count);
}

}  // namespace
}  // namespace gogrid
