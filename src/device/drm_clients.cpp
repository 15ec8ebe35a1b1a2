#include "device/drm_clients.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <tuple>

#include "device/process_scope.h"
#include "device/small_file.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

// What is beyond these is counted as hidden.
constexpr std::size_t kMaxProcesses = 65536;
constexpr std::size_t kMaxFilesOfAProcess = 65536;
constexpr std::size_t kMaxDrmFiles = 8192;
constexpr Bytes kMaxFdinfo = 16 * kKiB;
// Kernel threads have no files of their own (PF_KTHREAD among the flags of /proc/PID/stat).
constexpr std::uint64_t kKernelThread = 0x00200000;

struct FolderCloser {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using Folder = std::unique_ptr<DIR, FolderCloser>;

// Calls `visit(name)` for every entry that is a number, at most `limit`. False: there were more.
template <class Visit>
bool each_number(DIR* folder, std::size_t limit, const Visit& visit) {
  while (const dirent* entry = ::readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (!std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; })) continue;
    if (limit-- == 0) return false;
    visit(name);
  }
  return true;
}

enum class OpenFile : std::uint8_t { kOther, kDrm, kKfd };

// By the name of what is open: a link costs a microsecond, an fdinfo some ten.
OpenFile kind_of(DIR* folder, std::string_view name) {
  std::array<char, 64> target;
  const ssize_t length = ::readlinkat(::dirfd(folder), name.data(), target.data(), target.size());
  if (length <= 0) return OpenFile::kOther;
  const std::string_view path(target.data(), static_cast<std::size_t>(length));
  if (path.starts_with("/dev/dri/") || path.starts_with("/dev/accel/")) return OpenFile::kDrm;
  return path == "/dev/kfd" ? OpenFile::kKfd : OpenFile::kOther;
}

// "PID (name) state ppid pgrp session tty tpgid flags ...": whether it can hold files. The name may
// hold anything, parentheses too.
bool can_hold_files(std::string_view stat) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == stat.npos) return true;
  stat.remove_prefix(name_end + 1);
  std::array<std::string_view, 7> fields;
  for (std::string_view& field : fields) {
    stat.remove_prefix(std::min(stat.find_first_not_of(' '), stat.size()));
    field = stat.substr(0, stat.find(' '));
    stat.remove_prefix(field.size());
  }
  const auto& [state, parent, group, session, terminal, owner, flag_text] = fields;
  if (state == "Z" || state == "X") return false;
  std::uint64_t flags = 0;
  std::from_chars(flag_text.data(), flag_text.data() + flag_text.size(), flags);
  return (flags & kKernelThread) == 0;
}

class Scanner {
 public:
  Scanner(const fs::path& root, unsigned own_pid) : proc_(root / "proc"), own_pid_(own_pid) {
    scan_.shows_all = sees_all_processes(root);
  }

  DrmScan scan() && {
    const Folder folder(::opendir(proc_.c_str()));
    const bool all = folder && each_number(folder.get(), kMaxProcesses,
                                           [&](std::string_view pid) { look_into(pid); });
    if (!all) ++scan_.hidden;
    return std::move(scan_);
  }

 private:
  void look_into(std::string_view pid) {
    const bool own = pid == std::to_string(own_pid_);
    const fs::path process = proc_ / pid;
    const Folder folder(::opendir((process / "fd").c_str()));
    if (!folder) {
      // One that has ended in between does nothing any more.
      const auto stat = read_small_file(process / "stat");
      if (stat && can_hold_files(*stat)) ++scan_.hidden;
      return;
    }
    const bool all = each_number(folder.get(), kMaxFilesOfAProcess, [&](std::string_view name) {
      const OpenFile kind = kind_of(folder.get(), name);
      if (kind == OpenFile::kDrm) read_client(process / "fdinfo" / name, own);
      if (kind == OpenFile::kKfd) (own ? scan_.own_uses_kfd : scan_.others_use_kfd) = true;
    });
    if (!all) ++scan_.hidden;
  }

  void read_client(const fs::path& fdinfo, bool own) {
    if (++drm_files_ > kMaxDrmFiles) {
      if (drm_files_ == kMaxDrmFiles + 1) ++scan_.hidden;
      return;
    }
    const auto text = read_small_file(fdinfo, kMaxFdinfo);
    if (!text) {
      // Closed in between; or not for our eyes.
      if (text.error().code != ErrorCode::kNotFound) ++scan_.hidden;
      return;
    }
    auto client = parse_drm_fdinfo(*text);
    if (!client) return;
    const auto [known, is_new] = places_.try_emplace(
        std::tuple(client->driver, client->pci_address, client->id), scan_.users.size());
    if (is_new) {
      scan_.users.push_back({*std::move(client), own});
    } else if (own) {
      scan_.users[known->second].own = true;  // shared with us: ours
    }
  }

  const fs::path proc_;
  const unsigned own_pid_;
  std::size_t drm_files_ = 0;
  std::map<std::tuple<std::string, std::string, std::uint64_t>, std::size_t> places_;
  DrmScan scan_;
};

}  // namespace

DrmScan scan_drm_clients(const fs::path& root, unsigned own_pid) {
  return Scanner(root, own_pid).scan();
}

}  // namespace gogrid
