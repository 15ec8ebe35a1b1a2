// The command line as values. Parsing decides nothing and touches nothing: commands live in app/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "device/device.h"
#include "model/model_library.h"
#include "placement/planner.h"
#include "request/sampling_spec.h"

namespace gogrid {

// What every command understands.
struct CommonOptions {
  std::filesystem::path data_dir;  // empty: $GOGRID_DATA, then the XDG data folder
  std::string log_level = "warning";
  bool json_log = false;
  bool json = false;  // print JSON instead of text
};

// Which devices and how: `serve`, `run`, `plan`, `bench`.
struct PlacementOptions {
  std::vector<DeviceSpec> devices;        // empty: all
  std::vector<StageChoice> split;         // empty: the planner decides
  std::optional<std::uint32_t> context;   // tokens per sequence
  std::optional<std::uint32_t> parallel;  // sequences at once
  bool deterministic = false;
};

// How much of the machine, and where else that is said: `serve`, `doctor`.
struct PolicyOptions {
  std::filesystem::path config;
  std::optional<std::string> mode;
  std::vector<std::string> limits;  // NAME=VALUE
};

struct ServeCommand {
  PlacementOptions placement;
  PolicyOptions policy;
  std::vector<std::string> models;    // library names or paths
  std::optional<std::string> listen;  // ADDR:PORT
};
struct RunCommand {
  PlacementOptions placement;
  std::string model;
  std::string prompt;
  std::filesystem::path prompt_file;  // instead of `prompt`; "-" is standard input
  std::uint32_t max_tokens = 256;
  SamplingSpec sampling;
  std::optional<std::uint64_t> seed;
  bool raw = false;  // no chat template
};
struct PlanCommand {
  PlacementOptions placement;
  std::string model;
};
struct BenchCommand {
  PlacementOptions placement;
  std::string model;
  std::uint32_t prompt_tokens = 128;
  std::uint32_t max_tokens = 64;
};
struct DevicesCommand {
  std::vector<DeviceSpec> devices;
};
struct DoctorCommand {
  std::vector<DeviceSpec> devices;
  PolicyOptions policy;
};
struct ModelsCommand {
  enum class Action : std::uint8_t { kImport, kList, kShow, kCheck, kVerify, kRemove };
  Action action = Action::kList;
  std::filesystem::path file;  // import; or a folder of safetensors
  std::string name;            // all but list; show, check: or a path
  std::string sha256;          // import: must match
  std::string type;            // import of a folder: f16, bf16, f32; empty: the weights' own
  bool tensors = false;        // show: each of them
  std::string diff;            // show: what differs from this model; empty: none
  PlacementOptions placement;  // check
};
struct CompletionCommand {
  std::string shell;
};
// --help, --version: `text` for stdout, status 0.
struct PrintCommand {
  std::string text;
};

struct CommandLine {
  CommonOptions common;
  std::variant<PrintCommand, ServeCommand, RunCommand, PlanCommand, BenchCommand, DevicesCommand,
               DoctorCommand, ModelsCommand, CompletionCommand>
      command;
};

// kInvalidArgument names the option, the value and the range, or the nearest option to a mistyped
// one.
Result<CommandLine> parse_command_line(int argc, const char* const* argv);

// A bash completion script for all commands and options.
std::string bash_completion();

}  // namespace gogrid
