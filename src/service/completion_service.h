// The use cases behind /v1/chat/completions and /v1/completions: no transport, no JSON.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/engine_registry.h"
#include "model/chat_template.h"
#include "request/response_sink.h"
#include "resource/governor.h"

namespace gogrid {

// What a client asked for, parsed and range-checked, not yet tokenized.
struct CompletionQuestion {
  std::string request_id;
  std::string principal;
  std::string model;
  // Chat messages; or prompts as text or as token ids.
  std::variant<std::vector<ChatMessage>, std::vector<std::string>, std::vector<std::vector<Token>>>
      prompt;
  SamplingSpec sampling;
  std::optional<std::uint64_t> seed;        // absent: random
  std::optional<std::uint32_t> max_tokens;  // absent: what the context leaves
  std::uint32_t n = 1;                      // choices per prompt
  std::vector<std::string> stop;
  bool echo = false;                  // completions: the prompt before the text
  std::optional<TimePoint> deadline;  // steady; for all choices
  std::optional<Duration> wait;       // for a pause to end; absent: refused at once while paused
  std::stop_token cancel;
};

// What comes back. `choice` counts over prompts and n: prompt p, copy k is choice p * n + k. Called
// from batcher threads, for one choice at a time but possibly for two choices at once; must not
// block.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  virtual SinkState on_delta(std::uint32_t choice, Delta delta) = 0;
  // Nothing comes for a while, and why: now and then while work is paused.
  virtual void on_waiting(const std::string& why) { (void)why; }
  virtual void on_choice_finished(std::uint32_t choice, const Finish& finish) = 0;
  // Exactly once, last: after all choices finished (usage summed; the prompt counted once), or with
  // the first error (the other choices are cancelled and silent by then).
  virtual void on_done(const Result<Usage>& outcome) = 0;
  virtual SinkState state() const = 0;
};

struct StartedCompletion {
  std::uint32_t choices = 0;
};

// Thread-safe. Blocks for template and tokenization only: call it on a worker thread.
class Completions {
 public:
  static constexpr std::uint32_t kMaxChoices = 128;  // n times prompts

  virtual ~Completions() = default;
  // Accepted (on_done will come), or the refusal before anything was sent (the sink is not
  // touched).
  virtual Result<StartedCompletion> start(CompletionQuestion question,
                                          std::shared_ptr<CompletionSink> sink) = 0;
};

// By the engines of this process. While `governor` pauses, kUnavailable with the
// reason, unless the question can wait for as long.
class CompletionService final : public Completions {
 public:
  CompletionService(EngineRegistry& engines, const Governor& governor, const Clock& clock);
  Result<StartedCompletion> start(CompletionQuestion question,
                                  std::shared_ptr<CompletionSink> sink) override;

 private:
  // What a start must not wait beyond; empty when it need not wait at all.
  Result<std::optional<TimePoint>> start_by(const CompletionQuestion& question) const;

  EngineRegistry& engines_;
  const Governor& governor_;
  const Clock& clock_;
};

}  // namespace gogrid
