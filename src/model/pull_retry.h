// What to do about an answer that is not what was asked for. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "model/http_head.h"

namespace gogrid {

enum class AnswerKind : std::uint8_t {
  kContent,    // 200, 206
  kElsewhere,  // a redirect
  kLater,      // the same request may work after a while
  kNoRange,    // 416: the file is not that long
  kRefused,    // the same request gives the same answer
};
AnswerKind kind_of(int status);

struct RetryRules {
  int tries = 5;  // in a row, without progress worth the name
  // Once bytes came: for so long since the last of them tries go on, however many they are. Whoever
  // pulls gigabytes sees a router restart, or a laptop change its network.
  Duration patience = std::chrono::minutes(10);
  Duration first_wait = std::chrono::milliseconds(500);
  Duration longest_wait = std::chrono::seconds(30);
  // A server that wants more patience than this gets none: the caller is told when to come back.
  Duration longest_retry_after = std::chrono::minutes(2);
};

// Before try `failures` + 1 (failures counts from 1): `random` in [0, 1] of the first wait, doubled
// with each failure (full jitter), and never less than the server asked for. Empty: give up; where
// `patient`, not for the number of failures.
std::optional<Duration> wait_before_retry(const RetryRules& rules, int failures, double random,
                                          std::optional<std::chrono::seconds> retry_after,
                                          bool patient = false);

// The error for an answer that is given up on. `what` was asked for; `shown` is its address without
// secrets. It says what the person can do.
Error error_of_answer(const HttpHead& head, const std::string& what, const std::string& shown,
                      bool with_token);

// The error for a server whose certificate is not trusted; never tried again.
Error untrusted_error(const std::string& what, const std::string& shown, const std::string& why);

}  // namespace gogrid
