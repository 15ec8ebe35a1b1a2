// What is known about a file that is not all here yet, as a small text beside it
// (docs/pull-format.md).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "model/byte_ranges.h"

namespace gogrid {

struct PartialState {
  std::string source;     // for people
  Bytes size = 0;         // of the whole file
  std::string sha256;     // expected, or of what was fetched when all is there; may be empty
  std::string validator;  // ETag or date of the version that is fetched; may be empty
  ByteSet present;        // on the disk for sure
};

// Far more than parallel connections leave; each is a line.
inline constexpr std::size_t kMaxPartialRanges = 1024;

std::string format_partial_state(const PartialState& state);
// kCorrupt for anything that format_partial_state() does not write.
Result<PartialState> parse_partial_state(std::string_view text, std::string_view where);

// Whether bytes of `kept` are bytes of `wanted`: the same size, and the same digest or, where none
// is known, the same version. Without either nobody can tell.
bool continues(const PartialState& kept, const PartialState& wanted);

}  // namespace gogrid
