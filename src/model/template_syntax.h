// A parsed chat template: what the parser makes and the interpreter walks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/template_value.h"

namespace gogrid::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct Expression {
  enum class Kind : std::uint8_t {
    kLiteral,
    kName,         // name
    kList,         // parts
    kMapping,      // parts: key, value, key, value, …
    kAttribute,    // parts[0] . name
    kSubscript,    // parts[0] [ parts[1] ]
    kSlice,        // parts[0] [ parts[1] : parts[2] : parts[3] ], null where absent
    kCall,         // parts[0] ( parts[1…], named )
    kFilter,       // parts[0] | name ( parts[1…], named )
    kTest,         // parts[0] is [not] name ( parts[1…] )
    kNot,          // parts[0]
    kNegate,       // parts[0]
    kBinary,       // parts[0] name parts[1]: + - * / // % ** ~
    kComparison,   // parts[0] operators[0] parts[1] operators[1] parts[2] …
    kAnd,          // parts[0], parts[1]
    kOr,           // parts[0], parts[1]
    kConditional,  // parts[0] if parts[1] else parts[2], null where absent
  };

  Kind kind = Kind::kLiteral;
  std::uint32_t line = 1;
  int depth = 1;         // 1 + that of the deepest part
  bool negated = false;  // kTest
  std::string name;
  Value literal;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> operators;
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind : std::uint8_t {
    kText,         // text
    kOutput,       // expressions[0]
    kIf,           // bodies[i] if expressions[i]; one body more: else
    kFor,          // names in expressions[0] if expressions[1] (null where absent); else: bodies[1]
    kSet,          // names = expressions[0]; "ns.x": names are "ns", "x" and `text` is "."
    kSetBlock,     // names[0] = bodies[0], through the filters around expressions[0]'s placeholder
    kMacro,        // text: its name; names: parameters; expressions: defaults, null where absent
    kFilterBlock,  // bodies[0] through expressions[0]
    kBody,         // bodies[0]: {% generation %}
    kBreak,
    kContinue,
  };

  Kind kind = Kind::kText;
  std::uint32_t line = 1;
  std::string text;
  std::vector<std::string> names;
  std::vector<ExpressionPtr> expressions;
  std::vector<Body> bodies;
};

// What filters of a block are applied to, as a name that no template can write.
inline constexpr std::string_view kBlockText = "<block>";

// Throws TemplateError with the line. Nesting is bounded.
Body parse_template(std::string_view source);

}  // namespace gogrid::jinja
