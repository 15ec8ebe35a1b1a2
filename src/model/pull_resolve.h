// From what a person named to a model's file, or its files, and their addresses.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/http_client.h"
#include "model/pull_rules.h"
#include "model/pull_source.h"
#include "model/split_file.h"

namespace gogrid {

struct RemoteFile {
  HttpUrl url;
  std::string source;  // as a person would name it again
  std::string name;    // of the file, for a model's name
  Bytes size = 0;
  std::string sha256;     // empty: nobody told
  std::string validator;  // of the version, where no digest is known; may be empty
  FilePart part = {};     // of a model in several files: which of them
  // A model in several files: all of them, in their order. Then the address is the first's, the
  // size is the sum, the name the model's, and the validator stands for the versions of all.
  std::vector<RemoteFile> parts = {};
};

struct PullEndpoints {
  std::string hub = "https://huggingface.co";
  std::string registry = "https://registry.ollama.ai";
};

// The endpoint that `source` is fetched from: the only place that its token may go to.
Result<HttpUrl> endpoint_of(const PullSource& source, const PullEndpoints& endpoints);

// Asks the hub or the registry, or the server of an address for its head. Nothing but lists of
// files, manifests and heads is fetched.
Result<RemoteFile> resolve_source(HttpClient& client, const PullSource& source,
                                  const PullEndpoints& endpoints,
                                  const std::optional<Credential>& credential,
                                  const PullRules& rules, const PullHooks& hooks,
                                  const Clock& clock);

// `remote` with the length and the version that the server of its address tells now. For an
// address, of which nobody told a digest; errors as above.
Result<RemoteFile> look_again(HttpClient& client, const RemoteFile& remote,
                              const std::optional<Credential>& credential, const PullRules& rules,
                              const PullHooks& hooks, const Clock& clock);

}  // namespace gogrid
