#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>

#include "base/format.h"
#include "model/template_builtins.h"
#include "model/template_text.h"

namespace gogrid::jinja {
namespace {

// A filter at work: `value` and the arguments behind it.
struct Call {
  std::string_view name;
  const Value& value;
  const Arguments& arguments;
  Budget& budget;
  ArgumentReader reader{name, arguments};

  // A copy, paid for, and once through it: what filters of text do.
  std::string text() const {
    std::string copy = to_text(value, budget);
    budget.spend_reading(copy.size());
    return copy;
  }
  Value made(std::string out) const { return make_text(std::move(out), budget); }
  std::vector<Value> items() const { return iterate(value, budget); }
};

Value length_filter(const Call& call) {
  if (const auto* text = text_of(call.value)) {
    call.budget.spend_reading(2 * text->size());  // character by character
    return static_cast<std::int64_t>(count_characters(*text));
  }
  if (const auto* items = items_of(call.value)) return static_cast<std::int64_t>(items->size());
  if (const auto* entries = entries_of(call.value))
    return static_cast<std::int64_t>(entries->size());
  if (is_undefined(call.value)) return std::int64_t{0};
  throw TemplateError(format_text("the length of {}", type_name(call.value)));
}

Value replace_filter(const Call& call) {
  const std::string& before = call.reader.text(1, "old");
  if (before.empty()) call.reader.refuse("old", "a string that is not empty");
  return call.made(replace_text(call.text(), before, call.reader.text(2, "new"),
                                call.reader.integer_or(3, "count", -1), call.budget));
}

Value default_filter(const Call& call) {
  const bool absent =
      is_undefined(call.value) || (call.reader.flag_or(2, "boolean", false) && !truthy(call.value));
  if (!absent) return call.value;
  const Value* given = call.reader.get(1, "default_value");
  return given == nullptr ? call.made({}) : *given;
}

// The attribute "a.b" of an item.
Value path_of(Value item, std::string_view path, Budget& budget) {
  while (!path.empty()) {
    budget.spend_steps();
    const std::size_t dot = std::min(path.find('.'), path.size());
    item = attribute_of(item, path.substr(0, dot), budget);
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return item;
}
Value attribute_or_item(const Call& call, const Value& item, std::size_t place) {
  const Value* path = call.reader.get(place, "attribute");
  std::string storage;
  return path == nullptr ? item
                         : path_of(item, view_text(*path, storage, call.budget), call.budget);
}

Value join_filter(const Call& call) {
  const std::string_view separator = call.reader.text_or(1, "d", "");
  std::string out;
  bool first = true;
  for (const Value& item : call.items()) {
    std::string storage;
    const Value part = attribute_or_item(call, item, 2);
    const std::string_view text = view_text(part, storage, call.budget);
    call.budget.spend_bytes(separator.size() + text.size());
    if (!std::exchange(first, false)) out += separator;
    out += text;
  }
  return call.made(std::move(out));
}

Value indent_filter(const Call& call) {
  const auto width = call.reader.integer_or(1, "width", 4);
  if (width < 0 || width > 1000) call.reader.refuse("width", "0 to 1000");
  const std::string spaces(static_cast<std::size_t>(width), ' ');
  const bool blank = call.reader.flag_or(3, "blank", false);
  bool indented = call.reader.flag_or(2, "first", false);
  std::string out;
  const std::string text = call.text();
  for (const std::string_view line : split_text(text, "\n", -1, call.budget)) {
    if (indented && (blank || !line.empty())) {
      call.budget.spend_bytes(spaces.size());
      out += spaces;
    }
    out += line;
    out += '\n';
    indented = true;
  }
  out.pop_back();
  return call.made(std::move(out));
}

Value integer_filter(const Call& call) {
  const Value* given = call.reader.get(1, "default");
  const Value otherwise = given == nullptr ? Value(std::int64_t{0}) : *given;
  if (const auto* number = std::get_if<double>(&call.value)) {
    return std::isfinite(*number) && std::abs(*number) < 9.2e18
               ? Value(static_cast<std::int64_t>(*number))
               : otherwise;
  }
  if (const auto* flag = std::get_if<bool>(&call.value)) return std::int64_t{*flag ? 1 : 0};
  if (std::holds_alternative<std::int64_t>(call.value)) return call.value;
  const std::string* text = text_of(call.value);
  if (text == nullptr) return otherwise;
  call.budget.spend_reading(text->size());
  const std::string_view digits = strip(*text, {}, Side::kBoth);
  double number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size();
  return whole && std::abs(number) < 9.2e18 ? Value(static_cast<std::int64_t>(number)) : otherwise;
}

Value float_filter(const Call& call) {
  if (const auto* number = std::get_if<std::int64_t>(&call.value))
    return static_cast<double>(*number);
  if (std::holds_alternative<double>(call.value)) return call.value;
  const std::string text = call.text();
  const std::string_view digits = strip(text, {}, Side::kBoth);
  double number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

Value round_filter(const Call& call) {
  const auto digits = call.reader.integer_or(1, "precision", 0);
  if (digits < 0 || digits > 15) call.reader.refuse("precision", "0 to 15");
  const Value value = float_filter(call);
  const double scale = std::pow(10.0, static_cast<double>(digits));
  return std::nearbyint(std::get<double>(value) * scale) / scale;
}

Value abs_filter(const Call& call) {
  if (const auto* number = std::get_if<double>(&call.value)) return std::abs(*number);
  return apply_operator(
      "*", call.value, std::int64_t{compare(call.value, std::int64_t{0}, call.budget) < 0 ? -1 : 1},
      call.budget);
}

Value items_filter(const Call& call) {
  std::vector<Value> pairs;
  if (is_undefined(call.value)) return make_list({}, call.budget);
  const auto* entries = entries_of(call.value);
  if (entries == nullptr)
    throw TemplateError(format_text("a mapping expected: {}", type_name(call.value)));
  for (const Entry& entry : *entries)
    pairs.push_back(make_list({key_of(entry, call.budget), entry.value}, call.budget));
  return make_list(std::move(pairs), call.budget);
}

// Sorted by what `key_of` says of each; stable, as Python's sort.
template <class KeyOf>
Value sorted(const Call& call, std::vector<Value> items, bool reverse, const KeyOf& key_of) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value key = key_of(item);
    keyed.emplace_back(std::move(key), std::move(item));
  }
  std::ranges::stable_sort(keyed, [&](const auto& a, const auto& b) {
    return compare(reverse ? b.first : a.first, reverse ? a.first : b.first, call.budget) < 0;
  });
  std::vector<Value> out;
  for (auto& [_, item] : keyed) out.push_back(std::move(item));
  return make_list(std::move(out), call.budget);
}

// Case does not count unless asked for.
Value folded(const Call& call, Value key, bool case_sensitive) {
  const std::string* text = text_of(key);
  return case_sensitive || text == nullptr ? key : call.made(lower_case(*text));
}

Value sort_filter(const Call& call) {
  const bool case_sensitive = call.reader.flag_or(2, "case_sensitive", false);
  return sorted(call, call.items(), call.reader.flag_or(1, "reverse", false),
                [&](const Value& item) {
                  return folded(call, attribute_or_item(call, item, 3), case_sensitive);
                });
}

Value dictsort_filter(const Call& call) {
  const Value pairs = items_filter(call);
  const bool case_sensitive = call.reader.flag_or(1, "case_sensitive", false);
  const bool by_value = call.reader.text_or(2, "by", "key") == "value";
  return sorted(call, *items_of(pairs), call.reader.flag_or(3, "reverse", false),
                [&](const Value& pair) {
                  return folded(call, (*items_of(pair))[by_value ? 1 : 0], case_sensitive);
                });
}

Value unique_filter(const Call& call) {
  std::vector<Value> out;
  for (const Value& item : call.items()) {
    const bool known = std::ranges::any_of(
        out, [&](const Value& other) { return equal(item, other, call.budget); });
    if (!known) out.push_back(item);
  }
  return make_list(std::move(out), call.budget);
}

Value reverse_filter(const Call& call) {
  return slice_of(call.value, {}, {}, std::int64_t{-1}, call.budget);
}

Value first_filter(const Call& call) {
  const std::vector<Value> items = call.items();
  return items.empty() ? Value() : items.front();
}
Value last_filter(const Call& call) {
  const std::vector<Value> items = call.items();
  return items.empty() ? Value() : items.back();
}

Value extreme(const Call& call, int wanted) {
  Value best;
  for (const Value& item : call.items()) {
    if (is_undefined(best) || compare(item, best, call.budget) * wanted > 0) best = item;
  }
  return best;
}

Value sum_filter(const Call& call) {
  Value total = std::int64_t{0};
  if (const Value* start = call.reader.get(2, "start")) total = *start;
  for (const Value& item : call.items())
    total = apply_operator("+", total, attribute_or_item(call, item, 1), call.budget);
  return total;
}

Value map_filter(const Call& call) {
  const auto attribute = std::ranges::find(call.arguments.named, "attribute", &Entry::name);
  const auto otherwise = std::ranges::find(call.arguments.named, "default", &Entry::name);
  const auto& given = call.arguments.positional;
  std::vector<Value> out;
  if (attribute != call.arguments.named.end()) {
    std::string storage;
    const std::string_view path = view_text(attribute->value, storage, call.budget);
    for (const Value& item : call.items()) {
      const Value found = path_of(item, path, call.budget);
      const bool absent = is_undefined(found) && otherwise != call.arguments.named.end();
      out.push_back(absent ? otherwise->value : found);
    }
    return make_list(std::move(out), call.budget);
  }
  // By its place only, as in Jinja: what is behind it is handed on.
  if (given.size() < 2) call.reader.refuse("filter", "a filter's name");
  const std::string& name = call.reader.text(1, "filter");
  for (Value& item : call.items()) {
    call.budget.spend_steps(given.size() / 4);
    Arguments inner{{std::move(item)}, call.arguments.named};
    inner.positional.insert(inner.positional.end(), given.begin() + 2, given.end());
    out.push_back(apply_filter(name, inner, call.budget));
  }
  return make_list(std::move(out), call.budget);
}

// select, reject (`first_test` 1), selectattr, rejectattr (2: behind the attribute's name).
Value chosen(const Call& call, bool wanted, std::size_t first_test) {
  const std::string path = first_test == 2 ? call.reader.text(1, "attribute") : std::string();
  const auto& given = call.arguments.positional;
  std::vector<Value> out;
  for (Value& item : call.items()) {
    Value subject = path_of(item, path, call.budget);
    bool holds = false;
    if (given.size() <= first_test) {
      holds = truthy(subject);
    } else {
      call.budget.spend_steps(given.size() / 4);
      Arguments inner{{std::move(subject)}, {}};
      inner.positional.insert(inner.positional.end(),
                              given.begin() + static_cast<std::ptrdiff_t>(first_test) + 1,
                              given.end());
      holds = apply_test(call.reader.text(first_test, "test"), inner, call.budget);
    }
    if (holds == wanted) out.push_back(std::move(item));
  }
  return make_list(std::move(out), call.budget);
}

Value escape_filter(const Call& call) {
  std::string out;
  for (const char c : call.text()) {
    const std::string_view special = c == '&'    ? "&amp;"
                                     : c == '<'  ? "&lt;"
                                     : c == '>'  ? "&gt;"
                                     : c == '"'  ? "&#34;"
                                     : c == '\'' ? "&#39;"
                                                 : "";
    if (special.empty()) {
      out += c;
    } else {
      call.budget.spend_bytes(special.size());
      out += special;
    }
  }
  return call.made(std::move(out));
}

using Filter = Value (*)(const Call&);
const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> kFilters{
      {"abs", abs_filter},
      {"capitalize", [](const Call& call) { return call.made(capitalized(call.text())); }},
      {"count", length_filter},
      {"d", default_filter},
      {"default", default_filter},
      {"dictsort", dictsort_filter},
      {"e", escape_filter},
      {"escape", escape_filter},
      {"first", first_filter},
      {"float", float_filter},
      {"indent", indent_filter},
      {"int", integer_filter},
      {"items", items_filter},
      {"join", join_filter},
      {"last", last_filter},
      {"length", length_filter},
      {"list", [](const Call& call) { return make_list(call.items(), call.budget); }},
      {"lower", [](const Call& call) { return call.made(lower_case(call.text())); }},
      {"map", map_filter},
      {"max", [](const Call& call) { return extreme(call, 1); }},
      {"min", [](const Call& call) { return extreme(call, -1); }},
      {"reject", [](const Call& call) { return chosen(call, false, 1); }},
      {"rejectattr", [](const Call& call) { return chosen(call, false, 2); }},
      {"replace", replace_filter},
      {"reverse", reverse_filter},
      {"round", round_filter},
      {"safe", [](const Call& call) { return call.value; }},
      {"select", [](const Call& call) { return chosen(call, true, 1); }},
      {"selectattr", [](const Call& call) { return chosen(call, true, 2); }},
      {"sort", sort_filter},
      {"string", [](const Call& call) { return call.made(call.text()); }},
      {"sum", sum_filter},
      {"title", [](const Call& call) { return call.made(title_case(call.text())); }},
      {"tojson",
       [](const Call& call) {
         const auto indent = call.reader.integer_or(1, "indent", -1);
         if (indent > 64) call.reader.refuse("indent", "at most 64");
         return call.made(to_json(call.value, static_cast<int>(std::max<std::int64_t>(indent, -1)),
                                  call.budget));
       }},
      {"trim",
       [](const Call& call) {
         const std::string text = call.text();
         const std::string_view characters = call.reader.text_or(1, "chars", "");
         call.budget.spend_reading(characters.size());
         return call.made(std::string(strip(text, characters, Side::kBoth)));
       }},
      {"unique", unique_filter},
      {"upper", [](const Call& call) { return call.made(upper_case(call.text())); }},
  };
  return kFilters;
}

}  // namespace

Value apply_filter(std::string_view name, const Arguments& arguments, Budget& budget) {
  budget.spend_steps(2);
  const auto found = filters().find(name);
  if (found == filters().end())
    throw TemplateError(format_text("filter '{}' is not known here", name.substr(0, 40)));
  const Call call{
      .name = name, .value = arguments.positional.at(0), .arguments = arguments, .budget = budget};
  return found->second(call);
}

}  // namespace gogrid::jinja
