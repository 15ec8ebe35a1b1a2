#include "app/models_show.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "app/json_output.h"
#include "app/loss_json.h"
#include "app/remote_source.h"
#include "base/format.h"
#include "engine/stage_loss_cache.h"
#include "model/gguf_file.h"
#include "model/model_description.h"
#include "model/model_difference.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

// A model of the library, or the file at a path.
struct ShownModel {
  ModelSource source;
  std::optional<ModelEntry> entry;  // of the library
  GgufFile file;
  std::optional<RemoteModel> remote = {};  // one that is not here: its header
};

Result<ShownModel> open_remote(const Workspace& workspace, const ModelsCommand& command,
                               const std::string& name) {
  GOGRID_ASSIGN_OR_RETURN(RemoteModel remote, look_at_remote(workspace, command.pull, name));
  GOGRID_ASSIGN_OR_RETURN(GgufFile file, GgufFile::open(remote.source.path));
  ModelSource source = remote.source;
  source.path = name;
  return ShownModel{std::move(source), std::nullopt, std::move(file), std::move(remote)};
}

Result<ShownModel> open_model(const Workspace& workspace, const ModelsCommand& command,
                              const std::string& name) {
  if (names_remote(name)) return open_remote(workspace, command, name);
  GOGRID_ASSIGN_OR_RETURN(ModelSource source, workspace.locate(name));
  GOGRID_ASSIGN_OR_RETURN(GgufFile file, GgufFile::open(source.path));
  ShownModel model{std::move(source), std::nullopt, std::move(file)};
  if (is_path(name)) return model;
  GOGRID_ASSIGN_OR_RETURN(const ModelLibrary library, workspace.library());
  GOGRID_ASSIGN_OR_RETURN(model.entry, library.find(name));
  return model;
}

Bytes kv_bytes_of(const ModelProfile& profile) {
  Bytes sum = 0;
  for (const Bytes layer : profile.kv_bytes_per_token) sum = checked_add(sum, layer).value_or(sum);
  return sum;
}

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

// --- as JSON

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

// The most of any layer.
Json or_null(const std::optional<Spread>& spread) { return spread ? Json(spread->most) : Json(); }

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json json_of(const TypeShare& share) {
  return {{"type", share.type},
          {"tensors", share.tensors},
          {"parameters", share.parameters},
          {"bytes", share.bytes}};
}

Json json_of(const GgufTensor& tensor) {
  const std::vector<std::uint64_t> shape(tensor.shape.begin(),
                                         tensor.shape.begin() + tensor.n_dims);
  return {
      {"name", tensor.name}, {"type", tensor.type_name}, {"shape", shape}, {"bytes", tensor.size}};
}

Json stage_losses_json(const Workspace& workspace, std::string_view digest) {
  Json losses = Json::array();
  for (const StageLossRecord& record : StageLossCache(workspace.measurements()).list(digest)) {
    Json stages = Json::array();
    for (const SmallerRange& stage : record.stages)
      stages.push_back({{"layers", {stage.layers.first, stage.layers.last}}, {"type", stage.type}});
    Json loss{{"stages", std::move(stages)}};
    loss.update(json_of(record.loss));
    losses.push_back(std::move(loss));
  }
  return losses;
}

// The fields of `models list`, as far as a file without an entry has them.
Json entry_json(const ShownModel& model, const ModelDescription& description,
                const Workspace& workspace) {
  if (model.entry) return json_of(*model.entry, workspace);
  const std::string& digest = model.source.digest;
  return {{"name", model.source.name},
          {"digest", digest.empty() ? Json() : Json("sha256:" + digest)},
          {"path", model.source.path.string()},
          {"bytes", description.file_bytes},
          {"architecture", or_null(description.architecture)},
          {"quantization", description.quantization},
          {"license", or_null(description.license)},
          {"imported_at", nullptr},
          {"loss", nullptr},
          {"stage_losses", stage_losses_json(workspace, digest)},
          {"repacked", nullptr}};
}

void add_run_fields(Json& json, const Result<ModelProfile>& profile) {
  json["kv_bytes_per_token"] = profile ? Json(kv_bytes_of(*profile)) : Json();
  json["allowed_cuts"] = profile ? Json(profile->allowed_cuts) : Json::array();
  json["one_stage_why"] = profile ? Json(profile->one_stage_why) : Json();
  json["cannot_run_why"] = profile ? Json() : Json(profile.error().message);
}

