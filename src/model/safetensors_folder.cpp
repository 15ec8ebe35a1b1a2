#include "model/safetensors_folder.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/format.h"
#include "base/text.h"
#include "model/bounded_json.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".safetensors";
// The largest published models have fewer than 200.
constexpr std::size_t kMostShards = 1000;

std::unexpected<Error> corrupt(const fs::path& path, const std::string& what) {
  return fail(ErrorCode::kCorrupt, format_text("[safetensors] {}: {}", path.string(), what));
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// A name in the index is a file of this folder, and never a path out of it.
bool is_shard_name(std::string_view name) {
  return name.ends_with(kExtension) && name.find('/') == name.npos && name.front() != '.';
}

std::unexpected<Error> no_weights(const fs::path& folder, const std::string& whole,
                                  const std::string& index) {
  for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!is_there(folder / pickle)) continue;
    return fail(ErrorCode::kUnsupported,
                format_text("[safetensors] {}: expected {}: {}, a pickle, can run code and is not "
                            "read",
                            folder.string(), whole, pickle));
  }
  return fail(ErrorCode::kNotFound, format_text("[safetensors] {}: expected {} or {}: neither",
                                                folder.string(), whole, index));
}

using WeightMap = std::map<std::string, std::string>;

Result<WeightMap> read_index(const fs::path& path) {
  GOGRID_ASSIGN_OR_RETURN(const nlohmann::json index, read_json(path));
  const auto weights = index.is_object() ? index.find("weight_map") : index.end();
  if (weights == index.end() || !weights->is_object() || weights->empty()) {
    return corrupt(path, "expected the object weight_map: absent");
  }
  WeightMap map;
  for (const auto& [tensor, file] : weights->items()) {
    if (!file.is_string() || !is_shard_name(file.get_ref<const std::string&>())) {
      return corrupt(path, format_text("tensor {}: expected the name of a .safetensors file: {}",
                                       excerpt(tensor), excerpt(file.dump())));
    }
    map.emplace(tensor, file.get<std::string>());
  }
  return map;
}

}  // namespace

Result<SafetensorsFolder> SafetensorsFolder::open(const fs::path& folder, std::string_view stem) {
  const std::string whole = format_text("{}{}", stem, kExtension);
  const std::string index = whole + ".index.json";
  SafetensorsFolder opened;
  if (is_there(folder / whole)) {
    GOGRID_RETURN_IF_ERROR(opened.add_shard(folder / whole));
  } else if (is_there(folder / index)) {
    GOGRID_RETURN_IF_ERROR(opened.add_indexed(folder, folder / index));
  } else {
    return no_weights(folder, whole, index);
  }
  GOGRID_RETURN_IF_ERROR(opened.sort_tensors(folder));
  return opened;
}

Status SafetensorsFolder::add_shard(const fs::path& path) {
  GOGRID_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path));
  files_.push_back(std::make_unique<const SafetensorsFile>(std::move(file)));
  for (const SafetensorsTensor& tensor : files_.back()->tensors()) {
    tensors_.push_back({&tensor, files_.back().get()});
  }
  return {};
}

Status SafetensorsFolder::add_indexed(const fs::path& folder, const fs::path& index) {
  GOGRID_ASSIGN_OR_RETURN(const WeightMap map, read_index(index));
  std::map<std::string, std::size_t> tensors_of;
  for (const auto& [tensor, file] : map) ++tensors_of[file];
  if (tensors_of.size() > kMostShards) {
    return corrupt(index,
                   format_text("expected at most {} files: {}", kMostShards, tensors_of.size()));
  }
  for (const auto& [name, count] : tensors_of) {
    const std::size_t before = tensors_.size();
    GOGRID_RETURN_IF_ERROR(add_shard(folder / name));
    const auto belongs = [&](const ShardTensor& tensor) {
      const auto found = map.find(tensor.info->name);
      return found != map.end() && found->second == name;
    };
    const auto added = std::span(tensors_).subspan(before);
    const auto stranger = std::ranges::find_if_not(added, belongs);
    if (stranger != added.end()) {
      return corrupt(folder / name, format_text("tensor {}: expected it in the index: it is not",
                                                excerpt(stranger->name())));
    }
    if (added.size() != count) {
      return corrupt(folder / name,
                     format_text("expected the {} tensors of the index: {}", count, added.size()));
    }
  }
  return {};
}

Status SafetensorsFolder::sort_tensors(const fs::path& folder) {
  std::ranges::sort(tensors_, {}, &ShardTensor::name);
  if (tensors_.empty()) return corrupt(folder, "expected tensors: none");
  return {};
}

const ShardTensor* SafetensorsFolder::tensor(std::string_view name) const {
  const auto found = std::ranges::lower_bound(tensors_, name, {}, &ShardTensor::name);
  return found == tensors_.end() || found->name() != name ? nullptr : &*found;
}

}  // namespace gogrid
