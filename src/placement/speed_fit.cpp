#include "placement/speed_fit.h"

#include <algorithm>

namespace gogrid {
namespace {

// `a` less `times` of `b`, no part of it below zero.
Line less(const Line& a, const Line& b, double times = 1) {
  return {std::max(0.0, a.fixed_ms - times * b.fixed_ms),
          std::max(0.0, a.row_ms - times * b.row_ms)};
}

Line over(const Line& a, double count) { return {a.fixed_ms / count, a.row_ms / count}; }

// One layer: the difference between two slices, where there are two that differ in nothing else.
Line layer_of(const Measured& measured, const Line& middle) {
  if (!measured.more) return over(middle, measured.middle.layers);
  const Line more = fit_line(measured.more->decode);
  const bool with_head = measured.more->head && measured.last;
  const SliceTimings& base = with_head ? *measured.last : measured.middle;
  if (measured.more->layers <= base.layers) return over(middle, measured.middle.layers);
  const Line layer = over(less(more, fit_line(base.decode)), measured.more->layers - base.layers);
  // Disturbed measurements may say that more layers take less time: no layer costs nothing.
  const bool is_nothing = layer.fixed_ms + layer.row_ms <= 0;
  return is_nothing ? over(middle, measured.middle.layers) : layer;
}

}  // namespace

Line fit_line(std::span<const Timing> timings) {
  // Weights of 1/ms^2 make the errors relative.
  double sum = 0;
  double sum_x = 0;
  double sum_xx = 0;
  double sum_y = 0;
  double sum_xy = 0;
  for (const Timing& timing : timings) {
    if (!(timing.ms > 0)) continue;
    const double weight = 1 / (timing.ms * timing.ms);
    sum += weight;
    sum_x += weight * timing.rows;
    sum_xx += weight * timing.rows * timing.rows;
    sum_y += weight * timing.ms;
    sum_xy += weight * timing.rows * timing.ms;
  }
  if (sum == 0) return {};
  const double spread = sum * sum_xx - sum_x * sum_x;
  const double flat = sum_y / sum;
  // Of one batch size nothing can be told apart.
  if (spread <= 1e-12 * sum * sum_xx) return {flat, 0};
  const double slope = (sum * sum_xy - sum_x * sum_y) / spread;
  if (slope <= 0) return {flat, 0};
  const double fixed = (sum_y - slope * sum_x) / sum;
  if (fixed < 0) return {0, sum_xy / sum_xx};
  return {fixed, slope};
}

void set_speeds(const Measured& measured, DeviceBudget& budget) {
  const Line middle = fit_line(measured.middle.decode);
  const Line layer = layer_of(measured, middle);
  const Line call = less(middle, layer, measured.middle.layers);
  Line head;
  if (measured.last) {
    head = less(fit_line(measured.last->decode), layer, measured.last->layers);
    head.fixed_ms = std::max(0.0, head.fixed_ms - call.fixed_ms);
  }
  budget.call_ms = call.fixed_ms;
  budget.layer_read_ms = layer.fixed_ms;
  budget.layer_row_ms = layer.row_ms;
  budget.head_read_ms = head.fixed_ms;
  budget.head_row_ms = head.row_ms;
  // Only one row of a prompt goes through the head.
  const SliceTimings& slice = measured.more ? *measured.more : measured.middle;
  const double beside = call.fixed_ms + (slice.head ? head.fixed_ms + head.row_ms : 0.0);
  // Disturbed again: at least half of it is the layers' own.
  const double all = std::max(slice.prefill.ms / 2, slice.prefill.ms - beside);
  budget.prefill_row_ms = all / (std::max(1.0, slice.prefill.rows) * slice.layers);
}

}  // namespace gogrid
