// One small question over HTTP, asked until it is answered: redirects, retries, stalls.
#pragma once

#include <string>

#include "base/result.h"
#include "model/http_client.h"
#include "model/pull_rules.h"

namespace gogrid {

struct Answer {
  HttpHead head;
  HttpUrl url;       // which one answered, after redirects
  std::string body;  // empty when none was wanted
};

struct Question {
  std::string what;  // "the list of files": for messages
  HttpUrl url;
  std::vector<std::string> headers = {};
  std::optional<ByteRange> range = {};
  Bytes most = 0;  // bytes of the body; 0: only the head matters
};

// Not thread-safe: it drives `client`, in which nothing else may run. Errors: those of
// error_of_answer(), kTooLarge for a longer body, kUnavailable when no try brought an answer.
Result<Answer> ask(HttpClient& client, const Question& question,
                   const std::optional<Credential>& credential, const PullRules& rules,
                   const PullHooks& hooks, const Clock& clock);

// In [0, 1], for back-off. Thread-safe.
double random_share();

}  // namespace gogrid
