#include "http/completion_response.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace gogrid {
namespace {

using Json = nlohmann::json;

const AnswerHead kChatHead{CompletionKind::kChat, "chatcmpl-1", "m", 1700000000};
const AnswerHead kTextHead{CompletionKind::kText, "cmpl-1", "m", 1700000000};

TokenEvent event(const std::string& bytes, float logprob) {
  return {{7, logprob, bytes}, {{7, logprob, bytes}, {8, -2.0F, "other"}}};
}

TEST(CompletionResponse, AChatIsAMessagePerChoiceAndUsage) {
  const Usage usage{.prompt_tokens = 10, .completion_tokens = 4, .cached_prompt_tokens = 6};
  const Json answer = Json::parse(whole_answer(
      kChatHead, {{"a", {}, FinishReason::kStop}, {"b", {}, FinishReason::kLength}}, usage, false));
  EXPECT_EQ(answer, Json::parse(R"({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "m",
    "choices": [
      {"index": 0, "message": {"role": "assistant", "content": "a", "refusal": null},
       "logprobs": null, "finish_reason": "stop"},
      {"index": 1, "message": {"role": "assistant", "content": "b", "refusal": null},
       "logprobs": null, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14,
              "prompt_tokens_details": {"cached_tokens": 6}}})"));
}

TEST(CompletionResponse, ATextCompletionIsTextPerChoice) {
  const Json answer =
      Json::parse(whole_answer(kTextHead, {{"a", {}, FinishReason::kLength}}, {}, false));
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["choices"], Json::parse(R"([
    {"index": 0, "text": "a", "logprobs": null, "finish_reason": "length"}])"));
}

TEST(CompletionResponse, LogprobsOfATextAreParallelArraysWithOffsets) {
  const std::vector<TokenEvent> tokens{event("ab", -0.5F), event("c", -1)};
  EXPECT_EQ(Json::parse(logprobs_json(CompletionKind::kText, tokens, 10)), Json::parse(R"({
    "tokens": ["ab", "c"], "token_logprobs": [-0.5, -1.0], "text_offset": [10, 12],
    "top_logprobs": [{"ab": -0.5, "other": -2.0}, {"c": -1.0, "other": -2.0}]})"));
}

TEST(CompletionResponse, TheChosenTokenIsAlwaysAmongTheTopOnesOfAText) {
  const std::vector<TokenEvent> tokens{{{7, -3.0F, "z"}, {{8, -0.1F, "a"}}}};
  EXPECT_EQ(Json::parse(logprobs_json(CompletionKind::kText, tokens, 0))["top_logprobs"][0],
            Json::parse(R"({"a": -0.10000000149011612, "z": -3.0})"));
}

TEST(CompletionResponse, PartsOfCharactersAreDifferentKeys) {
  const std::vector<TokenEvent> tokens{{{7, -1.0F, "\xc3"}, {{8, -2.0F, "\xa9\xff"}}}};
  const Json top = Json::parse(logprobs_json(CompletionKind::kText, tokens, 0))["top_logprobs"][0];
  EXPECT_EQ(top, Json::parse(R"({"bytes:\\xc3": -1.0, "bytes:\\xa9\\xff": -2.0})"));
}

TEST(CompletionResponse, ALogprobIsAlwaysANumber) {
  const float never = -std::numeric_limits<float>::infinity();
  const std::vector<TokenEvent> tokens{{{7, never, "z"}, {{8, std::nanf(""), "a"}}}};
  for (const CompletionKind kind : {CompletionKind::kChat, CompletionKind::kText}) {
    const std::string text = logprobs_json(kind, tokens, 0);
    EXPECT_EQ(text.find("inf"), std::string::npos);
    EXPECT_NE(text.find("-9999"), std::string::npos);
  }
  const Json chat = Json::parse(logprobs_json(CompletionKind::kChat, tokens, 0));
  EXPECT_EQ(chat["content"][0]["logprob"], -9999.0);
  EXPECT_EQ(chat["content"][0]["top_logprobs"][0]["logprob"], -9999.0);
}

TEST(CompletionResponse, AnErrorIsAnOpenAiError) {
  EXPECT_EQ(Json::parse(error_body({ErrorCode::kInvalidArgument, "n: too many", "n", {}})),
            Json::parse(R"({"error": {"message": "n: too many", "type": "invalid_request_error",
                                      "param": "n", "code": "invalid_argument"}})"));
  EXPECT_EQ(Json::parse(error_body({ErrorCode::kExhausted, "later", {}, {}}))["error"]["param"],
            nullptr);
}

}  // namespace
}  // namespace gogrid
