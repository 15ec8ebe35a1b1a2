#include <algorithm>
#include <cmath>
#include <optional>

#include "base/format.h"
#include "model/template_builtins.h"
#include "model/template_text.h"

namespace gogrid::jinja {
namespace {

double as_double(const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1.0 : 0.0;
  if (const auto* number = std::get_if<std::int64_t>(&value)) return static_cast<double>(*number);
  return std::get<double>(value);
}
bool counts(const Value& value) { return is_number(value) || std::holds_alternative<bool>(value); }
bool is_real(const Value& value) { return std::holds_alternative<double>(value); }
std::int64_t as_integer(const Value& value) {
  const auto* flag = std::get_if<bool>(&value);
  return flag != nullptr ? (*flag ? 1 : 0) : std::get<std::int64_t>(value);
}

// `result` by reference: it is written while the arguments are evaluated.
std::int64_t exact(bool overflow, const std::int64_t& result) {
  if (overflow) throw TemplateError("a number is too large");
  return result;
}

// Python's floor division: towards minus infinity.
std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == 0) throw TemplateError("division by zero");
  if (b == -1) {
    std::int64_t result = 0;
    const bool overflow = __builtin_sub_overflow(std::int64_t{0}, a, &result);
    return exact(overflow, result);
  }
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}
std::int64_t floor_remainder(std::int64_t a, std::int64_t b) {
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

std::int64_t power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  bool overflow = false;
  for (std::int64_t i = 0; i < exponent && !overflow; ++i) {
    if (result == 0 || base == 1) break;
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
    overflow = __builtin_mul_overflow(result, base, &result);
  }
  return exact(overflow, result);
}

Value integer_operation(std::string_view name, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (name == "+") return exact(__builtin_add_overflow(a, b, &result), result);
  if (name == "-") return exact(__builtin_sub_overflow(a, b, &result), result);
  if (name == "*") return exact(__builtin_mul_overflow(a, b, &result), result);
  if (name == "//") return floor_divide(a, b);
  if (name == "**")
    return b < 0 ? Value(std::pow(static_cast<double>(a), static_cast<double>(b)))
                 : Value(power(a, b));
  if (b == 0) throw TemplateError("division by zero");
  if (name == "%") return floor_remainder(a, b);
  return static_cast<double>(a) / static_cast<double>(b);
}

Value real_operation(std::string_view name, double a, double b) {
  if (name == "+") return a + b;
  if (name == "-") return a - b;
  if (name == "*") return a * b;
  if (name == "**") return std::pow(a, b);
  if (b == 0.0) throw TemplateError("division by zero");
  if (name == "//") return std::floor(a / b);
  if (name == "%") return a - b * std::floor(a / b);
  return a / b;
}

Value concatenated(const Value& left, const Value& right, Budget& budget) {
  std::string left_storage;
  std::string right_storage;
  std::string out(view_text(left, left_storage, budget));
  out += view_text(right, right_storage, budget);
  return make_text(std::move(out), budget);
}

Value repeated(const Value& value, std::int64_t times, Budget& budget) {
  const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(times, 0));
  const std::string* text = text_of(value);
  const std::size_t size = text != nullptr ? text->size() : items_of(value)->size();
  std::uint64_t total = 0;
  if (__builtin_mul_overflow(count, std::uint64_t{size}, &total) || total > (1U << 30U))
    throw TemplateError("repeats too often");
  budget.spend_bytes(text != nullptr ? total : total * sizeof(Value));
  budget.spend_steps(text != nullptr ? count + total / 64 : count + total);
  if (size == 0) return value;
  if (text != nullptr) {
    std::string out;
    out.reserve(total);
    for (std::uint64_t i = 0; i < count; ++i) out += *text;
    return make_text(std::move(out), budget);
  }
  std::vector<Value> items;
  for (std::uint64_t i = 0; i < count; ++i)
    items.insert(items.end(), items_of(value)->begin(), items_of(value)->end());
  return make_list(std::move(items), budget);
}

bool can_repeat(const Value& value) {
  return text_of(value) != nullptr || items_of(value) != nullptr;
}

// A place in `count` items, from the end when negative; empty when there is none.
std::optional<std::size_t> place_of(const Value& key, std::size_t count) {
  const auto* number = std::get_if<std::int64_t>(&key);
  if (number == nullptr) return std::nullopt;
  const auto size = static_cast<std::int64_t>(count);
  const std::int64_t place = *number < 0 ? *number + size : *number;
  if (place < 0 || place >= size) return std::nullopt;
  return static_cast<std::size_t>(place);
}

Value loop_attribute(const LoopValue& loop, std::string_view name) {
  const auto& items = loop.items->items;
  const auto count = static_cast<std::int64_t>(items.size());
  const auto index = static_cast<std::int64_t>(loop.index);
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return count - index;
  if (name == "revindex0") return count - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == count;
  if (name == "length") return count;
  if (name == "previtem") return index > 0 ? items[loop.index - 1] : Value();
  if (name == "nextitem") return index + 1 < count ? items[loop.index + 1] : Value();
  return {};
}

// Where a slice goes, as Python's slice.indices() tells.
struct SliceRange {
  std::int64_t first;
  std::int64_t last;
  std::int64_t step;
};
SliceRange slice_range(const Value& first, const Value& last, const Value& step,
                       std::int64_t size) {
  const auto number = [](const Value& value, std::int64_t otherwise) {
    if (is_undefined(value) || std::holds_alternative<None>(value)) return otherwise;
    const auto* given = std::get_if<std::int64_t>(&value);
    if (given == nullptr) throw TemplateError("slices are from integer to integer");
    return *given;
  };
  const std::int64_t by = number(step, 1);
  if (by == 0) throw TemplateError("a slice with step 0");
  const std::int64_t lowest = by > 0 ? 0 : -1;
  const std::int64_t highest = by > 0 ? size : size - 1;
  const auto bound = [&](const Value& value, std::int64_t otherwise) {
    const std::int64_t given = number(value, otherwise);
    if (!std::holds_alternative<std::int64_t>(value)) return otherwise;
    return std::clamp(given < 0 ? given + size : given, lowest, highest);
  };
  return {bound(first, by > 0 ? 0 : highest), bound(last, by > 0 ? size : lowest), by};
}

}  // namespace

