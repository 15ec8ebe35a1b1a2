#include "device/process_scope.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/temporary_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

class ProcessScope : public ::testing::Test {
 protected:
  void lives_in(const std::string& space) {
    fs::create_directories(folder_ / "proc/self/ns");
    fs::create_symlink(space, folder_ / "proc/self/ns/pid");
  }
  void shows_process_one() {
    fs::create_directories(folder_ / "proc/1");
    std::ofstream(folder_ / "proc/1/stat") << "1 (init) S";
  }
  gogrid::testing::TemporaryFolder folder_;
};

TEST_F(ProcessScope, OfTheFirstNamespaceIsTheHosts) {
  lives_in("pid:[4026531836]");
  shows_process_one();
  EXPECT_TRUE(has_host_process_ids(folder_.path()));
  EXPECT_TRUE(sees_all_processes(folder_.path()));
}

TEST_F(ProcessScope, OfAContainerIsItsOwn) {
  lives_in("pid:[4026532281]");
  shows_process_one();
  EXPECT_FALSE(has_host_process_ids(folder_.path()));
  EXPECT_FALSE(sees_all_processes(folder_.path()));
}

TEST_F(ProcessScope, WithHiddenProcessesIsNotComplete) {
  lives_in("pid:[4026531836]");
  EXPECT_TRUE(has_host_process_ids(folder_.path()));
  EXPECT_FALSE(sees_all_processes(folder_.path()));
}

TEST_F(ProcessScope, ThatTellsNothingIsNotTakenForComplete) {
  EXPECT_FALSE(has_host_process_ids(folder_.path()));
  EXPECT_FALSE(sees_all_processes(folder_.path()));
}

}  // namespace
}  // namespace gogrid
