#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <map>
#include <utility>

#include "base/format.h"
#include "model/template_builtins.h"
#include "model/template_text.h"

namespace gogrid::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;

// ---- tests

struct Test {
  const Value& value;
  const Arguments& arguments;
  Budget& budget;

  const Value& other() const {
    if (arguments.positional.size() < 2) throw TemplateError("a test without its argument");
    return arguments.positional[1];
  }
  std::int64_t remainder(std::int64_t by) const {
    const auto* number = std::get_if<std::int64_t>(&value);
    if (number == nullptr || by == 0) throw TemplateError("a test of integers");
    return by == -1 ? 0 : *number % by;
  }
};

// Text in the case that `change` makes, and with letters at all.
bool is_in_case(const Test& test, std::string (*change)(std::string_view),
                std::string (*other)(std::string_view)) {
  const std::string* text = text_of(test.value);
  if (text == nullptr) return false;
  test.budget.spend_reading(2 * text->size());
  test.budget.spend_bytes(2 * text->size());
  return *text == change(*text) && *text != other(*text);
}

bool is_iterable(const Test& test) {
  return text_of(test.value) != nullptr || items_of(test.value) != nullptr ||
         std::holds_alternative<Mapping>(test.value) || is_undefined(test.value);
}
bool divides(const Test& test) {
  const auto* by = std::get_if<std::int64_t>(&test.other());
  return test.remainder(by == nullptr ? 0 : *by) == 0;
}

template <class Alternative>
bool holds(const Test& test) {
  return std::holds_alternative<Alternative>(test.value);
}

using TestFunction = bool (*)(const Test&);
const std::map<std::string_view, TestFunction>& tests() {
  static constexpr TestFunction kEqual = [](const Test& test) {
    return equal(test.value, test.other(), test.budget);
  };
  static constexpr TestFunction kUnequal = [](const Test& test) { return !kEqual(test); };
  static constexpr TestFunction kLess = [](const Test& test) {
    return compare(test.value, test.other(), test.budget) < 0;
  };
  static constexpr TestFunction kGreater = [](const Test& test) {
    return compare(test.value, test.other(), test.budget) > 0;
  };
  static const std::map<std::string_view, TestFunction> kTests{
      {"!=", kUnequal},
      {"<", kLess},
      {"==", kEqual},
      {">", kGreater},
      {"boolean", holds<bool>},
      {"callable", holds<Function>},
      {"defined", [](const Test& test) { return !is_undefined(test.value); }},
      {"divisibleby", divides},
      {"eq", kEqual},
      {"equalto", kEqual},
      {"even", [](const Test& test) { return test.remainder(2) == 0; }},
      {"false", [](const Test& test) { return holds<bool>(test) && !std::get<bool>(test.value); }},
      {"float", holds<double>},
      {"ge", [](const Test& test) { return compare(test.value, test.other(), test.budget) >= 0; }},
      {"greaterthan", kGreater},
      {"gt", kGreater},
      {"in", [](const Test& test) { return contains(test.other(), test.value, test.budget); }},
      {"integer", holds<std::int64_t>},
      {"iterable", is_iterable},
      {"le", [](const Test& test) { return compare(test.value, test.other(), test.budget) <= 0; }},
      {"lessthan", kLess},
      {"lower", [](const Test& test) { return is_in_case(test, lower_case, upper_case); }},
      {"lt", kLess},
      {"mapping", holds<Mapping>},
      {"ne", kUnequal},
      {"none", holds<None>},
      {"number", [](const Test& test) { return is_number(test.value) || holds<bool>(test); }},
      {"odd", [](const Test& test) { return test.remainder(2) != 0; }},
      {"sameas", kEqual},
      {"sequence", [](const Test& test) { return is_iterable(test) && !is_undefined(test.value); }},
      {"string", holds<Text>},
      {"true", [](const Test& test) { return holds<bool>(test) && std::get<bool>(test.value); }},
      {"undefined", holds<Undefined>},
      {"upper", [](const Test& test) { return is_in_case(test, upper_case, lower_case); }},
  };
  return kTests;
}

// ---- methods

// A method at work; arguments count from 0.
struct Call {
  std::string_view name;
  const Arguments& arguments;
  Budget& budget;
  ArgumentReader reader{name, arguments};

  Value made(std::string out) const { return make_text(std::move(out), budget); }
};

// startswith, endswith: a string, or any of several.
template <class Holds>
Value any_text(const Call& call, const Holds& holds) {
  const Value* given = call.reader.get(0, "prefix");
  if (given == nullptr) call.reader.refuse("prefix", "a string");
  const auto* several = items_of(*given);
  if (several == nullptr) return holds(call.reader.text(0, "prefix"));
  return std::ranges::any_of(*several, [&](const Value& one) {
    call.budget.spend_steps();
    if (text_of(one) == nullptr) return false;
    call.budget.spend_reading(text_of(one)->size());
    return holds(*text_of(one));
  });
}

