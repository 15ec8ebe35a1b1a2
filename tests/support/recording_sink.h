// Sinks that remember what they were told.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "request/response_sink.h"

namespace gogrid::testing {

// Thread-safe. Slow or gone when told so, at once or after so many deltas.
class RecordingSink final : public ResponseSink {
 public:
  SinkState on_delta(Delta delta) override;
  void on_finish(const Finish& finish) override;
  void on_error(const Error& error, const Usage& so_far) override;
  void on_waiting(const std::string& why) override;
  SinkState state() const override { return state_.load(); }

  void set_state(SinkState state) { state_.store(state); }
  void set_state_after(std::size_t deltas, SinkState state);

  // False when 30 s passed first.
  bool wait_for_end() const;
  bool wait_for_tokens(std::size_t count) const;

  std::string text() const;
  std::vector<Token> tokens() const;
  std::vector<TokenEvent> events() const;
  std::vector<std::string> deltas() const;
  std::vector<std::string> notices() const;  // that it waits
  std::optional<Finish> finish() const;
  std::optional<Error> error() const;
  Usage error_usage() const;
  int ends() const;                                            // 1 when all is well
  int calls_after_end() const;                                 // 0 when all is well
  int concurrent_calls() const { return concurrent_.load(); }  // 0 when all is well
  bool ended() const { return ends() > 0; }

 private:
  class Entered;

  std::atomic<SinkState> state_{SinkState::kMore};
  std::atomic<int> inside_{0};
  std::atomic<int> concurrent_{0};
  mutable Mutex mu_;
  mutable CondVar changed_;
  std::vector<Delta> deltas_ GUARDED_BY(mu_);
  std::vector<std::string> notices_ GUARDED_BY(mu_);
  std::optional<Finish> finish_ GUARDED_BY(mu_);
  std::optional<Error> error_ GUARDED_BY(mu_);
  Usage error_usage_ GUARDED_BY(mu_);
  std::size_t change_after_ GUARDED_BY(mu_) = 0;  // 0: never
  SinkState change_to_ GUARDED_BY(mu_) = SinkState::kMore;
  int ends_ GUARDED_BY(mu_) = 0;
  int calls_after_end_ GUARDED_BY(mu_) = 0;
};

}  // namespace gogrid::testing
