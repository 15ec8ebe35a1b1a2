#include "service/completion_service.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "base/ids.h"
#include "base/mutex.h"
#include "batching/utf8_decoder.h"

namespace gogrid {
namespace {

// When to come back to a pause whose end nobody knows, and at all.
constexpr Duration kRetryOpenPause = std::chrono::seconds(30);
constexpr Duration kShortestRetry = std::chrono::seconds(1);
constexpr Duration kLongestRetry = std::chrono::hours(1);

std::uint64_t random_seed() {
  const std::string digits = random_hex(8);
  std::uint64_t seed = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), seed, 16);
  return seed;
}

// What the choices of one question share. Calls to the client's sink are made under its mutex: in
// order, and none after on_done. Thread-safe.
class Fanout {
 public:
  Fanout(std::shared_ptr<CompletionSink> sink, std::uint32_t choices, std::stop_token client)
      : sink_(std::move(sink)), client_left_(std::move(client), Stop{cancel_}) {
    for (std::uint32_t choice = 0; choice < choices; ++choice) open_.insert(choice);
  }

  std::stop_token cancelled() const { return cancel_.get_token(); }
  SinkState state() const { return sink_->state(); }

  SinkState on_delta(std::uint32_t choice, Delta delta) {
    MutexLock lock(mu_);
    if (done_) return SinkState::kGone;
    touched_ = true;
    return sink_->on_delta(choice, std::move(delta));
  }

  // One sign of life for the question: the first choice that is not finished gives it.
  void on_waiting(std::uint32_t choice, const std::string& why) {
    MutexLock lock(mu_);
    if (!done_ && *open_.begin() == choice) sink_->on_waiting(why);
  }

  void on_finish(std::uint32_t choice, const Finish& finish, bool counts_prompt) {
    MutexLock lock(mu_);
    if (done_) return;
    if (counts_prompt) {
      usage_.prompt_tokens += finish.usage.prompt_tokens;
      usage_.cached_prompt_tokens += finish.usage.cached_prompt_tokens;
    }
    usage_.completion_tokens += finish.usage.completion_tokens;
    touched_ = true;
    sink_->on_choice_finished(choice, finish);
    open_.erase(choice);
    if (!open_.empty()) return;
    done_ = true;
    sink_->on_done(usage_);
  }

  void on_error(const Error& error) {
    {
      MutexLock lock(mu_);
      if (std::exchange(done_, true)) return;
      sink_->on_done(std::unexpected(error));
    }
    cancel_.request_stop();
  }

  // Ends all choices in silence, so that whoever asked can be refused. False when the sink has
  // heard of one already.
  bool abandon() {
    {
      MutexLock lock(mu_);
      if (touched_ || done_) return false;
      done_ = true;
    }
    cancel_.request_stop();
    return true;
  }

 private:
  struct Stop {
    std::stop_source source;
    void operator()() { source.request_stop(); }
  };

  const std::shared_ptr<CompletionSink> sink_;
  std::stop_source cancel_;
  Mutex mu_;
  std::set<std::uint32_t> open_ GUARDED_BY(mu_);  // choices that are not finished
  Usage usage_ GUARDED_BY(mu_);
  bool touched_ GUARDED_BY(mu_) = false;  // the sink was called
  bool done_ GUARDED_BY(mu_) = false;
  std::stop_callback<Stop> client_left_;  // last: may call at once
};

// One choice's way into the fan-out. `echo` comes before its first text.
class ChoiceSink final : public ResponseSink {
 public:
  ChoiceSink(std::shared_ptr<Fanout> fanout, std::uint32_t choice, bool counts_prompt,
             std::string echo)
      : fanout_(std::move(fanout)),
        choice_(choice),
        counts_prompt_(counts_prompt),
        echo_(std::move(echo)) {}

  SinkState on_delta(Delta delta) override {
    if (!echo_.empty()) delta.text.insert(0, std::exchange(echo_, {}));
    return fanout_->on_delta(choice_, std::move(delta));
  }
  void on_waiting(const std::string& why) override { fanout_->on_waiting(choice_, why); }
  void on_finish(const Finish& finish) override {
    if (!echo_.empty()) on_delta({});
    fanout_->on_finish(choice_, finish, counts_prompt_);
  }
  void on_error(const Error& error, const Usage&) override { fanout_->on_error(error); }
  SinkState state() const override { return fanout_->state(); }

