#include "model/hub_answers.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/text.h"
#include "model/bounded_json.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxPath = 1024;
constexpr std::size_t kMaxLayers = 4096;
constexpr std::string_view kModelLayer = "application/vnd.ollama.image.model";
constexpr std::string_view kTensorLayer = "application/vnd.ollama.image.tensor";
constexpr std::string_view kDigestPrefix = "sha256:";

std::unexpected<Error> corrupt(std::string_view where, std::string_view expected,
                               std::string_view came) {
  return fail(ErrorCode::kCorrupt,
              format_text("[{}] expected {}: {}", where, expected, excerpt(came)));
}

Result<Json> parse_bounded(std::string_view json, std::string_view where) {
  return parse_json(json, where, {.size = kMaxHubAnswer, .depth = 16, .values = 500'000});
}

// Null when `object` is none, or has no text of this name.
const std::string* text_of(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto field = object.find(name);
  if (field == object.end() || !field->is_string()) return nullptr;
  return field->get_ptr<const std::string*>();
}

std::optional<Bytes> size_of(const Json& object, const char* name = "size") {
  if (!object.is_object()) return std::nullopt;
  const auto field = object.find(name);
  if (field == object.end() || !field->is_number_unsigned()) return std::nullopt;
  const auto size = field->get<Bytes>();
  if (size > kMaxModelSize) return std::nullopt;
  return size;
}

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// Such a path goes into messages and into an address.
bool is_path(std::string_view path) {
  return !path.empty() && path.size() <= kMaxPath && !path.starts_with('/') &&
         std::ranges::none_of(path, [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F; });
}

Result<HubFile> file_of(const Json& entry, std::string_view where) {
  HubFile file;
  const std::string* path = text_of(entry, "path");
  if (path == nullptr || !is_path(*path)) return corrupt(where, "a file with a path", "another");
  file.path = *path;
  const auto size = size_of(entry);
  if (!size) return corrupt(where, "a file's size", file.path);
  file.size = *size;
  const auto lfs = entry.find("lfs");
  if (lfs == entry.end() || lfs->is_null()) return file;
  const std::string* digest = text_of(*lfs, "oid");
  const auto stored = size_of(*lfs);
  if (digest == nullptr || !is_digest(*digest) || !stored)
    return corrupt(where, "64 hexadecimal digits and a size under 'lfs'", file.path);
  file.sha256 = *digest;
  file.size = *stored;
  return file;
}

Result<RegistryBlob> blob_of(const Json& layer, std::string_view where,
                             const char* size_name = "size") {
  const std::string* digest = text_of(layer, "digest");
  const auto size = size_of(layer, size_name);
  if (digest == nullptr || !digest->starts_with(kDigestPrefix) ||
      !is_digest(std::string_view(*digest).substr(kDigestPrefix.size())))
    return corrupt(where, "a digest sha256:<64 hexadecimal digits>", digest ? *digest : "none");
  if (!size || *size == 0) return corrupt(where, "the size of the model", *digest);
  return RegistryBlob{digest->substr(kDigestPrefix.size()), *size};
}

}  // namespace

Result<std::vector<HubFile>> parse_tree_page(std::string_view json, std::string_view where) {
  GOGRID_ASSIGN_OR_RETURN(const Json root, parse_bounded(json, where));
  if (!root.is_array()) return corrupt(where, "a list of files", root.type_name());
  std::vector<HubFile> files;
  for (const Json& entry : root) {
    const std::string* type = text_of(entry, "type");
    if (type == nullptr) return corrupt(where, "entries with a type", entry.type_name());
    if (*type != "file") continue;
    GOGRID_ASSIGN_OR_RETURN(HubFile file, file_of(entry, where));
    files.push_back(std::move(file));
  }
  return files;
}

std::optional<std::string> next_page(std::string_view link) {
  while (!link.empty()) {
    const std::size_t open = link.find('<');
    const std::size_t close = link.find('>', open == link.npos ? 0 : open);
    if (open == link.npos || close == link.npos) return std::nullopt;
    const std::string_view address = link.substr(open + 1, close - open - 1);
    link.remove_prefix(close + 1);
    const std::string_view parameters = link.substr(0, link.find('<'));
    if (parameters.contains("rel=\"next\"") || parameters.contains("rel=next"))
      return std::string(address);
  }
  return std::nullopt;
}

Result<RegistryBlob> parse_registry_manifest(std::string_view json, std::string_view where) {
  GOGRID_ASSIGN_OR_RETURN(const Json root, parse_bounded(json, where));
  const auto layers = root.is_object() ? root.find("layers") : root.end();
  if (!root.is_object() || layers == root.end() || !layers->is_array())
    return corrupt(where, "a manifest with layers", root.type_name());
  if (layers->size() > kMaxLayers)
    return corrupt(where, format_text("at most {} layers", kMaxLayers),
                   std::to_string(layers->size()));
  const Json* model = nullptr;
  for (const Json& layer : *layers) {
    const std::string* type = text_of(layer, "mediaType");
    if (type == nullptr) return corrupt(where, "layers with a mediaType", layer.type_name());
    if (type->starts_with(kTensorLayer) || (*type == kModelLayer && model != nullptr)) {
      return fail(
          ErrorCode::kUnsupported,
          format_text("[{}] expected a model in one GGUF layer: this one is in several", where));
    }
    if (*type == kModelLayer) model = &layer;
  }
  if (model == nullptr) {
    return fail(ErrorCode::kUnsupported,
                format_text("[{}] expected a layer of type {}: none", where, kModelLayer));
  }
  return blob_of(*model, where);
}

Result<RegistryBlob> parse_library_entry(std::string_view json, std::string_view where) {
  GOGRID_ASSIGN_OR_RETURN(const Json root, parse_bounded(json, where));
  return blob_of(root, where, "bytes");
}

}  // namespace gogrid