Json json_of(const ShownModel& model, const ModelDescription& description,
             const Workspace& workspace, bool tensors) {
  Json json = entry_json(model, description, workspace);
  json["title"] = or_null(description.name);
  json["gguf_version"] = description.gguf_version;
  json["files"] = description.files;
  json["parameters"] = description.parameters;
  json["tensor_bytes"] = description.tensor_bytes;
  json["bits_per_weight"] =
      description.parameters == 0 ? Json() : Json(description.bits_per_weight);
  json["types"] = Json::array();
  for (const TypeShare& share : description.types) json["types"].push_back(json_of(share));
  json["layers"] = or_null(description.layers);
  json["embedding_length"] = or_null(description.embedding_length);
  json["heads"] = or_null(description.heads);
  json["kv_heads"] = or_null(description.kv_heads);
  json["experts"] = description.experts;
  json["experts_used"] = or_null(description.experts_used);
  json["vocabulary"] = description.vocabulary;
  json["vocabulary_type"] = or_null(description.vocabulary_type);
  json["context"] = or_null(description.context);
  json["chat_template"] = description.template_bytes > 0;
  add_run_fields(json, description.profile);
  if (!tensors) return json;
  json["tensors"] = Json::array();
  for (const GgufTensor& tensor : model.file.tensors()) json["tensors"].push_back(json_of(tensor));
  return json;
}

// --- as text

std::string text_of(const std::optional<std::uint64_t>& number) {
  return number ? std::to_string(*number) : "unknown";
}

std::string text_of(const std::optional<Spread>& spread) {
  if (!spread) return "unknown";
  if (spread->least == spread->most) return std::to_string(spread->most);
  return format_text("{} to {}", spread->least, spread->most);
}

std::string text_of(const std::string& text) { return text.empty() ? "unknown" : text; }

// "134.5 M".
std::string count_text(std::uint64_t count) {
  constexpr auto kSteps = std::to_array<std::pair<double, const char*>>(
      {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}});
  for (const auto& [step, name] : kSteps) {
    const double value = static_cast<double>(count) / step;
    if (value >= 1) return format_text("{:.1f} {}", value, name);
  }
  return std::to_string(count);
}

void print_line(std::string_view what, const std::string& text) {
  print(format_text("  {:<14} {}\n", what, text));
}

std::string cuts_text(const ModelProfile& profile) {
  if (profile.allowed_cuts.empty()) return "nowhere: " + profile.one_stage_why;
  constexpr std::size_t kShown = 12;
  std::string text = "before layer ";
  for (std::size_t i = 0; i < std::min(kShown, profile.allowed_cuts.size()); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(profile.allowed_cuts[i]);
  }
  if (profile.allowed_cuts.size() <= kShown) return text;
  return text + format_text(", ... {} ({} places)", profile.allowed_cuts.back(),
                            profile.allowed_cuts.size());
}

void print_shape(const ModelDescription& description) {
  print_line("layers", format_text("{}, width {}", text_of(description.layers),
                                   text_of(description.embedding_length)));
  print_line("heads", format_text("{}, {} of keys and values", text_of(description.heads),
                                  text_of(description.kv_heads)));
  if (description.experts > 0) {
    print_line("experts", format_text("{}, {} of them used for a token", description.experts,
                                      text_of(description.experts_used)));
  }
  print_line("context", text_of(description.context) + " tokens");
  std::string vocabulary =
      format_text("{} tokens, {}", description.vocabulary, text_of(description.vocabulary_type));
  if (!description.vocabulary_splitter.empty())
    vocabulary += ", split as " + description.vocabulary_splitter;
  print_line("vocabulary", description.vocabulary == 0 ? "none" : vocabulary);
  print_line("chat template", description.template_bytes == 0
                                  ? "none"
                                  : format_text("its own, {} bytes", description.template_bytes));
}

void print_weights(const ModelDescription& description) {
  print_line("parameters",
             format_text("{} ({})", count_text(description.parameters), description.parameters));
  print_line("weights",
             format_text("{}, {:.2f} bits a weight", format_bytes(description.tensor_bytes),
                         description.bits_per_weight));
  for (const TypeShare& share : description.types) {
    print_line("", format_text("{:<8} {:>6} tensors {:>10}", share.type, share.tensors,
                               format_bytes(share.bytes)));
  }
}

