#include "base/heap.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace gogrid {
namespace {

// Of the process's anonymous memory, in KiB.
long resident() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("RssAnon:")) return std::stol(line.substr(8));
  }
  return -1;
}

TEST(Heap, GivesBackWhatWasFreedBelowWhatIsStillUsed) {
  if (resident() < 0) GTEST_SKIP() << "no /proc/self/status with RssAnon";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has an allocator of its own";
#endif
  std::vector<std::unique_ptr<std::string>> small;
  // Each is too small for a mapping of its own; the last keeps the heap from shrinking.
  for (int i = 0; i < 8192; ++i) small.push_back(std::make_unique<std::string>(8192, 'x'));
  const auto last = std::make_unique<std::string>(8192, 'x');
  small.clear();
  const long before = resident();
  trim_heap();
  EXPECT_LT(resident(), before - 32 * 1024);
}

}  // namespace
}  // namespace gogrid
