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
  // For a pause to end, and for its model to be loaded, steady; absent: refused at once while
  // paused, and waits for the model as long as the server says.
  std::optional<TimePoint> wait_until;
  std::stop_token cancel;
};

// A question that was found answerable.
struct PreparedCompletion {
  struct Prompt {
    std::vector<Token> tokens;
    std::string echo;  // text before the answer
  };
  CompletionQuestion question;  // its prompt is in `prompts`
  std::vector<Prompt> prompts;
};

// What comes back. `choice` counts over prompts and n: prompt p, copy k is choice p * n + k. Called
// from batcher threads, for one choice at a time but possibly for two choices at once; must not
// block.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  virtual SinkState on_delta(std::uint32_t choice, Delta delta) = 0;
  // Nothing comes for a while, and why (ResponseSink::on_waiting).
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

// In two steps, so that whoever must wait in between is not refused after it for what could be told
// before. Thread-safe.
class Completions {
 public:
  static constexpr std::uint32_t kMaxChoices = 128;  // n times prompts

  virtual ~Completions() = default;
  // Whether its model is loaded: want_model() would not wait.
  virtual bool is_loaded(const CompletionQuestion& question) const = 0;
  // Asks for its model, which is loaded if it is not; see EngineRegistry::want. Waits as long as
  // the question says, or else the service's limit, and no longer than its deadline. While paused
  // as prepare(). Does not block.
  virtual Result<std::optional<ModelHold>> want_model(const CompletionQuestion& question,
                                                      ModelCalls calls) = 0;
  // All that is wrong with it, or forbids it now. Blocks for template and tokenization: call it on
  // a worker thread.
  virtual Result<PreparedCompletion> prepare(CompletionQuestion question) = 0;
  // Accepted (on_done will come), or the refusal before anything was sent (the sink is not
  // touched): for what has changed since. Does not block.
  virtual Result<StartedCompletion> start(PreparedCompletion completion,
                                          std::shared_ptr<CompletionSink> sink) = 0;
};

// By the engines of this process. While `governor` pauses, kUnavailable with the
// reason, unless the question can wait for as long.
class CompletionService final : public Completions {
 public:
  static constexpr Duration kLoadWait = std::chrono::minutes(1);

  // `load_wait`: for a model to be loaded, where a question says nothing; 0: refused at once.
  CompletionService(EngineRegistry& engines, const Governor& governor, const Clock& clock,
                    Duration load_wait = kLoadWait);
  bool is_loaded(const CompletionQuestion& question) const override;
  Result<std::optional<ModelHold>> want_model(const CompletionQuestion& question,
                                              ModelCalls calls) override;
  Result<PreparedCompletion> prepare(CompletionQuestion question) override;
  Result<StartedCompletion> start(PreparedCompletion completion,
                                  std::shared_ptr<CompletionSink> sink) override;

 private:
  // What a start must not wait beyond; empty when it need not wait at all.
  Result<std::optional<TimePoint>> start_by(const CompletionQuestion& question) const;

  EngineRegistry& engines_;
  const Governor& governor_;
  const Clock& clock_;
  const Duration load_wait_;
};

}  // namespace gogrid
