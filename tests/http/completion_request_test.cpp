#include "http/completion_request.h"

#include <gtest/gtest.h>

#include <string>

#include "http/malformed_requests.h"

namespace gogrid {
namespace {

std::string body_with(CompletionKind kind, const std::string& fields) {
  std::string body = kind == CompletionKind::kChat
                         ? R"({"model":"m","messages":[{"role":"user","content":"hi"}])"
                         : R"({"model":"m","prompt":"hi")";
  if (!fields.empty()) body += "," + fields;
  return body + "}";
}

CompletionRequest accepted(CompletionKind kind, const std::string& fields) {
  auto request = parse_completion_request(kind, body_with(kind, fields));
  if (!request) {
    ADD_FAILURE() << fields << ": " << request.error().message;
    return {};
  }
  return *std::move(request);
}
CompletionRequest chat(const std::string& fields) {
  return accepted(CompletionKind::kChat, fields);
}
CompletionRequest text(const std::string& fields) {
  return accepted(CompletionKind::kText, fields);
}

void expect_refused(CompletionKind kind, const std::string& body, const char* param) {
  SCOPED_TRACE(body.substr(0, 200));
  const auto request = parse_completion_request(kind, body);
  ASSERT_FALSE(request.has_value());
  EXPECT_EQ(request.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(request.error().param, param);
  EXPECT_FALSE(request.error().message.empty());
}

std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

TEST(CompletionRequest, RefusesMalformedBodiesAndNamesTheField) {
  for (const auto& sample : testing::kMalformedBodies)
    expect_refused(sample.kind, sample.body, sample.param);
}

TEST(CompletionRequest, RefusesMalformedFieldsAndNamesThem) {
  for (const auto& sample : testing::kMalformedFields)
    expect_refused(sample.kind, body_with(sample.kind, sample.body), sample.param);
}

TEST(CompletionRequest, RefusesMoreOfAnythingThanItsLimit) {
  std::string messages;
  for (int i = 0; i < 4097; ++i) messages += R"({"role":"user","content":""},)";
  messages.pop_back();
  expect_refused(CompletionKind::kChat, R"({"model":"m","messages":[)" + messages + "]}",
                 "messages");
  std::string prompts;
  for (int i = 0; i < 129; ++i) prompts += "\"\",";
  prompts.pop_back();
  expect_refused(CompletionKind::kText, R"({"model":"m","prompt":[)" + prompts + "]}", "prompt");
  std::string biases;
  for (int i = 0; i < 2049; ++i) biases += "\"" + std::to_string(i) + "\":0,";
  biases.pop_back();
  expect_refused(CompletionKind::kChat,
                 body_with(CompletionKind::kChat, "\"logit_bias\":{" + biases + "}"), "logit_bias");
  expect_refused(CompletionKind::kChat,
                 body_with(CompletionKind::kChat, "\"stop\":\"" + std::string(1025, 'x') + "\""),
                 "stop");
}

TEST(CompletionRequest, IsNestedUpTo64Deep) {
  chat("\"unknown\":" + nested(63));  // the object itself is one
  expect_refused(CompletionKind::kChat,
                 body_with(CompletionKind::kChat, "\"unknown\":" + nested(64)), "");
  expect_refused(CompletionKind::kChat, std::string(1'000'000, '['), "");
}

TEST(CompletionRequest, CountsNoBracketsInsideStrings) {
  chat(R"("unknown":"\")" + std::string(100, '[') + R"(\\")");
}

TEST(CompletionRequest, AnswersALongBrokenStringWithAShortError) {
  const auto request =
      parse_completion_request(CompletionKind::kChat, "\"" + std::string(1'000'000, 'x'));
  ASSERT_FALSE(request.has_value());
  EXPECT_LT(request.error().message.size(), 400U);
}

TEST(CompletionRequest, SaysRangesOfWholeNumbersWithoutFractions) {
  const auto request =
      parse_completion_request(CompletionKind::kChat, body_with(CompletionKind::kChat, R"("n":0)"));
  ASSERT_FALSE(request.has_value());
  EXPECT_EQ(request.error().message, "n: expected a whole number 1..128, got 0");
}

TEST(CompletionRequest, HasDefaults) {
  const CompletionRequest request = chat("");
  const CompletionQuestion& question = request.question;
  EXPECT_EQ(question.model, "m");
  EXPECT_EQ(question.sampling, SamplingSpec());
  EXPECT_EQ(question.n, 1U);
  EXPECT_FALSE(question.max_tokens.has_value());
  EXPECT_FALSE(question.seed.has_value());
  EXPECT_TRUE(question.stop.empty());
  EXPECT_FALSE(question.echo);
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.include_usage);
}

TEST(CompletionRequest, TakesNullForNotGiven) {
  const CompletionRequest request = chat(
      R"("temperature":null,"top_k":null,"n":null,"max_tokens":null,"seed":null,"stop":null,
         "logit_bias":null,"stream":null,"stream_options":null,"tools":null,"response_format":null)");
  EXPECT_EQ(request.question.sampling, SamplingSpec());
  EXPECT_EQ(request.question.n, 1U);
}

TEST(CompletionRequest, TakesEveryField) {
  const CompletionRequest request = chat(
      R"("temperature":0.5,"top_p":0.75,"min_p":0.25,"top_k":40,"frequency_penalty":-2,
         "presence_penalty":2,"repeat_penalty":1.5,"ignore_eos":true,"logprobs":true,
         "top_logprobs":20,"n":128,"max_tokens":16777216,"seed":7,"stop":["a","b"],
         "logit_bias":{"5":-100},"stream":true,"stream_options":{"include_usage":true})");
  SamplingSpec expected;
  expected.temperature = 0.5F;
  expected.top_p = 0.75F;
  expected.min_p = 0.25F;
  expected.top_k = 40;
  expected.frequency_penalty = -2;
  expected.presence_penalty = 2;
  expected.repeat_penalty = 1.5F;
  expected.ban_end_of_text = true;
  expected.top_logprobs = 20;
  expected.logit_bias = {{5, -100.0F}};
  const CompletionQuestion& question = request.question;
  EXPECT_EQ(question.sampling, expected);
  EXPECT_EQ(question.n, 128U);
  EXPECT_EQ(question.max_tokens, 16'777'216U);
  EXPECT_EQ(question.seed, 7U);
  EXPECT_EQ(question.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.include_usage);
}

TEST(CompletionRequest, TakesFieldsThatAskForNothing) {
  chat(R"("tools":[],"functions":[],"tool_choice":"none","response_format":{"type":"text"},
          "modalities":["text"],"user":"me","store":false,"stop":[],"logit_bias":{})");
  text(R"("suffix":"","best_of":1)");
}

TEST(CompletionRequest, JoinsTheTextPartsOfAMessage) {
  const auto request = parse_completion_request(
      CompletionKind::kChat, R"({"model":"m","messages":[{"role":"system","content":"be kind"},
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":[],"tool_calls":null}]})");
  ASSERT_TRUE(request.has_value()) << request.error().message;
  const auto& messages = std::get<std::vector<ChatMessage>>(request->question.prompt);
  ASSERT_EQ(messages.size(), 3U);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[0].content, "be kind");
  EXPECT_EQ(messages[1].content, "ab");
  EXPECT_EQ(messages[2].content, "");
}

TEST(CompletionRequest, TakesEveryShapeOfPrompt) {
  using Texts = std::vector<std::string>;
  using Lists = std::vector<std::vector<Token>>;
  EXPECT_EQ(std::get<Texts>(text(R"("prompt":"a")").question.prompt), Texts{"a"});
  EXPECT_EQ(std::get<Texts>(text(R"("prompt":["a",""])").question.prompt), (Texts{"a", ""}));
  EXPECT_EQ(std::get<Lists>(text(R"("prompt":[1,2147483647])").question.prompt),
            (Lists{{1, 2147483647}}));
  EXPECT_EQ(std::get<Lists>(text(R"("prompt":[[1,2],[],[3]])").question.prompt),
            (Lists{{1, 2}, {}, {3}}));
}

TEST(CompletionRequest, TakesOneStopOrMany) {
  EXPECT_EQ(chat(R"("stop":"\n")").question.stop, std::vector<std::string>{"\n"});
  EXPECT_EQ(chat(R"("stop":["a","\u00e9"])").question.stop,
            (std::vector<std::string>{"a", "\u00e9"}));
}

TEST(CompletionRequest, TakesSeedsOfAnySign) {
  EXPECT_EQ(chat(R"("seed":0)").question.seed, 0U);
  EXPECT_EQ(chat(R"("seed":-1)").question.seed, 0xFFFFFFFFFFFFFFFFU);
  EXPECT_EQ(chat(R"("seed":18446744073709551615)").question.seed, 0xFFFFFFFFFFFFFFFFU);
  EXPECT_EQ(chat(R"("seed":-9223372036854775808)").question.seed, 0x8000000000000000U);
}

TEST(CompletionRequest, TakesTopPZeroForTheMostLikelyTokenAlone) {
  for (const char* fields : {R"("top_p":0)", R"("top_p":0,"top_k":40)", R"("top_p":0,"top_k":0)",
                             R"("top_p":1e-60,"top_k":5)"}) {
    const SamplingSpec sampling = chat(fields).question.sampling;
    EXPECT_EQ(sampling.top_k, 1) << fields;
    EXPECT_TRUE(validate(sampling).has_value()) << fields;
  }
}

TEST(CompletionRequest, PrefersTheNewerNameOfMaxTokensForChats) {
  const char* both = R"("max_tokens":5,"max_completion_tokens":9)";
  EXPECT_EQ(chat(both).question.max_tokens, 9U);
  EXPECT_EQ(text(both).question.max_tokens, 5U);
}

TEST(CompletionRequest, TakesLogprobsAsEachRouteSpellsThem) {
  EXPECT_EQ(chat(R"("logprobs":true)").question.sampling.top_logprobs, 0);
  EXPECT_EQ(chat(R"("logprobs":true,"top_logprobs":3)").question.sampling.top_logprobs, 3);
  EXPECT_EQ(chat(R"("logprobs":false)").question.sampling.top_logprobs, -1);
  EXPECT_EQ(text(R"("logprobs":0)").question.sampling.top_logprobs, 0);
  EXPECT_EQ(text(R"("logprobs":5)").question.sampling.top_logprobs, 5);
}

}  // namespace
}  // namespace gogrid
