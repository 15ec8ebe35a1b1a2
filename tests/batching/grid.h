// A batcher over fake stages, with its threads.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "batching/batcher.h"
#include "batching/harness.h"
#include "support/fake_stage.h"
#include "support/recording_sink.h"

namespace gogrid::testing {

inline const Clock& grid_clock() {
  static const SteadyClock clock;
  return clock;
}

struct GridSetup {
  std::size_t n_stages = 1;
  BatcherOptions options = {
      .context = 512, .parallel = 4, .max_step_rows = 64, .prefill_chunk = 16};
  FakeOptions fake = {.vocabulary = 50'000};
  PipelineOptions pipeline = {};
  const Clock* clock = &grid_clock();
};

// Requests may be sent before start(): they wait.
class Grid {
 public:
  explicit Grid(const GridSetup& setup)
      : setup_(setup),
        factory_(setup.fake),
        batcher_(std::make_unique<Batcher>(setup.options, vocabulary_, *setup.clock)) {
    const auto& o = setup.options;
    PipelineOptions pipeline_options = setup.pipeline;
    pipeline_options.steps_in_flight = o.groups;
    auto pipeline = Pipeline::build(
        fake_specs(setup.n_stages, o.parallel, o.context, o.max_step_rows, o.kv_cells), factory_,
        pipeline_options, *setup.clock, batcher_->on_step_done(), {}, {});
    if (!pipeline) throw std::runtime_error(pipeline.error().message);
    pipeline_ = *std::move(pipeline);
  }

  // Requests may wait before this.
  void start() { batcher_->start(std::move(pipeline_)); }

  std::shared_ptr<RecordingSink> send(GenerationRequest request) {
    auto sink = std::make_shared<RecordingSink>();
    auto sent = batcher_->submit({std::move(request), sink});
    EXPECT_TRUE(sent) << sent.error().error.message;
    return sink;
  }
  Refusal refused(GenerationRequest request) {
    auto sent = batcher_->submit({std::move(request), std::make_shared<RecordingSink>()});
    EXPECT_FALSE(sent);
    return sent ? Refusal{} : std::move(sent).error();
  }

  std::vector<Token> expected(const std::vector<Token>& prompt, std::uint32_t max_tokens) const {
    return fake_generation(prompt, max_tokens, setup_.n_stages, setup_.fake.vocabulary,
                           setup_.options.context);
  }
  std::string text_of(const std::vector<Token>& tokens) const {
    std::string text;
    for (const Token token : tokens) text += vocabulary_.piece(token, false);
    return text;
  }

  Batcher& batcher() { return *batcher_; }
  void destroy_batcher() { batcher_.reset(); }
  FakeStageFactory& factory() { return factory_; }

 private:
  const GridSetup setup_;
  const FakeVocabulary vocabulary_;
  FakeStageFactory factory_;
  std::unique_ptr<Batcher> batcher_;
  std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace gogrid::testing
