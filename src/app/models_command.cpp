#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/loss_json.h"
#include "app/terminal.h"
#include "app/workspace.h"
#include "model/gguf_file.h"
#include "model/model_profile.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const ModelEntry& entry) {
  return {{"name", entry.name},
          {"digest", "sha256:" + entry.digest},
          {"path", entry.path.string()},
          {"bytes", entry.size},
          {"architecture", entry.architecture},
          {"quantization", entry.quantization},
          {"license", entry.license},
          {"imported_at", entry.imported_at},
          {"loss", entry.loss ? json_of(*entry.loss) : Json()}};
}

void print_row(const ModelEntry& entry) {
  std::printf("%-28s %10s  %-10s %-6s %s\n", entry.name.c_str(), format_bytes(entry.size).c_str(),
              entry.architecture.c_str(), entry.quantization.c_str(), entry.license.c_str());
  if (entry.loss) std::printf("  %s\n", text_of(*entry.loss).c_str());
}

Status import(ModelLibrary& library, const ModelsCommand& command, bool json) {
  const std::string name = command.name.empty() ? name_from_file(command.file) : command.name;
  ProgressLine line("importing " + name);
  GOGRID_ASSIGN_OR_RETURN(const ModelEntry entry,
                          library.import_file(command.file, name, command.sha256, line.bytes()));
  if (json)
    std::printf("%s\n", json_of(entry).dump().c_str());
  else
    std::printf("imported %s: %s, %s %s, licence %s\n", entry.name.c_str(),
                format_bytes(entry.size).c_str(), entry.architecture.c_str(),
                entry.quantization.c_str(), entry.license.c_str());
  return {};
}

void list(const ModelLibrary& library, bool json) {
  const auto entries = library.list();
  if (json) {
    Json models = Json::array();
    for (const ModelEntry& entry : entries) models.push_back(json_of(entry));
    std::printf("%s\n", Json{{"models", models}}.dump().c_str());
    return;
  }
  for (const ModelEntry& entry : entries) print_row(entry);
  if (entries.empty()) complain("no models yet: gogrid models import FILE.gguf --name NAME");
}

Status show(const ModelLibrary& library, const std::string& name, bool json) {
  GOGRID_ASSIGN_OR_RETURN(const ModelEntry entry, library.find(name));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(entry.path));
  GOGRID_ASSIGN_OR_RETURN(const ModelProfile profile, read_profile(file));
  Bytes kv = 0;
  for (const Bytes layer : profile.kv_bytes_per_token) kv += layer;
  if (json) {
    Json model = json_of(entry);
    model["layers"] = profile.n_layers;
    model["embedding_length"] = profile.n_embd;
    model["vocabulary"] = profile.n_vocab;
    model["context"] = profile.context_length;
    model["kv_bytes_per_token"] = kv;
    model["allowed_cuts"] = profile.allowed_cuts;
    model["one_stage_why"] = profile.one_stage_why;
    model["chat_template"] = !profile.chat_template.empty();
    std::printf("%s\n", model.dump().c_str());
    return {};
  }
  print_row(entry);
  std::printf(
      "  sha256 %s\n  %u layers, width %u, vocabulary %u, trained for %u tokens, %s of KV cache a "
      "token\n",
      entry.digest.c_str(), profile.n_layers, profile.n_embd, profile.n_vocab,
      profile.context_length, format_bytes(kv).c_str());
  std::printf(
      "  %s\n  chat template: %s\n",
      profile.one_stage_why.empty() ? "can be cut between devices" : profile.one_stage_why.c_str(),
      profile.chat_template.empty() ? "none" : "its own");
  return {};
}

Status verify(const ModelLibrary& library, const std::string& name, bool json) {
  ProgressLine line("verifying " + name);
  GOGRID_RETURN_IF_ERROR(library.verify(name, line.bytes()));
  if (json)
    std::printf("%s\n", Json{{"name", name}, {"intact", true}}.dump().c_str());
  else
    std::printf("%s is intact\n", name.c_str());
  return {};
}

Status remove(ModelLibrary& library, const std::string& name, bool json) {
  GOGRID_RETURN_IF_ERROR(library.remove(name));
  if (json)
    std::printf("%s\n", Json{{"name", name}, {"removed", true}}.dump().c_str());
  else
    std::printf("removed %s\n", name.c_str());
  return {};
}

}  // namespace

Status models_command(const ModelsCommand& command, const CommonOptions& common) {
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  GOGRID_ASSIGN_OR_RETURN(ModelLibrary library, workspace.library());
  switch (command.action) {
    case ModelsCommand::Action::kLoss:
      return loss_command(command.loss, common);
    case ModelsCommand::Action::kImport:
      return import(library, command, common.json);
    case ModelsCommand::Action::kList:
      list(library, common.json);
      return {};
    case ModelsCommand::Action::kShow:
      return show(library, command.name, common.json);
    case ModelsCommand::Action::kVerify:
      return verify(library, command.name, common.json);
    case ModelsCommand::Action::kRemove:
      return remove(library, command.name, common.json);
  }
  return {};
}

}  // namespace gogrid
