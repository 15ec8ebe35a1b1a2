// The command line as values. Parsing decides nothing and touches nothing: commands live in app/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
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
  std::optional<StageQuantization> quantize;  // --quantize-stages
};

// How much of the machine, and where else that is said: `serve`, `doctor`, and long jobs.
struct PolicyOptions {
  std::filesystem::path config;
  std::optional<std::string> mode;
  std::vector<std::string> limits;  // NAME=VALUE
};

// Another name for a served model.
struct ModelAlias {
  std::string name;
  std::string model;
};
// How models are kept in memory: `serve`. What is empty is as the configuration file says, or else
// the default.
struct KeepingOptions {
  std::vector<std::string> pinned;  // of the models: never unloaded for others, nor for being idle
  std::vector<ModelAlias> aliases;
  bool library = false;                // all of the library, on demand
  bool on_demand = false;              // none is loaded before it is asked for, but pinned ones
  std::optional<Duration> keep_alive;  // of an idle model; empty: for ever
  std::optional<Duration> load_wait;   // of a request, for its model
};

struct ServeCommand {
  PlacementOptions placement;
  PolicyOptions policy;
  KeepingOptions keeping;
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
// `models pull`, beside what it shares with import.
struct PullChoices {
  std::string source;                // hf:..., ollama:... or an address
  Bytes limit_rate = 0;              // bytes a second; 0: no limit
  std::uint32_t connections = 4;     // parts that are fetched at once
  std::filesystem::path token_file;  // empty: $GOGRID_HF_TOKEN_FILE, for hf: only
  std::string hf_endpoint;           // empty: $GOGRID_HF_ENDPOINT, else huggingface.co
  std::string ollama_endpoint;       // empty: $GOGRID_OLLAMA_ENDPOINT, else registry.ollama.ai
  bool allow_http = false;           // from other machines, too
};
// `models loss`: what OTHER lost against BASE.
struct LossCommand {
  std::string base;
  std::string other;
  std::filesystem::path text;
  std::uint32_t context = 512;      // tokens of a chunk
  std::uint32_t chunks = 0;         // 0: all
  std::vector<DeviceSpec> devices;  // one at most; empty: the CPU
  PolicyOptions policy;
};
struct ModelsCommand {
  enum class Action : std::uint8_t {
    kImport,
    kPull,
    kList,
    kShow,
    kCheck,
    kVerify,
    kRemove,
    kLoss
  };
  Action action = Action::kList;
  std::filesystem::path file;  // import; or a folder of safetensors
  std::string name;            // all but list; show, check: or a path
  std::string sha256;          // import, pull: must match
  std::string type;            // import of a folder: f16, q4_k, ...; empty: the weights' own
  bool tensors = false;        // show: each of them
  std::string diff;            // show: what differs from this model; empty: none
  PlacementOptions placement;  // check
  PolicyOptions policy;        // import of a folder, pull, check, verify
  PullChoices pull;            // show, check: where, of a model that is not here
  LossCommand loss;
};
struct QuantizeCommand {
  std::string model;             // a library name or a path
  std::filesystem::path output;  // or, into the library:
  std::string name;
  std::string type;                       // of the mix; or:
  std::optional<Bytes> target_size;       // of the file, at most: types are chosen
  std::filesystem::path text;             // to choose them by
  std::uint32_t chunks = 2;               // of the text
  std::vector<DeviceSpec> devices;        // to measure on; one at most; empty: the CPU
  std::vector<std::string> tensor_types;  // NAME=TYPE
  std::filesystem::path recipe;
  std::filesystem::path imatrix;
  std::optional<std::string> output_type;
  std::optional<std::string> token_embedding_type;
  std::uint32_t threads = 0;  // 0: one for each core
  bool pure = false;
  bool allow_requantize = false;
  bool dry_run = false;
  PolicyOptions policy;
};
struct ImatrixCommand {
  std::string model;  // a library name or a path
  std::filesystem::path text;
  std::filesystem::path output;     // empty: named after the model
  std::uint32_t context = 512;      // tokens of a chunk
  std::uint32_t chunks = 0;         // 0: all
  std::vector<DeviceSpec> devices;  // one at most; empty: the CPU
  PolicyOptions policy;
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
               DoctorCommand, ModelsCommand, QuantizeCommand, ImatrixCommand, CompletionCommand>
      command;
};

// kInvalidArgument names the option, the value and the range, or the nearest option to a mistyped
// one.
Result<CommandLine> parse_command_line(int argc, const char* const* argv);

// "NAME=MODEL"; kInvalidArgument otherwise.
Result<ModelAlias> parse_alias(std::string_view text);

// A bash completion script for all commands and options.
std::string bash_completion();

}  // namespace gogrid