void print_running(const Result<ModelProfile>& profile) {
  if (!profile) return print_line("cannot run", shown_text(profile.error().message, 400));
  print_line("KV cache", format_bytes(kv_bytes_of(*profile)) + " a token");
  print_line("can be cut", cuts_text(*profile));
}

void print_model(const ShownModel& model, const ModelDescription& description,
                 const Workspace& workspace) {
  print(format_text("{}: {} {}, {}, licence {}\n", model.source.name,
                    text_of(description.architecture), description.quantization,
                    format_bytes(description.file_bytes), text_of(description.license)));
  if (!description.name.empty()) print_line("title", description.name);
  print_line("file", format_text("{}, GGUF version {}", model.source.path.string(),
                                 description.gguf_version));
  if (description.files > 1)
    print_line("parts", format_text("{} files, read as one", description.files));
  if (!model.source.digest.empty()) print_line("sha256", model.source.digest);
  print_weights(description);
  if (model.entry && model.entry->loss) print_line("loss", text_of(*model.entry->loss));
  if (model.entry && model.entry->repacked) print_line("repacked", text_of(*model.entry->repacked));
  for (const std::string& loss : stage_losses_text(workspace, model.source.digest))
    print_line("stages' loss", loss);
  print_shape(description);
  print_running(description.profile);
}

void print_tensors(const GgufFile& file) {
  for (const GgufTensor& tensor : file.tensors()) {
    print(format_text("  {:<40} {:<8} {:>20} {:>12}\n", tensor.name, tensor.type_name,
                      shape_text(tensor), tensor.size));
  }
}

// --- what differs

Json json_of(const std::vector<Difference>& differences) {
  Json array = Json::array();
  for (const Difference& difference : differences) {
    array.push_back(
        {{"name", difference.name}, {"left", difference.left}, {"right", difference.right}});
  }
  return array;
}

void print_differences(const char* what, const std::vector<Difference>& differences) {
  if (differences.empty()) return print(format_text("{}: the same\n", what));
  print(format_text("{}: {} differ\n", what, differences.size()));
  for (const Difference& difference : differences) {
    print(format_text("  {}\n    < {}\n    > {}\n", difference.name, difference.left,
                      difference.right));
  }
}

Status show_difference(const Workspace& workspace, const ModelsCommand& command, bool json) {
  GOGRID_ASSIGN_OR_RETURN(const ShownModel left, open_model(workspace, command, command.name));
  GOGRID_ASSIGN_OR_RETURN(const ShownModel right, open_model(workspace, command, command.diff));
  const ModelDifference difference = compare_models(left.file, right.file);
  if (json) {
    print_json({{"left", left.source.name},
                {"right", right.source.name},
                {"metadata", json_of(difference.metadata)},
                {"tensors", json_of(difference.tensors)}});
    return {};
  }
  print(format_text("< {}\n> {}\n", left.source.path.string(), right.source.path.string()));
  print_differences("metadata", difference.metadata);
  print_differences("tensors", difference.tensors);
  return {};
}

}  // namespace

std::vector<std::string> stage_losses_text(const Workspace& workspace, std::string_view digest) {
  std::vector<std::string> lines;
  for (const StageLossRecord& record : StageLossCache(workspace.measurements()).list(digest))
    lines.push_back(to_string(record.stages) + " " + text_of(record.loss));
  return lines;
}

Json json_of(const ModelEntry& entry, const Workspace& workspace) {
  return {{"name", entry.name},
          {"digest", "sha256:" + entry.digest},
          {"path", entry.path.string()},
          {"bytes", entry.size},
          {"architecture", entry.architecture},
          {"quantization", entry.quantization},
          {"license", entry.license},
          {"imported_at", entry.imported_at},
          {"loss", entry.loss ? json_of(*entry.loss) : Json()},
          {"stage_losses", stage_losses_json(workspace, entry.digest)},
          {"repacked", entry.repacked ? json_of(*entry.repacked) : Json()}};
}

Status show_model(const Workspace& workspace, const ModelsCommand& command, bool json) {
  if (!command.diff.empty()) return show_difference(workspace, command, json);
  GOGRID_ASSIGN_OR_RETURN(const ShownModel model, open_model(workspace, command, command.name));
  const ModelDescription description = describe_model(model.file);
  if (json) {
    print_json(json_of(model, description, workspace, command.tensors));
    return {};
  }
  print_model(model, description, workspace);
  if (command.tensors) print_tensors(model.file);
  return {};
}

}  // namespace gogrid