Value split_method(const std::string& text, const Call& call) {
  const Value* given = call.reader.get(0, "sep");
  const std::string_view separator = call.reader.text_or(0, "sep", "");
  if (given != nullptr && separator.empty())
    call.reader.refuse("sep", "a string that is not empty");
  std::vector<Value> parts;
  for (const std::string_view part :
       split_text(text, separator, call.reader.integer_or(1, "maxsplit", -1), call.budget))
    parts.push_back(call.made(std::string(part)));
  return make_list(std::move(parts), call.budget);
}

Value rsplit_method(const std::string& text, const Call& call) {
  const std::string& separator = call.reader.text(0, "sep");
  if (separator.empty()) call.reader.refuse("sep", "a string that is not empty");
  std::int64_t limit = call.reader.integer_or(1, "maxsplit", -1);
  std::vector<Value> parts;
  std::string_view rest = text;
  for (; limit != 0; --limit) {
    call.budget.spend_steps(1 + separator.size() / 64);
    // rfind() may take the product of both lengths; what it looks at is paid for.
    const std::size_t found = rest.rfind(separator);
    const std::size_t seen = rest.size() - (found == rest.npos ? 0 : found);
    call.budget.spend_steps(seen / 64 * (1 + separator.size() / 8));
    if (found == rest.npos) break;
    parts.push_back(call.made(std::string(rest.substr(found + separator.size()))));
    rest = rest.substr(0, found);
  }
  parts.push_back(call.made(std::string(rest)));
  std::ranges::reverse(parts);
  return make_list(std::move(parts), call.budget);
}

Value splitlines_method(const std::string& text, const Call& call) {
  auto lines = split_text(text, "\n", -1, call.budget);
  if (lines.back().empty()) lines.pop_back();
  std::vector<Value> parts;
  for (const std::string_view line : lines) parts.push_back(call.made(std::string(line)));
  return make_list(std::move(parts), call.budget);
}

Value find_method(const std::string& text, const Call& call) {
  const std::size_t at = find_text(text, call.reader.text(0, "sub"), 0, call.budget);
  if (at == text.npos) return std::int64_t{-1};
  return static_cast<std::int64_t>(count_characters(std::string_view(text).substr(0, at)));
}

Value count_method(const std::string& text, const Call& call) {
  const std::string& part = call.reader.text(0, "sub");
  if (part.empty()) call.reader.refuse("sub", "a string that is not empty");
  std::int64_t count = 0;
  for (std::size_t at = find_text(text, part, 0, call.budget); at != text.npos;
       at = find_text(text, part, at + part.size(), call.budget)) {
    call.budget.spend_steps();
    ++count;
  }
  return count;
}

Value text_method(const std::string& text, const Call& call) {
  const std::string_view name = call.name;
  const auto stripped = [&](Side side) {
    const std::string_view characters = call.reader.text_or(0, "chars", "");
    call.budget.spend_reading(characters.size());
    return call.made(std::string(strip(text, characters, side)));
  };
  if (name == "strip") return stripped(Side::kBoth);
  if (name == "lstrip") return stripped(Side::kLeft);
  if (name == "rstrip") return stripped(Side::kRight);
  if (name == "split") return split_method(text, call);
  if (name == "rsplit") return rsplit_method(text, call);
  if (name == "splitlines") return splitlines_method(text, call);
  if (name == "find") return find_method(text, call);
  if (name == "count") return count_method(text, call);
  if (name == "startswith")
    return any_text(call, [&](const std::string& part) { return text.starts_with(part); });
  if (name == "endswith")
    return any_text(call, [&](const std::string& part) { return text.ends_with(part); });
  if (name == "lower") return call.made(lower_case(text));
  if (name == "upper") return call.made(upper_case(text));
  if (name == "capitalize") return call.made(capitalized(text));
  if (name == "title") return call.made(title_case(text));
  if (name == "replace" || name == "join") {
    Arguments filter{{call.made(text)}, {}};
    filter.positional.insert(filter.positional.end(), call.arguments.positional.begin(),
                             call.arguments.positional.end());
    if (name == "join" && filter.positional.size() == 2)
      std::swap(filter.positional[0], filter.positional[1]);
    return apply_filter(name, filter, call.budget);
  }
  if (name == "isdigit") return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
  throw TemplateError(format_text("string has no method '{}' here", name.substr(0, 40)));
}

const Value* find_key(const std::vector<Entry>& entries, const Call& call) {
  const Value* key = call.reader.get(0, "key");
  return key == nullptr ? nullptr : find(entries, *key, call.budget);
}

