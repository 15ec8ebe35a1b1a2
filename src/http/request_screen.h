// The raw bytes of a connection, looked at before the web framework sees them. The framework has no
// limit on the size of a request's head, answers what it cannot parse without a body, and reads
// some malformed requests as well-formed ones; what passes here it parses as we do. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gogrid {

struct ScreenLimits {
  std::size_t max_head = 32 * 1024;        // request line and headers together: 431 above
  std::size_t max_body = 8 * 1024 * 1024;  // 413 above
  bool loopback_only = true;               // hosts other than this machine: 403
};

// Why a connection is answered and closed.
struct ScreenRefusal {
  int http_status = 400;
  Error error;
  std::string request_id;  // the client's, when its head got that far and it is acceptable
};

// Follows HTTP/1.x requests, one after the other (RFC 9112, the strict reading: no bare CR or LF,
// no folded header, one framing). Not thread-safe: one per connection.
class RequestScreen {
 public:
  explicit RequestScreen(const ScreenLimits& limits) : limits_(limits) {}

  // The next bytes, in any portions. After a refusal it must not be fed again.
  std::optional<ScreenRefusal> feed(std::string_view bytes);

  // In the middle of a request: its first byte has come, its last has not.
  bool inside() const { return state_ != State::kHead || !head_.empty(); }
  // Bytes of the unfinished request so far.
  std::size_t pending() const { return head_.size() + body_; }
  // Requests that were seen whole.
  std::uint64_t completed() const { return completed_; }

 private:
  enum class State : std::uint8_t { kHead, kBody, kChunkSize, kChunkData, kChunkEnd, kTrailer };

  // Each takes what it can from `bytes`.
  std::optional<ScreenRefusal> take_head(std::string_view& bytes);
  std::optional<ScreenRefusal> take_chunk_size(std::string_view& bytes);
  std::optional<ScreenRefusal> take_chunk_end(std::string_view& bytes);
  std::optional<ScreenRefusal> take_trailer(std::string_view& bytes);
  void take_data(std::string_view& bytes);
  std::optional<ScreenRefusal> begin_body();
  ScreenRefusal refuse(int status, ErrorCode code, std::string message) const;
  void finish();

  const ScreenLimits limits_;
  State state_ = State::kHead;
  std::string head_;             // the head so far; kept for the request id while the body comes
  std::string line_;             // a chunk's size or end, or a trailer, as it comes
  std::uint64_t remaining_ = 0;  // of the body or the chunk
  std::size_t body_ = 0;         // of the body so far
  std::uint64_t completed_ = 0;
};

}  // namespace gogrid
