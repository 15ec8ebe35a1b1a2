#include "model/chat_template.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

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

TEST(ChatTemplate, NamespacesThatHoldEachOtherAreTakenApart) {
  // The leak checker sees the rest.
  EXPECT_EQ(parse("{% set a = namespace() %}{% set b = namespace(x=a) %}{% set a.x = [b] %}"
                  "{% for i in range(999) %}{% set a.x = namespace(y=a.x) %}{% endfor %}"
                  "{{ a == a }}{{ a == b }}")
                .render({{"user", "hi"}}),
            "TrueFalse");
}

TEST(ChatTemplate, AnErrorSaysInWhichLine) {
  const auto parsed = ChatTemplate::parse("a\nb\n{% bad %}", "", "");
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find("in line 3"), std::string::npos);
  const auto text = parse("\n\n{% for m in messages %}\n{{ m.content + 1 }}{% endfor %}")
                        .render({{"user", "hi"}});
  ASSERT_FALSE(text);
  EXPECT_NE(text.error().message.find("'+' of string and integer in line 4"), std::string::npos);
}

TEST(ChatTemplate, AModelThatKnowsNoSystemGetsItsWordsFromTheUser) {
  const ChatTemplate silent = parse(
      "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endif %}"
      "{% endfor %}");
  EXPECT_EQ(silent.render({{"system", "Be brief."}, {"user", "Hi"}}), "<user>Be brief.\nHi");
  EXPECT_EQ(silent.render({{"user", "a"}, {"assistant", "b"}, {"system", "S"}, {"user", "c"}}),
            "<user>a<assistant>b<user>S\nc");
  const ChatTemplate strict = parse(
      "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
      "{% for m in messages %}{{ m.content }};{% endfor %}");
  EXPECT_EQ(strict.render({{"system", "S"}, {"user", "Hi"}}), "S\nHi;");
}

TEST(ChatTemplate, AModelThatWantsContentInPartsGetsIt) {
  EXPECT_EQ(parse("{% for m in messages %}{% for part in m.content %}{{ part.text }}"
                  "{% endfor %};{% endfor %}")
                .render({{"user", "Hi"}, {"assistant", "Ho"}}),
            "Hi;Ho;");
}

TEST(ChatTemplate, ALongConversationIsNoHostileOne) {
  std::vector<ChatMessage> messages;
  for (int i = 0; i < 2000; ++i) {
    messages.push_back({"user", std::string(500, 'u')});
    messages.push_back({"assistant", std::string(500, 'a')});
  }
  messages.push_back({"user", std::string(4 << 20, 'x')});
  const auto text = parse(kChatMl).render(messages);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_GT(text->size(), std::size_t{6} << 20);
}

TEST(ChatTemplate, AnEndlessSourceIsRefusedByItsSize) {
  const auto parsed = ChatTemplate::parse(std::string(1 << 20, 'x'), "", "");
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find("512.0 KiB"), std::string::npos);
}

}  // namespace
}  // namespace gogrid
