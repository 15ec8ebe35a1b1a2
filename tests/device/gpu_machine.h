// A machine with GPUs, as its /sys and /proc describe it, in a folder of the test's own.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "support/temporary_folder.h"

namespace gogrid::testing {

class GpuMachine {
 public:
  GpuMachine() {
    link("proc/self/ns/pid", "pid:[4026531836]");
    put("proc/1/stat", "1 (init) S 0 1 1 0 -1 4194560 0\n");
    std::filesystem::create_directories(folder_ / "proc/1/fd");
  }

  const std::filesystem::path& root() const { return folder_.path(); }

  void put(const std::string& path, const std::string& text) {
    const auto target = folder_ / path;
    std::filesystem::create_directories(target.parent_path());
    std::ofstream(target) << text;
  }
  void link(const std::string& path, const std::string& to) {
    const auto from = folder_ / path;
    std::filesystem::create_directories(from.parent_path());
    std::filesystem::remove(from);
    std::filesystem::create_symlink(to, from);
  }
  void remove(const std::string& path) { std::filesystem::remove_all(folder_ / path); }

  // "card0" at `address`. Answers its folder, to put figures into.
  std::string add_card(const std::string& card, const std::string& driver,
                       const std::string& address) {
    const std::string folder = "sys/class/drm/" + card + "/device";
    put(folder + "/uevent", "DRIVER=" + driver + "\nPCI_CLASS=30000\nPCI_ID=1002:73BF\n" +
                                "PCI_SLOT_NAME=" + address + "\n");
    return folder;
  }
  // Process `pid` has `path` open as file number `file`, of which the kernel tells `fdinfo`.
  void open_file(unsigned pid, unsigned file, const std::string& path, const std::string& fdinfo) {
    const std::string process = "proc/" + std::to_string(pid);
    put(process + "/stat", std::to_string(pid) + " (a (b) c) S 1 1 1 0 -1 4194304 0\n");
    link(process + "/fd/" + std::to_string(file), path);
    put(process + "/fdinfo/" + std::to_string(file), fdinfo);
  }
  void open_gpu(unsigned pid, unsigned file, const std::string& driver, const std::string& address,
                unsigned client, const std::string& counters) {
    open_file(pid, file, "/dev/dri/renderD128",
              "pos:\t0\ndrm-driver:\t" + driver + "\ndrm-client-id:\t" + std::to_string(client) +
                  "\ndrm-pdev:\t" + address + "\n" + counters);
  }
  // A process of somebody else's. (A file where a folder should be: root may open any folder.)
  void add_hidden_process(unsigned pid, const std::string& state_and_flags) {
    put("proc/" + std::to_string(pid) + "/fd", "");
    put("proc/" + std::to_string(pid) + "/stat",
        std::to_string(pid) + " (x) " + state_and_flags + " 0 0\n");
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace gogrid::testing
