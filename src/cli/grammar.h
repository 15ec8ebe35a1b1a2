// What can be said on the command line: commands, options, their words. Private to cli/.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"

namespace CLI {
class App;
}

namespace gogrid {

// Everything the parser fills in; turned into a CommandLine when parsing went well.
struct Parsed {
  CommonOptions common;
  std::vector<std::string> devices;
  std::optional<std::string> split;
  std::optional<std::string> quantize_stages;
  PlacementOptions placement;
  PolicyOptions policy;
  ServeCommand serve;
  RunCommand run;
  PlanCommand plan;
  BenchCommand bench;
  ModelsCommand models;
  std::vector<std::string> aliases;
  std::optional<std::string> keep_alive;
  std::optional<std::string> load_wait;
  std::optional<std::string> limit_rate;
  QuantizeCommand quantize;
  std::optional<std::string> target_size;
  ImatrixCommand imatrix;
  CompletionCommand completion;
};

// `parsed` must outlive `root`'s parsing.
void define_commands(CLI::App& root, Parsed& parsed);

// "gogrid models import".
std::string full_name(const CLI::App& app);
// "--model", "--listen", ...
std::vector<std::string> option_names(const CLI::App& app);
std::vector<const CLI::App*> commands_of(const CLI::App& app);

}  // namespace gogrid
