#include "model/template_lexer.h"

#include <array>
#include <charconv>

#include "base/format.h"
#include "model/template_value.h"

namespace gogrid::jinja {
namespace {

// A name is hashed wherever it stands, and that is a step whatever its length.
constexpr std::size_t kMaxName = 255;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool continues_name(char c) { return starts_name(c) || is_digit(c); }

// Newlines as Unix writes them, the last one dropped.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

void append_utf8(std::string& out, std::uint32_t code) {
  const auto byte = [&](std::uint32_t value) { out += static_cast<char>(value); };
  if (code < 0x80) return byte(code);
  if (code < 0x800) {
    byte(0xC0 | (code >> 6));
  } else {
    if (code < 0x10000) {
      byte(0xE0 | (code >> 12));
    } else {
      byte(0xF0 | (code >> 18));
      byte(0x80 | ((code >> 12) & 0x3F));
    }
    byte(0x80 | ((code >> 6) & 0x3F));
  }
  byte(0x80 | (code & 0x3F));
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t tag = next_tag();
      add_text(source_.substr(at_, tag - at_), tag);
      move_to(tag);
      if (tag == source_.size()) break;
      if (looks_at("{#")) {
        skip_comment();
      } else if (looks_at("{{")) {
        tag_begin(TokenKind::kOutputBegin);
        inside("}}", TokenKind::kOutputEnd);
      } else if (!skip_raw()) {
        tag_begin(TokenKind::kBlockBegin);
        inside("%}", TokenKind::kBlockEnd);
      }
    }
    add(TokenKind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  bool looks_at(std::string_view text) const {
    return std::string_view(source_).substr(at_).starts_with(text);
  }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  void move_to(std::size_t to) {
    for (; at_ < to; ++at_) line_ += source_[at_] == '\n' ? 1 : 0;
  }
  void advance(std::size_t by) { move_to(std::min(at_ + by, source_.size())); }
  void skip_space() {
    while (at_ < source_.size() && is_space(source_[at_])) advance(1);
  }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  std::size_t next_tag() const {
    for (std::size_t i = source_.find('{', at_); i < source_.size(); i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() && std::string_view("{%#").contains(source_[i + 1])) return i;
    }
    return source_.size();
  }

  // Text up to the tag at `tag`, which may take spaces away from its end.
  void add_text(std::string text, std::size_t tag) {
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (tag < source_.size() && sign == '-') {
      while (!text.empty() && is_space(text.back())) text.pop_back();
    } else if (tag < source_.size() && sign != '+' && source_[tag + 1] != '{') {
      strip_line_start(text);
    }
    if (!text.empty()) add(TokenKind::kText, std::move(text));
  }
  // A block that stands alone on its line takes the spaces before it.
  void strip_line_start(std::string& text) const {
    const std::size_t newline = text.rfind('\n');
    const std::size_t line = newline == text.npos ? 0 : newline + 1;
    if (line == 0 && !at_line_start_) return;
    for (std::size_t i = line; i < text.size(); ++i) {
      if (!is_space(text[i])) return;
    }
    text.resize(line);
  }

  void tag_begin(TokenKind kind) {
    add(kind, {});
    advance(2);
    if (peek() == '-' || (peek() == '+' && kind == TokenKind::kBlockBegin)) advance(1);
  }

  // Goes past an end of a tag, and takes the space behind it that it takes. False when none is
  // here.
  bool tag_end(std::string_view end) {
    const bool minus = peek() == '-' && std::string_view(source_).substr(at_ + 1).starts_with(end);
    const bool plus = peek() == '+' && std::string_view(source_).substr(at_ + 1).starts_with(end);
    if (!minus && !plus && !looks_at(end)) return false;
    advance(end.size() + (minus || plus ? 1 : 0));
    const std::size_t before = at_;
    if (minus) {
      skip_space();
    } else if (!plus && end != "}}" && peek() == '\n') {
      advance(1);
    }
    at_line_start_ = at_ > before && source_[at_ - 1] == '\n';
    return true;
  }

  void skip_comment() {
    const std::uint32_t begin = line_;
    advance(2);
    const std::size_t end = source_.find("#}", at_);
    if (end == source_.npos) fail_at(begin, "a comment without its end");
    move_to(end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+') ? end - 1 : end);
    tag_end("#}");
  }

  // The block tag at `from` when it is just `word`: what is behind it; else npos.
  std::size_t bare_tag(std::size_t from, std::string_view word) const {
    std::size_t i = from + 2;
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) ++i;
    while (i < source_.size() && is_space(source_[i])) ++i;
    if (!std::string_view(source_).substr(i).starts_with(word)) return source_.npos;
    i += word.size();
    while (i < source_.size() && is_space(source_[i])) ++i;
    const std::string_view rest = std::string_view(source_).substr(i);
    return rest.starts_with("%}") || rest.starts_with("-%}") || rest.starts_with("+%}")
               ? i
               : source_.npos;
  }

