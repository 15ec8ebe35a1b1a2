#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "base/format.h"
#include "model/template_lexer.h"
#include "model/template_syntax.h"

namespace gogrid::jinja {
namespace {

using Kind = Expression::Kind;

// The parser, the interpreter and the destructors recurse: a file must not choose how deep.
// Blocks and brackets in each other; published templates stay below 40.
constexpr int kMaxNesting = 200;
// Operators in a row nest as well: "a + b + c" is (a + b) + c.
constexpr int kMaxDepth = 500;
// Of a call, and of what a macro takes or a loop unpacks.
constexpr std::size_t kMaxArguments = 100;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Body run() {
    Body body = parse_body({});
    if (token().kind != TokenKind::kEnd) fail_here("an end of the template");
    return body;
  }

 private:
  // Counts what is open while it lives.
  class Nested {
   public:
    explicit Nested(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxNesting)
        fail_at(parser_.token().line, format_text("more than {} levels of nesting", kMaxNesting));
    }
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  // ---- tokens

  const Token& token(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  bool is_operator(std::string_view text, std::size_t ahead = 0) const {
    return token(ahead).kind == TokenKind::kOperator && token(ahead).text == text;
  }
  bool is_name(std::string_view text, std::size_t ahead = 0) const {
    return token(ahead).kind == TokenKind::kName && token(ahead).text == text;
  }
  bool take_operator(std::string_view text) {
    if (!is_operator(text)) return false;
    ++at_;
    return true;
  }
  bool take_name(std::string_view text) {
    if (!is_name(text)) return false;
    ++at_;
    return true;
  }
  [[noreturn]] void fail_here(const std::string& expected) const {
    const Token& here = token();
    const char* end = here.kind == TokenKind::kEnd ? "the end" : "a tag's border";
    fail_at(here.line, format_text("{} expected: {}", expected,
                                   here.text.empty() ? std::string(end)
                                                     : "'" + here.text.substr(0, 40) + "'"));
  }
  void expect_operator(std::string_view text) {
    if (!take_operator(text)) fail_here(format_text("'{}'", text));
  }
  void expect_keyword(std::string_view text) {
    if (!take_name(text)) fail_here(format_text("'{}'", text));
  }
  void expect_block_end() {
    if (token().kind != TokenKind::kBlockEnd) fail_here("'%}'");
    ++at_;
  }
  std::string expect_name() {
    if (token().kind != TokenKind::kName) fail_here("a name");
    return tokens_[at_++].text;
  }

  // ---- statements

  // Up to a block that begins with one of `ends` (not taken), or the end of the template.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Nested nested(*this);
    Body body;
    for (;;) {
      const Token& here = token();
      if (here.kind == TokenKind::kEnd) {
        if (ends.size() > 0) fail_here(format_text("'{}'", *(ends.end() - 1)));
        return body;
      }
      if (here.kind == TokenKind::kText) {
        Statement text;
        text.line = here.line;
        text.text = here.text;
        body.push_back(std::move(text));
        ++at_;
      } else if (here.kind == TokenKind::kOutputBegin) {
        body.push_back(parse_output());
      } else {
        const bool ended =
            std::ranges::any_of(ends, [&](std::string_view end) { return is_name(end, 1); });
        if (ended) return body;
        body.push_back(parse_block());
      }
    }
  }

  Statement parse_output() {
    Statement output = statement(Statement::Kind::kOutput);
    ++at_;
    output.expressions.push_back(parse_tuple());
    if (token().kind != TokenKind::kOutputEnd) fail_here("'}}'");
    ++at_;
    return output;
  }

  Statement statement(Statement::Kind kind) const {
    Statement made;
    made.kind = kind;
    made.line = token().line;
    return made;
  }

  Statement parse_block() {
    ++at_;  // {%
    const Token& here = token();
    const std::string word = here.kind == TokenKind::kName ? here.text : std::string();
    if (word == "if") return parse_if();
    if (word == "for") return parse_for();
    if (word == "set") return parse_set();
    if (word == "macro") return parse_macro();
    if (word == "filter") return parse_filter_block();
    if (word == "generation") return parse_generation();
    if (word == "break" || word == "continue") {
      Statement made =
          statement(word == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue);
      if (loops_ == 0) fail_here(format_text("'{}' in a loop", word));
      ++at_;
      expect_block_end();
      return made;
    }
    fail_here("a statement that chat templates know");
  }

