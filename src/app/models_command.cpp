#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/import_folder.h"
#include "app/json_output.h"
#include "app/long_job.h"
#include "app/loss_json.h"
#include "app/models_check.h"
#include "app/models_show.h"
#include "app/pull_command.h"
#include "app/terminal.h"
#include "app/workspace.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

void print_row(const ModelEntry& entry, const Workspace& workspace) {
  std::printf("%-28s %10s  %-10s %-6s %s\n", entry.name.c_str(), format_bytes(entry.size).c_str(),
              entry.architecture.c_str(), entry.quantization.c_str(), entry.license.c_str());
  if (entry.loss) std::printf("  %s\n", text_of(*entry.loss).c_str());
  for (const std::string& loss : stage_losses_text(workspace, entry.digest))
    std::printf("  %s\n", loss.c_str());
}

Result<ModelEntry> import_into(const Workspace& workspace, ModelLibrary& library,
                               const ModelsCommand& command, const std::string& name) {
  if (std::filesystem::is_directory(command.file))
    return import_folder(workspace, library, command, name);
  if (!command.type.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "--type is for folders of safetensors: a file is taken "
                "as it is",
                "type");
  }
  ProgressLine line("importing " + name);
  return library.import_file(command.file, name, command.sha256, line.bytes());
}

Status import(const Workspace& workspace, ModelLibrary& library, const ModelsCommand& command,
              bool json) {
  const std::string name = !command.name.empty() ? command.name
                           : std::filesystem::is_directory(command.file)
                               ? name_from_folder(command.file)
                               : name_from_file(command.file);
  GOGRID_ASSIGN_OR_RETURN(const ModelEntry entry, import_into(workspace, library, command, name));
  if (json)
    print_json(json_of(entry, workspace));
  else
    std::printf("imported %s: %s, %s %s, licence %s\n", entry.name.c_str(),
                format_bytes(entry.size).c_str(), entry.architecture.c_str(),
                entry.quantization.c_str(), entry.license.c_str());
  if (!json && entry.repacked) std::printf("repacked %s\n", text_of(*entry.repacked).c_str());
  return {};
}

Status pull(const Workspace& workspace, ModelLibrary& library, const ModelsCommand& command,
            bool json) {
  GOGRID_ASSIGN_OR_RETURN(const PullReport report, pull_command(workspace, library, command));
  const ModelEntry& entry = report.entry;
  if (json) {
    Json model = json_of(entry, workspace);
    model["fetched_bytes"] = report.fetched;
    model["kept_bytes"] = report.kept;
    print_json(model);
    return {};
  }
  std::printf("%s %s: %s, %s %s, licence %s\n", report.was_here ? "here already:" : "pulled",
              entry.name.c_str(), format_bytes(entry.size).c_str(), entry.architecture.c_str(),
              entry.quantization.c_str(), entry.license.c_str());
  return {};
}

void list(const ModelLibrary& library, const Workspace& workspace, bool json) {
  const auto entries = library.list();
  if (json) {
    Json models = Json::array();
    for (const ModelEntry& entry : entries) models.push_back(json_of(entry, workspace));
    print_json(Json{{"models", models}});
    return;
  }
  for (const ModelEntry& entry : entries) print_row(entry, workspace);
  if (entries.empty()) complain("no models yet: gogrid models import FILE.gguf --name NAME");
}

Status verify(const Workspace& workspace, const ModelLibrary& library, const ModelsCommand& command,
              bool json) {
  const std::string& name = command.name;
  GOGRID_RETURN_IF_ERROR(library.find(name));
  {
    GOGRID_ASSIGN_OR_RETURN(const auto job,
                            LongJob::begin(workspace, command.policy, "verifying " + name));
    ProgressLine line("verifying " + name);
    GOGRID_RETURN_IF_ERROR(library.verify(name, resting(*job, line)));
  }
  if (json)
    print_json(Json{{"name", name}, {"intact", true}});
  else
    std::printf("%s is intact\n", name.c_str());
  return {};
}

Status remove(ModelLibrary& library, const std::string& name, bool json) {
  GOGRID_RETURN_IF_ERROR(library.remove(name));
  if (json)
    print_json(Json{{"name", name}, {"removed", true}});
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
      return import(workspace, library, command, common.json);
    case ModelsCommand::Action::kPull:
      return pull(workspace, library, command, common.json);
    case ModelsCommand::Action::kList:
      list(library, workspace, common.json);
      return {};
    case ModelsCommand::Action::kShow:
      return show_model(workspace, command, common.json);
    case ModelsCommand::Action::kCheck:
      return check_model(workspace, command, common.json);
    case ModelsCommand::Action::kVerify:
      return verify(workspace, library, command, common.json);
    case ModelsCommand::Action::kRemove:
      return remove(library, command.name, common.json);
  }
  return {};
}

}  // namespace gogrid
