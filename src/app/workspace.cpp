#include "app/workspace.h"

#include <sys/stat.h>

#include <cctype>
#include <system_error>

#include "base/files.h"

namespace gogrid {
namespace {

bool is_path(std::string_view model) {
  return model.find('/') != model.npos || model.ends_with(".gguf");
}

std::string identity_of(const struct stat& status) {
  Sha256 hash;
  for (const auto part :
       {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
        static_cast<std::uint64_t>(status.st_size),
        static_cast<std::uint64_t>(status.st_mtim.tv_sec),
        static_cast<std::uint64_t>(status.st_mtim.tv_nsec),
        static_cast<std::uint64_t>(status.st_ctim.tv_sec),
        static_cast<std::uint64_t>(status.st_ctim.tv_nsec)}) {
    hash.update(std::to_string(part) + ",");
  }
  return hash.finish();
}

}  // namespace

Result<Workspace> Workspace::open(const std::filesystem::path& flag) {
  GOGRID_ASSIGN_OR_RETURN(auto root, data_folder(flag));
  GOGRID_RETURN_IF_ERROR(remove_stale_temporaries(root));
  for (const char* folder : {"slices", "measurements", "digests"}) {
    std::error_code error;
    std::filesystem::create_directories(root / folder, error);
    if (error) {
      return fail(ErrorCode::kIo,
                  "[workspace] cannot make " + (root / folder).string() + ": " + error.message(),
                  "data-dir");
    }
    GOGRID_RETURN_IF_ERROR(remove_stale_temporaries(root / folder));
  }
  return Workspace(std::move(root));
}

Result<ModelSource> Workspace::find(std::string_view model, const Progress& progress) const {
  if (is_path(model)) {
    const std::filesystem::path file(model);
    GOGRID_ASSIGN_OR_RETURN(auto digest, digest_of(file, progress));
    return ModelSource{name_from_file(file), file, std::move(digest)};
  }
  GOGRID_ASSIGN_OR_RETURN(const ModelLibrary models, library());
  GOGRID_ASSIGN_OR_RETURN(auto entry, models.find(model));
  return ModelSource{entry.name, entry.path, entry.digest};
}

Result<std::filesystem::path> Workspace::path_of(std::string_view model) const {
  if (is_path(model)) return std::filesystem::path(model);
  GOGRID_ASSIGN_OR_RETURN(const ModelLibrary models, library());
  GOGRID_ASSIGN_OR_RETURN(auto entry, models.find(model));
  return std::move(entry.path);
}

Result<std::string> Workspace::digest_of(const std::filesystem::path& file,
                                         const Progress& progress) const {
  struct stat status{};
  if (::stat(file.c_str(), &status) != 0) {
    return fail(ErrorCode::kNotFound,
                "[workspace] " + file.string() + ": " + std::generic_category().message(errno),
                "MODEL");
  }
  constexpr std::size_t kDigestLength = 64;
  const std::filesystem::path remembered = root_ / "digests" / identity_of(status);
  if (auto digest = read_file(remembered, kDigestLength); digest && digest->size() == kDigestLength)
    return digest;
  GOGRID_ASSIGN_OR_RETURN(auto digest, sha256_file(file, progress));
  // Only a saving of time: a full disk must not keep the model from running.
  static_cast<void>(write_file(remembered, digest));
  return digest;
}

std::string name_from_file(const std::filesystem::path& file) {
  std::string name;
  for (const char c : file.stem().string()) {
    const auto byte = static_cast<unsigned char>(c);
    const bool keep = std::isalnum(byte) != 0 || c == '.' || c == '_' || c == '-';
    name += keep ? static_cast<char>(std::tolower(byte)) : '-';
  }
  const std::size_t first = name.find_first_of("abcdefghijklmnopqrstuvwxyz0123456789");
  name = first == std::string::npos ? "model" : name.substr(first);
  return name.substr(0, 63);
}

}  // namespace gogrid
