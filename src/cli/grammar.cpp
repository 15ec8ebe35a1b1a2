#include "cli/grammar.h"

#include <CLI/CLI.hpp>
#include <array>
#include <limits>
#include <tuple>

#include "cli/help_text.h"
#include "cli/values.h"

namespace gogrid {
namespace {

constexpr const char* kModelHelp = "A model of the library, or a GGUF file";
constexpr const char* kHeaderHelp =
    "A model of the library, a GGUF file, or what `models pull` takes (hf:..., ollama:..., "
    "gogrid:..., https://...)";
constexpr const char* kRunnableHelp =
    "A model of the library, or a GGUF file; BASE+ADAPTER: with a LoRA adapter over it";

// The option may be given again and again, one value each time.
void repeatable(CLI::Option* option) {
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
}

void add_common(CLI::App& app, CommonOptions& common) {
  app.option_defaults()->group("General");
  app.add_option("--data-dir", common.data_dir,
                 "Where models, slices and measurements live (default: $GOGRID_DATA, else the XDG "
                 "data folder)")
      ->type_name("DIR");
  app.add_option("--log-level", common.log_level,
                 "debug, info, warning, error or off (default: warning)")
      ->type_name("LEVEL")
      ->check(one_of({"debug", "info", "warning", "error", "off"}));
  app.add_flag("--log-json", common.json_log, "Log records as JSON lines instead of text");
  if (CLI::Option* help = app.get_help_ptr())
    help->group("General")->description("Print this page");
}

void add_json(CLI::App& app, CommonOptions& common) {
  app.add_flag("--json", common.json, "Print JSON instead of text (its fields: docs/cli.md)");
}

void add_devices(CLI::App& app, Parsed& parsed) {
  repeatable(app.add_option("--device", parsed.devices,
                            "Use just these devices; repeatable. `cores` makes a CPU device of "
                            "these cores, its threads pinned to them; `memory` is a budget")
                 ->type_name("ID[:cores=0-3][:memory=8GiB]"));
}

// What a model is to hold at once, and how it computes.
void add_size(CLI::App& app, Parsed& parsed) {
  app.add_option("--context", parsed.placement.context,
                 "Tokens per sequence (default: 4096, or what the model was trained for if less)")
      ->type_name("N")
      ->check(whole_number(16, 16'777'216));
  app.add_option("--parallel", parsed.placement.parallel,
                 "Sequences at once (1..256; default 4, for run 1)")
      ->type_name("N")
      ->check(whole_number(1, 256));
  app.add_flag("--deterministic", parsed.placement.deterministic,
               "The same bytes whatever else runs: no flash attention, Q4_K not repacked (slower)");
}

void add_quantize_stages(CLI::App& app, Parsed& parsed) {
  app.add_option("--quantize-stages", parsed.quantize_stages,
                 "Whether stages may have smaller weights than the model's: off (the default); "
                 "allow, where it does not fit otherwise, with the least loss that fits; "
                 "DEVICE=TYPE, as in cpu-b=q4_k; several with commas between. The loss is measured "
                 "and said (docs/quantization.md)")
      ->type_name("off|allow|DEVICE=TYPE");
}

void add_placement(CLI::App& app, Parsed& parsed) {
  app.option_defaults()->group("Placement");
  add_devices(app, parsed);
  app.add_option("--split", parsed.split,
                 "Stages by hand instead of the planner's: layers first:last@device, as in "
                 "0:15@cpu-a,15:30@vulkan0")
      ->type_name("STAGES");
  add_quantize_stages(app, parsed);
  add_size(app, parsed);
}

void add_sampling(CLI::App& app, RunCommand& run) {
  SamplingSpec& s = run.sampling;
  app.option_defaults()->group("Sampling");
  const auto real = [&app](const char* name, float& value, double high, const char* help) {
    app.add_option(name, value, help)->type_name("X")->check(real_number(0, high));
  };
  real("--temperature", s.temperature, 2.0,
       "0: always the most likely token; more: more surprise (0..2; default 1)");
  app.add_option("--top-k", s.top_k, "Keep the N most likely tokens (0: all; default 0)")
      ->type_name("N")
      ->check(whole_number(0, 1 << 20));
  real("--top-p", s.top_p, 1.0, "Keep the fewest tokens of this probability (0..1; default 1)");
  real("--min-p", s.min_p, 1.0,
       "Drop tokens less likely than this share of the most likely one's (0..1; default 0.05)");
  app.add_option("--seed", run.seed, "The same seed gives the same text (default: random)")
      ->type_name("N")
      ->check(whole_number(0, std::numeric_limits<std::uint64_t>::max()));
}

void add_policy(CLI::App& app, PolicyOptions& policy) {
  app.add_option("--config", policy.config, "A TOML file; flags win over it")->type_name("FILE");
  app.add_option("--mode", policy.mode,
                 "How much of this machine to use: conservative (somebody works at it), balanced "
                 "(the default), aggressive (a server)")
      ->type_name("MODE")
      ->check(one_of({"conservative", "balanced", "aggressive"}));
  repeatable(app.add_option("--limit", policy.limits,
                            "One limit by its name, over the mode's, as in max_compute=0.5 (all "
                            "names: docs/limits.md); repeatable")
                 ->type_name("NAME=VALUE"));
}

void add_keeping(CLI::App& app, Parsed& parsed) {
  KeepingOptions& keeping = parsed.serve.keeping;
  app.option_defaults()->group("Several models");
  app.add_flag("--library", keeping.library,
               "Serve every model of the library, loaded when it is asked for");
  app.add_flag("--on-demand", keeping.on_demand,
               "Load no model before it is asked for, but those that are pinned");
  app.add_option("--keep-alive", parsed.keep_alive,
                 "Unload a model that nobody used for so long, as in 5m (default: it stays until "
                 "others need its memory)")
      ->type_name("TIME");
  repeatable(app.add_option("--pin", keeping.pinned,
                            "Never unload this one of the models to make room for another, nor for "
                            "being idle; repeatable")
                 ->type_name("MODEL"));
  repeatable(
      app.add_option("--alias", parsed.aliases, "Another name for one of the models; repeatable")
          ->type_name("NAME=MODEL"));
  app.add_option(
         "--load-wait", parsed.load_wait,
         "A request waits so long for its model to be loaded (default 60s; 0: it is refused "
         "at once; the header X-GoGrid-Wait says otherwise)")
      ->type_name("TIME");
  app.option_defaults()->group("OPTIONS");
}

void add_serve(CLI::App& root, Parsed& parsed) {
  auto* app = root.add_subcommand("serve", "Serve models over the OpenAI API");
  app->footer(help_text::kServe);
  repeatable(app->add_option("--model", parsed.serve.models,
                             std::string(kRunnableHelp) + ", to be served; repeatable")
                 ->type_name("MODEL"));
  app->add_option("--listen", parsed.serve.listen,
                  "Where to listen (default 127.0.0.1:8080; port 0: any free one)")
      ->type_name("ADDR:PORT");
  add_policy(*app, parsed.policy);
  add_keeping(*app, parsed);
  add_placement(*app, parsed);
  add_common(*app, parsed.common);
}

void add_run(CLI::App& root, Parsed& parsed) {
  auto* app = root.add_subcommand("run", "Answer one prompt and end");
  app->footer(help_text::kRun);
  app->add_option("MODEL", parsed.run.model, kRunnableHelp)->required();
  auto* text = app->add_option("-p,--prompt", parsed.run.prompt, "The prompt")->type_name("TEXT");
  app->add_option("-f,--file", parsed.run.prompt_file,
                  "Read the prompt from FILE (-: standard input)")
      ->type_name("FILE")
      ->excludes(text);
  app->add_option("-n,--max-tokens", parsed.run.max_tokens,
                  "End after so many tokens (default 256)")
      ->type_name("N")
      ->check(whole_number(1, 16'777'216));
  app->add_flag("--raw", parsed.run.raw, "Continue the text as it is: no chat template");
  add_json(*app, parsed.common);
  add_sampling(*app, parsed.run);
  add_placement(*app, parsed);
  add_common(*app, parsed.common);
}

void add_plan(CLI::App& root, Parsed& parsed) {
  auto* plan = root.add_subcommand("plan", "Say where a model would run, how fast, and why");
  plan->footer(help_text::kPlan);
  plan->add_option("MODEL", parsed.plan.model, kRunnableHelp)->required();
  add_json(*plan, parsed.common);
  add_placement(*plan, parsed);
  add_common(*plan, parsed.common);
}

void add_bench(CLI::App& root, Parsed& parsed) {
  auto* bench = root.add_subcommand("bench", "Measure a model's speed here, beside the prediction");
  bench->footer(help_text::kBench);
  bench->add_option("MODEL", parsed.bench.model, kRunnableHelp)->required();
  bench
      ->add_option("--prompt-tokens", parsed.bench.prompt_tokens,
                   "Tokens of the prompt whose prefill is measured (default 128)")
      ->type_name("N")
      ->check(whole_number(1, 1'000'000));
  bench
      ->add_option("-n,--max-tokens", parsed.bench.max_tokens,
                   "Tokens to generate in each sequence (default 64)")
      ->type_name("N")
      ->check(whole_number(2, 1'000'000));
  add_json(*bench, parsed.common);
  add_placement(*bench, parsed);
  add_common(*bench, parsed.common);
}

void add_device_list(CLI::App& root, Parsed& parsed) {
  auto* devices = root.add_subcommand("devices", "List what can compute here");
  devices->footer(help_text::kDevices);
  add_devices(*devices, parsed);
  add_json(*devices, parsed.common);
  add_common(*devices, parsed.common);
}

void add_doctor(CLI::App& root, Parsed& parsed) {
  auto* doctor = root.add_subcommand(
      "doctor", "Say which limits hold on this machine, which not, why, and what to do");
  doctor->footer(help_text::kDoctor);
  add_policy(*doctor, parsed.policy);
  add_devices(*doctor, parsed);
  add_json(*doctor, parsed.common);
  add_common(*doctor, parsed.common);
}

// Where sources are, and who asks there.
void add_endpoints(CLI::App& app, PullChoices& pull) {
  app.add_option("--token-file", pull.token_file,
                 "A file with the token for what is not public; it goes to the source's own host "
                 "only (default for hf: $GOGRID_HF_TOKEN_FILE)")
      ->type_name("FILE");
  app.add_option("--hf-endpoint", pull.hf_endpoint,
                 "The hub of hf: (default: $GOGRID_HF_ENDPOINT, else https://huggingface.co)")
      ->type_name("URL");
  app.add_option("--ollama-endpoint", pull.ollama_endpoint,
                 "The registry of ollama: (default: $GOGRID_OLLAMA_ENDPOINT, else "
                 "https://registry.ollama.ai)")
      ->type_name("URL");
  app.add_flag("--allow-http", pull.allow_http,
               "Take http:// from other machines, too: anybody on the way can read and change it");
}

void add_pull_options(CLI::App& app, Parsed& parsed) {
  PullChoices& pull = parsed.models.pull;
  app.footer(help_text::kPull);
  app.add_option("SOURCE", pull.source,
                 "hf:owner/repo[:file or quantization][@revision], ollama:name[:tag], "
                 "gogrid:ADDRESS/NAME or an https:// address")
      ->required();
  app.add_option("--name", parsed.models.name, "Its name (default: from the file's name)")
      ->type_name("NAME");
  app.add_option("--sha256", parsed.models.sha256, "Refuse the file unless this is its SHA-256")
      ->type_name("HEX")
      ->check(hex_digest());
  app.add_option("--limit-rate", parsed.limit_rate,
                 "At most so much a second, as in 5MiB (default: no limit)")
      ->type_name("SIZE");
  app.add_option("--connections", pull.connections,
                 "Parts of the file that are fetched at once (1..16; default 4)")
      ->type_name("N")
      ->check(whole_number(1, 16));
  add_endpoints(app, pull);
  add_policy(app, parsed.policy);
}

// What runs a model over a text in chunks.
void add_text(CLI::App& app, std::filesystem::path& text, std::uint32_t& context,
              std::uint32_t& chunks) {
  app.add_option("-f,--text", text, "The text, UTF-8, of at least two chunks")
      ->type_name("FILE")
      ->required();
  app.add_option("--context", context, "Tokens of a chunk (default 512)")
      ->type_name("N")
      ->check(whole_number(16, 1'048'576));
  app.add_option("--chunks", chunks, "End after so many chunks (default: all of the text)")
      ->type_name("N")
      ->check(whole_number(1, 1'000'000));
}

void fill_loss(CLI::App& app, Parsed& parsed) {
  LossCommand& command = parsed.models.loss;
  app.footer(help_text::kLoss);
  app.add_option("BASE", command.base, "The model before: a name in the library, or a GGUF file")
      ->required();
  app.add_option("MODEL", command.other, "The model that was made of it")->required();
  add_text(app, command.text, command.context, command.chunks);
  add_devices(app, parsed);
  add_policy(app, parsed.policy);
}

void add_models(CLI::App& root, Parsed& parsed) {
  auto* models =
      root.add_subcommand("models", "Fetch, import, list, show, verify and remove models");
  models->footer(help_text::kModels);
  models->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, ModelsCommand::Action action) {
    auto* app = models->add_subcommand(name, help);
    app->callback([&parsed, action] { parsed.models.action = action; });
    add_json(*app, parsed.common);
    return app;
  };
  auto* import = add("import",
                     "Check a GGUF file, or a folder of safetensors, and take it into the "
                     "library",
                     ModelsCommand::Action::kImport);
  import->add_option("FILE", parsed.models.file, "The file or folder to import")->required();
  import->add_option("--name", parsed.models.name, "Its name (default: from the file's name)")
      ->type_name("NAME");
  import->add_option("--sha256", parsed.models.sha256, "Refuse the file unless this is its SHA-256")
      ->type_name("HEX")
      ->check(hex_digest());
  import
      ->add_option("--type", parsed.models.type,
                   "Of a folder: store weights as f16, bf16 or f32 (default: as they are; f16 for "
                   "those of 32 bits); those packed by GPTQ or AWQ also as q8_0, q6_k, q5_k, q5_1, "
                   "q5_0, q4_k, q4_1, q4_0, q3_k or q2_k (default: what loses least)")
      ->type_name("TYPE")
      ->check(one_of({"f16", "bf16", "f32", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1",
                      "q4_0", "q3_k", "q2_k"}));
  add_policy(*import, parsed.policy);
  import->footer(help_text::kModels);
  add_pull_options(*add("pull", "Fetch a model from a hub, a registry or an address",
                        ModelsCommand::Action::kPull),
                   parsed);
  add("list", "List the models of the library", ModelsCommand::Action::kList);
  auto* show = add("show", "Say what a model is and what it needs", ModelsCommand::Action::kShow);
  show->add_option("MODEL", parsed.models.name, kHeaderHelp)->required();
  show->add_flag("--tensors", parsed.models.tensors, "List every tensor: type, shape, bytes");
  show->add_option("--diff", parsed.models.diff,
                   "Say what of metadata and tensors differs from this model instead")
      ->type_name("MODEL");
  show->option_defaults()->group("Models that are not here");
  add_endpoints(*show, parsed.models.pull);
  show->footer(help_text::kShow);
  auto* check = add("check", "Say whether and how a model fits the devices here",
                    ModelsCommand::Action::kCheck);
  check
      ->add_option("MODEL", parsed.models.name,
                   std::string(kHeaderHelp) + "; BASE+ADAPTER: with a LoRA adapter over it")
      ->required();
  check->option_defaults()->group("Placement");
  add_devices(*check, parsed);
  add_quantize_stages(*check, parsed);
  add_size(*check, parsed);
  check->option_defaults()->group("Models that are not here");
  add_endpoints(*check, parsed.models.pull);
  add_policy(*check, parsed.policy);
  check->footer(help_text::kCheck);
  const std::array<std::tuple<const char*, const char*, ModelsCommand::Action>, 2> named{
      {{"verify", "Read every byte again and compare with its digest",
        ModelsCommand::Action::kVerify},
       {"rm", "Remove a model", ModelsCommand::Action::kRemove}}};
  for (const auto& [name, help, action] : named) {
    CLI::App* app = add(name, help, action);
    app->add_option("NAME", parsed.models.name, "A model of the library")->required();
    if (action == ModelsCommand::Action::kVerify) add_policy(*app, parsed.policy);
  }
  fill_loss(*add("loss", "Measure what a model lost against the one it was made of",
                 ModelsCommand::Action::kLoss),
            parsed);
  for (CLI::App* app : models->get_subcommands([](CLI::App*) { return true; }))
    add_common(*app, parsed.common);
}

// Types by a size that is to be reached, instead of a mix.
void add_target_size(CLI::App& app, Parsed& parsed, CLI::Option* type) {
  QuantizeCommand& command = parsed.quantize;
  auto* size = app.add_option("--target-size", parsed.target_size,
                              "Instead of --type: choose a type for each tensor, so that the file "
                              "is at most so large, as in 3GiB, and loses least on --text")
                   ->type_name("SIZE")
                   ->excludes(type);
  auto* text = app.add_option("-f,--text", command.text,
                              "With --target-size: a text like what the model will be asked, of "
                              "at least 512 tokens")
                   ->type_name("FILE")
                   ->needs(size);
  size->needs(text);
  app.add_option("--chunks", command.chunks,
                 "Measure on so many chunks of 256 tokens of it (default 2): more is steadier, and "
                 "takes that much longer")
      ->type_name("N")
      ->check(whole_number(1, 1'000'000))
      ->needs(size);
  add_devices(app, parsed);
  app.get_option("--device")->needs(size);
}

void add_quantize(CLI::App& root, Parsed& parsed) {
  auto* app = root.add_subcommand("quantize", "Make a model smaller");
  QuantizeCommand& command = parsed.quantize;
  app->footer(help_text::kQuantize);
  app->add_option("MODEL", command.model, kModelHelp)->required();
  auto* out = app->add_option("OUT", command.output, "The file to write; or see --name");
  app->add_option("--name", command.name, "Write into the library, under this name, not into OUT")
      ->type_name("NAME")
      ->excludes(out);
  auto* type = app->add_option("-t,--type", command.type,
                               "What to make of the weights: q4_k_m, q8_0, f16 and so on (all: "
                               "docs/quantization.md); or see --target-size")
                   ->type_name("TYPE");
  add_target_size(*app, parsed, type);
  repeatable(app->add_option("--tensor-type", command.tensor_types,
                             "Another type for the tensors in whose names the regular expression "
                             "NAME is found, as in attn_v=q8_0; repeatable, the first that fits "
                             "counts")
                 ->type_name("NAME=TYPE"));
  app->add_option("--recipe", command.recipe, "Read more of these from FILE, after those above")
      ->type_name("FILE");
  app->add_option("--imatrix", command.imatrix,
                  "An importance matrix of the model: less loss, and needed below three bits")
      ->type_name("FILE");
  app->add_option("--output-type", command.output_type, "Another type for output.weight")
      ->type_name("TYPE");
  app->add_option("--token-embedding-type", command.token_embedding_type,
                  "Another type for token_embd.weight")
      ->type_name("TYPE");
  app->add_flag("--pure", command.pure, "All matrices in the same type, not in a mix")->needs(type);
  app->add_flag("--allow-requantize", command.allow_requantize,
                "Also from weights that are quantized already: they lose once more");
  app->add_flag("--dry-run", command.dry_run, "Say what would be written, and write nothing");
  app->add_option("--threads", command.threads, "Threads (default: one for each core)")
      ->type_name("N")
      ->check(whole_number(1, 512));
  add_policy(*app, parsed.policy);
  add_json(*app, parsed.common);
  add_common(*app, parsed.common);
}

void add_imatrix(CLI::App& root, Parsed& parsed) {
  auto* app = root.add_subcommand("imatrix", "Measure what matters in a model's weights");
  ImatrixCommand& command = parsed.imatrix;
  app->footer(help_text::kImatrix);
  app->add_option("MODEL", command.model, kModelHelp)->required();
  add_text(*app, command.text, command.context, command.chunks);
  app->add_option("-o,--output", command.output,
                  "The file to write, or to go on with (default: MODEL.imatrix.gguf)")
      ->type_name("OUT");
  add_devices(*app, parsed);
  add_policy(*app, parsed.policy);
  add_json(*app, parsed.common);
  add_common(*app, parsed.common);
}

}  // namespace

void define_commands(CLI::App& root, Parsed& parsed) {
  root.require_subcommand(1);
  root.footer(help_text::kRoot);
  root.set_version_flag("--version", std::string("gogrid ") + help_text::kVersion,
                        "Print the version");
  root.get_help_ptr()->description("Print this page");
  add_serve(root, parsed);
  add_run(root, parsed);
  add_plan(root, parsed);
  add_bench(root, parsed);
  add_device_list(root, parsed);
  add_doctor(root, parsed);
  add_models(root, parsed);
  add_quantize(root, parsed);
  add_imatrix(root, parsed);
  auto* completion = root.add_subcommand("completion", "Print a completion script for a shell");
  completion->footer(help_text::kCompletion);
  completion->add_option("SHELL", parsed.completion.shell, "bash")
      ->required()
      ->check(one_of({"bash"}));
}

std::string full_name(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return (parent == nullptr ? "" : full_name(*parent) + " ") + app.get_name();
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

}  // namespace gogrid
