#include "base/error_code.h"

#include <array>

namespace gogrid {
namespace {

constexpr std::string_view kBadRequest = "invalid_request_error";
constexpr std::string_view kServer = "server_error";

constexpr std::array<ErrorTraits, kErrorCodeCount> kTable{{
    {ErrorCode::kInvalidArgument, "invalid_argument", 400, kBadRequest, 2, 3, Retry::kNever},
    {ErrorCode::kUnauthenticated, "unauthenticated", 401, "authentication_error", 1, 16,
     Retry::kNever},
    {ErrorCode::kPermissionDenied, "permission_denied", 403, "permission_error", 1, 7,
     Retry::kNever},
    {ErrorCode::kNotFound, "not_found", 404, kBadRequest, 2, 5, Retry::kNever},
    {ErrorCode::kTooLarge, "too_large", 413, kBadRequest, 2, 11, Retry::kNever},
    {ErrorCode::kRateLimited, "rate_limited", 429, "rate_limit_error", 1, 8, Retry::kLater},
    {ErrorCode::kExhausted, "exhausted", 503, kServer, 1, 8, Retry::kLater},
    {ErrorCode::kUnavailable, "unavailable", 503, kServer, 1, 14, Retry::kElsewhere},
    {ErrorCode::kDeadline, "deadline", 504, kServer, 1, 4, Retry::kLater},
    {ErrorCode::kCancelled, "cancelled", 499, kServer, 1, 1, Retry::kNever},
    {ErrorCode::kUnsupported, "unsupported", 422, kBadRequest, 3, 12, Retry::kNever},
    {ErrorCode::kDoesNotFit, "does_not_fit", 422, kBadRequest, 3, 9, Retry::kNever},
    {ErrorCode::kCorrupt, "corrupt", 422, kBadRequest, 1, 15, Retry::kNever},
    {ErrorCode::kIo, "io", 500, kServer, 1, 2, Retry::kNever},
    {ErrorCode::kInternal, "internal", 500, kServer, 1, 13, Retry::kNever},
}};

consteval bool in_enum_order() {
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<std::size_t>(kTable[i].code) != i) return false;
  }
  return true;
}
static_assert(in_enum_order());

}  // namespace

const ErrorTraits& traits(ErrorCode code) { return kTable[static_cast<std::size_t>(code)]; }

}  // namespace gogrid