  // Goes past "{% word %}".
  void end_block(std::string_view word) {
    ++at_;
    expect_keyword(word);
    expect_block_end();
  }

  Statement parse_if() {
    Statement made = statement(Statement::Kind::kIf);
    do {
      ++at_;  // if, elif
      made.expressions.push_back(parse_expression());
      expect_block_end();
      made.bodies.push_back(parse_body({"elif", "else", "endif"}));
      ++at_;
    } while (is_name("elif"));
    if (take_name("else")) {
      expect_block_end();
      made.bodies.push_back(parse_body({"endif"}));
      ++at_;
    }
    expect_keyword("endif");
    expect_block_end();
    return made;
  }

  Statement parse_for() {
    Statement made = statement(Statement::Kind::kFor);
    ++at_;
    made.names = parse_targets();
    expect_keyword("in");
    made.expressions.push_back(parse_tuple(false));
    made.expressions.push_back(take_name("if") ? parse_expression() : nullptr);
    if (is_name("recursive")) fail_here("a loop that is not recursive");
    expect_block_end();
    ++loops_;
    made.bodies.push_back(parse_body({"else", "endfor"}));
    --loops_;
    if (is_name("else", 1)) {
      end_block("else");
      made.bodies.push_back(parse_body({"endfor"}));
    }
    end_block("endfor");
    return made;
  }

  void add_name(std::vector<std::string>& names) {
    if (names.size() >= kMaxArguments) fail_here(format_text("at most {} names", kMaxArguments));
    names.push_back(expect_name());
  }
  std::vector<std::string> parse_targets() {
    const bool parenthesized = take_operator("(");
    std::vector<std::string> names;
    add_name(names);
    while (take_operator(",")) add_name(names);
    if (parenthesized) expect_operator(")");
    return names;
  }

  Statement parse_set() {
    Statement made = statement(Statement::Kind::kSet);
    ++at_;
    if (is_operator(".", 1)) {
      made.text = ".";
      made.names.push_back(expect_name());
      expect_operator(".");
      made.names.push_back(expect_name());
    } else {
      made.names = parse_targets();
    }
    if (take_operator("=")) {
      made.expressions.push_back(parse_tuple());
      expect_block_end();
      return made;
    }
    if (made.names.size() != 1) fail_here("'='");
    made.kind = Statement::Kind::kSetBlock;
    made.expressions.push_back(parse_filters(block_text()));
    expect_block_end();
    made.bodies.push_back(parse_body({"endset"}));
    end_block("endset");
    return made;
  }

  Statement parse_macro() {
    Statement made = statement(Statement::Kind::kMacro);
    ++at_;
    made.text = expect_name();
    expect_operator("(");
    while (!take_operator(")")) {
      if (!made.names.empty()) expect_operator(",");
      if (!made.names.empty() && take_operator(")")) break;
      add_name(made.names);
      made.expressions.push_back(take_operator("=") ? parse_expression() : nullptr);
    }
    expect_block_end();
    const int loops = std::exchange(loops_, 0);
    made.bodies.push_back(parse_body({"endmacro"}));
    loops_ = loops;
    end_block("endmacro");
    return made;
  }

  Statement parse_filter_block() {
    Statement made = statement(Statement::Kind::kFilterBlock);
    ++at_;
    made.expressions.push_back(parse_filter(block_text()));
    made.expressions[0] = parse_filters(std::move(made.expressions[0]));
    expect_block_end();
    made.bodies.push_back(parse_body({"endfilter"}));
    end_block("endfilter");
    return made;
  }

  // What trainers mask; it changes no text.
  Statement parse_generation() {
    Statement made = statement(Statement::Kind::kBody);
    ++at_;
    expect_block_end();
    made.bodies.push_back(parse_body({"endgeneration"}));
    end_block("endgeneration");
    return made;
  }

