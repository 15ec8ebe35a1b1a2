#include "app/workspace.h"

#include <sys/stat.h>

#include <cctype>
#include <optional>
#include <system_error>
#include <vector>

#include "base/files.h"
#include "base/format.h"
#include "model/gguf_file.h"
#include "model/split_file.h"

namespace gogrid {
namespace {

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

std::optional<std::string> remembered_digest(const std::filesystem::path& memory) {
  constexpr std::size_t kDigestLength = 64;
  auto digest = read_file(memory, kDigestLength);
  if (!digest || digest->size() != kDigestLength) return std::nullopt;
  return *std::move(digest);
}

// The first part of a split model, and the parts beside it; else the file alone.
Result<std::vector<std::filesystem::path>> files_of(const std::filesystem::path& file) {
  const auto name = parse_part_name(file.stem().native());
  if (!name || name->part.count == 1) return std::vector{file};
  GOGRID_ASSIGN_OR_RETURN(const GgufFile model, GgufFile::open(file));
  return model.part_paths();
}

// Of a model in several files: the digest of theirs.
std::string joined_digest(const std::vector<std::string>& digests) {
  if (digests.size() == 1) return digests.front();
  Sha256 hash;
  for (const std::string& digest : digests) hash.update(digest);
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
    GOGRID_ASSIGN_OR_RETURN(const auto files, files_of(file));
    std::vector<std::string> digests;
    for (const auto& part : files) {
      GOGRID_ASSIGN_OR_RETURN(auto digest, digest_of(part, progress));
      digests.push_back(std::move(digest));
    }
    return ModelSource{name_from_file(file), file, joined_digest(digests)};
  }
  GOGRID_ASSIGN_OR_RETURN(const ModelLibrary models, library());
  GOGRID_ASSIGN_OR_RETURN(auto entry, models.find(model));
  return ModelSource{entry.name, entry.path, entry.digest};
}

Result<ModelSource> Workspace::locate(std::string_view model) const {
  if (!is_path(model)) return find(model);
  const std::filesystem::path file(model);
  GOGRID_ASSIGN_OR_RETURN(const auto files, files_of(file));
  std::vector<std::string> digests;
  for (const auto& part : files) {
    GOGRID_ASSIGN_OR_RETURN(const auto memory, memory_of(part));
    auto digest = remembered_digest(memory);
    if (!digest) return ModelSource{name_from_file(file), file, ""};
    digests.push_back(*std::move(digest));
  }
  return ModelSource{name_from_file(file), file, joined_digest(digests)};
}

Result<ModelSource> Workspace::find_to_run(std::string_view model, const Progress& progress) const {
  GOGRID_ASSIGN_OR_RETURN(const ModelArgument argument, parse_model_argument(model));
  GOGRID_ASSIGN_OR_RETURN(ModelSource source, find(argument.base, progress));
  GOGRID_RETURN_IF_ERROR(add_adapter(source, argument));
  return source;
}

Result<ModelSource> Workspace::locate_to_run(std::string_view model) const {
  GOGRID_ASSIGN_OR_RETURN(const ModelArgument argument, parse_model_argument(model));
  GOGRID_ASSIGN_OR_RETURN(ModelSource source, locate(argument.base));
  GOGRID_RETURN_IF_ERROR(add_adapter(source, argument));
  return source;
}

Status Workspace::add_adapter(ModelSource& base, const ModelArgument& argument) const {
  if (argument.adapter.empty()) return {};
  GOGRID_ASSIGN_OR_RETURN(const ModelSource adapter, locate(argument.adapter));
  base.adapter = {adapter.path, argument.scale};
  base.name += "+" + adapter.name;
  if (argument.scale != 1.0F) base.name += format_text("@{}", argument.scale);
  return {};
}

// Where the digest of this very file is kept.
Result<std::filesystem::path> Workspace::memory_of(const std::filesystem::path& file) const {
  struct stat status{};
  if (::stat(file.c_str(), &status) == 0) return root_ / "digests" / identity_of(status);
  return fail(ErrorCode::kNotFound,
              "[workspace] " + file.string() + ": " + std::generic_category().message(errno),
              "MODEL");
}

Result<std::string> Workspace::digest_of(const std::filesystem::path& file,
                                         const Progress& progress) const {
  GOGRID_ASSIGN_OR_RETURN(const auto memory, memory_of(file));
  if (auto digest = remembered_digest(memory)) return *std::move(digest);
  GOGRID_ASSIGN_OR_RETURN(auto digest, sha256_file(file, progress));
  // Only a saving of time: a full disk must not keep the model from running.
  static_cast<void>(write_file(memory, digest));
  return digest;
}

std::string name_from_file(const std::filesystem::path& file) {
  std::string name;
  const std::string stem = file.stem().string();
  const auto part = parse_part_name(stem);
  for (const char c : part ? part->stem : stem) {
    const auto byte = static_cast<unsigned char>(c);
    const bool keep = std::isalnum(byte) != 0 || c == '.' || c == '_' || c == '-';
    name += keep ? static_cast<char>(std::tolower(byte)) : '-';
  }
  const std::size_t first = name.find_first_of("abcdefghijklmnopqrstuvwxyz0123456789");
  name = first == std::string::npos ? "model" : name.substr(first);
  return name.substr(0, 63);
}

}  // namespace gogrid
