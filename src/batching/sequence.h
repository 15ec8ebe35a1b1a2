// One request on its way through the steps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "batching/delta_builder.h"
#include "batching/request_queue.h"
#include "model/vocabulary.h"
#include "obs/metrics.h"
#include "request/response_sink.h"
#include "stage/stage.h"

namespace gogrid {

inline constexpr SlotId kNoSlot = -1;

// Two halves, so that the next step can be sent off between them: accept() takes a sampled token
// and is as short as can be; write() turns tokens into text for the sink.
//
// Not thread-safe: the batcher's thread only.
class Sequence {
 public:
  Sequence(QueuedRequest request, std::uint64_t arrival, const Vocabulary& vocabulary);

  // ---- where it stands; kept by the scheduler
  SlotId slot = kNoSlot;      // kNoSlot: pre-empted, it waits for a place
  bool begun = false;         // the slot holds its first `computed` tokens
  bool in_flight = false;     // rows of it are in a step
  std::int32_t computed = 0;  // tokens handed to the pipeline
  std::uint64_t last_step = 0;

  const GenerationRequest& request() const { return submission_.request; }
  std::uint64_t arrival() const { return arrival_; }
  const std::vector<Token>& tokens() const { return tokens_; }
  std::int32_t known() const { return static_cast<std::int32_t>(tokens_.size()); }
  bool held() const { return held_since_.has_value(); }
  TimePoint held_since() const { return held_since_.value_or(TimePoint{}); }
  // No more rows for it.
  bool ended() const { return finish_.has_value() || error_.has_value(); }
  // The sink has been told the end.
  bool told() const { return told_; }
  OutputSpec output_spec() const;

  // Its first rows go off, `cached` tokens of the prompt were reused. What counts is the first
  // time: a pre-empted sequence begins again (false).
  bool begins(TimePoint now, std::int32_t cached);
  // A sampled token, or the end that it brings. `context`: tokens that a sequence may have.
  void accept(TokenEvent event, std::uint32_t context, TimePoint now);
  void end(Error error);
  // Ends it if it was cancelled, is past its deadline, or has a reader that is gone or too slow;
  // holds it while the reader is slow.
  void look_around(TimePoint now, Duration slow_reader_limit);
  // Hands the sink what is new, and the end. `metrics` may be null.
  void write(TimePoint now, Metrics* metrics, std::string_view model);
  bool has_news() const { return !told_ && (!unwritten_.empty() || ended()); }

 private:
  void note_state(SinkState state, TimePoint now);
  void tell_end(Metrics* metrics, std::string_view model);
  Finish finish_record() const;
  std::uint32_t generated() const { return usage_.completion_tokens; }

  Submission submission_;
  const Vocabulary& vocabulary_;
  const std::shared_ptr<const SamplingSpec> sampling_;
  const std::uint64_t arrival_;
  const TimePoint submitted_;
  std::vector<Token> tokens_;  // prompt + generated
  DeltaBuilder builder_;
  std::vector<TokenEvent> unwritten_;
  Usage usage_;
  std::optional<TimePoint> held_since_;
  std::optional<FinishReason> finish_;
  std::optional<Error> error_;
  bool told_ = false;
  std::optional<TimePoint> first_step_;
  std::optional<TimePoint> first_token_;
  TimePoint last_token_;
  std::optional<Duration> gap_;  // before the last token, not yet measured
};

}  // namespace gogrid