  // ---- expressions, loosest first

  std::unique_ptr<Expression> make(Kind kind, std::string name = {}) const {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->line = token().line;
    made->name = std::move(name);
    return made;
  }
  ExpressionPtr block_text() const { return make(Kind::kName, std::string(kBlockText)); }

  static ExpressionPtr finish(std::unique_ptr<Expression> made) {
    int deepest = 0;
    for (const auto& part : made->parts) deepest = std::max(deepest, part ? part->depth : 0);
    for (const auto& [_, part] : made->named) deepest = std::max(deepest, part->depth);
    made->depth = deepest + 1;
    if (made->depth > kMaxDepth)
      fail_at(made->line, format_text("more than {} operators in a row", kMaxDepth));
    return made;
  }
  template <class... Parts>
  ExpressionPtr join(Kind kind, std::string name, Parts... parts) const {
    auto made = make(kind, std::move(name));
    (made->parts.push_back(std::move(parts)), ...);
    return finish(std::move(made));
  }

  // "a, b" is a list, as Python's tuples are. `with_condition`: "x if y" may stand here.
  ExpressionPtr parse_tuple(bool with_condition = true) {
    auto part = [&] { return with_condition ? parse_expression() : parse_or(); };
    const Nested nested(*this);
    ExpressionPtr first = part();
    if (!is_operator(",")) return first;
    auto made = make(Kind::kList);
    made->parts.push_back(std::move(first));
    while (take_operator(",")) {
      if (token().kind == TokenKind::kOutputEnd || token().kind == TokenKind::kBlockEnd) break;
      made->parts.push_back(part());
    }
    return finish(std::move(made));
  }

