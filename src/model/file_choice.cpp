#include "model/file_choice.h"

#include <algorithm>
#include <vector>

#include "base/format.h"
#include "base/nearest.h"
#include "model/split_file.h"

namespace gogrid {
namespace {

constexpr std::string_view kExtension = ".gguf";
constexpr std::size_t kMaxListed = 40;

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

std::string uppered(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), upper);
  return result;
}

std::string_view name_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool is_gguf(std::string_view path) { return uppered(path).ends_with(".GGUF"); }

std::string_view stem_of(std::string_view path) {
  const std::string_view name = name_of(path);
  return is_gguf(name) ? name.substr(0, name.size() - kExtension.size()) : name;
}

// What llama.cpp writes beside models for images and audio, and for quantizing.
bool is_beside_a_model(std::string_view path) {
  const std::string name = uppered(name_of(path));
  return name.contains("MMPROJ") || name.contains("IMATRIX");
}

std::string_view without_part(std::string_view stem) {
  const auto name = parse_part_name(stem);
  return name ? stem.substr(0, name->stem.size()) : stem;
}

// "Q4_K_M", "IQ3_XXS", "BF16", "F32", "MXFP4", "TQ1_0": letters that begin every type's name, then
// a digit.
bool looks_like_type(std::string_view word) {
  for (const std::string_view head : {"IQ", "TQ", "MXFP", "NVFP", "BF", "FP", "Q", "F"}) {
    if (word.size() > head.size() && word.starts_with(head))
      return word[head.size()] >= '0' && word[head.size()] <= '9';
  }
  return false;
}

std::vector<HubFile> models_among(std::span<const HubFile> files) {
  std::vector<HubFile> models;
  std::ranges::copy_if(files, std::back_inserter(models), [](const HubFile& file) {
    return is_gguf(file.path) && !is_beside_a_model(file.path);
  });
  return models;
}

std::vector<std::string> paths_of(std::span<const HubFile> files) {
  std::vector<std::string> paths;
  for (const HubFile& file : files) paths.push_back(file.path);
  return paths;
}

// "Q4_K_M (4.1 GiB), model.gguf (2.0 GiB)"; the parts of one model count as one.
std::string listed(std::span<const HubFile> files) {
  std::vector<std::pair<std::string, Bytes>> rows;
  for (const HubFile& file : files) {
    std::string type = quantization_in(file.path);
    std::string shown = type.empty() ? file.path : std::move(type);
    const auto row = std::ranges::find(rows, shown, &std::pair<std::string, Bytes>::first);
    if (row == rows.end())
      rows.emplace_back(std::move(shown), file.size);
    else if (parts_of(file.path) > 1)
      row->second += file.size;
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(rows.size(), kMaxListed); ++i)
    text +=
        format_text("{}{} ({})", i == 0 ? "" : ", ", rows[i].first, format_bytes(rows[i].second));
  if (rows.size() > kMaxListed) text += format_text(" and {} more", rows.size() - kMaxListed);
  return text;
}

Result<HubFile> checked(const HubFile& file, std::string_view repository) {
  if (!is_gguf(file.path)) {
    return fail(
        ErrorCode::kUnsupported,
        format_text("[pull] expected a GGUF file: {} of {} is none", file.path, repository));
  }
  if (file.size == 0)
    return fail(ErrorCode::kCorrupt,
                format_text("[pull] expected a model: {} of {} is empty", file.path, repository));
  return file;
}

// All files of the model that `file` is, or is a part of.
Result<std::vector<HubFile>> with_its_parts(const HubFile& file, std::span<const HubFile> files,
                                            std::string_view repository) {
  std::vector<HubFile> parts;
  const std::uint32_t count = is_gguf(file.path) ? parts_of(file.path) : 1;
  if (count > kMostParts) {
    return fail(ErrorCode::kUnsupported,
                format_text("[pull] expected a model in at most {} parts: {} is of {}", kMostParts,
                            file.path, count));
  }
  for (std::uint32_t number = 1; number <= count; ++number) {
    const std::string path = count == 1 ? file.path : path_of_part(file.path, number).string();
    const auto part = std::ranges::find(files, path, &HubFile::path);
    if (part == files.end()) {
      return fail(ErrorCode::kNotFound, format_text("[pull] expected {} parts of {}: {} has no {}",
                                                    count, file.path, repository, path));
    }
    GOGRID_ASSIGN_OR_RETURN(HubFile good, checked(*part, repository));
    parts.push_back(std::move(good));
  }
  return parts;
}

// Of those that fit: the one, or an error that says how to name one.
Result<std::vector<HubFile>> the_only(std::span<const HubFile> fitting,
                                      std::span<const HubFile> files, std::string_view repository) {
  // The parts of a split model are one answer.
  const auto first = path_of_part(fitting.front().path, 1);
  const bool one = fitting.size() == 1 || std::ranges::all_of(fitting, [&](const HubFile& file) {
                     return parts_of(file.path) > 1 && path_of_part(file.path, 1) == first;
                   });
  if (one) return with_its_parts(fitting.front(), files, repository);
  return fail(ErrorCode::kInvalidArgument,
              format_text("[pull] expected one model: {} has {}; say which, as in hf:{}:{}",
                          repository, listed(fitting), repository,
                          quantization_in(fitting.front().path).empty()
                              ? fitting.front().path
                              : quantization_in(fitting.front().path)),
              "SOURCE");
}

}  // namespace

std::uint32_t parts_of(std::string_view path) {
  const auto name = parse_part_name(stem_of(path));
  return name ? static_cast<std::uint32_t>(name->part.count) : 1;  // five digits
}

std::string quantization_in(std::string_view path) {
  const std::string stem = uppered(without_part(stem_of(path)));
  std::string found;
  for (std::size_t at = 0; at <= stem.size();) {
    const std::size_t end = std::min(stem.find_first_of(".-", at), stem.size());
    const std::string_view word = std::string_view(stem).substr(at, end - at);
    if (looks_like_type(word)) found = word;
    at = end + 1;
  }
  return found;
}

std::string name_of_all(std::string_view path) {
  return std::string(without_part(stem_of(path))) + std::string(kExtension);
}

Result<std::vector<HubFile>> choose_files(std::span<const HubFile> files, std::string_view wanted,
                                          std::string_view repository) {
  if (const auto exact = std::ranges::find(files, wanted, &HubFile::path); exact != files.end())
    return with_its_parts(*exact, files, repository);
  const std::vector<HubFile> models = models_among(files);
  if (models.empty()) {
    return fail(ErrorCode::kUnsupported,
                format_text("[pull] expected a GGUF file: {} has none; its owner, or others, may "
                            "have a repository with GGUF in its name",
                            repository));
  }
  if (wanted.empty()) return the_only(models, files, repository);
  std::vector<HubFile> fitting;
  std::ranges::copy_if(models, std::back_inserter(fitting), [&](const HubFile& file) {
    return quantization_in(file.path) == uppered(wanted);
  });
  if (!fitting.empty()) return the_only(fitting, files, repository);
  if (is_gguf(wanted)) {
    return fail(ErrorCode::kNotFound, format_text("[pull] no file {} in {}{}", wanted, repository,
                                                  suggestion(wanted, paths_of(models))));
  }
  return fail(ErrorCode::kNotFound,
              format_text("[pull] no file or quantization '{}' in {}: it has {}", wanted,
                          repository, listed(models)));
}

}  // namespace gogrid
