// Chat template source to tokens, with Jinja's rules for the space around tags as chat templates
// expect them: trim_blocks and lstrip_blocks on, the last newline of the source dropped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gogrid::jinja {

enum class TokenKind : std::uint8_t {
  kText,         // outside of tags; never empty
  kOutputBegin,  // {{
  kOutputEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,  // `text` is what it means, escapes resolved
  kInteger,
  kFloat,
  kOperator,  // + - / // * % ** ~ [ ] ( ) { } == != > >= < <= = . : | ,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  std::uint32_t line = 1;
};

// The last token is kEnd. Throws TemplateError with the line.
std::vector<Token> tokenize_template(std::string_view source);

// "… in line 12".
[[noreturn]] void fail_at(std::uint32_t line, const std::string& what);

}  // namespace gogrid::jinja
