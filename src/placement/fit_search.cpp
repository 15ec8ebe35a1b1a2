#include "placement/fit_search.h"

#include "placement/cut_search.h"

namespace gogrid {
namespace {

// `fits` is monotone: what holds for a value holds for all below it.
template <class Fits>
std::uint32_t largest(std::uint32_t most, const Fits& fits) {
  std::uint32_t low = 0;
  std::uint32_t high = most;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2 + 1;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

bool fits(const ModelProfile& profile, std::span<const DeviceBudget> devices,
          const PlanQuestion& question) {
  return CutSearch(profile, devices, question).fits();
}

std::uint32_t largest_context(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                              const PlanQuestion& question, std::uint32_t most) {
  PlanQuestion other = question;
  return largest(most, [&](std::uint32_t context) {
    other.context = context;
    return fits(profile, devices, other);
  });
}

std::uint32_t largest_parallel(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                               const PlanQuestion& question, std::uint32_t most) {
  PlanQuestion other = question;
  return largest(most, [&](std::uint32_t parallel) {
    other.parallel = parallel;
    return fits(profile, devices, other);
  });
}

}  // namespace gogrid