  bool skip_raw() {
    const std::size_t begin = bare_tag(at_, "raw");
    if (begin == source_.npos) return false;
    const std::uint32_t line = line_;
    move_to(begin);
    // Unlike other blocks, `raw` keeps the newline behind it.
    if (peek() == '-') {
      tag_end("%}");
    } else {
      advance(peek() == '+' ? 3 : 2);
      at_line_start_ = false;
    }
    for (std::size_t i = source_.find("{%", at_); i != source_.npos;
         i = source_.find("{%", i + 2)) {
      const std::size_t end = bare_tag(i, "endraw");
      if (end == source_.npos) continue;
      add_text(source_.substr(at_, i - at_), i);
      move_to(end);
      tag_end("%}");
      return true;
    }
    fail_at(line, "'raw' without 'endraw'");
  }

  void inside(std::string_view end, TokenKind end_kind) {
    const std::uint32_t begin = line_;
    int open = 0;
    for (;;) {
      skip_space();
      if (at_ >= source_.size()) fail_at(begin, "a tag without its end");
      const std::uint32_t line = line_;
      if (open == 0 && tag_end(end)) {
        tokens_.push_back({end_kind, {}, line});
        return;
      }
      const char c = peek();
      if (starts_name(c)) {
        add_run(TokenKind::kName, continues_name);
      } else if (is_digit(c)) {
        add_number();
      } else if (c == '"' || c == '\'') {
        add_string();
      } else {
        open += c == '(' || c == '[' || c == '{' ? 1 : 0;
        open -= open > 0 && (c == ')' || c == ']' || c == '}') ? 1 : 0;
        add_operator();
      }
    }
  }

  template <class Belongs>
  void add_run(TokenKind kind, const Belongs& belongs) {
    std::size_t end = at_;
    while (end < source_.size() && belongs(source_[end])) ++end;
    if (end - at_ > kMaxName)
      fail_at(line_, format_text("a name of more than {} characters", kMaxName));
    add(kind, source_.substr(at_, end - at_));
    move_to(end);
  }

  void add_number() {
    std::size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || source_[end] == '_')) ++end;
    };
    const auto digit_at = [&](std::size_t i) { return i < source_.size() && is_digit(source_[i]); };
    digits();
    bool real = false;
    if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      real = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const std::size_t sign =
          end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+') ? 1 : 0;
      if (digit_at(end + 1 + sign)) {
        real = true;
        end += 1 + sign;
        digits();
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    add(real ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    move_to(end);
  }

  void add_string() {
    const std::uint32_t begin = line_;
    const char quote = peek();
    advance(1);
    std::string text;
    while (peek() != quote || at_ >= source_.size()) {
      if (at_ >= source_.size()) fail_at(begin, "a string without its end");
      if (peek() == '\\') {
        add_escape(text);
      } else {
        text += peek();
        advance(1);
      }
    }
    advance(1);
    tokens_.push_back({TokenKind::kString, std::move(text), begin});
  }

  void add_escape(std::string& text) {
    static constexpr std::string_view kLetters = "ntrbfav0\\'\"";
    static constexpr std::string_view kMeanings("\n\t\r\b\f\a\v\0\\'\"", 11);
    const char letter = peek(1);
    const std::size_t digits = letter == 'x' ? 2 : (letter == 'u' ? 4 : (letter == 'U' ? 8 : 0));
    if (digits > 0) {
      const std::string_view hex = std::string_view(source_).substr(at_ + 2).substr(0, digits);
      std::uint32_t code = 0;
      const auto parsed = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
      if (hex.size() < digits || parsed.ptr != hex.data() + digits || code > 0x10FFFF ||
          (code >= 0xD800 && code < 0xE000)) {
        fail_at(line_, "an escape that is no character");
      }
      append_utf8(text, code);
      advance(2 + digits);
      return;
    }
    const std::size_t known = kLetters.find(letter);
    if (known != kLetters.npos) {
      text += kMeanings[known];
    } else if (letter != '\n') {  // a newline behind a backslash is left out, as Python does
      text += '\\';
      text += letter;
    }
    advance(2);
  }

  void add_operator() {
    static constexpr std::array<std::string_view, 27> kOperators{
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]",
        "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";", "!"};
    for (const std::string_view known : kOperators) {
      if (!looks_at(known)) continue;
      add(TokenKind::kOperator, std::string(known));
      advance(known.size());
      return;
    }
    fail_at(line_, format_text("an unexpected character (byte {})",
                               static_cast<int>(static_cast<unsigned char>(peek()))));
  }

  const std::string source_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
  bool at_line_start_ = true;  // what comes next begins a line
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source) { return Lexer(source).run(); }

void fail_at(std::uint32_t line, const std::string& what) {
  throw LocatedError(format_text("{} in line {}", what, line));
}

}  // namespace gogrid::jinja
