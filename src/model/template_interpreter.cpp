#include "model/template_interpreter.h"

#include <algorithm>
#include <unordered_map>

#include "base/format.h"
#include "model/template_builtins.h"
#include "model/template_lexer.h"

namespace gogrid::jinja {
namespace {

// Expressions, blocks and macro calls in each other while rendering; bounds the stack.
constexpr int kMaxActive = 1000;
constexpr std::uint64_t kVariableBytes = 96;

struct Scope {
  const Scope* outer = nullptr;
  std::unordered_map<std::string_view, Value> variables;  // names live in the syntax tree
};

enum class Flow : std::uint8_t { kNext, kBreak, kContinue };

class Interpreter {
 public:
  explicit Interpreter(Budget& budget) : budget_(budget) {}
  // Namespaces may hold each other: taken apart one by one.
  ~Interpreter() {
    for (const Namespace& space : namespaces_) {
      const auto entries = std::move(space->entries);
      space->entries.clear();
    }
  }
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  std::string run(const Body& body, const std::vector<Entry>& variables) {
    for (const Entry& entry : variables) globals_.variables[entry.name] = entry.value;
    std::string out;
    run_body(body, globals_, out);
    return out;
  }

 private:
  class Active {
   public:
    Active(Interpreter& interpreter, std::uint32_t line) : interpreter_(interpreter) {
      interpreter_.budget_.spend_steps();
      if (++interpreter_.active_ > kMaxActive) {
        --interpreter_.active_;
        fail_at(line, "recursion that does not end");
      }
    }
    ~Active() { --interpreter_.active_; }
    Active(const Active&) = delete;
    Active& operator=(const Active&) = delete;

   private:
    Interpreter& interpreter_;
  };

  void write(std::string& out, std::string_view text) {
    budget_.spend_bytes(text.size());
    out += text;
  }
  void write(std::string& out, const Value& value) {
    std::string storage;
    write(out, view_text(value, storage, budget_));
  }

  // Names live as long as their scope, and scopes in each other at once.
  void set(Scope& scope, std::string_view name, Value value) {
    budget_.spend_steps();
    const auto [place, is_new] = scope.variables.insert_or_assign(name, std::move(value));
    if (is_new) budget_.spend_bytes(kVariableBytes);
  }

  // ---- statements

