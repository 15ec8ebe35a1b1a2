#include "http/turnstile.h"

#include <algorithm>
#include <exception>
#include <ranges>
#include <string_view>

#include "obs/log.h"
#include "request/response_sink.h"

namespace gogrid {

Turnstile::Turnstile(RateGate& gate) : gate_(&gate), thread_([this] { run(); }) {}

Turnstile::~Turnstile() { stop(); }

Turnstile::Place Turnstile::arrive(bool holds_up) {
  MutexLock lock(mu_);
  const std::uint64_t number = came_++;
  if (holds_up) preparing_.insert(number);
  return {this, number};
}

void Turnstile::forget(std::uint64_t number) {
  MutexLock lock(mu_);
  stop_preparing(number, SteadyClock().now());
}

void Turnstile::stop_preparing(std::uint64_t number, TimePoint now) {
  if (!waiters_.empty() && held_up() && first_turn() <= now) missed_ = true;
  if (preparing_.erase(number) > 0) changed_.notify_one();
}

Turnstile::Answer Turnstile::ask(Place place, TimePoint deadline, std::stop_token gone,
                                 Calls calls) {
  const std::uint64_t number = place.number_;
  const TimePoint now = SteadyClock().now();
  const auto waiter = std::make_shared<Waiter>(deadline, now + kFirstNotice, std::move(calls));
  std::optional<RateGate::Refusal> refusal;
  bool goes = false;
  {
    MutexLock lock(mu_);
    stop_preparing(number, now);
    auto turn = gate_ != nullptr ? gate_->ask(now, rate_, deadline)
                                 : std::unexpected(RateGate::Refusal::kClosed);
    if (!turn) {
      refusal = turn.error();
    } else {
      waiters_.emplace(number, waiter);
      turns_.push_back(*std::move(turn));
      goes = waiters_.size() == 1 && !turns_.front() && !held_up();
    }
    if (goes) {
      waiters_.clear();
      turns_.clear();
    }
    changed_.notify_one();
  }
  if (refusal) {
    waiter->calls.refuse(*refusal);
    return Answer::kRefused;
  }
  if (goes) {
    waiter->calls.go(false);
    return Answer::kWent;
  }
  // Not under the lock: it may be called at once. Whoever is out of the line is left alone.
  waiter->gone.emplace(std::move(gone), [this, number] { leave(number); });
  return Answer::kWaits;
}

void Turnstile::leave(std::uint64_t number) {
  WaiterPtr waiter;  // ends after the lock
  MutexLock lock(mu_);
  const auto found = waiters_.find(number);
  if (found == waiters_.end()) return;
  waiter = std::move(found->second);
  waiters_.erase(found);
  turns_.pop_back();
  changed_.notify_one();
}

void Turnstile::set_rate(Rate rate) {
  MutexLock lock(mu_);
  if (rate.interval == rate_.interval && rate.burst == rate_.burst) return;
  rate_ = rate;
  take_turns_anew(SteadyClock().now());
  changed_.notify_one();
}

void Turnstile::take_turns_anew(TimePoint now) {
  for (auto& turn : std::views::reverse(turns_)) {
    if (turn) turn->give_back();
  }
  auto waiters = std::exchange(waiters_, {});
  auto turns = std::exchange(turns_, {});
  for (auto& [number, waiter] : waiters) {
    std::optional<RateGate::Wait> turn = std::move(turns.front());
    turns.pop_front();
    if (turn && !turn->retake(now, rate_, waiter->deadline)) {
      refused_.emplace_back(std::move(waiter), RateGate::Refusal::kTooLong);
      continue;
    }
    waiters_.emplace(number, std::move(waiter));
    turns_.push_back(std::move(turn));
  }
}

bool Turnstile::held_up() const {
  return !preparing_.empty() && *preparing_.begin() < waiters_.begin()->first;
}

TimePoint Turnstile::first_turn() const {
  return turns_.front() ? turns_.front()->at() : TimePoint::min();
}

void Turnstile::look(TimePoint now, Round& round) {
  round.closed = closed_;
  // They would all go at once: turns that were missed are lost.
  if (!waiters_.empty() && !held_up() && std::exchange(missed_, false)) take_turns_anew(now);
  round.refused = std::exchange(refused_, {});
  for (const auto& [number, waiter] : waiters_) {
    if (!waiter->calls.tell || waiter->tell_at > now) continue;
    waiter->tell_at = now + kLongestSilence;
    round.told.push_back(waiter);
  }
  if (waiters_.empty() || first_turn() > now || held_up()) return;
  if (turns_.front()) turns_.front()->go();
  round.goes = std::move(waiters_.begin()->second);
  waiters_.erase(waiters_.begin());
  turns_.pop_front();
}

// When something comes by itself.
TimePoint Turnstile::next_look() const {
  if (waiters_.empty()) return TimePoint::max();
  TimePoint next = held_up() ? TimePoint::max() : first_turn();
  for (const auto& [number, waiter] : waiters_) {
    if (waiter->calls.tell) next = std::min(next, waiter->tell_at);
  }
  return next;
}

Turnstile::Round Turnstile::next_round() {
  MutexLock lock(mu_);
  Round round;
  for (look(SteadyClock().now(), round); round.empty(); look(SteadyClock().now(), round)) {
    const TimePoint next = next_look();
    if (next == TimePoint::max()) {
      changed_.wait(mu_);
    } else {
      changed_.wait_until(mu_, next);
    }
  }
  return round;
}

void Turnstile::run() {
  for (bool closed = false; !closed;) {
    const Round round = next_round();
    closed = round.closed;
    try {
      for (const auto& [waiter, why] : round.refused) waiter->calls.refuse(why);
      for (const auto& waiter : round.told) waiter->calls.tell();
      if (round.goes != nullptr) round.goes->calls.go(true);
    } catch (const std::exception& error) {
      log::error("turnstile_threw", {{"what", std::string_view(error.what())}});
    }
  }
}

void Turnstile::close() {
  MutexLock lock(mu_);
  if (gate_ != nullptr) gate_->close();
  closed_ = true;
  for (auto& [number, waiter] : std::exchange(waiters_, {})) {
    refused_.emplace_back(std::move(waiter), RateGate::Refusal::kClosed);
  }
  turns_.clear();
  changed_.notify_one();
}

void Turnstile::stop() {
  close();
  if (thread_.joinable()) thread_.join();
  MutexLock lock(mu_);
  gate_ = nullptr;
}

}  // namespace gogrid
