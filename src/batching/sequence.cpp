#include "batching/sequence.h"

#include <utility>

#include "base/format.h"

namespace gogrid {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

Sequence::Sequence(QueuedRequest request, std::uint64_t arrival, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary),
      arrival_(arrival),
      sink_(request.submission.sink),
      writer_(request, vocabulary),
      request_(std::move(request.submission.request)),
      sampling_(std::make_shared<SamplingSpec>(request_.sampling)),
      tokens_(request_.prompt),
      silence_(request.silence) {}

OutputSpec Sequence::output_spec() const {
  OutputSpec spec;
  spec.sampling = sampling_;
  if (sampling_->penalizes()) spec.history = tokens_;
  spec.prompt_length = static_cast<std::uint32_t>(request_.prompt.size());
  return spec;
}

bool Sequence::begins(TimePoint now, std::int32_t cached) {
  if (first_step_) return false;
  first_step_ = now;
  cached_prompt_tokens_ = static_cast<std::uint32_t>(cached);
  return true;
}

void Sequence::accept(TokenEvent event, std::uint32_t context, TimePoint now) {
  const Token token = event.chosen.token;
  if (vocabulary_.ends_generation(token)) {
    finish_ = FinishReason::kStop;
    return;
  }
  tokens_.push_back(token);
  unwritten_.push_back({std::move(event), now});
  if (generated() >= request_.max_tokens || tokens_.size() >= context) {
    finish_ = FinishReason::kLength;
  }
}

void Sequence::end(Error error) {
  if (!ended()) error_ = std::move(error);
}

void Sequence::look_around(TimePoint now, Duration paused, Duration slow_reader_limit) {
  if (ended()) return;
  if (request_.cancel.stop_requested()) {
    return end({ErrorCode::kCancelled, "[batcher] cancelled"});
  }
  if (request_.deadline && now - paused >= *request_.deadline) {
    return end({ErrorCode::kDeadline,
                format_text("[batcher] an end before the deadline: {} tokens were made in time",
                            generated())});
  }
  note_state(sink_->state(), now);
  if (held() && now - *held_since_ >= slow_reader_limit) {
    end({ErrorCode::kCancelled, format_text("[batcher] a reader that reads within {:.3g} s: it did "
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

News Sequence::take_news() {
  writing_ = unwritten_.size();
  return {.tokens = std::exchange(unwritten_, {}),
          .finish = finish_,
          .error = error_,
          .cached_prompt_tokens = cached_prompt_tokens_,
          .first_step = first_step_};
}

void Sequence::on_written(const StreamWriter::Outcome& outcome, TimePoint now) {
  writing_ = 0;
  told_ = outcome.told;
  if (outcome.reader) {
    silence_.broken(now);
    note_state(*outcome.reader, now);
  }
  if (outcome.stopped && !ended()) finish_ = FinishReason::kStop;
}

}  // namespace gogrid
