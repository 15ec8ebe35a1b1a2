// Answers completions by script: the model's name says what happens.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "service/completion_service.h"

namespace gogrid::testing {

// Thread-safe.
//   "words"      max_tokens (3) words for each choice, at once
//   "endless"    words until the client has gone, or max_tokens; waits while the reader is slow
//   "hanging"    nothing until cancelled
//   "breaking"   two words, then kUnavailable
//   "late"       kDeadline, nothing else
//   "preparing"  as "words", but prepare() does not come back while `held`
//   "waiting"    as "words", after a notice that it waits
//   "throwing"   an exception
//   "late refusal"  is prepared, but start() refuses it
//   "loading"    as "words", but its model is loaded when load() is called
//   others       refused: by code name ("exhausted", "does_not_fit", …), else kNotFound
class FakeCompletions final : public Completions {
 public:
  bool is_loaded(const CompletionQuestion& question) const override {
    MutexLock lock(mu_);
    return question.model != "loading" || loaded_;
  }
  Result<std::optional<ModelHold>> want_model(const CompletionQuestion& question,
                                              ModelCalls calls) override {
    if (is_loaded(question)) return hold;
    if (calls.tell) calls.tell("the model is loading: 42 %");
    MutexLock lock(mu_);
    loads_.push_back(std::move(calls));
    return std::nullopt;
  }
  // Answers those that wait for their model: it is there, or it is not. From then on it is, or
  // others wait.
  void load(const std::optional<Error>& why_not = {}) {
    std::vector<ModelCalls> loads;
    {
      MutexLock lock(mu_);
      loads.swap(loads_);
      loaded_ = !why_not;
    }
    for (const ModelCalls& calls : loads) why_not ? calls.refused(*why_not) : calls.ready(hold);
  }
  std::size_t wait_for_model() const {
    MutexLock lock(mu_);
    return loads_.size();
  }
  void unload() {
    MutexLock lock(mu_);
    loaded_ = false;
  }

  Result<PreparedCompletion> prepare(CompletionQuestion question) override {
    remember(question);
    if (question.model == "throwing") throw std::runtime_error("as asked");
    if (question.model == "preparing") {
      ++preparing;
      held.wait(true);
      --preparing;
    }
    if (const auto refusal = refusal_of(question.model)) return std::unexpected(*refusal);
    return PreparedCompletion{.question = std::move(question), .prompts = {}};
  }

  Result<StartedCompletion> start(PreparedCompletion completion,
                                  std::shared_ptr<CompletionSink> sink) override {
    CompletionQuestion& question = completion.question;
    {
      MutexLock lock(mu_);
      started_.push_back(question.request_id);
    }
    if (question.model == "late refusal") return fail(ErrorCode::kUnavailable, "paused since");
    const std::uint32_t choices = question.n;
    if (question.model == "waiting") sink->on_waiting("paused: as asked");
    if (question.model == "words" || question.model == "preparing" || question.model == "waiting" ||
        question.model == "late" || question.model == "breaking" || question.model == "loading") {
      answer(question, *sink);
      return StartedCompletion{choices};
    }
    MutexLock lock(mu_);
    threads_.emplace_back([this, question = std::move(question), sink = std::move(sink)]() mutable {
      ++running;
      question.model == "hanging" ? hang(question, *sink) : go_on(question, *sink);
      --running;
      sink.reset();
    });
    return StartedCompletion{choices};
  }

  std::optional<CompletionQuestion> last() const {
    MutexLock lock(mu_);
    return last_;
  }

  // Request ids, in the order of their starts.
  std::vector<std::string> started() const {
    MutexLock lock(mu_);
    return started_;
  }

  const ModelHold hold = std::make_shared<const int>(0);  // of all models
  std::atomic<bool> held{false};
  std::atomic<std::uint32_t> preparing{0};
  std::atomic<std::uint32_t> running{0};
  std::atomic<std::uint64_t> words{0};  // of endless ones
  std::atomic<std::uint32_t> cancelled{0};

 private:
  static std::string word(std::uint32_t index) { return "w" + std::to_string(index) + " "; }

  static Delta delta_of(const std::string& text) {
    TokenProbability chosen{.token = 7, .logprob = -0.5F, .bytes = text};
    TokenProbability other{.token = 8, .logprob = -1.5F, .bytes = "x"};
    return {.text = text, .tokens = {{.chosen = chosen, .top = {chosen, other}}}};
  }

  static std::optional<Error> refusal_of(const std::string& model) {
    for (const char* known : {"words", "preparing", "waiting", "endless", "hanging", "breaking",
                              "late", "late refusal", "loading"}) {
      if (model == known) return std::nullopt;
    }
    for (std::size_t i = 0; i < kErrorCodeCount; ++i) {
      const ErrorTraits& row = traits(static_cast<ErrorCode>(i));
      if (row.name != model) continue;
      Error error{row.code, "refused as asked", {}, {}};
      if (row.retry != Retry::kNever) error.retry_after = std::chrono::milliseconds(6500);
      return error;
    }
    return Error{ErrorCode::kNotFound, "no model " + model, "model", {}};
  }

  void remember(const CompletionQuestion& question) {
    MutexLock lock(mu_);
    last_ = question;
  }

  static Usage usage_of(std::uint32_t words) {
    return {.prompt_tokens = 5, .completion_tokens = words, .cached_prompt_tokens = 2};
  }

  static void answer(const CompletionQuestion& question, CompletionSink& sink) {
    const std::uint32_t words = question.max_tokens.value_or(3);
    if (question.model == "late") {
      return sink.on_done(fail(ErrorCode::kDeadline, "took too long"));
    }
    for (std::uint32_t i = 0; i < words; ++i) {
      for (std::uint32_t choice = 0; choice < question.n; ++choice) {
        sink.on_delta(choice, delta_of(word(i)));
      }
      if (question.model == "breaking" && i == 1) {
        return sink.on_done(fail(ErrorCode::kUnavailable, "the stage is gone"));
      }
    }
    for (std::uint32_t choice = 0; choice < question.n; ++choice) {
      sink.on_choice_finished(choice, {.reason = FinishReason::kLength, .usage = usage_of(words)});
    }
    sink.on_done(usage_of(words * question.n));
  }

  void hang(const CompletionQuestion& question, CompletionSink& sink) {
    while (!question.cancel.stop_requested()) std::this_thread::yield();
    ++cancelled;
    sink.on_done(fail(ErrorCode::kCancelled, "the client left"));
  }

  void go_on(const CompletionQuestion& question, CompletionSink& sink) {
    const std::uint32_t most = question.max_tokens.value_or(1'000'000'000);
    for (std::uint32_t i = 0; i < most; ++i) {
      while (sink.state() == SinkState::kSlow) std::this_thread::yield();
      if (sink.state() == SinkState::kGone || question.cancel.stop_requested()) {
        ++cancelled;
        return sink.on_done(fail(ErrorCode::kCancelled, "the client left"));
      }
      sink.on_delta(0, delta_of(word(i)));
      ++words;
    }
    sink.on_choice_finished(0, {.reason = FinishReason::kStop, .usage = usage_of(most)});
    sink.on_done(usage_of(most));
  }

  mutable Mutex mu_;
  std::optional<CompletionQuestion> last_ GUARDED_BY(mu_);
  std::vector<std::string> started_ GUARDED_BY(mu_);
  std::vector<ModelCalls> loads_ GUARDED_BY(mu_);
  bool loaded_ GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_ GUARDED_BY(mu_);  // last: joined first
};

}  // namespace gogrid::testing
