// Which bytes of a file a request asks for (RFC 9110, 14.2). Pure.
#pragma once

#include <optional>
#include <string_view>

#include "base/units.h"
#include "model/byte_ranges.h"

namespace gogrid {

struct AskedRange {
  ByteRange range;
  bool part = false;  // a range was asked for: 206
};

// Of a file of `size` bytes, from 1. Empty: a range that has no byte of it, 416. What is no single
// range of bytes asks for the whole, as the standard lets a server take it.
std::optional<AskedRange> asked_range(std::string_view header, Bytes size);

}  // namespace gogrid
