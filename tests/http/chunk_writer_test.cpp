#include "http/chunk_writer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace gogrid {
namespace {

using Json = nlohmann::json;

const AnswerHead kChatHead{CompletionKind::kChat, "chatcmpl-1", "m", 1700000000};
const AnswerHead kTextHead{CompletionKind::kText, "cmpl-1", "m", 1700000000};

TokenEvent event(const std::string& bytes, float logprob) {
  return {{7, logprob, bytes}, {{7, logprob, bytes}, {8, -2.0F, "other"}}};
}

// The data of each event; fails on anything that is not one.
std::vector<std::string> events_of(std::string_view text) {
  std::vector<std::string> events;
  while (!text.empty()) {
    const auto end = text.find("\n\n");
    if (!text.starts_with("data: ") || end == std::string_view::npos) {
      ADD_FAILURE() << "no event: " << text;
      return events;
    }
    events.emplace_back(text.substr(6, end - 6));
    EXPECT_EQ(events.back().find('\n'), std::string::npos);
    text.remove_prefix(end + 2);
  }
  return events;
}

Json only_event(const std::string& text) {
  const auto events = events_of(text);
  EXPECT_EQ(events.size(), 1U) << text;
  return events.empty() ? Json() : Json::parse(events.front());
}

Json delta_event(ChunkWriter& writer, std::uint32_t choice, const Delta& delta) {
  std::string out;
  writer.delta(choice, delta, out);
  return only_event(out);
}

TEST(ChunkWriter, OnlyTheFirstEventOfAChoiceNamesTheRole) {
  ChunkWriter writer(kChatHead, false, false);
  EXPECT_EQ(delta_event(writer, 2, {"a", {}}), Json::parse(R"({
    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m",
    "choices": [{"index": 2, "delta": {"role": "assistant", "content": "a"}, "logprobs": null,
                 "finish_reason": null}]})"));
  EXPECT_EQ(delta_event(writer, 2, {"b", {}})["choices"][0]["delta"],
            Json::parse(R"({"content": "b"})"));
  EXPECT_EQ(delta_event(writer, 0, {"c", {}})["choices"][0]["delta"]["role"], "assistant");
}

TEST(ChunkWriter, ATextEventHasTextAndNoRole) {
  ChunkWriter writer(kTextHead, false, false);
  const Json chunk = delta_event(writer, 0, {"a", {}});
  EXPECT_EQ(chunk["object"], "text_completion");
  EXPECT_EQ(chunk["choices"], Json::parse(R"([
    {"index": 0, "text": "a", "logprobs": null, "finish_reason": null}])"));
}

TEST(ChunkWriter, AChoiceWithoutTextStillSaysWhoSpeaks) {
  ChunkWriter writer(kChatHead, false, false);
  std::string out;
  writer.finish(1, FinishReason::kStop, out);
  const auto events = events_of(out);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(Json::parse(events[0])["choices"][0]["delta"],
            Json::parse(R"({"role": "assistant", "content": ""})"));
  EXPECT_EQ(Json::parse(events[1])["choices"], Json::parse(R"([
    {"index": 1, "delta": {}, "logprobs": null, "finish_reason": "stop"}])"));
}

TEST(ChunkWriter, UsageComesLastAndIsNullBefore) {
  ChunkWriter writer(kChatHead, false, true);
  std::string out;
  writer.delta(0, {"a", {}}, out);
  writer.finish(0, FinishReason::kLength, out);
  writer.end({.prompt_tokens = 3, .completion_tokens = 4, .cached_prompt_tokens = 1}, out);
  const auto events = events_of(out);
  ASSERT_EQ(events.size(), 4U);
  EXPECT_TRUE(Json::parse(events[0]).at("usage").is_null());
  EXPECT_TRUE(Json::parse(events[1]).at("usage").is_null());
  EXPECT_EQ(Json::parse(events[1])["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(Json::parse(events[2])["choices"], Json::array());
  EXPECT_EQ(Json::parse(events[2])["usage"]["total_tokens"], 7);
  EXPECT_EQ(events[3], "[DONE]");
}

TEST(ChunkWriter, WithoutUsageTheEndIsDoneAlone) {
  ChunkWriter writer(kTextHead, false, false);
  EXPECT_FALSE(delta_event(writer, 0, {"a", {}}).contains("usage"));
  std::string out;
  writer.end({}, out);
  EXPECT_EQ(out, "data: [DONE]\n\n");
}

TEST(ChunkWriter, AnErrorIsAnEventOfItsOwn) {
  std::string out;
  ChunkWriter::error({ErrorCode::kUnavailable, "the stage is gone", {}, {}}, out);
  EXPECT_EQ(only_event(out)["error"]["message"], "the stage is gone");
}

TEST(ChunkWriter, ChatLogprobsCarryBytes) {
  ChunkWriter writer(kChatHead, true, false);
  const Json chunk = delta_event(writer, 0, {"", {event("\xc3", -0.5F)}});
  const Json& entry = chunk["choices"][0]["logprobs"]["content"][0];
  EXPECT_EQ(entry["token"], "\u{fffd}");  // half a character is no JSON text; its bytes are exact
  EXPECT_EQ(entry["bytes"], Json::array({0xc3}));
  EXPECT_EQ(entry["logprob"], -0.5);
  EXPECT_EQ(entry["top_logprobs"].size(), 2U);
  EXPECT_EQ(entry["top_logprobs"][1]["token"], "other");
}

TEST(ChunkWriter, TextOffsetsCountTheCharactersOfAllTokensBefore) {
  ChunkWriter writer(kTextHead, true, false);
  delta_event(writer, 0, {"", {event("\xc3", -1)}});  // held back: half of "é"
  const Json next = delta_event(writer, 0, {"éb", {event("\xa9", -1), event("b", -1)}});
  EXPECT_EQ(next["choices"][0]["logprobs"]["text_offset"], Json::array({1, 1}));
  EXPECT_EQ(
      delta_event(writer, 1, {"x", {event("x", -1)}})["choices"][0]["logprobs"]["text_offset"],
      Json::array({0}));
}

TEST(ChunkWriter, HostileTextStaysInsideItsString) {
  const std::string hostile = "\"}\n\ndata: [DONE]\n\n\xff";
  ChunkWriter writer(kChatHead, false, false);
  EXPECT_EQ(delta_event(writer, 0, {hostile, {}})["choices"][0]["delta"]["content"],
            "\"}\n\ndata: [DONE]\n\n\u{fffd}");
  ChunkWriter named({CompletionKind::kText, "x\"", "a\"b\n", 1}, false, false);
  EXPECT_EQ(delta_event(named, 0, {"", {}})["model"], "a\"b\n");
}

}  // namespace
}  // namespace gogrid
