#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>

#include "app/commands.h"
#include "app/json_output.h"
#include "app/long_job.h"
#include "app/one_device.h"
#include "app/prepare.h"
#include "app/stop_signals.h"
#include "app/target_size.h"
#include "app/terminal.h"
#include "base/files.h"
#include "base/format.h"
#include "base/text.h"
#include "model/quantizer.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr Bytes kMaxRecipe = 16 * kMiB;

std::unexpected<Error> at_option(const char* option, const Error& error) {
  return fail(error.code, std::string(option) + ": " + error.message, option);
}

// Where it goes: a new file, or a name in the library.
struct Target {
  fs::path file;     // empty: into the library
  std::string name;  // of the library
  std::string shown() const { return file.empty() ? name : file.string(); }
};

Result<Target> target_of(const QuantizeCommand& command) {
  if (command.output.empty() && command.name.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "expected where to write: a path after the model, or --name NAME for the library");
  }
  std::error_code error;
  if (!command.output.empty() && fs::exists(command.output, error)) {
    return fail(ErrorCode::kInvalidArgument,
                "expected a file that is not there yet: " + command.output.string() + " exists");
  }
  return Target{command.output, command.name};
}

// What the options mean, with what they refer to.
struct Request {
  QuantizeOptions options;
  std::optional<ImportanceMatrix> importance;
};

Result<std::optional<WeightType>> weight_type_of(const char* option,
                                                 const std::optional<std::string>& name) {
  if (!name) return std::nullopt;
  auto type = find_weight_type(*name);
  if (!type) return at_option(option, type.error());
  return *type;
}

Status read_overrides(const QuantizeCommand& command, QuantizeOptions& options) {
  for (const std::string& text : command.tensor_types) {
    auto parsed = parse_tensor_override(text);
    if (!parsed) return at_option("--tensor-type", parsed.error());
    options.overrides.push_back(*std::move(parsed));
  }
  if (command.recipe.empty()) return {};
  GOGRID_ASSIGN_OR_RETURN(const std::string text, read_named(command.recipe, kMaxRecipe));
  GOGRID_ASSIGN_OR_RETURN(const auto recipe, parse_recipe(text, command.recipe.string()));
  options.overrides.insert(options.overrides.end(), recipe.begin(), recipe.end());
  return {};
}

// Address-stable: the options point into it.
Result<std::unique_ptr<Request>> request_of(const QuantizeCommand& command) {
  auto request = std::make_unique<Request>();
  QuantizeOptions& options = request->options;
  if (!command.target_size) {
    auto mix = find_mix(command.type);
    if (!mix) return at_option("--type", mix.error());
    options.mix = *mix;
  }
  GOGRID_ASSIGN_OR_RETURN(options.output_type,
                          weight_type_of("--output-type", command.output_type));
  GOGRID_ASSIGN_OR_RETURN(options.token_embedding_type,
                          weight_type_of("--token-embedding-type", command.token_embedding_type));
  GOGRID_RETURN_IF_ERROR(read_overrides(command, options));
  options.pure = command.pure;
  options.allow_requantize = command.allow_requantize;
  options.threads = command.threads;
  if (!command.imatrix.empty()) {
    GOGRID_ASSIGN_OR_RETURN(request->importance, read_importance_matrix(command.imatrix));
    options.importance = &*request->importance;
    options.importance_name = command.imatrix.string();
  }
  return request;
}

// How many tensors of each type, the type with most bytes first: "q4_K 120, f32 61".
std::vector<std::pair<std::string, std::size_t>> count_types(const QuantizationPlan& plan) {
  std::map<std::string_view, std::pair<Bytes, std::size_t>> sums;
  for (const QuantizedTensor& tensor : plan.tensors) {
    auto& [bytes, count] = sums[tensor.to.name];
    bytes += tensor.after;
    ++count;
  }
  std::vector<std::pair<std::string_view, std::pair<Bytes, std::size_t>>> sorted(sums.begin(),
                                                                                 sums.end());
  std::ranges::stable_sort(sorted, std::greater(),
                           [](const auto& type) { return type.second.first; });
  std::vector<std::pair<std::string, std::size_t>> counts;
  for (const auto& [name, sum] : sorted) counts.emplace_back(name, sum.second);
  return counts;
}

// What was chosen for a size, and the words that choose it again.
void print_chosen(const ChosenTypes& chosen, const QuantizeCommand& command) {
  std::printf(
      "  chosen by rounding %zu groups of tensors, one at a time: a KL of about %.3g on %s\n"
      "  recipe (--type %s --recipe FILE makes the same again):\n%s",
      chosen.trials, chosen.predicted_kl, command.text.filename().c_str(),
      std::string(chosen.mix.name).c_str(), format_recipe(chosen.recipe).c_str());
}

Json json_of(const ChosenTypes& chosen, Bytes target) {
  Json recipe = Json::array();
  for (const TensorOverride& entry : chosen.recipe)
    recipe.push_back(trimmed(format_recipe({&entry, 1})));
  return {{"target_bytes", target}, {"predicted_kl", chosen.predicted_kl}, {"recipe", recipe}};
}

void print_plan(const QuantizationPlan& plan, const QuantizeOptions& options, const Json& made,
                const std::string& how, bool json) {
  const auto counts = count_types(plan);
  if (json) {
    Json types = Json::object();
    for (const auto& [name, count] : counts) types[name] = count;
    Json answer = made;
    answer["type"] = options.mix.name;
    answer["tensor_bytes_before"] = plan.before();
    answer["tensor_bytes"] = plan.after();
    answer["bits_per_weight"] = plan.bits_per_weight();
    answer["types"] = types;
    answer["fallbacks"] = plan.fallbacks;
    print_json(answer);
    return;
  }
  std::string types;
  for (const auto& [name, count] : counts)
    types += (types.empty() ? "" : ", ") + name + " " + std::to_string(count);
  std::printf("%s: %s of weights (%s before), %.2f bits a weight\n  tensors: %s\n", how.c_str(),
              format_bytes(plan.after()).c_str(), format_bytes(plan.before()).c_str(),
              plan.bits_per_weight(), types.c_str());
  if (plan.fallbacks > 0) {
    std::printf(
        "  %zu of them have rows that do not fit the blocks of their type, and got a wider "
        "one\n",
        plan.fallbacks);
  }
}