 private:
  const std::shared_ptr<Fanout> fanout_;
  const std::uint32_t choice_;
  const bool counts_prompt_;
  std::string echo_;
};

using Prompt = PreparedCompletion::Prompt;

Status check_tokens(const TextEngine& engine, const std::vector<Token>& tokens) {
  const auto size = engine.tokenizer().size();
  for (const Token token : tokens) {
    if (token < 0 || static_cast<std::uint32_t>(token) >= size) {
      return fail(ErrorCode::kInvalidArgument,
                  "[completion_service] token ids are 0.." + std::to_string(size - 1) + ": " +
                      std::to_string(token),
                  "prompt");
    }
  }
  if (tokens.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "[completion_service] at least one token expected: none", "prompt");
  }
  if (tokens.size() >= engine.plan().context) {
    return fail(ErrorCode::kInvalidArgument,
                "[completion_service] the context is " + std::to_string(engine.plan().context) +
                    " tokens: the prompt has " + std::to_string(tokens.size()) +
                    ", and one must be left to answer",
                "prompt");
  }
  return {};
}

// Tokens may end within a character; text may not.
std::string text_of(const TextEngine& engine, const std::vector<Token>& tokens) {
  Utf8Decoder decoder;
  std::string text;
  for (const Token token : tokens) {
    for (const char byte : engine.tokenizer().piece(token)) decoder.push(byte, text);
  }
  decoder.finish(text);
  return text;
}

std::size_t count_prompts(const CompletionQuestion& question) {
  if (const auto* texts = std::get_if<std::vector<std::string>>(&question.prompt))
    return texts->size();
  if (const auto* tokens = std::get_if<std::vector<std::vector<Token>>>(&question.prompt))
    return tokens->size();
  return 1;
}

// Before any text is looked at: what is asked may be large.
Result<std::uint32_t> count_choices(const CompletionQuestion& question) {
  constexpr std::uint64_t kMax = CompletionService::kMaxChoices;
  const std::uint64_t prompts = count_prompts(question);
  if (prompts == 0 || prompts > kMax) {
    return fail(
        ErrorCode::kInvalidArgument,
        "[completion_service] 1.." + std::to_string(kMax) + " prompts: " + std::to_string(prompts),
        "prompt");
  }
  const std::uint64_t choices = prompts * question.n;
  if (choices == 0 || choices > kMax) {
    return fail(ErrorCode::kInvalidArgument,
                "[completion_service] n times prompts is 1.." + std::to_string(kMax) + ": " +
                    std::to_string(question.n) + " times " + std::to_string(prompts),
                "n");
  }
  return static_cast<std::uint32_t>(choices);
}

Result<std::vector<Prompt>> tokenize(const TextEngine& engine, const CompletionQuestion& question) {
  std::vector<Prompt> prompts;
  if (const auto* messages = std::get_if<std::vector<ChatMessage>>(&question.prompt)) {
    GOGRID_ASSIGN_OR_RETURN(auto tokens, engine.prepare_chat(*messages));
    prompts.push_back({std::move(tokens), {}});
  } else if (const auto* texts = std::get_if<std::vector<std::string>>(&question.prompt)) {
    for (const std::string& text : *texts) {
      GOGRID_ASSIGN_OR_RETURN(auto tokens, engine.prepare_text(text));
      prompts.push_back({std::move(tokens), question.echo ? text : std::string()});
    }
  } else {
    for (const auto& tokens : std::get<std::vector<std::vector<Token>>>(question.prompt)) {
      GOGRID_RETURN_IF_ERROR(check_tokens(engine, tokens));
      prompts.push_back({tokens, question.echo ? text_of(engine, tokens) : std::string()});
    }
  }
  return prompts;
}

Status check_bias(const TextEngine& engine, const SamplingSpec& sampling) {
  for (const LogitBias& bias : sampling.logit_bias) {
    if (bias.token >= 0 && static_cast<std::uint32_t>(bias.token) < engine.tokenizer().size())
      continue;
    return fail(ErrorCode::kInvalidArgument,
                "[completion_service] token ids are 0.." +
                    std::to_string(engine.tokenizer().size() - 1) + ": " +
                    std::to_string(bias.token),
                "logit_bias");
  }
  return {};
}

