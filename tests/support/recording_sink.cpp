#include "support/recording_sink.h"

#include <chrono>

namespace gogrid::testing {
namespace {

constexpr auto kPatience = std::chrono::seconds(30);

}  // namespace

// Notices a second call while one is going on.
class RecordingSink::Entered {
 public:
  explicit Entered(RecordingSink& sink) : sink_(sink) {
    if (sink_.inside_.fetch_add(1) != 0) ++sink_.concurrent_;
  }
  ~Entered() { --sink_.inside_; }

 private:
  RecordingSink& sink_;
};

void RecordingSink::on_waiting(const std::string& why) {
  const Entered entered(*this);
  MutexLock lock(mu_);
  if (ends_ > 0) ++calls_after_end_;
  notices_.push_back(why);
}

SinkState RecordingSink::on_delta(Delta delta) {
  const Entered entered(*this);
  MutexLock lock(mu_);
  if (ends_ > 0) ++calls_after_end_;
  deltas_.push_back(std::move(delta));
  if (change_after_ > 0 && deltas_.size() >= change_after_) {
    change_after_ = 0;
    state_.store(change_to_);
  }
  changed_.notify_all();
  return state_.load();
}

void RecordingSink::on_finish(const Finish& finish) {
  const Entered entered(*this);
  MutexLock lock(mu_);
  ++ends_;
  finish_ = finish;
  changed_.notify_all();
}

void RecordingSink::on_error(const Error& error, const Usage& so_far) {
  const Entered entered(*this);
  MutexLock lock(mu_);
  ++ends_;
  error_ = error;
  error_usage_ = so_far;
  changed_.notify_all();
}

void RecordingSink::set_state_after(std::size_t deltas, SinkState state) {
  MutexLock lock(mu_);
  change_after_ = deltas;
  change_to_ = state;
}

bool RecordingSink::wait_for_end() const {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  MutexLock lock(mu_);
  while (ends_ == 0) {
    if (!changed_.wait_until(mu_, until) && std::chrono::steady_clock::now() >= until) return false;
  }
  return true;
}

bool RecordingSink::wait_for_tokens(std::size_t count) const {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  MutexLock lock(mu_);
  for (;;) {
    std::size_t seen = 0;
    for (const Delta& delta : deltas_) seen += delta.tokens.size();
    if (seen >= count) return true;
    if (!changed_.wait_until(mu_, until) && std::chrono::steady_clock::now() >= until) return false;
  }
}

std::string RecordingSink::text() const {
  MutexLock lock(mu_);
  std::string text;
  for (const Delta& delta : deltas_) text += delta.text;
  return text;
}

std::vector<TokenEvent> RecordingSink::events() const {
  MutexLock lock(mu_);
  std::vector<TokenEvent> events;
  for (const Delta& delta : deltas_) {
    events.insert(events.end(), delta.tokens.begin(), delta.tokens.end());
  }
  return events;
}

std::vector<Token> RecordingSink::tokens() const {
  std::vector<Token> tokens;
  for (const TokenEvent& event : events()) tokens.push_back(event.chosen.token);
  return tokens;
}

std::vector<std::string> RecordingSink::notices() const {
  MutexLock lock(mu_);
  return notices_;
}

std::vector<std::string> RecordingSink::deltas() const {
  MutexLock lock(mu_);
  std::vector<std::string> texts;
  for (const Delta& delta : deltas_) texts.push_back(delta.text);
  return texts;
}

std::optional<Finish> RecordingSink::finish() const {
  MutexLock lock(mu_);
  return finish_;
}
std::optional<Error> RecordingSink::error() const {
  MutexLock lock(mu_);
  return error_;
}
Usage RecordingSink::error_usage() const {
  MutexLock lock(mu_);
  return error_usage_;
}
int RecordingSink::ends() const {
  MutexLock lock(mu_);
  return ends_;
}
int RecordingSink::calls_after_end() const {
  MutexLock lock(mu_);
  return calls_after_end_;
}

}  // namespace gogrid::testing