Value entries_method(const std::vector<Entry>& entries, const Call& call) {
  if (call.name == "get") {
    const Value* found = find_key(entries, call);
    if (found != nullptr) return *found;
    const Value* otherwise = call.reader.get(1, "default");
    return otherwise == nullptr ? Value(None{}) : *otherwise;
  }
  if (call.name != "items" && call.name != "keys" && call.name != "values")
    throw TemplateError(format_text("a mapping has no method '{}' here", call.name.substr(0, 40)));
  std::vector<Value> out;
  for (const Entry& entry : entries) {
    call.budget.spend_steps();
    const Value key = call.name == "values" ? Value() : key_of(entry, call.budget);
    if (call.name == "items") {
      out.push_back(make_list({key, entry.value}, call.budget));
    } else {
      out.push_back(call.name == "keys" ? key : entry.value);
    }
  }
  return make_list(std::move(out), call.budget);
}

Value loop_method(const LoopValue& loop, const Call& call) {
  const auto& given = call.arguments.positional;
  if (call.name == "cycle" && !given.empty()) return given[loop.index % given.size()];
  throw TemplateError(format_text("loop has no method '{}' here", call.name.substr(0, 40)));
}

// ---- functions

Value range_function(Arguments& arguments, Budget& budget) {
  const ArgumentReader reader("range", arguments);
  const bool has_start = arguments.positional.size() > 1;
  const std::int64_t first = has_start ? reader.integer_or(0, "start", 0) : 0;
  const std::int64_t last = reader.integer_or(has_start ? 1 : 0, "stop", 0);
  const std::int64_t step = reader.integer_or(2, "step", 1);
  if (step == 0) reader.refuse("step", "anything but 0");
  std::vector<Value> items;
  for (std::int64_t i = first; step > 0 ? i < last : i > last;) {
    if (items.size() >= static_cast<std::size_t>(kMaxRange))
      throw TemplateError(format_text("a range of more than {} numbers", kMaxRange));
    budget.spend_steps();
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return make_list(std::move(items), budget);
}

// The date in the server's time zone, as the template formats it.
Value strftime_function(Arguments& arguments, Budget& budget) {
  const ArgumentReader reader("strftime_now", arguments);
  const std::string& format = reader.text(0, "format");
  if (format.size() > 256 || format.contains('\0')) reader.refuse("format", "at most 256 bytes");
  budget.spend_steps(format.size());
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  if (::localtime_r(&now, &local) == nullptr) throw TemplateError("the time is not known");
  std::array<char, 4096> buffer{};
  const std::size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &local);
  return make_text(std::string(buffer.data(), size), budget);
}

// Gives nothing the first time, then the separator.
Value joiner_function(Arguments& arguments, Budget& budget) {
  const std::string separator(ArgumentReader("joiner", arguments).text_or(0, "sep", ", "));
  budget.spend_bytes(separator.size() + 128);
  return std::make_shared<const FunctionValue>(
      "joiner", [separator, first = true, &budget](Arguments&) mutable {
        return make_text(std::exchange(first, false) ? std::string() : separator, budget);
      });
}

}  // namespace

bool apply_test(std::string_view name, const Arguments& arguments, Budget& budget) {
  budget.spend_steps(2);
  const auto found = tests().find(name);
  if (found == tests().end())
    throw TemplateError(format_text("test '{}' is not known here", name.substr(0, 40)));
  return found->second({arguments.positional.at(0), arguments, budget});
}

Value call_method(const Value& object, std::string_view name, const Arguments& arguments,
                  Budget& budget) {
  budget.spend_steps(2);
  const Call call{.name = name, .arguments = arguments, .budget = budget};
  if (const std::string* text = text_of(object)) {
    budget.spend_reading(text->size());
    return text_method(*text, call);
  }
  if (const auto* entries = entries_of(object)) return entries_method(*entries, call);
  if (const auto* loop = std::get_if<Loop>(&object)) return loop_method(**loop, call);
  throw TemplateError(
      format_text("{} has no method '{}' here", type_name(object), name.substr(0, 40)));
}

Value global_function(std::string_view name, Budget& budget) {
  const auto function = [&](auto call) -> Value {
    budget.spend_bytes(128);
    return std::make_shared<const FunctionValue>(
        std::string(name),
        [call, &budget](Arguments& arguments) { return call(arguments, budget); });
  };
  if (name == "range") return function(range_function);
  if (name == "strftime_now") return function(strftime_function);
  if (name == "joiner") return function(joiner_function);
  if (name == "dict") {
    return function([](Arguments& arguments, Budget& spent) {
      return make_mapping(std::move(arguments.named), spent);
    });
  }
  if (name == "raise_exception") {
    return function([](Arguments& arguments, Budget& spent) -> Value {
      const bool given = !arguments.positional.empty();
      throw TemplateError(given ? to_text(arguments.positional[0], spent).substr(0, 1000)
                                : std::string("refused"));
    });
  }
  return {};
}

}  // namespace gogrid::jinja
