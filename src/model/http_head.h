// The head of an answer over HTTP, line by line, of which only what is used is kept.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"
#include "model/byte_ranges.h"

namespace gogrid {

struct HttpHead {
  int status = 0;
  std::optional<Bytes> content_length;
  // Printable, on one line, of at most 256 bytes, as they get into messages and records.
  std::string content_range;
  std::string content_encoding;
  std::string etag;
  std::string last_modified;
  // As they came: read as addresses are.
  std::string location;
  std::string link;
  std::optional<std::chrono::seconds> retry_after;

  // What tells this version of a file from another: the strong ETag, else the date; empty when
  // there is neither.
  std::string validator() const;
};

// Not thread-safe. A status line begins a head anew: of interim answers (1xx) nothing is left.
class HttpHeadReader {
 public:
  // False when the head is larger than 64 KiB: no answer that we ask for is near it.
  bool line(std::string_view line);
  HttpHead& head() { return head_; }

 private:
  HttpHead head_;
  Bytes bytes_ = 0;
};

struct ContentRange {
  ByteRange range;
  std::optional<Bytes> size;  // of the whole file; empty for '*'
};

// "bytes 0-1023/4096" (RFC 9110, section 14.4); empty for anything else.
std::optional<ContentRange> parse_content_range(std::string_view text);

}  // namespace gogrid
