// Models that are not here: how a source on the command line is asked.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "app/workspace.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/result.h"
#include "cli/options.h"
#include "model/http_client.h"
#include "model/part_links.h"
#include "model/pull_resolve.h"
#include "model/pull_rules.h"

namespace gogrid {

// A source that has said which file it is.
struct RemoteSource {
  RemoteFile file;
  std::optional<Credential> credential;
  std::unique_ptr<HttpClient> client;
  PullRules rules;
};

// What of `pull` names a source, asked at its endpoint with its token.
Result<RemoteSource> resolve_remote(const PullChoices& pull, const PullHooks& hooks,
                                    const Clock& clock);

// Whether a MODEL argument is a source ("hf:owner/repo") and no file of that name.
bool names_remote(std::string_view model);

// The header of a remote model, as if the file were here; it is while this lives.
struct RemoteModel {
  ModelSource source;
  std::vector<AtomicFile> headers;  // of its files
  std::optional<PartLinks> links;   // where these are several
};
Result<RemoteModel> look_at_remote(const Workspace& workspace, PullChoices pull,
                                   std::string_view model);

}  // namespace gogrid
