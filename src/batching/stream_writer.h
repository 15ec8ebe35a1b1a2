// The writing half of a sequence: sampled tokens to text, and to the sink.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "batching/delta_builder.h"
#include "batching/request_queue.h"
#include "model/vocabulary.h"
#include "obs/metrics.h"
#include "request/response_sink.h"

namespace gogrid {

// What the scheduling half hands over.
struct News {
  struct Made {
    TokenEvent event;
    TimePoint at;
  };
  std::vector<Made> tokens;
  std::optional<FinishReason> finish;  // it ends after these tokens
  std::optional<Error> error;
  std::uint32_t cached_prompt_tokens = 0;
  std::optional<TimePoint> first_step;
};

// Not thread-safe: the batcher's thread only, without its lock. `vocabulary` must outlive it.
class StreamWriter {
 public:
  StreamWriter(const QueuedRequest& request, const Vocabulary& vocabulary);

  struct Outcome {
    bool stopped = false;             // a stop string was completed: the sequence is over
    bool told = false;                // the sink was told the end, and let go
    std::optional<SinkState> reader;  // what it answered to a delta
  };
  // Hands the sink what is new, and the end. `metrics` may be null. Not after an outcome with
  // `told`.
  Outcome write(News news, Metrics* metrics, std::string_view model);

 private:
  // True when a stop string was completed; what came after it is dropped.
  bool take(std::vector<News::Made> tokens, Metrics* metrics, std::string_view model);
  void tell_end(const News& news);
  void measure_end(const News& news, Metrics& metrics, std::string_view model) const;

  std::shared_ptr<ResponseSink> sink_;
  DeltaBuilder builder_;
  const TimePoint submitted_;
  Usage usage_;
  std::optional<TimePoint> first_token_;
  TimePoint last_token_;
};

}  // namespace gogrid
