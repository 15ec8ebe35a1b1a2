// Which bytes of a file are there, and which are fetched next. Pure.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/units.h"

namespace gogrid {

struct ByteRange {
  Bytes first = 0;
  Bytes last = 0;  // exclusive

  Bytes size() const { return last - first; }
  bool operator==(const ByteRange&) const = default;
};

// A set of bytes, as ranges in order that do not touch. Not thread-safe.
class ByteSet {
 public:
  void add(ByteRange range);
  void clear() { ranges_.clear(); }
  Bytes total() const;
  // How many bytes from 0 on are there without a gap.
  Bytes prefix() const;
  // The first bytes below `end` that are not in the set; empty when all are.
  std::optional<ByteRange> first_gap(Bytes end) const;
  std::span<const ByteRange> ranges() const { return ranges_; }

 private:
  std::vector<ByteRange> ranges_;
};

// Hands a file's missing bytes out in pieces, lowest first, so that what is there grows from the
// start and can be hashed as it comes. Not thread-safe.
class RangePlan {
 public:
  // `size` and `piece` are not 0.
  RangePlan(Bytes size, ByteSet present, Bytes piece);

  // The next piece, at most `piece` bytes; empty when all are there or handed out.
  std::optional<ByteRange> next();
  // Of a piece that was handed out: these bytes are there.
  void came(ByteRange range) { present_.add(range); }
  // All of the file at once, whatever is there: for a server that sends whole files only.
  ByteRange take_all();

  const ByteSet& present() const { return present_; }
  bool whole() const { return present_.prefix() == size_; }
  Bytes size() const { return size_; }

 private:
  const Bytes size_;
  const Bytes piece_;
  ByteSet present_;
  ByteSet taken_;  // there, or handed out
};

}  // namespace gogrid
