// One request on its way through the steps: the scheduling half.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "batching/request_queue.h"
#include "batching/stream_writer.h"
#include "model/vocabulary.h"
#include "request/response_sink.h"
#include "stage/stage.h"

namespace gogrid {

inline constexpr SlotId kNoSlot = -1;

// Two halves, so that the next step is sent off before the last one's text is made: accept() takes
// a sampled token and is as short as can be; the writer turns tokens into text later, on another
// thread.
//
// Not thread-safe: the scheduler's lock guards it; the writer belongs to the batcher's thread.
class Sequence {
 public:
  Sequence(QueuedRequest request, std::uint64_t arrival, const Vocabulary& vocabulary);

  // ---- where it stands; kept by the scheduler
  SlotId slot = kNoSlot;       // kNoSlot: pre-empted, it waits for a place
  bool begun = false;          // the slot holds its first `computed` tokens
  int in_flight = 0;           // steps that carry rows of it; several only of the prompt
  std::int32_t submitted = 0;  // tokens handed to the pipeline
  std::int32_t computed = 0;   // tokens whose step has come back
  std::uint64_t last_step = 0;

  const GenerationRequest& request() const { return request_; }
  std::uint64_t arrival() const { return arrival_; }
  const std::vector<Token>& tokens() const { return tokens_; }
  std::int32_t known() const { return static_cast<std::int32_t>(tokens_.size()); }
  std::uint32_t generated() const {
    return static_cast<std::uint32_t>(tokens_.size() - request_.prompt.size());
  }
  // Tokens that it may still make.
  std::int32_t left() const {
    return static_cast<std::int32_t>(
        std::min<std::uint32_t>(request_.max_tokens - generated(), 1U << 30U));
  }
  // Its reader is slow.
  bool held() const { return held_since_.has_value(); }
  TimePoint held_since() const { return held_since_.value_or(TimePoint{}); }
  // The writer is so far behind that it has to catch up first.
  bool far_ahead() const { return unwritten_.size() + writing_ >= kMaxUnwritten; }
  // No more rows for it.
  bool ended() const { return finish_.has_value() || error_.has_value(); }
  // The sink has been told the end.
  bool told() const { return told_; }
  const std::shared_ptr<ResponseSink>& sink() const { return sink_; }
  Silence& silence() { return silence_; }
  OutputSpec output_spec() const;

  // Its first rows go off, `cached` tokens of the prompt were reused. What counts is the first
  // time: a pre-empted sequence begins again (false).
  bool begins(TimePoint now, std::int32_t cached);
  // A sampled token, or the end that it brings. `context`: tokens that a sequence may have.
  void accept(TokenEvent event, std::uint32_t context, TimePoint now);
  void end(Error error);
  // Ends it if it was cancelled, is past its deadline, or has a reader that is gone or too slow;
  // holds it while the reader is slow. `paused`: time that does not count for the deadline.
  void look_around(TimePoint now, Duration paused, Duration slow_reader_limit);

  // A slow reader gets nothing until it reads on, but for the end.
  bool has_news() const { return !told_ && ((!unwritten_.empty() && !held()) || ended()); }
  News take_news();
  StreamWriter& writer() { return writer_; }
  void on_written(const StreamWriter::Outcome& outcome, TimePoint now);

 private:
  static constexpr std::size_t kMaxUnwritten = 8;

  void note_state(SinkState state, TimePoint now);
  // Constant after construction.
  const Vocabulary& vocabulary_;
  const std::uint64_t arrival_;
  const std::shared_ptr<ResponseSink> sink_;
  StreamWriter writer_;
  const GenerationRequest request_;
  const std::shared_ptr<const SamplingSpec> sampling_;

  std::vector<Token> tokens_;  // prompt + generated
  Silence silence_;
  std::vector<News::Made> unwritten_;
  std::size_t writing_ = 0;  // tokens that the writer has now
  std::uint32_t cached_prompt_tokens_ = 0;
  std::optional<TimePoint> first_step_;
  std::optional<TimePoint> held_since_;
  std::optional<FinishReason> finish_;
  std::optional<Error> error_;
  bool told_ = false;
};

}  // namespace gogrid
