#include "model/safetensors_file.h"

#include <algorithm>
#include <optional>

#include "base/files.h"
#include "model/safetensors_header.h"

namespace gogrid {

struct SafetensorsFile::State {
  std::filesystem::path path;
  std::optional<MappedFile> mapping;  // none when parsed from memory
  std::span<const std::byte> bytes;
  SafetensorsContents contents;
};

SafetensorsFile::SafetensorsFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path,
                                              const SafetensorsLimits& limits) {
  GOGRID_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
  auto state = std::make_unique<State>();
  state->path = path;
  state->bytes = mapping.bytes();
  state->mapping = std::move(mapping);
  GOGRID_ASSIGN_OR_RETURN(state->contents, parse_safetensors(state->bytes, path.native(), limits));
  return SafetensorsFile(std::move(state));
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes,
                                               std::string_view name,
                                               const SafetensorsLimits& limits) {
  auto state = std::make_unique<State>();
  state->path = name;
  state->bytes = bytes;
  GOGRID_ASSIGN_OR_RETURN(state->contents, parse_safetensors(bytes, name, limits));
  return SafetensorsFile(std::move(state));
}

const std::filesystem::path& SafetensorsFile::path() const { return state_->path; }
int SafetensorsFile::descriptor() const {
  return state_->mapping ? state_->mapping->descriptor() : -1;
}

std::span<const SafetensorsTensor> SafetensorsFile::tensors() const {
  return state_->contents.tensors;
}

const SafetensorsTensor* SafetensorsFile::tensor(std::string_view name) const {
  const auto& tensors = state_->contents.tensors;
  const auto name_of = [](const SafetensorsTensor& tensor) {
    return std::string_view(tensor.name);
  };
  const auto found = std::ranges::lower_bound(tensors, name, {}, name_of);
  return found == tensors.end() || found->name != name ? nullptr : &*found;
}

std::span<const std::byte> SafetensorsFile::data(const SafetensorsTensor& tensor) const {
  return state_->bytes.subspan(tensor.offset, tensor.size);
}

std::span<const std::pair<std::string, std::string>> SafetensorsFile::metadata() const {
  return state_->contents.metadata;
}

}  // namespace gogrid