Status check_room(const fs::path& folder, Bytes needed) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) return file_error("ask for the room of", folder, error.value());
  if (space.available >= needed) return {};
  return fail(ErrorCode::kExhausted, "[quantize] " + format_bytes(needed) + " of free disk in " +
                                         folder.string() + ": " + format_bytes(space.available));
}

// Where it is written; gone unless it is committed.
Result<AtomicFile> open_target(const ModelLibrary& library, const Target& target) {
  if (target.file.empty()) return library.begin(target.name);
  const fs::path folder = target.file.has_parent_path() ? target.file.parent_path() : ".";
  GOGRID_RETURN_IF_ERROR(remove_stale_temporaries(folder));
  return AtomicFile::create(target.file);
}

Result<fs::path> keep(ModelLibrary& library, const Target& target, AtomicFile file,
                      const std::stop_token& stop) {
  if (!target.file.empty()) {
    GOGRID_RETURN_IF_ERROR(file.commit_new());
    return target.file;
  }
  ProgressLine line("hashing " + target.name);
  const auto show = [&, bytes = line.bytes()](Bytes done, Bytes total) {
    return bytes(done, total) && !stop.stop_requested();
  };
  GOGRID_ASSIGN_OR_RETURN(const ModelEntry entry,
                          library.import_written(std::move(file), target.name, show));
  return entry.path;
}

// What was planned must be what was chosen.
Status check_size(Bytes bytes, const QuantizeCommand& command) {
  if (!command.target_size || bytes <= *command.target_size) return {};
  return fail(ErrorCode::kInternal, format_text("[quantize] a file of at most {} bytes: {}",
                                                *command.target_size, bytes));
}

// Everything that writes: what a signal in between leaves is nothing.
Result<fs::path> write_target(LongJob& job, const Workspace& workspace, const GgufFile& model,
                              const QuantizeCommand& command, const Target& target,
                              const QuantizeOptions& options, const QuantizationPlan& plan,
                              const std::stop_token& stop) {
  GOGRID_ASSIGN_OR_RETURN(ModelLibrary library, workspace.library());
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, open_target(library, target));
  GOGRID_RETURN_IF_ERROR(check_room(file.path().parent_path(), plan.file_bytes));
  GOGRID_ASSIGN_OR_RETURN(const auto lease,
                          lease_host_memory(job, "quantizing " + command.model, plan.buffer_bytes));
  if (!job.start(stop)) return fail(ErrorCode::kCancelled, "[quantize] told to stop");
  {
    ProgressLine line("quantizing " + model.path().filename().string());
    GOGRID_ASSIGN_OR_RETURN(
        file, quantize_model(model, std::move(file), options, plan, resting(job, line, stop)));
  }
  GOGRID_RETURN_IF_ERROR(check_size(file.size(), command));
  return keep(library, target, std::move(file), stop);
}

}  // namespace

Status quantize_command(const QuantizeCommand& command, const CommonOptions& common) {
  GOGRID_ASSIGN_OR_RETURN(const Target target, target_of(command));
  GOGRID_ASSIGN_OR_RETURN(const auto request, request_of(command));
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  GOGRID_ASSIGN_OR_RETURN(const ModelSource source, workspace.locate(command.model));
  StopSignals signals;
  GOGRID_ASSIGN_OR_RETURN(const auto job,
                          LongJob::begin(workspace, command.policy, "quantizing " + command.model));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile model, GgufFile::open(source.path));
  GOGRID_RETURN_IF_ERROR(read_profile(model));
  QuantizeOptions& options = request->options;
  Json made{{"model", command.model}, {"path", nullptr}, {"name", nullptr}, {"bytes", nullptr}};
  std::optional<ChosenTypes> chosen;
  if (command.target_size) {
    GOGRID_ASSIGN_OR_RETURN(
        chosen, choose_for_size(command, options, source, model, workspace, *job, signals));
    options.mix = chosen->mix;
    options.overrides.insert(options.overrides.end(), chosen->recipe.begin(), chosen->recipe.end());
    made.update(json_of(*chosen, *command.target_size));
  }
  GOGRID_ASSIGN_OR_RETURN(const QuantizationPlan plan, plan_quantization(model, options));
  GOGRID_RETURN_IF_ERROR(check_size(plan.after(), command));
  const auto print = [&](const std::string& how) {
    print_plan(plan, options, made, how, common.json);
    if (chosen && !common.json) print_chosen(*chosen, command);
  };
  if (command.dry_run) {
    print("would write " + target.shown());
    return {};
  }
  std::stop_source stop;
  signals.on_first([&stop] { stop.request_stop(); });
  const auto written =
      write_target(*job, workspace, model, command, target, options, plan, stop.get_token());
  signals.forget();
  if (!written && written.error().code == ErrorCode::kCancelled)
    return fail(ErrorCode::kCancelled, "stopped: nothing was written");
  GOGRID_RETURN_IF_ERROR(written);
  made["path"] = written->string();
  if (!target.name.empty()) made["name"] = target.name;
  made["bytes"] = fs::file_size(*written);
  print("wrote " + target.shown());
  return {};
}

}  // namespace gogrid
