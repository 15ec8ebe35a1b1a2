#include "model/template_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/format.h"

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
    throw TemplateError(format_text("nests values deeper than {}", kMaxValueDepth));
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

std::string hex_escape(std::string_view prefix, char c) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto code = static_cast<unsigned char>(c);
  return std::string(prefix) + kDigits[code >> 4U] + kDigits[code & 15U];
}
// How a character that cannot stand between quotes as itself is written there.
std::string python_escape(char c) {
  if (c == '\n') return "\\n";
  if (c == '\t') return "\\t";
  if (c == '\r') return "\\r";
  return static_cast<unsigned char>(c) < 0x20 ? hex_escape("\\x", c) : std::string{'\\', c};
}
std::string json_escape(char c) {
  if (c == '\b') return "\\b";
  if (c == '\f') return "\\f";
  const bool is_named =
      static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t' || c == '\r';
  return is_named ? python_escape(c) : hex_escape("\\u00", c);
}

// Writes values as Python or as JSON does, and pays for each byte before it is there: values share
// parts, so that a small one may be long to write. Their depth is bounded, so is its recursion.
class Writer {
 public:
  Writer(bool json, int indent, Budget& budget) : json_(json), indent_(indent), budget_(budget) {}

  void write(const Value& value, int level = 0) {
    budget_.spend_steps();
    if (const auto* text = text_of(value)) {
      put_quoted(*text);
    } else if (const auto* items = items_of(value)) {
      write_all('[', ']', *items, level, [&](const Value& item) { write(item, level + 1); });
    } else if (const auto* mapping = std::get_if<Mapping>(&value)) {
      write_all('{', '}', (*mapping)->entries, level, [&](const Entry& entry) {
        write_key(entry);
        write(entry.value, level + 1);
      });
    } else {
      put(scalar(value));
    }
  }
  std::string take() { return std::move(out_); }

 private:
  void put(std::string_view text) {
    budget_.spend_bytes(text.size());
    out_ += text;
  }
  void put_quoted(std::string_view text) {
    const bool single = !json_ && (!text.contains('\'') || text.contains('"'));
    const char quote = single ? '\'' : '"';
    put({&quote, 1});
    budget_.spend_reading(text.size());
    const auto needs_escape = [quote](char c) {
      return c == quote || c == '\\' || static_cast<unsigned char>(c) < 0x20;
    };
    while (!text.empty()) {
      const auto plain = std::ranges::find_if(text, needs_escape) - text.begin();
      put(text.substr(0, static_cast<std::size_t>(plain)));
      text.remove_prefix(static_cast<std::size_t>(plain));
      if (text.empty()) break;
      put(json_ ? json_escape(text.front()) : python_escape(text.front()));
      text.remove_prefix(1);
    }
    put({&quote, 1});
  }
  void write_key(const Entry& entry) {
    if (!json_ && entry.is_number) {
      put(entry.name);
    } else {
      put_quoted(entry.name);
    }
    put(": ");
  }
  template <class Items, class WriteItem>
  void write_all(char open, char close, const Items& items, int level,
                 const WriteItem& write_item) {
    put({&open, 1});
    bool first = true;
    for (const auto& item : items) {
      if (!std::exchange(first, false)) put(indent_ < 0 ? ", " : ",");
      new_line(level + 1);
      write_item(item);
    }
    if (!items.empty()) new_line(level);
    put({&close, 1});
  }
  void new_line(int level) {
    if (indent_ < 0) return;
    put("\n");
    put(std::string(static_cast<std::size_t>(level) * static_cast<std::size_t>(indent_), ' '));
  }
  std::string scalar(const Value& value) const {
    if (const auto* flag = std::get_if<bool>(&value)) {
      if (json_) return *flag ? "true" : "false";
      return *flag ? "True" : "False";
    }
    if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
    if (const auto* number = std::get_if<double>(&value)) return number_text(*number);
    if (std::holds_alternative<None>(value)) return json_ ? "null" : "None";
    if (json_) throw TemplateError(format_text("{} cannot be JSON", type_name(value)));
    return std::holds_alternative<Undefined>(value) ? "Undefined"
                                                    : format_text("<{}>", type_name(value));
  }

  const bool json_;
  const int indent_;
  Budget& budget_;
  std::string out_;
};

bool same_key(const Entry& a, const Entry& b) {
  return a.is_number == b.is_number && a.name == b.name;
}
// For comparing a name of `size` bytes with `count` others.
void spend_search(std::size_t count, std::size_t size, Budget& budget) {
  budget.spend_steps(count * (1 + size / 64) / 16);
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
    spend_search(mapping.entries.size(), entry.name.size(), budget);
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

Entry make_entry(const Value& key, Value value, Budget& budget) {
  if (const std::string* name = text_of(key)) {
    budget.spend_bytes(name->size());
    return {*name, std::move(value)};
  }
  if (const auto* number = std::get_if<std::int64_t>(&key))
    return {std::to_string(*number), std::move(value), true};
  throw TemplateError(format_text("keys are strings or integers: {}", type_name(key)));
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
    budget.spend_reading(text->size());
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
      spend_search(others.size(), entry.name.size(), budget);
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
    throw TemplateError(format_text("{} and {} have no order", type_name(a), type_name(b)));
  budget.spend_reading(std::min(left->size(), right->size()));
  return left->compare(*right);
}

const Value* find(const std::vector<Entry>& entries, std::string_view name, Budget& budget) {
  spend_search(entries.size(), name.size(), budget);
  const auto found = std::ranges::find_if(
      entries, [&](const Entry& entry) { return !entry.is_number && entry.name == name; });
  return found == entries.end() ? nullptr : &found->value;
}
const Value* find(const std::vector<Entry>& entries, const Value& key, Budget& budget) {
  if (const std::string* name = text_of(key)) return find(entries, *name, budget);
  if (!std::holds_alternative<std::int64_t>(key)) return nullptr;
  const Entry wanted = make_entry(key, {}, budget);
  spend_search(entries.size(), wanted.name.size(), budget);
  const auto found =
      std::ranges::find_if(entries, [&](const Entry& entry) { return same_key(entry, wanted); });
  return found == entries.end() ? nullptr : &found->value;
}

std::string to_text(const Value& value, Budget& budget) {
  if (is_undefined(value)) return {};
  if (const auto* text = text_of(value)) {
    budget.spend_bytes(text->size());
    return *text;
  }
  Writer writer(false, -1, budget);
  writer.write(value);
  return writer.take();
}

std::string_view view_text(const Value& value, std::string& storage, Budget& budget) {
  if (const auto* text = text_of(value)) return *text;
  storage = to_text(value, budget);
  return storage;
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
