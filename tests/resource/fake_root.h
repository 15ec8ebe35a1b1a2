// A /proc and /sys of a test's own.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "support/temporary_folder.h"

namespace gogrid::testing {

class FakeRoot {
 public:
  const std::filesystem::path& path() const { return folder_.path(); }
  void put(const std::string& name, std::string_view content) const {
    const auto file = path() / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(path() / name); }

 private:
  TemporaryFolder folder_;
};

// A line of /proc/PID/stat up to its children's times.
inline std::string process_stat(int id, std::string_view name, int user, int system,
                                int child_user = 0, int child_system = 0) {
  return std::to_string(id) + " (" + std::string(name) + ") S 1 1 1 0 -1 4194304 1 2 3 4 " +
         std::to_string(user) + " " + std::to_string(system) + " " + std::to_string(child_user) +
         " " + std::to_string(child_system) + " 20 0 1 0 100\n";
}

}  // namespace gogrid::testing
