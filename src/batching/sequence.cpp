#include "batching/sequence.h"

#include <format>
#include <utility>

namespace gogrid {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

Sequence::Sequence(QueuedRequest request, std::uint64_t arrival, const Vocabulary& vocabulary)
    : submission_(std::move(request.submission)),
      vocabulary_(vocabulary),
      sampling_(std::make_shared<SamplingSpec>(submission_.request.sampling)),
      arrival_(arrival),
      submitted_(request.since),
      tokens_(submission_.request.prompt),
      builder_(vocabulary, submission_.request.stop, sampling_->top_logprobs >= 0) {
  usage_.prompt_tokens = static_cast<std::uint32_t>(tokens_.size());
}

OutputSpec Sequence::output_spec() const {
  OutputSpec spec;
  spec.sampling = sampling_;
  if (sampling_->penalizes()) spec.history = tokens_;
  spec.prompt_length = usage_.prompt_tokens;
  return spec;
}

bool Sequence::begins(TimePoint now, std::int32_t cached) {
  if (first_step_) return false;
  first_step_ = now;
  usage_.cached_prompt_tokens = static_cast<std::uint32_t>(cached);
  return true;
}

void Sequence::accept(TokenEvent event, std::uint32_t context, TimePoint now) {
  if (first_token_) {
    gap_ = now - last_token_;
  } else {
    first_token_ = now;
  }
  last_token_ = now;
  const Token token = event.chosen.token;
  if (vocabulary_.ends_generation(token)) {
    finish_ = FinishReason::kStop;
    return;
  }
  tokens_.push_back(token);
  ++usage_.completion_tokens;
  unwritten_.push_back(std::move(event));
  if (generated() >= submission_.request.max_tokens || tokens_.size() >= context) {
    finish_ = FinishReason::kLength;
  }
}

void Sequence::end(Error error) {
  if (!ended()) error_ = std::move(error);
}

void Sequence::look_around(TimePoint now, Duration slow_reader_limit) {
  if (ended()) return;
  const GenerationRequest& request = submission_.request;
  if (request.cancel.stop_requested()) {
    return end({ErrorCode::kCancelled, "[batcher] cancelled"});
  }
  if (request.deadline && now >= *request.deadline) {
    return end({ErrorCode::kDeadline,
                std::format("[batcher] an end before the deadline: {} tokens were made in time",
                            generated())});
  }
  note_state(submission_.sink->state(), now);
  if (held() && now - *held_since_ >= slow_reader_limit) {
    end({ErrorCode::kCancelled, std::format("[batcher] a reader that reads within {:.3g} s: it did "
                                            "not",
                                            seconds(slow_reader_limit))});
  }
}

void Sequence::note_state(SinkState state, TimePoint now) {
  switch (state) {
    case SinkState::kMore:
      held_since_.reset();
      return;
    case SinkState::kSlow:
      if (!held_since_) held_since_ = now;
      return;
    case SinkState::kGone:
      return end({ErrorCode::kCancelled, "[batcher] a reader: it has left"});
  }
}

void Sequence::write(TimePoint now, Metrics* metrics, std::string_view model) {
  if (metrics != nullptr && gap_) metrics->observe_inter_token(model, *gap_);
  gap_.reset();
  for (TokenEvent& event : std::exchange(unwritten_, {})) {
    if (!builder_.push(std::move(event))) continue;
    if (!error_) finish_ = FinishReason::kStop;
    break;
  }
  Delta delta = finish_ ? builder_.finish() : builder_.take();
  if (!delta.tokens.empty() || !delta.text.empty()) {
    note_state(submission_.sink->on_delta(std::move(delta)), now);
  }
  if (ended()) tell_end(metrics, model);
}

void Sequence::tell_end(Metrics* metrics, std::string_view model) {
  told_ = true;
  if (finish_) {
    submission_.sink->on_finish(finish_record());
  } else {
    submission_.sink->on_error(*error_, usage_);
  }
  submission_.sink.reset();
  if (metrics == nullptr) return;
  metrics->count_tokens(model, usage_.prompt_tokens - usage_.cached_prompt_tokens,
                        usage_.cached_prompt_tokens, usage_.completion_tokens);
  if (first_step_) metrics->observe_queue_wait(model, *first_step_ - submitted_);
  if (first_token_) metrics->observe_time_to_first_token(model, *first_token_ - submitted_);
}

Finish Sequence::finish_record() const {
  Finish finish;
  finish.reason = *finish_;
  finish.usage = usage_;
  finish.queued = *first_step_ - submitted_;
  finish.prefill = *first_token_ - *first_step_;
  finish.decode = last_token_ - *first_token_;
  return finish;
}

}  // namespace gogrid
