// From a remote file to a model of the library: fetched once whoever asks, checked, named.
#pragma once

#include <string>

#include "base/result.h"
#include "model/http_client.h"
#include "model/model_library.h"
#include "model/pull_resolve.h"
#include "model/pull_rules.h"

namespace gogrid {

struct PullReport {
  ModelEntry entry;
  Bytes fetched = 0;  // over the network, this time
  Bytes kept = 0;     // of earlier tries
  bool was_here = false;
};

// Fetches `remote` into the library's incoming folder, compares its SHA-256 where one is known, and
// gives it to the library, which checks it as it does every file. Two pulls of one file share it:
// the second waits for the first, says so, and takes what it brought. After an error what came
// stays for the next call, but for bytes that are of no use (kCorrupt). kInvalidArgument for a name
// in use by other content, before anything is fetched.
Result<PullReport> pull_model(ModelLibrary& library, HttpClient& client, const RemoteFile& remote,
                              const std::string& name, const std::optional<Credential>& credential,
                              const PullRules& rules, const PullHooks& hooks, const Clock& clock);

}  // namespace gogrid
