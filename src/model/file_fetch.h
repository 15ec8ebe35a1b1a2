// The bytes of one remote file into a partial file: several parts at once, again where a connection
// breaks or stalls, at a rate, with pauses, hashed as they come.
#pragma once

#include <string>

#include "base/result.h"
#include "model/http_client.h"
#include "model/partial_file.h"
#include "model/pull_resolve.h"
#include "model/pull_rules.h"

namespace gogrid {

struct Fetched {
  std::string sha256;  // of all bytes as they are in the file
  Bytes came = 0;      // over the network, this time
};

// Goes on where `partial` stands. After an error what came is kept and saved: another call goes on.
// kCorrupt and kUnsupported mean that it is of no use (not a GGUF file, or none that can be read
// here, as its header says as soon as it is there): discard it. Others: those of
// error_of_answer(), kUnavailable after too many tries without progress, kCancelled, kIo. Nothing
// else may run in `client`.
Result<Fetched> fetch_file(HttpClient& client, const RemoteFile& remote, PartialFile& partial,
                           const std::optional<Credential>& credential, const PullRules& rules,
                           const PullHooks& hooks, const Clock& clock);

}  // namespace gogrid
