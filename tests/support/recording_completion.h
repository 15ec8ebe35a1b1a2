// A completion's sink that remembers what it was told.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "service/completion_service.h"

namespace gogrid::testing {

// Thread-safe.
class RecordingCompletion final : public CompletionSink {
 public:
  struct Choice {
    std::string text;
    std::vector<Token> tokens;
    std::optional<Finish> finish;
  };

  SinkState on_delta(std::uint32_t choice, Delta delta) override {
    MutexLock lock(mu_);
    if (outcome_) ++calls_after_done_;
    choices_[choice].text += delta.text;
    for (const TokenEvent& event : delta.tokens)
      choices_[choice].tokens.push_back(event.chosen.token);
    return state_;
  }
  void on_waiting(const std::string& why) override {
    MutexLock lock(mu_);
    if (outcome_) ++calls_after_done_;
    notices_.push_back(why);
  }
  void on_choice_finished(std::uint32_t choice, const Finish& finish) override {
    MutexLock lock(mu_);
    if (outcome_ || choices_[choice].finish) ++calls_after_done_;
    choices_[choice].finish = finish;
  }
  void on_done(const Result<Usage>& outcome) override {
    MutexLock lock(mu_);
    if (outcome_) ++calls_after_done_;
    outcome_ = outcome;
    changed_.notify_all();
  }
  SinkState state() const override { return state_; }

  void set_state(SinkState state) { state_ = state; }

  // What on_done() said; kDeadline after 30 s without it.
  Result<Usage> wait() const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    MutexLock lock(mu_);
    while (!outcome_) {
      if (!changed_.wait_until(mu_, end)) return fail(ErrorCode::kDeadline, "no on_done()");
    }
    return *outcome_;
  }
  std::map<std::uint32_t, Choice> choices() const {
    MutexLock lock(mu_);
    return choices_;
  }
  std::vector<std::string> notices() const {  // that it waits
    MutexLock lock(mu_);
    return notices_;
  }
  bool touched() const {
    MutexLock lock(mu_);
    return outcome_ || !choices_.empty() || !notices_.empty();
  }
  int calls_after_done() const {  // 0 when all is well
    MutexLock lock(mu_);
    return calls_after_done_;
  }

 private:
  std::atomic<SinkState> state_{SinkState::kMore};
  mutable Mutex mu_;
  mutable CondVar changed_;
  std::map<std::uint32_t, Choice> choices_ GUARDED_BY(mu_);
  std::vector<std::string> notices_ GUARDED_BY(mu_);
  std::optional<Result<Usage>> outcome_ GUARDED_BY(mu_);
  int calls_after_done_ GUARDED_BY(mu_) = 0;
};

}  // namespace gogrid::testing
