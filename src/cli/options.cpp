#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <array>
#include <utility>

#include "base/nearest.h"
#include "cli/help_text.h"

namespace gogrid {
namespace {

// Everything the parser fills in; turned into a CommandLine when parsing went well.
struct Parsed {
  CommonOptions common;
  std::vector<std::string> devices;
  std::string split;
  PlacementOptions placement;
  ServeCommand serve;
  RunCommand run;
  PlanCommand plan;
  BenchCommand bench;
  ModelsCommand models;
  CompletionCommand completion;
};

void add_common(CLI::App& app, CommonOptions& common) {
  app.add_option("--data-dir", common.data_dir,
                 "Where models, slices and measurements live\n(default: $GOGRID_DATA, else the XDG "
                 "data folder)")
      ->type_name("DIR");
  app.add_option("--log-level", common.log_level,
                 "debug, info, warning, error or off (default: warning)")
      ->type_name("LEVEL");
  app.add_flag("--log-json", common.json_log, "Log records as JSON lines instead of text");
}

void add_json(CLI::App& app, CommonOptions& common) {
  app.add_flag("--json", common.json, "Print JSON (fields are fixed; see docs/cli.md)");
}

void add_devices(CLI::App& app, Parsed& parsed) {
  app.add_option("--device", parsed.devices,
                 "Use just these devices; repeatable. ID[:cores=0-3][:memory=8GiB]:\n"
                 "`cores` makes a CPU device of these cores, its threads pinned to them")
      ->type_name("SPEC")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void add_placement(CLI::App& app, Parsed& parsed) {
  add_devices(app, parsed);
  app.add_option("--split", parsed.split,
                 "Stages by hand instead of the planner's:\n0:15@cpu-a,15:30@vulkan0 (layers "
                 "first:last@device)")
      ->type_name("STAGES");
  app.add_option("--context", parsed.placement.context,
                 "Tokens per sequence (default: 4096, or what the model was trained for)")
      ->type_name("N")
      ->check(CLI::Range(16U, 16'777'216U));
  app.add_option("--parallel", parsed.placement.parallel, "Sequences at once (default: 4)")
      ->type_name("N")
      ->check(CLI::Range(1U, 256U));
  app.add_flag("--deterministic", parsed.placement.deterministic,
               "The same bytes whatever else runs: no flash attention, Q4_K not repacked");
}

void add_sampling(CLI::App& app, RunCommand& run) {
  SamplingSpec& s = run.sampling;
  app.add_option("--temperature", s.temperature,
                 "0: always the most likely token (0..2; default 1)")
      ->check(CLI::Range(0.0, 2.0));
  app.add_option("--top-k", s.top_k, "Keep the K most likely tokens (0: all; default 0)")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--top-p", s.top_p, "Keep the smallest set of this probability (0..1; default 1)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option(
         "--min-p", s.min_p,
         "Drop what is less likely than this share of the most likely\n(0..1; default 0.05)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", run.seed, "The same seed gives the same text (default: random)");
}

void add_serve(CLI::App& root, Parsed& parsed) {
  auto* app = root.add_subcommand("serve", "Serve models over the OpenAI API");
  app->footer(help_text::kServe);
  app->add_option("--model", parsed.serve.models,
                  "A model of the library, or a GGUF file; repeatable")
      ->type_name("MODEL")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_option("--listen", parsed.serve.listen,
                  "Where to listen (default 127.0.0.1:8080; port 0: any free one)")
      ->type_name("ADDR:PORT");
  app->add_option("--config", parsed.serve.config, "A TOML file; flags win over it")
      ->type_name("FILE");
  add_placement(*app, parsed);
  add_common(*app, parsed.common);
}

void add_run(CLI::App& root, Parsed& parsed) {
  auto* app = root.add_subcommand("run", "Answer one prompt and end");
  app->footer(help_text::kRun);
  app->add_option("MODEL", parsed.run.model, "A model of the library, or a GGUF file")->required();
  auto* text = app->add_option("-p,--prompt", parsed.run.prompt, "The prompt")->type_name("TEXT");
  app->add_option("-f,--file", parsed.run.prompt_file,
                  "Read the prompt from FILE (-: standard input)")
      ->type_name("FILE")
      ->excludes(text);
  app->add_option("-n,--max-tokens", parsed.run.max_tokens,
                  "End after so many tokens (default 256)")
      ->type_name("N")
      ->check(CLI::Range(1U, 16'777'216U));
  add_sampling(*app, parsed.run);
  app->add_flag("--raw", parsed.run.raw, "Continue the text as it is: no chat template");
  add_placement(*app, parsed);
  add_json(*app, parsed.common);
  add_common(*app, parsed.common);
}

void add_planning(CLI::App& root, Parsed& parsed) {
  auto* plan = root.add_subcommand("plan", "Say where a model would run, how fast, and why");
  plan->footer(help_text::kPlan);
  plan->add_option("MODEL", parsed.plan.model, "A model of the library, or a GGUF file")
      ->required();
  add_placement(*plan, parsed);
  add_json(*plan, parsed.common);
  add_common(*plan, parsed.common);

  auto* bench = root.add_subcommand("bench", "Measure a model's speed here, beside the prediction");
  bench->footer(help_text::kBench);
  bench->add_option("MODEL", parsed.bench.model, "A model of the library, or a GGUF file")
      ->required();
  bench
      ->add_option("--prompt-tokens", parsed.bench.prompt_tokens,
                   "Tokens of each prompt (default 128)")
      ->check(CLI::Range(1U, 1'000'000U));
  bench
      ->add_option("-n,--max-tokens", parsed.bench.max_tokens,
                   "Tokens to generate in each sequence (default 64)")
      ->check(CLI::Range(2U, 1'000'000U));
  add_placement(*bench, parsed);
  add_json(*bench, parsed.common);
  add_common(*bench, parsed.common);

  auto* devices = root.add_subcommand("devices", "List what can compute here");
  devices->footer(help_text::kDevices);
  add_devices(*devices, parsed);
  add_json(*devices, parsed.common);
  add_common(*devices, parsed.common);
}

void add_models(CLI::App& root, Parsed& parsed) {
  auto* models = root.add_subcommand("models", "Import, list, show, verify and remove models");
  models->footer(help_text::kModels);
  models->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, ModelsCommand::Action action) {
    auto* app = models->add_subcommand(name, help);
    app->callback([&parsed, action] { parsed.models.action = action; });
    add_json(*app, parsed.common);
    add_common(*app, parsed.common);
    return app;
  };
  auto* import = add("import", "Check a GGUF file and take it into the library",
                     ModelsCommand::Action::kImport);
  import->add_option("FILE", parsed.models.file, "The file to import")->required();
  import->add_option("--name", parsed.models.name, "Its name (default: from the file's name)")
      ->type_name("NAME");
  import->add_option("--sha256", parsed.models.sha256, "Refuse the file unless this is its SHA-256")
      ->type_name("HEX");
  add("list", "List the models of the library", ModelsCommand::Action::kList);
  const std::array<std::tuple<const char*, const char*, ModelsCommand::Action>, 3> named{
      {{"show", "Say what a model is and what it needs", ModelsCommand::Action::kShow},
       {"verify", "Read every byte again and compare with its digest",
        ModelsCommand::Action::kVerify},
       {"rm", "Remove a model", ModelsCommand::Action::kRemove}}};
  for (const auto& [name, help, action] : named) {
    add(name, help, action)
        ->add_option("NAME", parsed.models.name, "A model of the library")
        ->required();
  }
}

void define(CLI::App& root, Parsed& parsed) {
  root.require_subcommand(1);
  root.footer(help_text::kRoot);
  root.set_version_flag("--version", std::string("gogrid ") + help_text::kVersion);
  add_serve(root, parsed);
  add_run(root, parsed);
  add_planning(root, parsed);
  add_models(root, parsed);
  auto* completion = root.add_subcommand("completion", "Print a completion script for a shell");
  completion->add_option("SHELL", parsed.completion.shell, "bash")
      ->required()
      ->check(CLI::IsMember({"bash"}));
}

// The deepest subcommand that was named: whose options a mistyped one is compared with.
const CLI::App* innermost(const CLI::App* app) {
  for (const CLI::App* sub : app->get_subcommands()) return innermost(sub);
  return app;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  return names;
}

Error usage_error(const CLI::App& root, const CLI::ParseError& error) {
  const CLI::App* app = innermost(&root);
  std::string message = error.what();
  const std::vector<std::string> extra = root.remaining(true);
  if (!extra.empty()) {
    const std::string& word = extra.front();
    message = word.starts_with("-")
                  ? "no option " + word + suggestion(word, option_names(*app))
                  : "unexpected '" + word + "'" + suggestion(word, command_names(*app));
  } else if (app == &root && error.get_name() == "RequiredError") {
    message = "a command is expected" + suggestion("", command_names(root));
  }
  const std::string command = app == &root ? "gogrid" : "gogrid " + app->get_name();
  return {ErrorCode::kInvalidArgument, message + "\nTry '" + command + " --help'.", {}, {}};
}

Result<PlacementOptions> placement_of(const Parsed& parsed) {
  PlacementOptions placement = parsed.placement;
  for (const std::string& text : parsed.devices) {
    GOGRID_ASSIGN_OR_RETURN(auto spec, parse_device_spec(text));
    placement.devices.push_back(std::move(spec));
  }
  if (!parsed.split.empty()) {
    GOGRID_ASSIGN_OR_RETURN(placement.split, parse_split(parsed.split));
  }
  return placement;
}

Result<CommandLine> command_of(const CLI::App& root, Parsed& parsed) {
  CommandLine line{.common = parsed.common, .command = PrintCommand{}};
  GOGRID_ASSIGN_OR_RETURN(const PlacementOptions placement, placement_of(parsed));
  const std::string name = root.get_subcommands().front()->get_name();
  const auto placed = [&](auto command) {
    command.placement = placement;
    line.command = std::move(command);
  };
  if (name == "serve") placed(std::move(parsed.serve));
  if (name == "run") placed(std::move(parsed.run));
  if (name == "plan") placed(std::move(parsed.plan));
  if (name == "bench") placed(std::move(parsed.bench));
  if (name == "devices") line.command = DevicesCommand{placement.devices};
  if (name == "models") line.command = std::move(parsed.models);
  if (name == "completion") line.command = std::move(parsed.completion);
  return line;
}

}  // namespace

Result<CommandLine> parse_command_line(int argc, const char* const* argv) {
  CLI::App root(help_text::kTitle, "gogrid");
  Parsed parsed;
  define(root, parsed);
  try {
    root.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return CommandLine{{}, PrintCommand{innermost(&root)->help()}};
  } catch (const CLI::CallForVersion& version) {
    return CommandLine{{}, PrintCommand{std::string(version.what()) + "\n"}};
  } catch (const CLI::ParseError& error) {
    return std::unexpected(usage_error(root, error));
  }
  return command_of(root, parsed);
}

std::string bash_completion() {
  CLI::App root(help_text::kTitle, "gogrid");
  Parsed parsed;
  define(root, parsed);
  const auto words = [](const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
    return text;
  };
  std::string script =
      "# bash completion for gogrid: source <(gogrid completion bash)\n_gogrid() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} words\n  case \"${COMP_WORDS[1]}\" in\n";
  for (const CLI::App* sub : root.get_subcommands([](const CLI::App*) { return true; })) {
    std::vector<std::string> names = option_names(*sub);
    for (const std::string& name : command_names(*sub)) names.push_back(name);
    if (sub->get_name() == "completion") names.emplace_back("bash");
    script += "    " + sub->get_name() + ") words='" + words(names) + "' ;;\n";
  }
  script += "    *) words='" + words(command_names(root)) +
            " --help --version' ;;\n  esac\n"
            "  if [ \"$COMP_CWORD\" -eq 1 ]; then words='" +
            words(command_names(root)) +
            " --help --version'; fi\n"
            "  if [[ $current == -* || $COMP_CWORD -eq 1 || ${COMP_WORDS[1]} =~ "
            "^(models|completion)$ ]]; then\n"
            "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n  fi\n"
            "  [ \"${#COMPREPLY[@]}\" -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- "
            "\"$current\")\n}\n"
            "complete -o filenames -F _gogrid gogrid\n";
  return script;
}

}  // namespace gogrid
