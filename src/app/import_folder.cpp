#include "app/import_folder.h"

#include "app/terminal.h"
#include "app/workspace.h"
#include "model/hf_importer.h"

namespace gogrid {

std::string name_from_folder(const std::filesystem::path& folder) {
  // The dots of a folder's name begin no ending.
  const std::filesystem::path whole = std::filesystem::absolute(folder / "").lexically_normal();
  return name_from_file(whole.parent_path().filename().string() + ".gguf");
}

Result<ModelEntry> import_folder(ModelLibrary& library, const ModelsCommand& command,
                                 const std::string& name) {
  if (!command.sha256.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "--sha256 is for files: a folder becomes a file of its own", "sha256");
  }
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  GOGRID_ASSIGN_OR_RETURN(const HfImporter importer,
                          HfImporter::open(command.file, {name, stored_type_named(command.type)}));
  for (const std::string& note : importer.notes()) complain("note: " + note);
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, library.begin(name));
  {
    ProgressLine line("converting " + name);
    GOGRID_ASSIGN_OR_RETURN(file, importer.write(std::move(file), line.bytes()));
  }
  ProgressLine line("checking " + name);
  return library.import_written(std::move(file), name, line.bytes());
}

}  // namespace gogrid
