#include "resource/rate_gate.h"

#include <algorithm>

namespace gogrid {
namespace {

void add_one(std::atomic<std::uint64_t>& tally) {
  // Release: whoever reads that a wait ended also reads that it began.
  tally.fetch_add(1, std::memory_order_release);
}

// `turns` intervals from now, or the end of time.
TimePoint horizon(TimePoint now, Duration interval, std::uint64_t turns) {
  if (interval <= Duration(0)) return TimePoint::max();
  const auto most = static_cast<std::uint64_t>((TimePoint::max() - now) / interval);
  return turns < most ? now + interval * static_cast<std::int64_t>(turns) : TimePoint::max();
}

}  // namespace

RateGate::Wait::~Wait() {
  if (gate_ == nullptr) return;
  gate_->gcra_.give_back(turn_);
  add_one(gate_->tallies_.left);
}

void RateGate::Wait::go() {
  if (RateGate* const gate = std::exchange(gate_, nullptr)) add_one(gate->tallies_.went);
}

void RateGate::Wait::give_back() {
  if (gate_ == nullptr) return;
  gate_->gcra_.give_back(turn_);
  turn_ = Turn{.at = turn_.at};
}

bool RateGate::Wait::retake(TimePoint now, Rate rate, TimePoint latest) {
  if (gate_ == nullptr) return false;
  const auto turn = gate_->gcra_.take(now, rate, latest);
  if (turn) turn_ = *turn;
  return turn.has_value();
}

RateGate::Answer RateGate::ask(TimePoint now, Rate rate, TimePoint latest) {
  const auto refuse = [this](Refusal why) {
    add_one(tallies_.refused);
    return std::unexpected(why);
  };
  if (closed_.load(std::memory_order_relaxed)) return refuse(Refusal::kClosed);
  // So many turns ahead, used or lost: the bound is on what is promised, not on heads.
  const TimePoint crowded = horizon(now, rate.interval, max_waiting_);
  const auto turn = gcra_.take(now, rate, std::min(latest, crowded));
  if (!turn) return refuse(crowded < latest ? Refusal::kTooMany : Refusal::kTooLong);
  if (turn->at <= now) {
    add_one(tallies_.at_once);
    return std::nullopt;
  }
  add_one(tallies_.began);
  return Wait(this, *turn);
}

GateCounts RateGate::counts() const {
  const auto read = [](const std::atomic<std::uint64_t>& tally) {
    return tally.load(std::memory_order_acquire);
  };
  while (true) {
    // Ends before beginnings, so that nobody ends who did not begin; and the same ends after them,
    // so that who is taken for waiting does.
    const std::uint64_t went = read(tallies_.went);
    const std::uint64_t left = read(tallies_.left);
    const std::uint64_t began = read(tallies_.began);
    const std::uint64_t at_once = read(tallies_.at_once);
    const std::uint64_t refused = read(tallies_.refused);
    if (went != read(tallies_.went) || left != read(tallies_.left)) continue;
    return {.seen = at_once + refused + began,
            .granted = at_once + went,
            .delayed = went,
            .refused = refused + left,
            .waiting = began - went - left};
  }
}

}  // namespace gogrid
