#include "model/pull_retry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(AnswerKind, TellsNotNowFromNever) {
  for (const int status : {200, 206}) EXPECT_EQ(kind_of(status), AnswerKind::kContent);
  for (const int status : {301, 302, 303, 307, 308})
    EXPECT_EQ(kind_of(status), AnswerKind::kElsewhere);
  for (const int status : {408, 425, 429, 500, 502, 503, 504})
    EXPECT_EQ(kind_of(status), AnswerKind::kLater);
  EXPECT_EQ(kind_of(416), AnswerKind::kNoRange);
  for (const int status : {0, 100, 204, 300, 304, 400, 401, 403, 404, 410, 501, 999})
    EXPECT_EQ(kind_of(status), AnswerKind::kRefused) << status;
}

TEST(WaitBeforeRetry, DoublesUpToABoundWithFullJitter) {
  RetryRules rules;
  rules.tries = 100;
  rules.first_wait = milliseconds(100);
  rules.longest_wait = milliseconds(500);
  EXPECT_EQ(wait_before_retry(rules, 1, 1.0, {}), milliseconds(100));
  EXPECT_EQ(wait_before_retry(rules, 2, 1.0, {}), milliseconds(200));
  EXPECT_EQ(wait_before_retry(rules, 3, 0.5, {}), milliseconds(200));
  EXPECT_EQ(wait_before_retry(rules, 90, 1.0, {}), milliseconds(500));
  EXPECT_EQ(wait_before_retry(rules, 1, 0.0, {}), milliseconds(0));
  EXPECT_EQ(wait_before_retry(rules, 1, 17.0, {}), milliseconds(100));
}

TEST(WaitBeforeRetry, GivesUpAfterTheLastTry) {
  RetryRules rules;
  rules.tries = 3;
  EXPECT_TRUE(wait_before_retry(rules, 2, 1.0, {}));
  EXPECT_FALSE(wait_before_retry(rules, 3, 1.0, {}));
}

TEST(WaitBeforeRetry, DoesAsTheServerAsksWithinABound) {
  RetryRules rules;
  rules.longest_retry_after = seconds(60);
  EXPECT_EQ(wait_before_retry(rules, 1, 0.0, seconds(7)), seconds(7));
  EXPECT_EQ(wait_before_retry(rules, 1, 0.0, seconds(60)), seconds(60));
  EXPECT_FALSE(wait_before_retry(rules, 1, 0.0, seconds(61)));
  EXPECT_FALSE(wait_before_retry(rules, 1, 0.0, seconds::max())) << "and nothing wraps";
  EXPECT_EQ(wait_before_retry(rules, 1, 0.0, seconds(-5)), seconds(0));
}

TEST(ErrorOfAnswer, SaysWhatToDo) {
  const auto error = [](int status, bool with_token = false) {
    HttpHead head;
    head.status = status;
    head.retry_after = seconds(3600);
    return error_of_answer(head, "m.gguf", "https://hub/m", with_token);
  };
  EXPECT_THAT(error(401).message,
              AllOf(HasSubstr("https://hub/m"), HasSubstr("--token-file FILE")));
  EXPECT_EQ(error(401).code, ErrorCode::kUnauthenticated);
  EXPECT_THAT(error(401, true).message, HasSubstr("not accepted"));
  EXPECT_THAT(error(403).message, HasSubstr("accept the model's terms"));
  EXPECT_EQ(error(404).code, ErrorCode::kNotFound);
  EXPECT_THAT(error(429).message, HasSubstr("asked again in 3600 s"));
  EXPECT_EQ(error(429).retry_after, seconds(3600));
  EXPECT_EQ(error(418).code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(error(507).code, ErrorCode::kUnavailable);
  EXPECT_THAT(error(507).message, HasSubstr("HTTP status 507"));
}

TEST(PullRetry, PatienceIsForTheNumberOfFailuresOnly) {
  const RetryRules rules;
  EXPECT_FALSE(wait_before_retry(rules, rules.tries, 1, {}));
  EXPECT_EQ(wait_before_retry(rules, rules.tries, 1, {}, true), std::chrono::seconds(8));
  EXPECT_EQ(wait_before_retry(rules, 1000, 1, {}, true), rules.longest_wait);
  EXPECT_FALSE(wait_before_retry(rules, 1, 1, std::chrono::hours(1), true))
      << "the server says when to come back";
}

TEST(PullRetry, ACertificateIsNotTriedAgainAndTheClockIsNamed) {
  const Error error = untrusted_error("m.gguf", "https://h/m.gguf", "self-signed");
  EXPECT_EQ(error.code, ErrorCode::kPermissionDenied);
  EXPECT_THAT(error.message, HasSubstr("clock"));
}

}  // namespace
}  // namespace gogrid
