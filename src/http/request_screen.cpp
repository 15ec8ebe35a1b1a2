#include "http/request_screen.h"

#include <algorithm>
#include <utility>

#include "base/ids.h"
#include "http/request_head.h"

namespace gogrid {
namespace {

constexpr std::size_t kMaxChunkLine = 256;  // size and extensions

// Moves bytes up to and with the next line feed into `line`; true when that was one.
bool take_line_end(std::string_view& bytes, std::string& line, std::size_t most) {
  const auto end = bytes.find('\n');
  const std::size_t size = std::min(end == std::string_view::npos ? bytes.size() : end + 1, most);
  line.append(bytes.substr(0, size));
  bytes.remove_prefix(size);
  return line.ends_with('\n');
}

std::optional<std::uint64_t> parse_chunk_size(std::string_view line) {
  const std::string_view digits = line.substr(0, line.find_first_of("; \t\r"));
  if (digits.empty() || digits.size() > 15) return std::nullopt;
  std::uint64_t size = 0;
  for (const char c : digits) {
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
    if (digit < 0) return std::nullopt;
    size = size * 16 + static_cast<std::uint64_t>(digit);
  }
  return size;
}

// From `from` on, is there a CR without its LF, or an LF without its CR?
bool has_bare_line_end(std::string_view text, std::size_t from) {
  for (std::size_t i = from; i < text.size(); ++i) {
    const bool after_cr = i > 0 && text[i - 1] == '\r';
    if ((text[i] == '\n') != after_cr) return true;
  }
  return false;
}

}  // namespace

ScreenRefusal RequestScreen::refuse(int status, ErrorCode code, std::string message) const {
  ScreenRefusal refusal{status, {code, std::move(message), {}, {}}, {}};
  if (const auto id = find_header(head_, "x-request-id")) {
    refusal.request_id = accept_request_id(*id).value_or("");
  }
  return refusal;
}

void RequestScreen::finish() {
  state_ = State::kHead;
  head_.clear();
  line_.clear();
  body_ = 0;
  ++completed_;
}

std::optional<ScreenRefusal> RequestScreen::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    std::optional<ScreenRefusal> refusal;
    switch (state_) {
      case State::kHead:
        refusal = take_head(bytes);
        break;
      case State::kBody:
      case State::kChunkData:
        take_data(bytes);
        break;
      case State::kChunkSize:
        refusal = take_chunk_size(bytes);
        break;
      case State::kChunkEnd:
        refusal = take_chunk_end(bytes);
        break;
      case State::kTrailer:
        refusal = take_trailer(bytes);
        break;
    }
    if (refusal) return refusal;
  }
  return std::nullopt;
}

std::optional<ScreenRefusal> RequestScreen::take_head(std::string_view& bytes) {
  // The empty line may come in portions: look again at the last three bytes.
  const std::size_t before = head_.size();
  const std::size_t taken = std::min(bytes.size(), limits_.max_head - before);
  head_.append(bytes.substr(0, taken));
  const auto end = head_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
  const std::size_t lines = end == std::string::npos ? end : end + 4;
  if (has_bare_line_end(std::string_view(head_).substr(0, lines), before)) {
    return refuse(400, ErrorCode::kInvalidArgument, "lines of a request's head end with CR LF");
  }
  if (end == std::string::npos) {
    bytes.remove_prefix(taken);
    if (bytes.empty()) return std::nullopt;
    return refuse(
        431, ErrorCode::kTooLarge,
        "the request's head may have " + std::to_string(limits_.max_head) + " bytes: it has more");
  }
  head_.resize(end + 4);
  bytes.remove_prefix(head_.size() - before);
  return begin_body();
}

std::optional<ScreenRefusal> RequestScreen::begin_body() {
  const auto head = parse_request_head(head_, limits_.loopback_only);
  if (!head) return refuse(head.error().http_status, head.error().code, head.error().message);
  remaining_ = head->content_length.value_or(0);
  if (remaining_ > limits_.max_body) {
    return refuse(413, ErrorCode::kTooLarge,
                  "the body may have " + std::to_string(limits_.max_body) + " bytes: it has " +
                      std::to_string(remaining_));
  }
  if (head->chunked) {
    state_ = State::kChunkSize;
  } else if (remaining_ > 0) {
    state_ = State::kBody;
  } else {
    finish();
  }
  return std::nullopt;
}

void RequestScreen::take_data(std::string_view& bytes) {
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, bytes.size()));
  bytes.remove_prefix(taken);
  body_ += taken;
  remaining_ -= taken;
  if (remaining_ > 0) return;
  if (state_ == State::kChunkData) {
    state_ = State::kChunkEnd;
  } else {
    finish();
  }
}

std::optional<ScreenRefusal> RequestScreen::take_chunk_size(std::string_view& bytes) {
  if (!take_line_end(bytes, line_, kMaxChunkLine - line_.size())) {
    if (line_.size() < kMaxChunkLine) return std::nullopt;
    return refuse(400, ErrorCode::kInvalidArgument, "a chunk's size is too long");
  }
  const auto size = parse_chunk_size(line_);
  if (!size || !line_.ends_with("\r\n")) {
    return refuse(400, ErrorCode::kInvalidArgument, "a chunk's size must be a hexadecimal number");
  }
  line_.clear();
  if (*size > limits_.max_body - body_) {
    return refuse(413, ErrorCode::kTooLarge,
                  "the body may have " + std::to_string(limits_.max_body) + " bytes: it has more");
  }
  remaining_ = *size;
  state_ = *size == 0 ? State::kTrailer : State::kChunkData;
  return std::nullopt;
}

std::optional<ScreenRefusal> RequestScreen::take_chunk_end(std::string_view& bytes) {
  line_ += bytes.front();
  bytes.remove_prefix(1);
  if (line_ == "\r") return std::nullopt;
  if (line_ != "\r\n") {
    return refuse(400, ErrorCode::kInvalidArgument, "a chunk must end with CR LF");
  }
  line_.clear();
  state_ = State::kChunkSize;
  return std::nullopt;
}

// The framework takes no trailers: only the empty line may follow the last chunk.
std::optional<ScreenRefusal> RequestScreen::take_trailer(std::string_view& bytes) {
  line_ += bytes.front();
  bytes.remove_prefix(1);
  if (line_ == "\r") return std::nullopt;
  if (line_ != "\r\n") {
    return refuse(400, ErrorCode::kInvalidArgument, "trailers are not supported");
  }
  finish();
  return std::nullopt;
}

}  // namespace gogrid
