#include "model/chat_template.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

constexpr const char* kChatMl =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

ChatTemplate parse(std::string_view source) {
  auto parsed = ChatTemplate::parse(source, "<s>", "</s>");
  EXPECT_TRUE(parsed) << parsed.error().message;
  return *std::move(parsed);
}

TEST(ChatTemplate, RendersTheMessagesAndAsksForAnAnswer) {
  EXPECT_EQ(
      parse(kChatMl).render({{"system", "S"}, {"user", "Hi"}}),
      "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, AddsTheModelsOwnSystemPromptWhenItHasOne) {
  EXPECT_EQ(parse(kChatMl).render({{"user", "Hi"}}),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplate, ADeveloperIsASystemToTheModel) {
  const ChatTemplate chat = parse(kChatMl);
  EXPECT_EQ(chat.render({{"developer", "S"}, {"user", "Hi"}}),
            chat.render({{"system", "S"}, {"user", "Hi"}}).value());
}

TEST(ChatTemplate, ContentIsDataAndNeverTemplate) {
  const auto text = parse(kChatMl).render({{"user", "{{ 7 * 7 }} {% raw %}"}});
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("{{ 7 * 7 }} {% raw %}"), std::string::npos);
}

TEST(ChatTemplate, SpecialTextsAreGivenToTheTemplate) {
  EXPECT_EQ(
      parse("{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}").render({{"user", "x"}}),
      "<s>x</s>");
}

TEST(ChatTemplate, ARefusalOfTheTemplateIsTheCallersError) {
  const auto text =
      parse("{% if messages[0]['content'] == 'no' %}{{ raise_exception('never no') }}{% endif %}ok")
          .render({{"user", "no"}});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(text.error().param, "messages");
  EXPECT_NE(text.error().message.find("never no"), std::string::npos);
}

TEST(ChatTemplate, BrokenSourceIsUnsupportedWithItsReason) {
  for (const char* source : {"{% for %}", "{{ ", "{% if x %}", "{% endfor %}", "{{ 1 + }}"}) {
    const auto parsed = ChatTemplate::parse(source, "", "");
    ASSERT_FALSE(parsed) << source;
    EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported);
  }
}

TEST(ChatTemplate, DepthThatWouldEndTheProcessIsRefused) {
  const std::string brackets =
      "{{ " + std::string(100'000, '(') + "1" + std::string(100'000, ')') + " }}";
  std::string blocks;
  for (int i = 0; i < 20'000; ++i) blocks += "{%- if true %}";
  for (int i = 0; i < 20'000; ++i) blocks += "{% endif %}";
  for (const std::string& source : {brackets, blocks}) {
    const auto parsed = ChatTemplate::parse(source, "", "");
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(parsed.error().message.find("nesting"), std::string::npos);
  }
}

TEST(ChatTemplate, AnEndlessSourceIsRefusedByItsSize) {
  const auto parsed = ChatTemplate::parse(std::string(1 << 20, 'x'), "", "");
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find("512.0 KiB"), std::string::npos);
}

}  // namespace
}  // namespace gogrid
