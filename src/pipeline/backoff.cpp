#include "pipeline/backoff.h"

#include <algorithm>

namespace gogrid {
namespace {

constexpr Duration kFirst = std::chrono::milliseconds(100);
constexpr Duration kLongest = std::chrono::seconds(5);
constexpr int kDoublingsToLongest = 6;  // 100 ms * 2^6 > 5 s

}  // namespace

Duration backoff(int attempt, double random) {
  const int doublings = std::clamp(attempt - 1, 0, kDoublingsToLongest);
  const Duration ceiling = std::min(kLongest, kFirst * (1 << doublings));
  const double share = std::clamp(random, 0.0, 1.0);
  return std::chrono::duration_cast<Duration>(ceiling * share);
}

}  // namespace gogrid
