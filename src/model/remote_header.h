// The header of a model that is not here: enough to say what it is and whether it would run.
#pragma once

#include <filesystem>
#include <optional>

#include "base/clock.h"
#include "base/files.h"
#include "base/result.h"
#include "model/http_client.h"
#include "model/pull_resolve.h"
#include "model/pull_rules.h"

namespace gogrid {

// A temporary file in `folder`, as long as the remote one: its header, and a hole where the weights
// would be, so that GgufFile::open() reads it as it would read the whole. Fetches the beginning in
// pieces that double from 1 MiB, until the header is here: at most 1 MiB or three times its size.
// The errors of ask() and judge_beginning(); kUnsupported where the server answers for no part of a
// file.
Result<AtomicFile> fetch_header(HttpClient& client, const RemoteFile& remote,
                                const std::filesystem::path& folder,
                                const std::optional<Credential>& credential, const PullRules& rules,
                                const PullHooks& hooks, const Clock& clock);

}  // namespace gogrid
