// What the template language makes of templates, beside what Jinja makes of them.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "model/chat_template.h"

namespace gogrid {
namespace {

TEST(TemplateConformance, EveryCaseGivesWhatJinjaGives) {
  std::ifstream file(GOGRID_SOURCE_DIR "/tests/model/template_cases.json");
  const auto cases = nlohmann::json::parse(file);
  ASSERT_GE(cases.size(), 60U);
  for (const auto& one : cases) {
    const auto source = one["template"].get<std::string>();
    const auto parsed = ChatTemplate::parse(source, "<s>", "</s>");
    ASSERT_TRUE(parsed) << source << "\n" << parsed.error().message;
    const auto text = parsed->render({{"system", "Be nice"}, {"user", "Hi"}});
    ASSERT_TRUE(text) << source << "\n" << text.error().message;
    EXPECT_EQ(*text, one["text"].get<std::string>()) << source;
  }
}

}  // namespace
}  // namespace gogrid