  Flow run_body(const Body& body, Scope& scope, std::string& out) {
    for (const Statement& statement : body) {
      const Flow flow = run_statement(statement, scope, out);
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow run_statement(const Statement& statement, Scope& scope, std::string& out) {
    const Active active(*this, statement.line);
    using Kind = Statement::Kind;
    switch (statement.kind) {
      case Kind::kText:
        write(out, statement.text);
        return Flow::kNext;
      case Kind::kOutput:
        write(out, evaluate(*statement.expressions[0], scope));
        return Flow::kNext;
      case Kind::kIf:
        return run_if(statement, scope, out);
      case Kind::kFor:
        run_for(statement, scope, out);
        return Flow::kNext;
      case Kind::kSet:
        run_set(statement, scope);
        return Flow::kNext;
      case Kind::kSetBlock:
        set(scope, statement.names[0], filtered_body(statement, scope));
        return Flow::kNext;
      case Kind::kMacro:
        set(scope, statement.text, macro_of(statement));
        return Flow::kNext;
      case Kind::kFilterBlock:
        write(out, filtered_body(statement, scope));
        return Flow::kNext;
      case Kind::kBody:
        return run_body(statement.bodies[0], scope, out);
      case Kind::kBreak:
        return Flow::kBreak;
      case Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNext;
  }

  Flow run_if(const Statement& statement, Scope& scope, std::string& out) {
    for (std::size_t i = 0; i < statement.bodies.size(); ++i) {
      const bool is_else = i == statement.expressions.size();
      if (is_else || truthy(evaluate(*statement.expressions[i], scope)))
        return run_body(statement.bodies[i], scope, out);
    }
    return Flow::kNext;
  }

  void run_for(const Statement& statement, Scope& scope, std::string& out) {
    const Value items = items_to_visit(statement, scope);
    const auto list = std::get<List>(items);
    if (list->items.empty()) {
      if (statement.bodies.size() > 1) run_body(statement.bodies[1], scope, out);
      return;
    }
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      budget_.spend_steps(4);
      Scope round{&scope, {}};
      assign(statement, list->items[i], round);
      round.variables["loop"] = std::make_shared<const LoopValue>(list, i);
      if (run_body(statement.bodies[0], round, out) == Flow::kBreak) return;
    }
  }

  Value items_to_visit(const Statement& statement, Scope& scope) {
    const Value whole = evaluate(*statement.expressions[0], scope);
    std::vector<Value> items = at(statement.line, [&] { return iterate(whole, budget_); });
    if (const auto& condition = statement.expressions[1]; condition != nullptr) {
      std::vector<Value> kept;
      for (Value& item : items) {
        Scope round{&scope, {}};
        assign(statement, item, round);
        if (truthy(evaluate(*condition, round))) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    return make_list(std::move(items), budget_);
  }

  void assign(const Statement& statement, const Value& value, Scope& scope) {
    if (statement.names.size() == 1) {
      set(scope, statement.names[0], value);
      return;
    }
    const auto* items = items_of(value);
    if (items == nullptr || items->size() != statement.names.size()) {
      fail_at(statement.line,
              format_text("{} values to unpack expected: {}", statement.names.size(),
                          items == nullptr ? std::string(type_name(value))
                                           : std::to_string(items->size())));
    }
    for (std::size_t i = 0; i < items->size(); ++i) set(scope, statement.names[i], (*items)[i]);
  }

  void run_set(const Statement& statement, Scope& scope) {
    Value value = evaluate(*statement.expressions[0], scope);
    if (statement.text.empty()) return assign(statement, value, scope);
    const Value target = look_up(statement.names[0], scope);
    const auto* space = std::get_if<Namespace>(&target);
    if (space == nullptr)
      fail_at(statement.line, format_text("a namespace expected: '{}' is {}", statement.names[0],
                                          type_name(target)));
    auto& entries = (*space)->entries;
    if (find(entries, statement.names[1], budget_) == nullptr) {
      budget_.spend_bytes(statement.names[1].size() + 96);
      entries.push_back({statement.names[1], std::move(value)});
      return;
    }
    for (Entry& entry : entries) {
      if (entry.name == statement.names[1]) entry.value = value;
    }
  }

  Value filtered_body(const Statement& statement, Scope& scope) {
    Scope inner{&scope, {}};
    std::string text;
    run_body(statement.bodies[0], inner, text);
    inner.variables[kBlockText] = make_text(std::move(text), budget_);
    return evaluate(*statement.expressions[0], inner);
  }

  // ---- macros: they see their parameters and what the template itself has set

  Value macro_of(const Statement& macro) {
    budget_.spend_bytes(64);
    return std::make_shared<const FunctionValue>(
        macro.text, [this, &macro](Arguments& arguments) { return run_macro(macro, arguments); });
  }

  Value run_macro(const Statement& macro, Arguments& arguments) {
    if (arguments.positional.size() > macro.names.size()) {
      fail_at(macro.line, format_text("macro '{}' takes {} arguments: {}", macro.text,
                                      macro.names.size(), arguments.positional.size()));
    }
    Scope scope{&globals_, {}};
    for (std::size_t i = 0; i < macro.names.size(); ++i) {
      const std::string& name = macro.names[i];
      if (i < arguments.positional.size()) {
        set(scope, name, std::move(arguments.positional[i]));
      } else if (const Value* given = find(arguments.named, name, budget_); given != nullptr) {
        set(scope, name, *given);
      } else {
        set(scope, name, macro.expressions[i] ? evaluate(*macro.expressions[i], scope) : Value());
      }
    }
    for (const Entry& entry : arguments.named) {
      if (std::ranges::find(macro.names, entry.name) == macro.names.end())
        fail_at(macro.line, format_text("macro '{}' has no argument '{}'", macro.text, entry.name));
    }
    std::string out;
    run_body(macro.bodies[0], scope, out);
    return make_text(std::move(out), budget_);
  }

  // ---- expressions

  // Errors of values get the line of the expression.
  template <class Work>
  static auto at(std::uint32_t line, const Work& work) -> decltype(work()) {
    try {
      return work();
    } catch (const LocatedError&) {
      throw;
    } catch (const TemplateError& error) {
      fail_at(line, error.what());
    }
  }

  Value look_up(std::string_view name, const Scope& from) {
    for (const Scope* scope = &from; scope != nullptr; scope = scope->outer) {
      budget_.spend_steps();
      const auto found = scope->variables.find(name);
      if (found != scope->variables.end()) return found->second;
    }
    if (name == "namespace") return namespace_function();
    return global_function(name, budget_);
  }

  Value namespace_function() {
    return std::make_shared<const FunctionValue>("namespace", [this](Arguments& arguments) {
      budget_.spend_bytes(128);
      auto made = std::make_shared<NamespaceValue>();
      for (const Value& given : arguments.positional) {
        const auto* entries = entries_of(given);
        if (entries == nullptr) throw TemplateError("namespace() takes names and values");
        for (const Entry& entry : *entries) budget_.spend_bytes(entry.name.size() + kVariableBytes);
        made->entries.insert(made->entries.end(), entries->begin(), entries->end());
      }
      for (Entry& entry : arguments.named) made->entries.push_back(std::move(entry));
      budget_.spend_bytes(made->entries.size() * 96);
      namespaces_.push_back(made);
      return Value(made);
    });
  }

  Value evaluate(const Expression& expression, Scope& scope) {
    const Active active(*this, expression.line);
    return at(expression.line, [&] { return evaluate_kind(expression, scope); });
  }

  Value evaluate_kind(const Expression& expression, Scope& scope) {
    using Kind = Expression::Kind;
    switch (expression.kind) {
      case Kind::kLiteral:
        return expression.literal;
      case Kind::kName:
        return look_up(expression.name, scope);
      case Kind::kList:
        return make_list(evaluate_from(expression, 0, scope), budget_);
      case Kind::kMapping:
        return evaluate_mapping(expression, scope);
      case Kind::kAttribute:
        return attribute_of(part(expression, 0, scope), expression.name, budget_);
      case Kind::kSubscript:
        return evaluate_subscript(expression, scope);
      case Kind::kSlice:
        return evaluate_slice(expression, scope);
      case Kind::kCall:
        return evaluate_call(expression, scope);
      case Kind::kFilter:
        return evaluate_filter(expression, scope);
      case Kind::kTest:
        return evaluate_test(expression, scope);
      case Kind::kNot:
        return !truthy(part(expression, 0, scope));
      case Kind::kNegate:
        return negated(part(expression, 0, scope));
      case Kind::kBinary:
        return evaluate_binary(expression, scope);
      case Kind::kComparison:
        return evaluate_comparison(expression, scope);
      case Kind::kAnd:
      case Kind::kOr:
        return evaluate_logic(expression, scope);
      case Kind::kConditional:
        return evaluate_conditional(expression, scope);
    }
    return {};
  }

  Value part(const Expression& expression, std::size_t index, Scope& scope) {
    const ExpressionPtr& found = expression.parts[index];
    return found == nullptr ? Value() : evaluate(*found, scope);
  }

  std::vector<Value> evaluate_from(const Expression& expression, std::size_t first, Scope& scope) {
    std::vector<Value> values;
    for (std::size_t i = first; i < expression.parts.size(); ++i)
      values.push_back(part(expression, i, scope));
    return values;
  }

  Value evaluate_mapping(const Expression& expression, Scope& scope) {
    std::vector<Entry> entries;
    for (std::size_t i = 0; i + 1 < expression.parts.size(); i += 2) {
      const Value key = part(expression, i, scope);
      entries.push_back(make_entry(key, part(expression, i + 1, scope), budget_));
    }
    return make_mapping(std::move(entries), budget_);
  }

  Value evaluate_subscript(const Expression& expression, Scope& scope) {
    const Value object = part(expression, 0, scope);
    return item_of(object, part(expression, 1, scope), budget_);
  }
  Value evaluate_slice(const Expression& expression, Scope& scope) {
    const std::vector<Value> values = evaluate_from(expression, 0, scope);
    return slice_of(values[0], values[1], values[2], values[3], budget_);
  }

  Arguments arguments_of(const Expression& expression, Scope& scope) {
    Arguments arguments;
    arguments.positional = evaluate_from(expression, 1, scope);
    for (const auto& [name, value] : expression.named)
      arguments.named.push_back({name, evaluate(*value, scope)});
    return arguments;
  }

  Value evaluate_call(const Expression& expression, Scope& scope) {
    const Expression& callee = *expression.parts[0];
    if (callee.kind == Expression::Kind::kAttribute) {
      const Value object = part(callee, 0, scope);
      const auto* entries = entries_of(object);
      const Value* own = entries == nullptr ? nullptr : find(*entries, callee.name, budget_);
      Arguments arguments = arguments_of(expression, scope);
      if (own != nullptr && std::holds_alternative<Function>(*own))
        return std::get<Function>(*own)->call(arguments);
      return call_method(object, callee.name, arguments, budget_);
    }
    const Value function = evaluate(callee, scope);
    if (!std::holds_alternative<Function>(function)) {
      throw TemplateError(
          callee.kind == Expression::Kind::kName
              ? format_text("'{}' is {} and cannot be called", callee.name, type_name(function))
              : format_text("{} cannot be called", type_name(function)));
    }
    Arguments arguments = arguments_of(expression, scope);
    return std::get<Function>(function)->call(arguments);
  }

  Value evaluate_filter(const Expression& expression, Scope& scope) {
    Arguments arguments = arguments_of(expression, scope);
    arguments.positional.insert(arguments.positional.begin(), part(expression, 0, scope));
    return apply_filter(expression.name, arguments, budget_);
  }

  Value evaluate_test(const Expression& expression, Scope& scope) {
    Arguments arguments;
    arguments.positional = evaluate_from(expression, 0, scope);
    return apply_test(expression.name, arguments, budget_) != expression.negated;
  }

  static Value negated(const Value& value) {
    if (const auto* number = std::get_if<double>(&value)) return -*number;
    const auto* number = std::get_if<std::int64_t>(&value);
    std::int64_t result = 0;
    if (number == nullptr || __builtin_sub_overflow(std::int64_t{0}, *number, &result))
      throw TemplateError(format_text("a number expected behind '-': {}", type_name(value)));
    return result;
  }

  Value evaluate_binary(const Expression& expression, Scope& scope) {
    const Value left = part(expression, 0, scope);
    return apply_operator(expression.name, left, part(expression, 1, scope), budget_);
  }

  Value evaluate_comparison(const Expression& expression, Scope& scope) {
    Value left = part(expression, 0, scope);
    for (std::size_t i = 0; i < expression.operators.size(); ++i) {
      Value right = part(expression, i + 1, scope);
      if (!compares(expression.operators[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }
  bool compares(std::string_view name, const Value& left, const Value& right) {
    if (name == "==") return equal(left, right, budget_);
    if (name == "!=") return !equal(left, right, budget_);
    if (name == "in") return contains(right, left, budget_);
    if (name == "not in") return !contains(right, left, budget_);
    const int order = compare(left, right, budget_);
    if (name == "<") return order < 0;
    if (name == "<=") return order <= 0;
    return name == ">" ? order > 0 : order >= 0;
  }

  Value evaluate_logic(const Expression& expression, Scope& scope) {
    Value left = part(expression, 0, scope);
    const bool stop = truthy(left) == (expression.kind == Expression::Kind::kOr);
    return stop ? left : part(expression, 1, scope);
  }

  Value evaluate_conditional(const Expression& expression, Scope& scope) {
    return part(expression, truthy(part(expression, 1, scope)) ? 0 : 2, scope);
  }

  Budget& budget_;
  int active_ = 0;
  Scope globals_;
  std::vector<Namespace> namespaces_;
};

}  // namespace

std::string render(const Body& body, std::vector<Entry> variables, Budget& budget) {
  return Interpreter(budget).run(body, variables);
}

}  // namespace gogrid::jinja
