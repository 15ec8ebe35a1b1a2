#include "model/template_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <format>
#include <utility>

namespace gogrid::jinja {
namespace {

constexpr std::uint64_t kTextBytes = 64;  // beside the characters: counters, pointers, the heap's
constexpr std::uint64_t kItemBytes = 32;
constexpr std::uint64_t kEntryBytes = 96;

int depth_of(const Value& value) {
  if (const auto* list = std::get_if<List>(&value)) return (*list)->depth;
  if (const auto* mapping = std::get_if<Mapping>(&value)) return (*mapping)->depth;
  if (const auto* loop = std::get_if<Loop>(&value)) return (*loop)->items->depth;
  return 0;  // a namespace may hold anything; the render that made it takes it apart
}

int checked_depth(int depth) {
  if (depth > kMaxValueDepth)
    throw TemplateError(std::format("nests values deeper than {}", kMaxValueDepth));
  return depth;
}

// As Python's repr: "1.0", "0.1", "1e+16", "inf".
std::string number_text(double number) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  std::string text(buffer.data(), end);
  if (text.find_first_not_of("-0123456789") == text.npos) text += ".0";
  return text;
}

// As Python's repr of a string.
std::string quoted(std::string_view text) {
  const bool has_single = text.contains('\'');
  const char quote = has_single && !text.contains('"') ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += std::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + quote;
}

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += std::format("\\u{:04x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

// Writes values as Python or as JSON does. The depth of values is bounded, so is its recursion.
class Writer {
 public:
  Writer(bool json, int indent, Budget& budget) : json_(json), indent_(indent), budget_(budget) {}

  void write(const Value& value, int level = 0) {
    budget_.spend_steps();
    const std::size_t before = out_.size();
    if (const auto* text = text_of(value)) {
      out_ += json_ ? json_quoted(*text) : quoted(*text);
    } else if (const auto* items = items_of(value)) {
      write_all('[', ']', *items, level, [&](const Value& item) { write(item, level + 1); });
      return;
    } else if (const auto* mapping = std::get_if<Mapping>(&value)) {
      write_all('{', '}', (*mapping)->entries, level, [&](const Entry& entry) {
        write_key(entry);
        write(entry.value, level + 1);
      });
      return;
    } else {
      out_ += scalar(value);
    }
    budget_.spend_bytes(out_.size() - before);
  }
  std::string take() { return std::move(out_); }

 private:
  void write_key(const Entry& entry) {
    if (json_) {
      out_ += json_quoted(entry.name);
    } else {
      out_ += entry.is_number ? entry.name : quoted(entry.name);
    }
    out_ += ": ";
  }
  template <class Items, class WriteItem>
  void write_all(char open, char close, const Items& items, int level,
                 const WriteItem& write_item) {
    out_ += open;
    bool first = true;
    for (const auto& item : items) {
      if (!std::exchange(first, false)) out_ += indent_ < 0 ? ", " : ",";
      new_line(level + 1);
      write_item(item);
    }
    if (!items.empty()) new_line(level);
    out_ += close;
  }
  void new_line(int level) {
    if (indent_ < 0) return;
    const auto spaces = static_cast<std::size_t>(level) * static_cast<std::size_t>(indent_);
    budget_.spend_bytes(spaces + 1);
    out_ += '\n' + std::string(spaces, ' ');
  }
  std::string scalar(const Value& value) const {
    if (const auto* flag = std::get_if<bool>(&value)) {
      if (json_) return *flag ? "true" : "false";
      return *flag ? "True" : "False";
    }
    if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
    if (const auto* number = std::get_if<double>(&value)) return number_text(*number);
    if (std::holds_alternative<None>(value)) return json_ ? "null" : "None";
    if (json_) throw TemplateError(std::format("{} cannot be JSON", type_name(value)));
    return std::holds_alternative<Undefined>(value) ? "Undefined"
                                                    : std::format("<{}>", type_name(value));
  }

  const bool json_;
  const int indent_;
  Budget& budget_;
  std::string out_;
};

bool same_key(const Entry& a, const Entry& b) {
  return a.is_number == b.is_number && a.name == b.name;
}

double as_double(const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1.0 : 0.0;
  if (const auto* number = std::get_if<std::int64_t>(&value)) return static_cast<double>(*number);
  return std::get<double>(value);
}
bool counts(const Value& value) { return is_number(value) || std::holds_alternative<bool>(value); }

}  // namespace

Value make_text(std::string text, Budget& budget) {
  budget.spend_bytes(text.size() + kTextBytes);
  return std::make_shared<const std::string>(std::move(text));
}

Value make_list(std::vector<Value> items, Budget& budget) {
  budget.spend_bytes(items.size() * kItemBytes + kTextBytes);
  budget.spend_steps(items.size() / 8);
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, depth_of(item));
  return std::make_shared<const ListValue>(std::move(items), checked_depth(deepest + 1));
}

Value make_mapping(std::vector<Entry> entries, Budget& budget) {
  MappingValue mapping;
  int deepest = 0;
  for (Entry& entry : entries) {
    budget.spend_bytes(entry.name.size() + kEntryBytes);
    budget.spend_steps(mapping.entries.size() / 16);
    deepest = std::max(deepest, depth_of(entry.value));
    const auto known = std::ranges::find_if(
        mapping.entries, [&](const Entry& other) { return same_key(other, entry); });
    if (known == mapping.entries.end()) {
      mapping.entries.push_back(std::move(entry));
    } else {
      known->value = std::move(entry.value);
    }
  }
  mapping.depth = checked_depth(deepest + 1);
  return std::make_shared<const MappingValue>(std::move(mapping));
}

