#include "service/completion_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "batching/utf8_decoder.h"
#include "support/recording_completion.h"
#include "support/tiny_engine.h"

namespace gogrid {
namespace {

using testing::FakeStageFactory;
using ::testing::HasSubstr;
using testing::Latch;
using testing::RecordingCompletion;
using testing::TinyEngine;

using Texts = std::vector<std::string>;
using TokenLists = std::vector<std::vector<Token>>;

// A service over one tiny model with fake stages.
class CompletionServiceTest : public ::testing::Test {
 protected:
  void SetUp() override { load(tiny_.options()); }

  void load(TextEngineOptions options) {
    options.governor = &governor_;
    engines_ = std::make_unique<EngineRegistry>(clock_);
    service_ = std::make_unique<CompletionService>(*engines_, governor_, clock_);
    ASSERT_TRUE(engines_->add("tiny", [&, options](const auto& progress, std::stop_token stop) {
      return TinyEngine::load(options, factory_, clock_, progress, stop);
    }));
    while (!engines_->ready()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    engine_ = engines_->find("tiny").value();
  }

  static CompletionQuestion question(decltype(CompletionQuestion::prompt) prompt) {
    CompletionQuestion question;
    question.request_id = "req-1";
    question.model = "tiny";
    question.prompt = std::move(prompt);
    question.max_tokens = 12;
    question.seed = 1;
    return question;
  }

  Result<StartedCompletion> start(CompletionQuestion asked, std::shared_ptr<CompletionSink> sink) {
    GOGRID_ASSIGN_OR_RETURN(auto prepared, service_->prepare(std::move(asked)));
    return service_->start(std::move(prepared), std::move(sink));
  }
  // Starts it and waits for its end.
  std::shared_ptr<RecordingCompletion> ask(CompletionQuestion asked) {
    auto sink = std::make_shared<RecordingCompletion>();
    const auto started = start(std::move(asked), sink);
    EXPECT_TRUE(started) << started.error().message;
    outcome_ = sink->wait();
    return sink;
  }
  Error refusal(CompletionQuestion asked) {
    auto sink = std::make_shared<RecordingCompletion>();
    const auto started = start(std::move(asked), sink);
    EXPECT_FALSE(started);
    EXPECT_FALSE(sink->touched());
    return started ? Error{} : started.error();
  }
  std::string text_of(const std::vector<Token>& tokens) const {
    std::string text;
    for (const Token token : tokens) text += engine_->tokenizer().piece(token);
    return text;
  }

  const TinyEngine tiny_;
  const SteadyClock clock_;
  Governor governor_{clock_};
  std::shared_ptr<Latch> hang_;       // when set, the stage hangs in it
  std::atomic<bool> broken_ = false;  // when set, the stage fails
  Mutex mu_;
  std::vector<SamplingSpec> sampled_;  // specs that reached the stage
  FakeStageFactory factory_{{.script = [this](testing::FakeCall& call) {
    call.hang = hang_;
    if (broken_) call.error = Error{ErrorCode::kUnavailable, "the device is gone"};
    MutexLock lock(mu_);
    for (const OutputSpec& output : call.input->outputs) sampled_.push_back(*output.sampling);
  }}};
  std::unique_ptr<EngineRegistry> engines_;
  std::unique_ptr<CompletionService> service_;
  std::shared_ptr<TextEngine> engine_;
  Result<Usage> outcome_ = fail(ErrorCode::kInternal, "not asked");
};

TEST_F(CompletionServiceTest, AnswersMessagesThroughTheTemplate) {
  const std::vector<ChatMessage> messages{{"user", "hello"}};
  const auto prompt = engine_->prepare_chat(messages).value();
  const auto expected = TinyEngine::fake_answer(*engine_, prompt, 12);
  const auto sink = ask(question(messages));
  ASSERT_TRUE(outcome_) << outcome_.error().message;
  const auto choices = sink->choices();
  ASSERT_EQ(choices.size(), 1U);
  EXPECT_EQ(choices.at(0).tokens, expected);
  EXPECT_EQ(choices.at(0).text, text_of(expected));
  EXPECT_EQ(outcome_->prompt_tokens, prompt.size());
  EXPECT_EQ(outcome_->completion_tokens, expected.size());
}

TEST_F(CompletionServiceTest, CountsChoicesOverPromptsAndCopiesAndAPromptOnce) {
  CompletionQuestion asked = question(TokenLists{{10, 11, 12}, {20, 21, 22, 23}});
  asked.n = 3;
  const auto sink = ask(std::move(asked));
  ASSERT_TRUE(outcome_);
  const auto choices = sink->choices();
  ASSERT_EQ(choices.size(), 6U);
  std::size_t made = 0;
  for (std::uint32_t choice = 0; choice < 6; ++choice) {
    const auto& prompt =
        choice < 3 ? std::vector<Token>{10, 11, 12} : std::vector<Token>{20, 21, 22, 23};
    EXPECT_EQ(choices.at(choice).tokens, TinyEngine::fake_answer(*engine_, prompt, 12));
    EXPECT_TRUE(choices.at(choice).finish);
    made += choices.at(choice).tokens.size();
  }
  EXPECT_EQ(outcome_->prompt_tokens, 7U);
  EXPECT_EQ(outcome_->completion_tokens, made);
  EXPECT_EQ(sink->calls_after_done(), 0);
}

TEST_F(CompletionServiceTest, CopiesHaveTheirOwnSeedsAndPromptsTheSame) {
  CompletionQuestion asked = question(TokenLists{{1, 2}, {3, 4}});
  asked.n = 2;
  asked.seed = 40;
  asked.max_tokens = 1;
  sampled_.clear();
  ask(std::move(asked));
  std::vector<std::uint64_t> seeds;
  for (const SamplingSpec& spec : sampled_) seeds.push_back(spec.seed);
  EXPECT_THAT(seeds, ::testing::UnorderedElementsAre(40, 41, 40, 41));
}

TEST_F(CompletionServiceTest, WithoutASeedTwoQuestionsHaveDifferentOnes) {
  sampled_.clear();
  for (int i = 0; i < 2; ++i) {
    CompletionQuestion asked = question(Texts{"a"});
    asked.seed.reset();
    asked.max_tokens = 1;
    ask(std::move(asked));
  }
  ASSERT_EQ(sampled_.size(), 2U);
  EXPECT_NE(sampled_[0].seed, sampled_[1].seed);
}

TEST_F(CompletionServiceTest, WithoutALimitTheContextIsTheLimit) {
  // A prompt whose answer does not end before the context does.
  std::vector<Token> prompt;
  for (Token first = 1; first < 90 && prompt.empty(); ++first) {
    if (TinyEngine::fake_answer(*engine_, {first}, 1000).size() == 255) prompt = {first};
  }
  ASSERT_FALSE(prompt.empty());
  CompletionQuestion asked = question(TokenLists{prompt});
  asked.max_tokens.reset();
  const auto sink = ask(std::move(asked));
  ASSERT_TRUE(outcome_);
  EXPECT_EQ(outcome_->completion_tokens, 255U);
  EXPECT_EQ(sink->choices().at(0).finish->reason, FinishReason::kLength);
}

TEST_F(CompletionServiceTest, EchoPutsEachPromptBeforeItsText) {
  CompletionQuestion asked = question(Texts{"one ", "two "});
  asked.echo = true;
  const auto sink = ask(std::move(asked));
  for (const std::uint32_t choice : {0U, 1U}) {
    const auto got = sink->choices().at(choice);
    EXPECT_EQ(got.text, (choice == 0 ? "one " : "two ") + text_of(got.tokens));
  }
}

TEST_F(CompletionServiceTest, TheEchoOfTokensThatEndWithinACharacterIsValidText) {
  const auto tokens = engine_->tokenizer().tokenize("\xc3\xa9", false, false, 10).value();
  ASSERT_EQ(tokens.size(), 2U);  // a token a byte
  CompletionQuestion asked = question(TokenLists{{tokens[0]}});
  asked.echo = true;
  const auto sink = ask(std::move(asked));
  EXPECT_TRUE(is_valid_utf8(sink->choices().at(0).text));
  EXPECT_THAT(sink->choices().at(0).text, ::testing::StartsWith("\xef\xbf\xbd"));
}

TEST_F(CompletionServiceTest, StopsBeforeAStopString) {
  const std::vector<Token> prompt{7, 8, 9};
  const std::string text = text_of(TinyEngine::fake_answer(*engine_, prompt, 12));
  ASSERT_GE(text.size(), 6U);
  CompletionQuestion asked = question(TokenLists{prompt});
  asked.stop = {text.substr(3, 2)};
  const auto sink = ask(std::move(asked));
  EXPECT_EQ(sink->choices().at(0).text, text.substr(0, text.find(text.substr(3, 2))));
  EXPECT_EQ(sink->choices().at(0).finish->reason, FinishReason::kStop);
}

TEST_F(CompletionServiceTest, WhatCannotBeAnsweredIsRefusedAndTheSinkUntouched) {
  CompletionQuestion asked = question(Texts{"a"});
  asked.model = "other";
  EXPECT_EQ(refusal(asked).code, ErrorCode::kNotFound);

  asked = question(Texts{std::string(400, '#')});
  EXPECT_EQ(refusal(asked).param, "prompt");

  asked = question(TokenLists{std::vector<Token>(256, 1)});
  EXPECT_THAT(refusal(asked).message, HasSubstr("256"));

  for (const Token token : {-1, static_cast<Token>(engine_->tokenizer().size())}) {
    asked = question(TokenLists{{1, token}});
    EXPECT_THAT(refusal(asked).message, HasSubstr(std::to_string(token)));
  }

  asked = question(TokenLists{{}});
  EXPECT_EQ(refusal(asked).param, "prompt");

  asked = question(Texts{"a"});
  asked.sampling.temperature = -1;
  EXPECT_EQ(refusal(asked).param, "temperature");

  asked = question(Texts{"a"});
  asked.sampling.logit_bias = {{static_cast<Token>(engine_->tokenizer().size()), 1.0F}};
  EXPECT_EQ(refusal(asked).param, "logit_bias");
}

TEST_F(CompletionServiceTest, ChoicesHaveALimitThatIsCheckedBeforeAnyTextIsLookedAt) {
  CompletionQuestion asked = question(Texts(128, std::string(400, '#')));  // each too long
  asked.n = 2;
  EXPECT_EQ(refusal(asked).param, "n");
  asked.n = 0xFFFFFFFF;
  EXPECT_EQ(refusal(asked).param, "n");
  asked.n = 0;
  EXPECT_EQ(refusal(asked).param, "n");
  asked = question(Texts(129, "a"));
  EXPECT_EQ(refusal(asked).param, "prompt");
  asked = question(Texts{});
  EXPECT_EQ(refusal(asked).param, "prompt");
}

TEST_F(CompletionServiceTest, AQueueWithoutRoomForAllChoicesRefusesTheQuestionWhole) {
  TextEngineOptions options = tiny_.options();
  options.plan.parallel = 1;
  options.queue_capacity = 3;
  engine_.reset();
  load(options);
  hang_ = std::make_shared<Latch>();
  auto first = std::make_shared<RecordingCompletion>();
  ASSERT_TRUE(start(question(Texts{"occupies the slot"}), first));
  while (engine_->status().running == 0) std::this_thread::yield();
  CompletionQuestion asked = question(Texts{"a"});
  asked.n = 4;
  const Error error = refusal(asked);
  EXPECT_EQ(error.code, ErrorCode::kExhausted);
  EXPECT_TRUE(error.retry_after);
  hang_->open();
  EXPECT_TRUE(first->wait());
  // Those that were accepted before the queue was full are gone from it.
  while (engine_->status().waiting + engine_->status().running > 0) std::this_thread::yield();
}

TEST_F(CompletionServiceTest, TheFirstErrorEndsAllChoicesOnce) {
  broken_ = true;
  CompletionQuestion asked = question(Texts{"a", "b"});
  asked.n = 2;
  auto sink = std::make_shared<RecordingCompletion>();
  const auto started = start(std::move(asked), sink);
  if (started) {  // else the stage failed before the last choice was in, and all were refused
    const auto outcome = sink->wait();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, ErrorCode::kUnavailable);
  } else {
    EXPECT_EQ(started.error().code, ErrorCode::kUnavailable);
    EXPECT_FALSE(sink->touched());
  }
  engine_->drain(clock_.now() + std::chrono::seconds(5));
  EXPECT_EQ(sink->calls_after_done(), 0);
}

TEST_F(CompletionServiceTest, ACancelledQuestionEndsAllItsChoices) {
  hang_ = std::make_shared<Latch>();
  std::stop_source client;
  CompletionQuestion asked = question(Texts{"a"});
  asked.n = 3;
  asked.cancel = client.get_token();
  auto sink = std::make_shared<RecordingCompletion>();
  ASSERT_TRUE(start(std::move(asked), sink));
  client.request_stop();
  hang_->open();
  const auto outcome = sink->wait();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::kCancelled);
  while (engine_->status().waiting + engine_->status().running > 0) std::this_thread::yield();
}

TEST_F(CompletionServiceTest, AQuestionThatWasCancelledBeforeItBeganEndsToo) {
  std::stop_source client;
  client.request_stop();
  CompletionQuestion asked = question(Texts{"a"});
  asked.cancel = client.get_token();
  auto sink = std::make_shared<RecordingCompletion>();
  ASSERT_TRUE(start(std::move(asked), sink));
  EXPECT_EQ(sink->wait().error().code, ErrorCode::kCancelled);
}

TEST_F(CompletionServiceTest, AReaderThatLeftEndsItsChoices) {
  hang_ = std::make_shared<Latch>();
  auto sink = std::make_shared<RecordingCompletion>();
  ASSERT_TRUE(start(question(Texts{"a"}), sink));
  sink->set_state(SinkState::kGone);
  hang_->open();
  EXPECT_EQ(sink->wait().error().code, ErrorCode::kCancelled);
}

TEST_F(CompletionServiceTest, ADeadlineIsThatOfEveryChoice) {
  CompletionQuestion asked = question(Texts{"a"});
  asked.n = 2;
  asked.deadline = SteadyClock().now();
  const auto sink = ask(std::move(asked));
  ASSERT_FALSE(outcome_);
  EXPECT_EQ(outcome_.error().code, ErrorCode::kDeadline);
}

TEST_F(CompletionServiceTest, AModelThatIsThereIsHeldAtOnce) {
  EXPECT_TRUE(service_->is_loaded(question(Texts{"a"})));
  const auto hold = service_->want_model(question(Texts{"a"}), {});
  ASSERT_TRUE(hold);
  EXPECT_TRUE(*hold);
}

TEST_F(CompletionServiceTest, WhatIsWrongAnywayDoesNotWaitForItsModel) {
  auto asked = question(Texts{});
  EXPECT_EQ(service_->want_model(asked, {}).error().param, "prompt");
  asked = question(Texts{"a"});
  asked.model = "nobody";
  EXPECT_EQ(service_->want_model(asked, {}).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(service_->is_loaded(asked));
  governor_.pause(PauseReason::kOperator, "a film", {});
  EXPECT_THAT(service_->want_model(question(Texts{"a"}), {}).error().message, HasSubstr("a film"));
}

TEST_F(CompletionServiceTest, WhilePausedNewQuestionsAreRefusedAndToldWhenToComeBack) {
  governor_.pause(PauseReason::kOperator, "a film", clock_.now() + std::chrono::seconds(90));
  const Error paused = refusal(question(Texts{"a"}));
  EXPECT_EQ(paused.code, ErrorCode::kUnavailable);
  EXPECT_THAT(paused.message, HasSubstr("a film"));
  EXPECT_GT(*paused.retry_after, std::chrono::seconds(80));
  EXPECT_LE(*paused.retry_after, std::chrono::seconds(90));
  CompletionQuestion patient = question(Texts{"a"});
  patient.wait_until = clock_.now() + std::chrono::seconds(60);  // not enough
  EXPECT_EQ(refusal(patient).code, ErrorCode::kUnavailable);
  governor_.pause(PauseReason::kOperator, "a film", {});
  EXPECT_EQ(refusal(question(Texts{"a"})).retry_after, std::chrono::seconds(30));
  governor_.resume(PauseReason::kOperator);
  ask(question(Texts{"a"}));
  EXPECT_TRUE(outcome_);
}

TEST_F(CompletionServiceTest, APauseIsFoundWhenItPreparesAndOneThatBeganSinceWhenItStarts) {
  auto prepared = service_->prepare(question(Texts{"a"}));
  ASSERT_TRUE(prepared);
  governor_.pause(PauseReason::kOperator, "a film", {});
  EXPECT_THAT(service_->prepare(question(Texts{"a"})).error().message, HasSubstr("a film"));
  CompletionQuestion late = question(Texts{"a"});
  late.wait_until = clock_.now();  // its wait is used up
  EXPECT_EQ(service_->prepare(late).error().code, ErrorCode::kUnavailable);
  auto sink = std::make_shared<RecordingCompletion>();
  EXPECT_THAT(service_->start(*std::move(prepared), sink).error().message, HasSubstr("a film"));
  EXPECT_FALSE(sink->touched());
}

TEST_F(CompletionServiceTest, APreparedQuestionKeepsItsTokensAndNotItsText) {
  const auto prepared = service_->prepare(question(Texts{"some text"}));
  ASSERT_TRUE(prepared);
  ASSERT_EQ(prepared->prompts.size(), 1U);
  EXPECT_EQ(prepared->prompts[0].tokens, engine_->prepare_text("some text").value());
  EXPECT_TRUE(std::get<std::vector<ChatMessage>>(prepared->question.prompt).empty());
}

// Its first choices may be done while others wait.
TEST_F(CompletionServiceTest, TheFirstChoiceThatIsNotFinishedSaysThatItWaits) {
  TextEngineOptions options = tiny_.options();
  options.plan.parallel = 1;
  engine_.reset();
  load(options);
  CompletionQuestion asked = question(Texts{"a"});
  asked.n = 2;
  asked.max_tokens = 200;
  asked.sampling.ban_end_of_text = true;
  auto sink = std::make_shared<RecordingCompletion>();
  ASSERT_TRUE(start(std::move(asked), sink));
  while (!sink->choices()[0].finish) std::this_thread::yield();
  governor_.pause(PauseReason::kOperator, "a film", {});
  if (!sink->choices()[1].finish) {
    while (sink->notices().empty()) std::this_thread::yield();
    EXPECT_THAT(sink->notices()[0], HasSubstr("a film"));
  }
  governor_.resume(PauseReason::kOperator);
  EXPECT_TRUE(sink->wait());
}

TEST_F(CompletionServiceTest, WhoCanWaitWaitsForThePauseToEnd) {
  governor_.pause(PauseReason::kOperator, "a film", clock_.now() + std::chrono::milliseconds(200));
  CompletionQuestion patient = question(Texts{"a"});
  patient.wait_until = clock_.now() + std::chrono::seconds(30);
  const TimePoint begin = clock_.now();
  ask(patient);
  EXPECT_TRUE(outcome_);
  EXPECT_GE(clock_.now() - begin, std::chrono::milliseconds(150));
}

TEST_F(CompletionServiceTest, ASecondQuestionReusesThePrefixAndSaysSo) {
  std::vector<Token> shared(100);
  for (std::size_t i = 0; i < shared.size(); ++i) shared[i] = static_cast<Token>(i % 90 + 1);
  ask(question(TokenLists{shared}));
  ASSERT_TRUE(outcome_);
  EXPECT_EQ(outcome_->cached_prompt_tokens, 0U);
  shared.push_back(3);
  ask(question(TokenLists{shared}));
  ASSERT_TRUE(outcome_);
  EXPECT_GE(outcome_->cached_prompt_tokens, 99U);
  EXPECT_LT(outcome_->cached_prompt_tokens, outcome_->prompt_tokens);
}

}  // namespace
}  // namespace gogrid
