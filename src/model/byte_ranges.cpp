#include "model/byte_ranges.h"

#include <algorithm>

namespace gogrid {

void ByteSet::add(ByteRange range) {
  if (range.first >= range.last) return;
  // All that touch it become one with it.
  const auto begin = std::ranges::find_if(
      ranges_, [&](const ByteRange& other) { return other.last >= range.first; });
  const auto end = std::find_if(begin, ranges_.end(),
                                [&](const ByteRange& other) { return other.first > range.last; });
  if (begin != end) {
    range.first = std::min(range.first, begin->first);
    range.last = std::max(range.last, std::prev(end)->last);
  }
  ranges_.insert(ranges_.erase(begin, end), range);
}

Bytes ByteSet::total() const {
  Bytes sum = 0;
  for (const ByteRange& range : ranges_) sum += range.size();
  return sum;
}

Bytes ByteSet::prefix() const {
  return !ranges_.empty() && ranges_.front().first == 0 ? ranges_.front().last : 0;
}

std::optional<ByteRange> ByteSet::first_gap(Bytes end) const {
  Bytes at = 0;
  for (const ByteRange& range : ranges_) {
    if (range.first > at) break;
    at = range.last;
  }
  if (at >= end) return std::nullopt;
  const auto next =
      std::ranges::find_if(ranges_, [&](const ByteRange& range) { return range.first > at; });
  return ByteRange{at, next == ranges_.end() ? end : std::min(end, next->first)};
}

RangePlan::RangePlan(Bytes size, ByteSet present, Bytes piece)
    : size_(size), piece_(piece), present_(std::move(present)), taken_(present_) {}

std::optional<ByteRange> RangePlan::next() {
  auto gap = taken_.first_gap(size_);
  if (!gap) return std::nullopt;
  gap->last = std::min(gap->last, gap->first + piece_);
  taken_.add(*gap);
  return gap;
}

ByteRange RangePlan::take_all() {
  const ByteRange all{0, size_};
  taken_.add(all);
  return all;
}

}  // namespace gogrid
