#include "app/remote_source.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <system_error>
#include <utility>
#include <variant>

#include "app/terminal.h"
#include "model/remote_header.h"

namespace gogrid {
namespace {

constexpr Bytes kMaxTokenFile = 8 * kKiB;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// What was said on the command line, else in the environment, else what is usual.
std::string first_of(std::string chosen, const char* variable, std::string usual) {
  if (!chosen.empty()) return chosen;
  std::string set = environment(variable);
  return set.empty() ? usual : set;
}

PullEndpoints endpoints_of(const PullChoices& pull) {
  const PullEndpoints usual;
  return {first_of(pull.hf_endpoint, "GOGRID_HF_ENDPOINT", usual.hub),
          first_of(pull.ollama_endpoint, "GOGRID_OLLAMA_ENDPOINT", usual.registry)};
}

// The token of the environment is the hub's: it goes nowhere else unless somebody says so.
Result<std::optional<Credential>> credential_of(const PullChoices& pull, const PullSource& source,
                                                const HttpUrl& endpoint) {
  std::filesystem::path file = pull.token_file;
  if (file.empty() && std::holds_alternative<HubSource>(source))
    file = environment("GOGRID_HF_TOKEN_FILE");
  if (file.empty()) return std::optional<Credential>();
  GOGRID_ASSIGN_OR_RETURN(const std::string token, read_named(file, kMaxTokenFile));
  GOGRID_ASSIGN_OR_RETURN(Credential credential, make_credential(endpoint, token));
  return std::optional(std::move(credential));
}

PullRules rules_of(const PullChoices& pull) {
  PullRules rules;
  rules.connections = pull.connections;
  rules.rate = pull.limit_rate;
  rules.allow_http = pull.allow_http;
  return rules;
}

constexpr std::string_view kLinks = ".parts";

// What a crash left of links to headers that are gone.
void remove_dead_links(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().string();
    if (!name.ends_with(kLinks)) continue;
    const std::string header = name.substr(0, name.size() - kLinks.size());
    if (!std::filesystem::exists(header, ignored)) std::filesystem::remove_all(name, ignored);
  }
}

}  // namespace

Result<RemoteSource> resolve_remote(const PullChoices& pull, const PullHooks& hooks,
                                    const Clock& clock) {
  GOGRID_ASSIGN_OR_RETURN(const PullSource source, parse_pull_source(pull.source));
  const PullEndpoints endpoints = endpoints_of(pull);
  GOGRID_ASSIGN_OR_RETURN(const HttpUrl endpoint, endpoint_of(source, endpoints));
  GOGRID_ASSIGN_OR_RETURN(auto credential, credential_of(pull, source, endpoint));
  GOGRID_ASSIGN_OR_RETURN(auto client, make_http_client());
  const PullRules rules = rules_of(pull);
  GOGRID_ASSIGN_OR_RETURN(
      RemoteFile file, resolve_source(*client, source, endpoints, credential, rules, hooks, clock));
  return RemoteSource{std::move(file), std::move(credential), std::move(client), rules};
}

bool names_remote(std::string_view model) {
  constexpr std::array<std::string_view, 5> kBeginnings{"hf:", "ollama:", "gogrid:", "https://",
                                                        "http://"};
  std::error_code error;
  return std::ranges::any_of(kBeginnings, [&](auto begin) { return model.starts_with(begin); }) &&
         !std::filesystem::is_regular_file(model, error);
}

Result<RemoteModel> look_at_remote(const Workspace& workspace, PullChoices pull,
                                   std::string_view model) {
  pull.source = model;
  const SteadyClock clock;
  const PullHooks hooks{.keep_going = {},
                        .why_paused = {},
                        .stop = {},
                        .progress = {},
                        .note = [](std::string_view line) { complain(line); }};
  GOGRID_ASSIGN_OR_RETURN(const RemoteSource remote, resolve_remote(pull, hooks, clock));
  RemoteModel looked{{name_from_file(remote.file.name), {}, remote.file.sha256, {}}, {}, {}};
  std::vector<RemoteFile> files = remote.file.parts;
  if (files.empty()) files.push_back(remote.file);
  std::vector<std::filesystem::path> paths;
  for (const RemoteFile& file : files) {
    GOGRID_ASSIGN_OR_RETURN(AtomicFile header,
                            fetch_header(*remote.client, file, workspace.scratch(),
                                         remote.credential, remote.rules, hooks, clock));
    paths.push_back(header.path());
    looked.headers.push_back(std::move(header));
  }
  looked.source.path = paths.front();
  if (paths.size() == 1) return looked;
  remove_dead_links(workspace.scratch());
  GOGRID_ASSIGN_OR_RETURN(
      looked.links,
      PartLinks::make(looked.headers.front().path().string() + std::string(kLinks), paths));
  looked.source.path = looked.links->first();
  return looked;
}

}  // namespace gogrid
