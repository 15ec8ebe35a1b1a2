#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <utility>

#include "base/durations.h"
#include "base/nearest.h"
#include "cli/grammar.h"
#include "cli/help_text.h"
#include "cli/manual.h"

namespace gogrid {
namespace {

// The deepest command that was named: whose options a mistyped one is compared with.
const CLI::App* innermost(const CLI::App* app) {
  for (const CLI::App* sub : app->get_subcommands()) return innermost(sub);
  return app;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : commands_of(app)) names.push_back(sub->get_name());
  return names;
}

// What a person typed, short enough to be read back to them.
std::string shown(const std::string& word) {
  constexpr std::size_t kMaxShown = 80;
  return word.size() <= kMaxShown ? word : word.substr(0, kMaxShown) + "...";
}

std::string unexpected_word(const CLI::App& app, const std::string& word) {
  if (word.starts_with("-")) {
    const std::string name = word.substr(0, word.find('='));
    return "no option " + shown(name) + suggestion(name, option_names(app));
  }
  return "unexpected '" + shown(word) + "'" + suggestion(word, command_names(app));
}

Error usage_error(const CLI::App& root, const CLI::ParseError& error) {
  const CLI::App* app = innermost(&root);
  std::string message = error.what();
  const std::vector<std::string> extra = root.remaining(true);
  if (!extra.empty()) {
    message = unexpected_word(*app, extra.front());
  } else if (error.get_name() == "RequiredError" && !commands_of(*app).empty()) {
    message = "a command is expected" + suggestion("", command_names(*app));
  }
  return {ErrorCode::kInvalidArgument, message + "\nTry '" + full_name(*app) + " --help'.", {}, {}};
}

Error at_option(const char* option, const Error& error) {
  return {error.code, std::string(option) + ": " + error.message, option, {}};
}

Result<PlacementOptions> placement_of(const Parsed& parsed) {
  PlacementOptions placement = parsed.placement;
  for (const std::string& text : parsed.devices) {
    auto spec = parse_device_spec(text);
    if (!spec) return std::unexpected(at_option("--device", spec.error()));
    placement.devices.push_back(*std::move(spec));
  }
  if (parsed.split) {
    auto split = parse_split(*parsed.split);
    if (!split) return std::unexpected(at_option("--split", split.error()));
    placement.split = *std::move(split);
  }
  if (parsed.quantize_stages) {
    auto quantize = parse_quantize_stages(*parsed.quantize_stages);
    if (!quantize) return std::unexpected(at_option("--quantize-stages", quantize.error()));
    placement.quantize = *std::move(quantize);
  }
  return placement;
}

Result<std::optional<Duration>> duration_of(const char* option,
                                            const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  const auto time = parse_duration(*text);
  if (!time) return std::unexpected(at_option(option, time.error()));
  return *time;
}

Result<KeepingOptions> keeping_of(const Parsed& parsed) {
  KeepingOptions keeping = parsed.serve.keeping;
  for (const std::string& text : parsed.aliases) {
    auto alias = parse_alias(text);
    if (!alias) return std::unexpected(at_option("--alias", alias.error()));
    keeping.aliases.push_back(*std::move(alias));
  }
  GOGRID_ASSIGN_OR_RETURN(keeping.keep_alive, duration_of("--keep-alive", parsed.keep_alive));
  GOGRID_ASSIGN_OR_RETURN(keeping.load_wait, duration_of("--load-wait", parsed.load_wait));
  return keeping;
}

Result<CommandLine> command_of(const CLI::App& root, Parsed& parsed) {
  CommandLine line{.common = parsed.common, .command = PrintCommand{}};
  GOGRID_ASSIGN_OR_RETURN(const PlacementOptions placement, placement_of(parsed));
  if (parsed.limit_rate) {
    const auto rate = parse_bytes(*parsed.limit_rate);
    if (!rate) return std::unexpected(at_option("--limit-rate", rate.error()));
    parsed.models.pull.limit_rate = *rate;
  }
  if (parsed.target_size) {
    const auto size = parse_bytes(*parsed.target_size);
    if (!size) return std::unexpected(at_option("--target-size", size.error()));
    parsed.quantize.target_size = *size;
  }
  const std::string name = root.get_subcommands().front()->get_name();
  if (name == "quantize" && parsed.quantize.type.empty() && !parsed.target_size) {
    return fail(ErrorCode::kInvalidArgument,
                "expected what to make of the weights: --type TYPE, or --target-size SIZE\n"
                "Try 'gogrid quantize --help'.",
                "--type");
  }
  const auto placed = [&](auto command) {
    command.placement = placement;
    line.command = std::move(command);
  };
  if (name == "serve") {
    parsed.serve.policy = parsed.policy;
    GOGRID_ASSIGN_OR_RETURN(parsed.serve.keeping, keeping_of(parsed));
    placed(std::move(parsed.serve));
  }
  if (name == "run") placed(std::move(parsed.run));
  if (name == "plan") placed(std::move(parsed.plan));
  if (name == "bench") placed(std::move(parsed.bench));
  if (name == "devices") line.command = DevicesCommand{placement.devices};
  if (name == "doctor") line.command = DoctorCommand{placement.devices, parsed.policy};
  parsed.models.loss.devices = parsed.imatrix.devices = parsed.quantize.devices = placement.devices;
  parsed.models.loss.policy = parsed.imatrix.policy = parsed.quantize.policy = parsed.policy;
  parsed.models.policy = parsed.policy;
  if (name == "models") placed(std::move(parsed.models));
  if (name == "imatrix") line.command = std::move(parsed.imatrix);
  if (name == "quantize") line.command = std::move(parsed.quantize);
  if (name == "completion") line.command = std::move(parsed.completion);
  return line;
}

}  // namespace

Result<ModelAlias> parse_alias(std::string_view text) {
  const std::size_t sign = text.find('=');
  if (sign == 0 || sign == std::string_view::npos || sign + 1 == text.size()) {
    return fail(ErrorCode::kInvalidArgument,
                "expected NAME=MODEL, as in fast=smollm2-135m: '" + shown(std::string(text)) + "'");
  }
  return ModelAlias{std::string(text.substr(0, sign)), std::string(text.substr(sign + 1))};
}

Result<CommandLine> parse_command_line(int argc, const char* const* argv) {
  CLI::App root(help_text::kTitle, "gogrid");
  Parsed parsed;
  define_commands(root, parsed);
  try {
    root.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return CommandLine{{}, PrintCommand{manual_page(*innermost(&root))}};
  } catch (const CLI::CallForVersion& version) {
    return CommandLine{{}, PrintCommand{std::string(version.what()) + "\n"}};
  } catch (const CLI::ParseError& error) {
    return std::unexpected(usage_error(root, error));
  }
  // Digests are written in lower case everywhere else.
  std::ranges::transform(parsed.models.sha256, parsed.models.sha256.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return command_of(root, parsed);
}

}  // namespace gogrid