// All but what the choices share or differ in.
GenerationRequest make_request(const CompletionQuestion& question, const Prompt& prompt,
                               std::uint32_t context) {
  GenerationRequest request;
  request.id = question.request_id;
  request.principal = question.principal;
  request.prompt = prompt.tokens;
  request.sampling = question.sampling;
  // A model that was loaded again since may have less: its batcher then refuses with both counts.
  const auto size = static_cast<std::uint32_t>(prompt.tokens.size());
  const std::uint32_t room = context > size ? context - size : 1;
  request.max_tokens = std::min(question.max_tokens.value_or(room), room);
  request.stop = question.stop;
  return request;
}

}  // namespace

CompletionService::CompletionService(EngineRegistry& engines, const Governor& governor,
                                     const Clock& clock, Duration load_wait)
    : engines_(engines), governor_(governor), clock_(clock), load_wait_(load_wait) {}

bool CompletionService::is_loaded(const CompletionQuestion& question) const {
  return engines_.find(question.model).has_value();
}

Result<std::optional<ModelHold>> CompletionService::want_model(const CompletionQuestion& question,
                                                               ModelCalls calls) {
  GOGRID_RETURN_IF_ERROR(validate(question.sampling));
  GOGRID_RETURN_IF_ERROR(count_choices(question));
  GOGRID_RETURN_IF_ERROR(start_by(question));
  TimePoint latest = question.wait_until.value_or(clock_.now() + load_wait_);
  if (question.deadline) latest = std::min(latest, *question.deadline);
  return engines_.want(question.model, latest, question.cancel, std::move(calls));
}

Result<std::optional<TimePoint>> CompletionService::start_by(
    const CompletionQuestion& question) const {
  const GovernorState state = governor_.state();
  if (!state.paused) return std::nullopt;
  const TimePoint now = clock_.now();
  const auto wait_until = question.wait_until;
  if (wait_until && *wait_until > now && (!state.until || *state.until <= *wait_until)) {
    return wait_until;
  }
  const Duration left = state.until ? *state.until - now : kRetryOpenPause;
  Error error{ErrorCode::kUnavailable, "[completion_service] paused: " + state.why, {}, {}};
  error.retry_after =
      std::chrono::ceil<std::chrono::milliseconds>(std::clamp(left, kShortestRetry, kLongestRetry));
  return std::unexpected(std::move(error));
}

Result<PreparedCompletion> CompletionService::prepare(CompletionQuestion question) {
  GOGRID_RETURN_IF_ERROR(validate(question.sampling));
  GOGRID_RETURN_IF_ERROR(count_choices(question));
  GOGRID_ASSIGN_OR_RETURN(const auto engine, engines_.find(question.model));
  GOGRID_RETURN_IF_ERROR(start_by(question));
  GOGRID_RETURN_IF_ERROR(check_bias(*engine, question.sampling));
  PreparedCompletion completion;
  GOGRID_ASSIGN_OR_RETURN(completion.prompts, tokenize(*engine, question));
  question.prompt = {};
  completion.question = std::move(question);
  return completion;
}

Result<StartedCompletion> CompletionService::start(PreparedCompletion completion,
                                                   std::shared_ptr<CompletionSink> sink) {
  const CompletionQuestion& question = completion.question;
  GOGRID_ASSIGN_OR_RETURN(const auto engine, engines_.find(question.model));
  GOGRID_ASSIGN_OR_RETURN(const auto start_by, this->start_by(question));
  const auto choices = static_cast<std::uint32_t>(completion.prompts.size() * question.n);
  const std::uint64_t seed = question.seed ? *question.seed : random_seed();
  auto fanout = std::make_shared<Fanout>(std::move(sink), choices, question.cancel);
  std::uint32_t choice = 0;
  for (const Prompt& prompt : completion.prompts) {
    for (std::uint32_t copy = 0; copy < question.n; ++copy, ++choice) {
      Submission submission{
          .request = make_request(question, prompt, engine->plan().context),
          .sink = std::make_shared<ChoiceSink>(fanout, choice, copy == 0, prompt.echo)};
      submission.request.sampling.seed = seed + copy;
      submission.request.deadline = question.deadline;
      submission.request.start_by = start_by;
      submission.request.cancel = fanout->cancelled();
      auto accepted = engine->generate(std::move(submission));
      if (accepted) continue;
      Error error = std::move(accepted.error().error);
      if (fanout->abandon()) return std::unexpected(std::move(error));
      fanout->on_error(error);
      return StartedCompletion{choices};
    }
  }
  return StartedCompletion{choices};
}

}  // namespace gogrid
