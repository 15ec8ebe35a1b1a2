#include "base/error_code.h"

#include <gtest/gtest.h>

#include <set>

#include "base/result.h"

namespace gogrid {
namespace {

TEST(ErrorCode, EveryCodeHasADistinctNameAndAStatusThatGrpcKnows) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kErrorCodeCount; ++i) {
    const ErrorTraits& row = traits(static_cast<ErrorCode>(i));
    names.insert(row.name);
    EXPECT_GE(row.grpc_status, 1);
    EXPECT_LE(row.grpc_status, 16);
  }
  EXPECT_EQ(names.size(), kErrorCodeCount);
}

TEST(ErrorCode, TheHttpStatusesAreThoseOfTheSpecification) {
  const std::pair<ErrorCode, int> expected[] = {
      {ErrorCode::kInvalidArgument, 400},  {ErrorCode::kUnauthenticated, 401},
      {ErrorCode::kPermissionDenied, 403}, {ErrorCode::kNotFound, 404},
      {ErrorCode::kTooLarge, 413},         {ErrorCode::kDoesNotFit, 422},
      {ErrorCode::kUnsupported, 422},      {ErrorCode::kRateLimited, 429},
      {ErrorCode::kExhausted, 503},        {ErrorCode::kUnavailable, 503},
      {ErrorCode::kDeadline, 504}};
  for (const auto& [code, status] : expected) EXPECT_EQ(traits(code).http_status, status);
}

TEST(ErrorCode, WrongUsageExitsWithTwoAndNeverHereWithThree) {
  EXPECT_EQ(traits(ErrorCode::kInvalidArgument).exit_status, 2);
  EXPECT_EQ(traits(ErrorCode::kNotFound).exit_status, 2);
  EXPECT_EQ(traits(ErrorCode::kDoesNotFit).exit_status, 3);
  EXPECT_EQ(traits(ErrorCode::kUnsupported).exit_status, 3);
  EXPECT_EQ(traits(ErrorCode::kInternal).exit_status, 1);
}

TEST(ErrorCode, NotNowMayBeRepeatedAndNeverMayNot) {
  EXPECT_EQ(traits(ErrorCode::kExhausted).retry, Retry::kLater);
  EXPECT_EQ(traits(ErrorCode::kUnavailable).retry, Retry::kElsewhere);
  EXPECT_EQ(traits(ErrorCode::kDoesNotFit).retry, Retry::kNever);
}

Result<int> half(int n) {
  if (n % 2 != 0) return fail(ErrorCode::kInvalidArgument, "[half] even expected: odd", "n");
  return n / 2;
}
Result<int> quarter(int n) {
  GOGRID_ASSIGN_OR_RETURN(const int once, half(n));
  GOGRID_ASSIGN_OR_RETURN(const int twice, half(once));
  return twice;
}
Status check(int n) {
  GOGRID_RETURN_IF_ERROR(half(n));
  return {};
}

TEST(Result, AssignOrReturnHandsTheValueOn) { EXPECT_EQ(quarter(8), 2); }

TEST(Result, AssignOrReturnHandsTheErrorUpWhole) {
  const auto result = quarter(6);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(result.error().param, "n");
  EXPECT_EQ(result.error().message, "[half] even expected: odd");
}

TEST(Result, ReturnIfErrorPassesSuccessThrough) {
  EXPECT_TRUE(check(2));
  EXPECT_FALSE(check(3));
}

}  // namespace
}  // namespace gogrid