Value apply_operator(std::string_view name, const Value& left, const Value& right, Budget& budget) {
  if (name == "~") return concatenated(left, right, budget);
  if (counts(left) && counts(right)) {
    return is_real(left) || is_real(right)
               ? real_operation(name, as_double(left), as_double(right))
               : integer_operation(name, as_integer(left), as_integer(right));
  }
  if (name == "+" && text_of(left) != nullptr && text_of(right) != nullptr)
    return make_text(*text_of(left) + *text_of(right), budget);
  if (name == "+" && items_of(left) != nullptr && items_of(right) != nullptr) {
    std::vector<Value> items = *items_of(left);
    items.insert(items.end(), items_of(right)->begin(), items_of(right)->end());
    return make_list(std::move(items), budget);
  }
  if (name == "*" && can_repeat(left) && std::holds_alternative<std::int64_t>(right))
    return repeated(left, std::get<std::int64_t>(right), budget);
  if (name == "*" && can_repeat(right) && std::holds_alternative<std::int64_t>(left))
    return repeated(right, std::get<std::int64_t>(left), budget);
  throw TemplateError(format_text("'{}' of {} and {}", name, type_name(left), type_name(right)));
}

bool contains(const Value& whole, const Value& part, Budget& budget) {
  if (const std::string* text = text_of(whole)) {
    if (text_of(part) == nullptr)
      throw TemplateError(format_text("{} in a string", type_name(part)));
    return find_text(*text, *text_of(part), 0, budget) != text->npos;
  }
  if (const auto* items = items_of(whole)) {
    return std::ranges::any_of(*items,
                               [&](const Value& item) { return equal(item, part, budget); });
  }
  if (const auto* entries = entries_of(whole)) {
    return find(*entries, part, budget) != nullptr;
  }
  if (is_undefined(whole)) return false;
  throw TemplateError(format_text("'in' {}", type_name(whole)));
}

Value attribute_of(const Value& object, std::string_view name, Budget& budget) {
  if (is_undefined(object))
    throw TemplateError(format_text("'{}' of something undefined", name.substr(0, 40)));
  if (const auto* entries = entries_of(object)) {
    const Value* found = find(*entries, name, budget);
    return found == nullptr ? Value() : *found;
  }
  if (const auto* loop = std::get_if<Loop>(&object)) return loop_attribute(**loop, name);
  return {};
}

Value item_of(const Value& object, const Value& key, Budget& budget) {
  if (text_of(key) != nullptr) return attribute_of(object, *text_of(key), budget);
  if (is_undefined(object)) throw TemplateError("an item of something undefined");
  if (const auto* entries = entries_of(object)) {
    const Value* found = find(*entries, key, budget);
    return found == nullptr ? Value() : *found;
  }
  if (const auto* items = items_of(object)) {
    const auto place = place_of(key, items->size());
    return place ? (*items)[*place] : Value();
  }
  if (const std::string* text = text_of(object)) {
    const auto starts = character_starts(*text, budget);
    const auto place = place_of(key, starts.size() - 1);
    if (!place) return {};
    return make_text(text->substr(starts[*place], starts[*place + 1] - starts[*place]), budget);
  }
  return {};
}

Value slice_of(const Value& object, const Value& first, const Value& last, const Value& step,
               Budget& budget) {
  const std::string* text = text_of(object);
  const auto* items = items_of(object);
  if (text == nullptr && items == nullptr)
    throw TemplateError(format_text("a slice of {}", type_name(object)));
  std::vector<std::uint32_t> starts;
  if (text != nullptr) starts = character_starts(*text, budget);
  const std::size_t size = text != nullptr ? starts.size() - 1 : items->size();
  const SliceRange range = slice_range(first, last, step, static_cast<std::int64_t>(size));
  std::string out;
  std::vector<Value> kept;
  for (std::int64_t i = range.first; range.step > 0 ? i < range.last : i > range.last;) {
    const auto at = static_cast<std::size_t>(i);
    if (text != nullptr) {
      out.append(*text, starts[at], starts[at + 1] - starts[at]);
    } else {
      kept.push_back((*items)[at]);
    }
    if (__builtin_add_overflow(i, range.step, &i)) break;
  }
  return text != nullptr ? make_text(std::move(out), budget) : make_list(std::move(kept), budget);
}

std::vector<Value> iterate(const Value& value, Budget& budget) {
  std::vector<Value> items;
  if (const auto* list = items_of(value)) {
    budget.spend_bytes(list->size() * sizeof(Value));
    return *list;
  }
  if (const auto* mapping = std::get_if<Mapping>(&value)) {
    for (const Entry& entry : (*mapping)->entries) items.push_back(key_of(entry, budget));
    return items;
  }
  if (const std::string* text = text_of(value)) {
    const auto starts = character_starts(*text, budget);
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      budget.spend_steps();
      items.push_back(make_text(text->substr(starts[i], starts[i + 1] - starts[i]), budget));
    }
    return items;
  }
  if (is_undefined(value)) return items;
  throw TemplateError(format_text("something to go through expected: {}", type_name(value)));
}

}  // namespace gogrid::jinja
