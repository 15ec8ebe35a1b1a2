// The one table of what can go wrong: every layer speaks these codes, and each way out (HTTP, gRPC,
// exit status) is a column of it. "Not now" and "never" are different codes.
#pragma once

#include <cstdint>
#include <string_view>

namespace gogrid {

enum class ErrorCode : std::uint8_t {
  kInvalidArgument,   // the caller's input is wrong; repeating it is pointless
  kUnauthenticated,   // no key, or an unknown one
  kPermissionDenied,  // the key does not allow it
  kNotFound,          // no such model, route, file
  kTooLarge,          // the body or the file is over its limit
  kRateLimited,       // the key's rate or quota; `retry_after` says when
  kExhausted,         // no memory, KV space or queue place now
  kUnavailable,       // paused, draining, loading, or the stage is gone
  kDeadline,          // a deadline passed
  kCancelled,         // whoever asked has left
  kUnsupported,       // this architecture, option or platform, never
  kDoesNotFit,        // these devices cannot hold it, never; the message says by how much
  kCorrupt,           // a file or a frame is damaged
  kIo,                // the operating system refused a file, socket or device
  kInternal,          // a bug of ours or of a library
};
inline constexpr std::size_t kErrorCodeCount = static_cast<std::size_t>(ErrorCode::kInternal) + 1;

// What the caller may do about it.
enum class Retry : std::uint8_t {
  kNever,      // the same call gives the same answer
  kLater,      // the same call may work after `retry_after`
  kElsewhere,  // another plan or node may work
};

struct ErrorTraits {
  ErrorCode code;
  std::string_view name;       // "invalid_argument": for logs and metrics
  int http_status;             // specification, section 3
  std::string_view http_type;  // the `type` of an OpenAI error object
  int exit_status;             // specification, section 4
  int grpc_status;             // grpc::StatusCode as a number, so that gRPC stays out of here
  Retry retry;
};

// Thread-safe; total over the enum.
const ErrorTraits& traits(ErrorCode code);

}  // namespace gogrid