  ExpressionPtr parse_expression() {
    const Nested nested(*this);
    ExpressionPtr value = parse_or();
    while (take_name("if")) {
      ExpressionPtr condition = parse_or();
      ExpressionPtr otherwise = take_name("else") ? parse_expression() : nullptr;
      value = join(Kind::kConditional, {}, std::move(value), std::move(condition),
                   std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr parse_or() {
    ExpressionPtr left = parse_and();
    while (take_name("or")) left = join(Kind::kOr, {}, std::move(left), parse_and());
    return left;
  }
  ExpressionPtr parse_and() {
    ExpressionPtr left = parse_not();
    while (take_name("and")) left = join(Kind::kAnd, {}, std::move(left), parse_not());
    return left;
  }
  ExpressionPtr parse_not() {
    if (!is_name("not") || is_name("in", 1)) return parse_comparison();
    const Nested nested(*this);
    ++at_;
    return join(Kind::kNot, {}, parse_not());
  }

  ExpressionPtr parse_comparison() {
    ExpressionPtr first = parse_sum();
    std::string found = take_comparison();
    if (found.empty()) return first;
    auto made = make(Kind::kComparison);
    made->parts.push_back(std::move(first));
    while (!found.empty()) {
      made->operators.push_back(std::move(found));
      made->parts.push_back(parse_sum());
      found = take_comparison();
    }
    return finish(std::move(made));
  }
  std::string take_comparison() {
    for (const std::string_view known : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (take_operator(known)) return std::string(known);
    }
    if (take_name("in")) return "in";
    if (is_name("not") && is_name("in", 1)) {
      at_ += 2;
      return "not in";
    }
    return {};
  }

  ExpressionPtr parse_sum() {
    ExpressionPtr left = parse_concatenation();
    for (;;) {
      if (take_operator("+")) {
        left = join(Kind::kBinary, "+", std::move(left), parse_concatenation());
      } else if (take_operator("-")) {
        left = join(Kind::kBinary, "-", std::move(left), parse_concatenation());
      } else {
        return left;
      }
    }
  }
  ExpressionPtr parse_concatenation() {
    ExpressionPtr left = parse_product();
    while (take_operator("~")) left = join(Kind::kBinary, "~", std::move(left), parse_product());
    return left;
  }
  ExpressionPtr parse_product() {
    ExpressionPtr left = parse_power();
    for (;;) {
      const std::string name = token().text;
      if (!is_operator("*") && !is_operator("/") && !is_operator("//") && !is_operator("%"))
        return left;
      ++at_;
      left = join(Kind::kBinary, name, std::move(left), parse_power());
    }
  }
  ExpressionPtr parse_power() {
    ExpressionPtr left = parse_unary(true);
    while (take_operator("**"))
      left = join(Kind::kBinary, "**", std::move(left), parse_unary(true));
    return left;
  }

  ExpressionPtr parse_unary(bool with_filters) {
    if (is_operator("-") || is_operator("+")) {
      const Nested nested(*this);
      const bool minus = tokens_[at_++].text == "-";
      ExpressionPtr operand = parse_unary(false);
      if (minus) operand = join(Kind::kNegate, {}, std::move(operand));
      return with_filters ? parse_filters(std::move(operand)) : std::move(operand);
    }
    ExpressionPtr value = parse_postfix(parse_primary());
    return with_filters ? parse_filters(std::move(value)) : std::move(value);
  }

  ExpressionPtr parse_primary() {
    const Nested nested(*this);
    const Token& here = token();
    switch (here.kind) {
      case TokenKind::kName:
        return parse_word();
      case TokenKind::kString:
        return parse_string();
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return parse_number();
      default:
        break;
    }
    if (is_operator("(")) return parse_parentheses();
    if (is_operator("[")) return parse_list();
    if (is_operator("{")) return parse_mapping();
    fail_here("an expression");
  }

  ExpressionPtr parse_word() {
    const std::string word = token().text;
    auto made = make(Kind::kLiteral);
    ++at_;
    if (word == "true" || word == "True") {
      made->literal = true;
    } else if (word == "false" || word == "False") {
      made->literal = false;
    } else if (word == "none" || word == "None") {
      made->literal = None{};
    } else {
      made->kind = Kind::kName;
      made->name = word;
    }
    return finish(std::move(made));
  }

  ExpressionPtr parse_string() {
    auto made = make(Kind::kLiteral);
    std::string text;
    while (token().kind == TokenKind::kString) text += tokens_[at_++].text;
    made->literal = std::make_shared<const std::string>(std::move(text));
    return finish(std::move(made));
  }

  ExpressionPtr parse_number() {
    auto made = make(Kind::kLiteral);
    const std::string& text = token().text;
    const char* end = text.data() + text.size();
    std::from_chars_result parsed{};
    if (token().kind == TokenKind::kInteger) {
      std::int64_t number = 0;
      parsed = std::from_chars(text.data(), end, number);
      made->literal = number;
    } else {
      double number = 0;
      parsed = std::from_chars(text.data(), end, number);
      made->literal = number;
    }
    if (parsed.ec != std::errc() || parsed.ptr != end) fail_here("a number that fits");
    ++at_;
    return finish(std::move(made));
  }

  ExpressionPtr parse_parentheses() {
    ++at_;
    if (take_operator(")")) return make(Kind::kList);
    ExpressionPtr first = parse_expression();
    if (!is_operator(",")) {
      expect_operator(")");
      return first;
    }
    auto made = make(Kind::kList);
    made->parts.push_back(std::move(first));
    while (take_operator(",") && !is_operator(")")) made->parts.push_back(parse_expression());
    expect_operator(")");
    return finish(std::move(made));
  }

  ExpressionPtr parse_list() {
    auto made = make(Kind::kList);
    ++at_;
    while (!take_operator("]")) {
      if (!made->parts.empty()) expect_operator(",");
      if (!made->parts.empty() && take_operator("]")) break;
      made->parts.push_back(parse_expression());
    }
    return finish(std::move(made));
  }

  ExpressionPtr parse_mapping() {
    auto made = make(Kind::kMapping);
    ++at_;
    while (!take_operator("}")) {
      if (!made->parts.empty()) expect_operator(",");
      if (!made->parts.empty() && take_operator("}")) break;
      made->parts.push_back(parse_expression());
      expect_operator(":");
      made->parts.push_back(parse_expression());
    }
    return finish(std::move(made));
  }

  ExpressionPtr parse_postfix(ExpressionPtr value) {
    for (;;) {
      if (take_operator(".")) {
        if (token().kind == TokenKind::kInteger) {
          ExpressionPtr index = parse_number();
          value = join(Kind::kSubscript, {}, std::move(value), std::move(index));
        } else {
          value = join(Kind::kAttribute, expect_name(), std::move(value));
        }
      } else if (take_operator("[")) {
        value = parse_subscript(std::move(value));
      } else if (is_operator("(")) {
        value = parse_call(std::move(value), Kind::kCall, {});
      } else {
        return value;
      }
    }
  }

  ExpressionPtr parse_subscript(ExpressionPtr value) {
    auto bound = [&]() -> ExpressionPtr {
      return is_operator(":") || is_operator("]") ? nullptr : parse_expression();
    };
    ExpressionPtr first = bound();
    if (take_operator("]")) {
      if (first == nullptr) fail_here("an index");
      return join(Kind::kSubscript, {}, std::move(value), std::move(first));
    }
    expect_operator(":");
    ExpressionPtr last = bound();
    ExpressionPtr step = take_operator(":") ? bound() : nullptr;
    expect_operator("]");
    return join(Kind::kSlice, {}, std::move(value), std::move(first), std::move(last),
                std::move(step));
  }

  // "( a, b, c=d )" behind what is called, filtered or tested.
  ExpressionPtr parse_call(ExpressionPtr subject, Kind kind, std::string name) {
    auto made = make(kind, std::move(name));
    made->parts.push_back(std::move(subject));
    if (!take_operator("(")) return finish(std::move(made));
    bool first = true;
    while (!take_operator(")")) {
      if (!std::exchange(first, false)) expect_operator(",");
      if (take_operator(")")) break;
      // `map` hands its arguments on, to `map` again if need be: their number is a depth.
      if (made->parts.size() + made->named.size() > kMaxArguments)
        fail_here(format_text("at most {} arguments", kMaxArguments));
      if (token().kind == TokenKind::kName && is_operator("=", 1)) {
        std::string key = expect_name();
        ++at_;
        made->named.emplace_back(std::move(key), parse_expression());
      } else {
        if (!made->named.empty()) fail_here("a named argument");
        made->parts.push_back(parse_expression());
      }
    }
    return finish(std::move(made));
  }

  ExpressionPtr parse_filters(ExpressionPtr value) {
    for (;;) {
      if (take_operator("|")) {
        value = parse_filter(std::move(value));
      } else if (is_name("is")) {
        value = parse_test(std::move(value));
      } else if (is_operator("(")) {
        value = parse_call(std::move(value), Kind::kCall, {});
      } else {
        return value;
      }
    }
  }
  ExpressionPtr parse_filter(ExpressionPtr value) {
    std::string name = expect_name();
    return parse_call(std::move(value), Kind::kFilter, std::move(name));
  }

  ExpressionPtr parse_test(ExpressionPtr value) {
    ++at_;  // is
    const bool negated = take_name("not");
    auto made = make(Kind::kTest);
    made->negated = negated;
    made->name = expect_name();
    made->parts.push_back(std::move(value));
    if (take_operator("(")) {
      while (!take_operator(")")) {
        if (made->parts.size() > 1) expect_operator(",");
        if (made->parts.size() > kMaxArguments)
          fail_here(format_text("at most {} arguments", kMaxArguments));
        made->parts.push_back(parse_expression());
      }
    } else if (begins_argument()) {  // "x is divisibleby 3"
      made->parts.push_back(parse_postfix(parse_primary()));
    }
    return finish(std::move(made));
  }
  bool begins_argument() const {
    const Token& here = token();
    if (here.kind == TokenKind::kString || here.kind == TokenKind::kInteger ||
        here.kind == TokenKind::kFloat || is_operator("[") || is_operator("{")) {
      return true;
    }
    return here.kind == TokenKind::kName && !is_name("else") && !is_name("or") && !is_name("and") &&
           !is_name("if") && !is_name("is") && !is_name("in") && !is_name("not");
  }

  const std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(tokenize_template(source)).run(); }

}  // namespace gogrid::jinja
