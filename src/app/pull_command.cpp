#include "app/pull_command.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <stop_token>

#include "app/long_job.h"
#include "app/stop_signals.h"
#include "app/terminal.h"
#include "app/workspace.h"
#include "base/files.h"

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

// On a line of its own, in place of the progress.
void tell(std::string_view text) {
  if (isatty(STDERR_FILENO) == 1) std::fputs("\r\x1b[K", stderr);
  complain(text);
}

PullRules rules_of(const PullChoices& pull) {
  PullRules rules;
  rules.connections = pull.connections;
  rules.rate = pull.limit_rate;
  rules.allow_http = pull.allow_http;
  return rules;
}

// The digest that the person gave and the one that the hub names must be one.
Status expect_digest(RemoteFile& remote, const std::string& wanted) {
  if (wanted.empty()) return {};
  if (!remote.sha256.empty() && remote.sha256 != wanted) {
    return fail(ErrorCode::kCorrupt, "[pull] " + remote.source + ": expected SHA-256 " + wanted +
                                         ": there it is " + remote.sha256);
  }
  remote.sha256 = wanted;
  return {};
}

}  // namespace

Result<PullReport> pull_command(const Workspace& workspace, ModelLibrary& library,
                                const ModelsCommand& command) {
  std::stop_source stop;
  StopSignals signals;
  GOGRID_ASSIGN_OR_RETURN(
      const auto job, LongJob::begin(workspace, command.policy, "pulling " + command.pull.source));
  signals.on_first([&stop] { stop.request_stop(); });
  GOGRID_ASSIGN_OR_RETURN(const PullSource source, parse_pull_source(command.pull.source));
  const PullEndpoints endpoints = endpoints_of(command.pull);
  GOGRID_ASSIGN_OR_RETURN(const HttpUrl endpoint, endpoint_of(source, endpoints));
  GOGRID_ASSIGN_OR_RETURN(const auto credential, credential_of(command.pull, source, endpoint));
  GOGRID_ASSIGN_OR_RETURN(const auto client, make_http_client());
  const PullRules rules = rules_of(command.pull);
  const SteadyClock clock;
  PullHooks hooks{.keep_going = [&job] { return job->runs(); },
                  .why_paused = [&job] { return job->why_paused(); },
                  .stop = stop.get_token(),
                  .progress = {},
                  .note = tell};
  GOGRID_ASSIGN_OR_RETURN(RemoteFile remote, resolve_source(*client, source, endpoints, credential,
                                                            rules, hooks, clock));
  GOGRID_RETURN_IF_ERROR(expect_digest(remote, command.sha256));
  const std::string name = command.name.empty() ? name_from_file(remote.name) : command.name;
  ProgressLine line("pulling " + name + ", " + format_bytes(remote.size));
  hooks.progress = [&](Bytes done, Bytes total) {
    const double share = total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
    line.show(share, job->runs() ? "" : ", paused");
    return !stop.stop_requested();
  };
  return pull_model(library, *client, remote, name, credential, rules, hooks, clock);
}

}  // namespace gogrid
