// Continuous batching: takes requests, keeps the pipeline full, sends tokens up.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "batching/request_queue.h"
#include "model/vocabulary.h"
#include "obs/metrics.h"
#include "pipeline/pipeline.h"
#include "request/generation_request.h"
#include "resource/governor.h"

namespace gogrid {

struct BatcherOptions {
  std::uint32_t context = 4096;  // tokens per sequence
  std::uint32_t parallel = 4;    // slots
  std::uint32_t groups = 1;      // steps in flight
  std::uint32_t kv_cells = 0;    // see StageSpec
  std::uint32_t max_step_rows = 512;
  std::uint32_t prefill_chunk = 256;
  Duration max_stall =
      std::chrono::milliseconds(250);  // of running streams, by a prompt (ChunkPacer)
  // Sequences in a step; 0: as many as are ready. Asked before each step, so that a change is in
  // force with the next. Must not block. Empty: no limit.
  std::function<std::uint32_t()> max_batch = {};
  std::uint32_t queue_capacity = 256;  // waiting requests, all principals together
  bool prefix_reuse = true;
  bool can_truncate = true;  // false for recurrent models: reuse only whole sequences
  Duration slow_reader_limit = std::chrono::seconds(60);  // held so long, a sequence is cancelled
  Governor* governor =
      nullptr;  // asked before each step; must outlive the batcher; null: never pauses
  Metrics* metrics = nullptr;  // must outlive the batcher; null: nothing is measured
  std::string model = {};      // label of its metrics
};

struct BatcherStatus {
  std::uint32_t running = 0;
  std::uint32_t waiting = 0;
  std::uint32_t held = 0;
  std::uint64_t steps = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t slot_moves = 0;  // sequences that went on in a slot beside the others
  std::uint64_t prompt_tokens = 0;
  std::uint64_t cached_prompt_tokens = 0;
  std::uint64_t generated_tokens = 0;
};

struct Refusal {
  Error error;
  Submission submission;  // handed back untouched
};

// A step's tokens are known as soon as it comes back: the next step is sent off at once, by the
// stage's thread, and the batcher's thread makes and delivers the text of the last one while that
// computes. So a stop string is found when a few more tokens (at most eight) may be under way; they
// are dropped.
//
// A slow reader gets nothing more until it reads on, or its sequence ends; it keeps its slot until
// somebody else waits for one. When KV space runs out, the youngest sequence gives up its own and
// begins again later: its stream stays open, no token is lost or repeated.
//
// The batcher and the pipeline need each other: the pipeline's `done` is the batcher's
// on_step_done, and the batcher gets the pipeline by start(). Thread-safe.
class Batcher {
 public:
  // `vocabulary` must outlive it.
  Batcher(const BatcherOptions& options, const Vocabulary& vocabulary, const Clock& clock);
  // stop(kCancelled…) if still running.
  ~Batcher();

  // What to give Pipeline::build. Valid while this lives.
  StepDone on_step_done();
  // Takes the pipeline and starts the batcher's thread.
  void start(std::unique_ptr<Pipeline> pipeline);

  // Queued, or handed back: kExhausted (queue full; retry_after is estimated), kUnavailable
  // (draining, failed), kInvalidArgument (prompt + 1 over the context: both counts).
  std::expected<void, Refusal> submit(Submission submission);

  // Refuses new requests; returns when the last one has ended or `deadline` has passed (then the
  // rest get kUnavailable).
  void drain(TimePoint deadline);

  BatcherStatus status() const;
  std::optional<Error> failure() const;
  std::vector<StageStatus> stages() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gogrid
