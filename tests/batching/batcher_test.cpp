#include "batching/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "support/fake_stage.h"
#include "support/recording_sink.h"

namespace gogrid {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeCall;
using testing::FakeOptions;
using testing::FakeStageFactory;
using testing::FakeVocabulary;
using ::testing::HasSubstr;
using testing::Latch;
using testing::RecordingSink;

constexpr std::uint32_t kVocabulary = 97;
const SteadyClock kClock;

struct Setup {
  std::size_t n_stages = 1;
  BatcherOptions options = {
      .context = 512, .parallel = 4, .max_step_rows = 64, .prefill_chunk = 16};
  FakeOptions fake = {};
  std::map<Token, std::string> pieces = {};
  PipelineOptions pipeline = {};
};

// A batcher over fake stages.
class Fixture {
 public:
  explicit Fixture(const Setup& setup)
      : n_stages_(setup.n_stages),
        context_(setup.options.context),
        vocabulary_(setup.pieces),
        factory_(setup.fake),
        batcher_(std::make_unique<Batcher>(setup.options, vocabulary_, kClock)) {
    const auto& o = setup.options;
    PipelineOptions pipeline_options = setup.pipeline;
    pipeline_options.steps_in_flight = o.groups;
    auto pipeline = Pipeline::build(
        testing::fake_specs(n_stages_, o.parallel, o.context, o.max_step_rows, o.kv_cells),
        factory_, pipeline_options, kClock, batcher_->on_step_done(), {}, {});
    if (!pipeline) throw std::runtime_error(pipeline.error().message);
    pipeline_ = *std::move(pipeline);
  }

  // The stages are loaded; requests may wait before this.
  void start() { batcher_->start(std::move(pipeline_)); }

  std::shared_ptr<RecordingSink> send(GenerationRequest request) {
    auto sink = std::make_shared<RecordingSink>();
    auto sent = batcher_->submit({std::move(request), sink});
    EXPECT_TRUE(sent) << sent.error().error.message;
    return sink;
  }

  // What the fake model makes of `prompt`.
  std::vector<Token> expected(std::vector<Token> tokens, std::uint32_t max_tokens) const {
    std::vector<Token> made;
    while (made.size() < max_tokens && tokens.size() < context_) {
      const Token next = testing::fake_next_token(tokens, n_stages_, kVocabulary);
      if (vocabulary_.ends_generation(next)) break;
      made.push_back(next);
      tokens.push_back(next);
    }
    return made;
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
  const std::size_t n_stages_;
  const std::uint32_t context_;
  const FakeVocabulary vocabulary_;
  FakeStageFactory factory_;
  std::unique_ptr<Batcher> batcher_;
  std::unique_ptr<Pipeline> pipeline_;
};

GenerationRequest request(std::vector<Token> prompt, std::uint32_t max_tokens = 20) {
  GenerationRequest request;
  request.id = "r";
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

std::vector<Token> prompt_of(std::size_t length, Token salt = 0) {
  std::vector<Token> tokens(length);
  for (std::size_t i = 0; i < length; ++i) {
    tokens[i] = static_cast<Token>((i * 7 + static_cast<std::size_t>(salt) * 31 + i * i) % 90 + 1);
  }
  return tokens;
}

TEST(Batcher, StreamsWhatTheModelMakes) {
  for (const std::size_t n_stages : {1U, 2U, 3U}) {
    Fixture grid({.n_stages = n_stages});
    grid.start();
    const auto prompt = prompt_of(40);
    const auto sink = grid.send(request(prompt));
    ASSERT_TRUE(sink->wait_for_end());
    const auto expected = grid.expected(prompt, 20);
    EXPECT_EQ(sink->tokens(), expected);
    EXPECT_EQ(sink->text(), grid.text_of(expected));
    ASSERT_TRUE(sink->finish());
    EXPECT_EQ(sink->finish()->usage.prompt_tokens, 40U);
    EXPECT_EQ(sink->finish()->usage.completion_tokens, expected.size());
    EXPECT_EQ(sink->finish()->usage.cached_prompt_tokens, 0U);
  }
}

TEST(Batcher, GivesEachOfManyStreamsWhatItWouldGetAlone) {
  Fixture grid(
      {.n_stages = 2,
       .options = {
           .context = 512, .parallel = 6, .groups = 2, .max_step_rows = 32, .prefill_chunk = 8}});
  grid.start();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (Token i = 0; i < 40; ++i) {
    sinks.push_back(grid.send(request(prompt_of(static_cast<std::size_t>(1 + i * 3), i), 30)));
  }
  for (Token i = 0; i < 40; ++i) {
    const auto& sink = *sinks[static_cast<std::size_t>(i)];
    ASSERT_TRUE(sink.wait_for_end());
    EXPECT_EQ(sink.tokens(), grid.expected(prompt_of(static_cast<std::size_t>(1 + i * 3), i), 30));
  }
}

}  // namespace
}  // namespace gogrid