Entry make_entry(const Value& key, Value value) {
  if (const std::string* name = text_of(key)) return {*name, std::move(value)};
  if (const auto* number = std::get_if<std::int64_t>(&key))
    return {std::to_string(*number), std::move(value), true};
  throw TemplateError(std::format("keys are strings or integers: {}", type_name(key)));
}

Value key_of(const Entry& entry, Budget& budget) {
  if (!entry.is_number) return make_text(entry.name, budget);
  std::int64_t number = 0;
  std::from_chars(entry.name.data(), entry.name.data() + entry.name.size(), number);
  return number;
}

std::string_view type_name(const Value& value) {
  static constexpr std::array<std::string_view, std::variant_size_v<Value>> kNames{
      "undefined", "none",    "boolean",   "integer",  "float", "string",
      "list",      "mapping", "namespace", "function", "loop"};
  return kNames[value.index()];
}

bool is_undefined(const Value& value) { return std::holds_alternative<Undefined>(value); }
bool is_number(const Value& value) {
  return std::holds_alternative<std::int64_t>(value) || std::holds_alternative<double>(value);
}

bool truthy(const Value& value) {
  if (is_undefined(value) || std::holds_alternative<None>(value)) return false;
  if (counts(value)) return as_double(value) != 0.0;
  if (const auto* text = text_of(value)) return !text->empty();
  if (const auto* items = items_of(value)) return !items->empty();
  if (const auto* mapping = std::get_if<Mapping>(&value)) return !(*mapping)->entries.empty();
  return true;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.spend_steps();
  if (counts(a) && counts(b)) {
    const auto* left = std::get_if<std::int64_t>(&a);
    const auto* right = std::get_if<std::int64_t>(&b);
    return left != nullptr && right != nullptr ? *left == *right : as_double(a) == as_double(b);
  }
  if (a.index() != b.index()) return false;
  if (const auto* text = text_of(a)) {
    budget.spend_steps(text->size() / 64);
    return *text == *text_of(b);
  }
  if (const auto* items = items_of(a)) {
    return std::ranges::equal(*items, *items_of(b),
                              [&](const Value& x, const Value& y) { return equal(x, y, budget); });
  }
  if (const auto* mapping = std::get_if<Mapping>(&a)) {
    const auto& others = std::get<Mapping>(b)->entries;
    if ((*mapping)->entries.size() != others.size()) return false;
    return std::ranges::all_of((*mapping)->entries, [&](const Entry& entry) {
      budget.spend_steps(others.size() / 16);
      const auto other =
          std::ranges::find_if(others, [&](const Entry& one) { return same_key(one, entry); });
      return other != others.end() && equal(entry.value, other->value, budget);
    });
  }
  if (const auto* space = std::get_if<Namespace>(&a)) return *space == std::get<Namespace>(b);
  if (const auto* function = std::get_if<Function>(&a)) return *function == std::get<Function>(b);
  return true;  // undefined, none
}

int compare(const Value& a, const Value& b, Budget& budget) {
  budget.spend_steps();
  if (counts(a) && counts(b)) {
    const double left = as_double(a);
    const double right = as_double(b);
    return left < right ? -1 : (left > right ? 1 : 0);
  }
  const std::string* left = text_of(a);
  const std::string* right = text_of(b);
  if (left == nullptr || right == nullptr)
    throw TemplateError(std::format("{} and {} have no order", type_name(a), type_name(b)));
  budget.spend_steps(std::min(left->size(), right->size()) / 64);
  return left->compare(*right);
}

const Value* find(const std::vector<Entry>& entries, std::string_view name, Budget& budget) {
  budget.spend_steps(entries.size() / 16);
  const auto found = std::ranges::find_if(
      entries, [&](const Entry& entry) { return !entry.is_number && entry.name == name; });
  return found == entries.end() ? nullptr : &found->value;
}
const Value* find(const std::vector<Entry>& entries, const Value& key, Budget& budget) {
  if (const std::string* name = text_of(key)) return find(entries, *name, budget);
  if (!std::holds_alternative<std::int64_t>(key)) return nullptr;
  const Entry wanted = make_entry(key, {});
  budget.spend_steps(entries.size() / 16);
  const auto found =
      std::ranges::find_if(entries, [&](const Entry& entry) { return same_key(entry, wanted); });
  return found == entries.end() ? nullptr : &found->value;
}

std::string to_text(const Value& value, Budget& budget) {
  if (is_undefined(value)) return {};
  if (const auto* text = text_of(value)) return *text;
  Writer writer(false, -1, budget);
  writer.write(value);
  return writer.take();
}

std::string to_json(const Value& value, int indent, Budget& budget) {
  Writer writer(true, indent, budget);
  writer.write(value);
  return writer.take();
}

const std::string* text_of(const Value& value) {
  const auto* text = std::get_if<Text>(&value);
  return text == nullptr ? nullptr : text->get();
}
const std::vector<Value>* items_of(const Value& value) {
  const auto* list = std::get_if<List>(&value);
  return list == nullptr ? nullptr : &(*list)->items;
}
const std::vector<Entry>* entries_of(const Value& value) {
  if (const auto* mapping = std::get_if<Mapping>(&value)) return &(*mapping)->entries;
  if (const auto* space = std::get_if<Namespace>(&value)) return &(*space)->entries;
  return nullptr;
}

}  // namespace gogrid::jinja
