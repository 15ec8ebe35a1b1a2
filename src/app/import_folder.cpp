#include "app/import_folder.h"

#include "app/long_job.h"
#include "app/terminal.h"
#include "app/workspace.h"
#include "base/following_digest.h"
#include "model/hf_importer.h"
#include "model/quantization_types.h"

namespace gogrid {
namespace {

Result<HfImportOptions> import_options(const std::string& name, const std::string& type) {
  HfImportOptions options{.name = name, .type = stored_type_named(type)};
  if (options.type || type.empty()) return options;
  GOGRID_ASSIGN_OR_RETURN(const WeightType packed, find_weight_type(type));
  options.packed_type = packed.type;
  return options;
}

Result<HfImported> write(LongJob& job, const HfImporter& importer, const std::string& name,
                         AtomicFile file) {
  ProgressLine line("converting " + name);
  return importer.write(std::move(file), resting(job, line));
}

}  // namespace

std::string name_from_folder(const std::filesystem::path& folder) {
  // The dots of a folder's name begin no ending.
  const std::filesystem::path whole = std::filesystem::absolute(folder / "").lexically_normal();
  return name_from_file(whole.parent_path().filename().string() + ".gguf");
}

Result<ModelEntry> import_folder(const Workspace& workspace, ModelLibrary& library,
                                 const ModelsCommand& command, const std::string& name) {
  if (!command.sha256.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "--sha256 is for files: a folder becomes a file of its own", "sha256");
  }
  GOGRID_RETURN_IF_ERROR(validate_model_name(name));
  GOGRID_ASSIGN_OR_RETURN(const HfImportOptions options, import_options(name, command.type));
  GOGRID_ASSIGN_OR_RETURN(const HfImporter importer, HfImporter::open(command.file, options));
  GOGRID_ASSIGN_OR_RETURN(const auto job,
                          LongJob::begin(workspace, command.policy, "importing " + name));
  for (const std::string& note : importer.notes()) complain("note: " + note);
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, library.begin(name));
  GOGRID_ASSIGN_OR_RETURN(const auto following, FollowingDigest::begin(file.descriptor()));
  GOGRID_ASSIGN_OR_RETURN(HfImported written, write(*job, importer, name, std::move(file)));
  GOGRID_ASSIGN_OR_RETURN(std::string digest, following->finish());
  return library.import_written(std::move(written.file), name, {}, written.repacked,
                                std::move(digest));
}

}  // namespace gogrid
