// `gogrid completion bash`: made from the same grammar that parses.
#include <CLI/CLI.hpp>

#include "cli/grammar.h"
#include "cli/help_text.h"
#include "cli/options.h"
#include "model/quantization_types.h"

namespace gogrid {
namespace {

std::string words_after(const CLI::App& app) {
  std::string text;
  for (const CLI::App* sub : commands_of(app)) text += sub->get_name() + " ";
  for (const std::string& name : option_names(app)) text += name + " ";
  if (app.get_name() == "completion") text += "bash ";
  text.pop_back();
  return text;
}

// "    'models import') words='...' ;;" for the command and all below it.
std::string cases(const CLI::App& app, const std::string& path) {
  std::string text = "    '" + path + "') words='" + words_after(app) + "' ;;\n";
  for (const CLI::App* sub : commands_of(app))
    text += cases(*sub, (path.empty() ? "" : path + " ") + sub->get_name());
  return text;
}

// "  local types='q1_0 ...'": what --type may be.
std::string types() {
  std::string text;
  for (const std::string& name : mix_names()) text += (text.empty() ? "" : " ") + name;
  return "  local types='" + text + "'\n";
}

// The command is the words before the first option. Values of some options, and what some commands
// take, are models of the library; anything else may be a file.
constexpr const char* kBegin = R"(# bash completion for gogrid: source <(gogrid completion bash)
_gogrid() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local command='' words='' models='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == -* ]] && break
    [[ $command == models || -z $command ]] || break
    command+=${command:+ }${COMP_WORDS[i]}
  done
  case "$command" in
)";
constexpr const char* kAfterCases = "  esac\n";
constexpr const char* kEnd = R"(  COMPREPLY=()
  case "$previous" in
    -p|--prompt|-n|--max-tokens|--temperature|--top-?|--min-p|--seed) return ;;
    --context|--parallel|--split|--device|--listen|--limit|--name|--sha256|--prompt-tokens) return ;;
    --tensor-type|--threads|--chunks) return ;;
    -t|--type) words="$types" ;;
    --mode) words='conservative balanced aggressive' ;;
    --log-level) words='debug info warning error off' ;;
    -f|--file|--config|--data-dir|--recipe|--imatrix|--text|-o|--output) words='' ;;
    --model) models=yes words='' ;;
    *)
      case "$command" in
        run|plan|bench|quantize|imatrix|'models show'|'models loss'|'models verify'|'models rm')
          [[ $current == -* ]] || { models=yes words=''; } ;;
      esac ;;
  esac
  if [[ -n $models ]]; then
    words=$("${COMP_WORDS[0]}" models list 2> /dev/null | cut -d ' ' -f 1)
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  if [[ ${#COMPREPLY[@]} -eq 0 && -n $command ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    compopt -o filenames 2> /dev/null
  fi
}
complete -F _gogrid gogrid
)";

}  // namespace

std::string bash_completion() {
  CLI::App root(help_text::kTitle, "gogrid");
  Parsed parsed;
  define_commands(root, parsed);
  return kBegin + cases(root, "") + kAfterCases + types() + kEnd;
}

}  // namespace gogrid
