#include "model/pull_retry.h"

#include <algorithm>

#include "base/format.h"

namespace gogrid {

AnswerKind kind_of(int status) {
  switch (status) {
    case 200:
    case 206:
      return AnswerKind::kContent;
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
      return AnswerKind::kElsewhere;
    case 408:  // request timeout
    case 425:  // too early
    case 429:  // too many requests
    case 500:
    case 502:
    case 503:
    case 504:
      return AnswerKind::kLater;
    case 416:
      return AnswerKind::kNoRange;
    default:
      return AnswerKind::kRefused;
  }
}

std::optional<Duration> wait_before_retry(const RetryRules& rules, int failures, double random,
                                          std::optional<std::chrono::seconds> retry_after,
                                          bool patient) {
  if (failures >= rules.tries && !patient) return std::nullopt;
  Duration asked{};
  if (retry_after) {
    // Compared before it is converted: a number of seconds from outside need not fit into
    // nanoseconds.
    if (*retry_after > std::chrono::duration_cast<std::chrono::seconds>(rules.longest_retry_after))
      return std::nullopt;
    asked = std::max(*retry_after, std::chrono::seconds(0));
  }
  Duration ceiling = rules.first_wait;
  for (int i = 1; i < failures && ceiling < rules.longest_wait; ++i) ceiling *= 2;
  ceiling = std::min(ceiling, rules.longest_wait);
  const auto jittered =
      std::chrono::duration_cast<Duration>(ceiling * std::clamp(random, 0.0, 1.0));
  return std::max(asked, jittered);
}

Error error_of_answer(const HttpHead& head, const std::string& what, const std::string& shown,
                      bool with_token) {
  const auto error = [&](ErrorCode code, std::string_view came) {
    return Error{code, format_text("[pull] expected {} from {}: {}", what, shown, came), {}, {}};
  };
  switch (head.status) {
    case 401:
      return error(ErrorCode::kUnauthenticated,
                   with_token ? "401, the token is not accepted; make a new one there and put it "
                                "into the file of --token-file"
                              : "401, it is not public, or absent; for what is not public write "
                                "your token into a file and give --token-file FILE");
    case 403:
      return error(ErrorCode::kPermissionDenied,
                   with_token ? "403, the token's owner may not have it; accept the model's terms "
                                "on its page there, or ask its owner"
                              : "403, not for everybody; accept the model's terms on its page "
                                "there, then give --token-file FILE");
    case 404:
    case 410:
      return error(ErrorCode::kNotFound,
                   format_text("{}, there is nothing of that name", head.status));
    case 416:
      return error(ErrorCode::kUnavailable,
                   "416, the file there is not as long as it was said to be");
    case 429:
    case 503: {
      Error busy = error(ErrorCode::kUnavailable, format_text("{}, too busy for us", head.status));
      if (head.retry_after) {
        busy.message += format_text(", to be asked again in {} s", head.retry_after->count());
        // A day is as good as forever, and fits into milliseconds.
        busy.retry_after = std::min(*head.retry_after, std::chrono::seconds(std::chrono::days(1)));
      }
      return busy;
    }
    default:
      return error(head.status >= 500 ? ErrorCode::kUnavailable : ErrorCode::kInvalidArgument,
                   format_text("HTTP status {}", head.status));
  }
}

Error untrusted_error(const std::string& what, const std::string& shown, const std::string& why) {
  return {
      ErrorCode::kPermissionDenied,
      format_text("[pull] expected {} from {}, whose certificate this machine trusts: {}; it is "
                  "not tried again. Is this machine's clock right? A private authority's "
                  "certificate goes into the system's (update-ca-certificates)",
                  what, shown, why),
      {},
      {}};
}

}  // namespace gogrid
