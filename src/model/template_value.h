// Values of the chat template language (Jinja): undefined, none, booleans, numbers, text, lists,
// mappings, namespaces and what can be called. All but namespaces never change, so that values form
// no cycles.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace gogrid::jinja {

// What is wrong with a template, or with what it was given. Never leaves ChatTemplate.
class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One that says in which line.
class LocatedError : public TemplateError {
 public:
  using TemplateError::TemplateError;
};

// What one render may use. Work and memory are counted where they arise, so that a template from a
// file that nobody read ends in an error and never in a hang. Not thread-safe: one per render.
class Budget {
 public:
  Budget(std::uint64_t steps, std::uint64_t bytes) : steps_(steps), bytes_(bytes) {}
  void spend_steps(std::uint64_t count = 1) { spend(steps_, count, "steps"); }
  // For going through `bytes` of text once; a step is some 50 ns, and so is this much text.
  void spend_reading(std::uint64_t bytes) { spend_steps(bytes / 32); }
  // All bytes ever made, so an upper bound of those in use.
  void spend_bytes(std::uint64_t count) { spend(bytes_, count, "bytes"); }

 private:
  static void spend(std::uint64_t& left, std::uint64_t count, const char* what) {
    if (count > left) throw TemplateError(std::string("takes too many ") + what);
    left -= count;
  }
  std::uint64_t steps_;
  std::uint64_t bytes_;
};

struct ListValue;
struct MappingValue;
struct NamespaceValue;
struct FunctionValue;
struct LoopValue;

struct Undefined {};
struct None {};
using Text = std::shared_ptr<const std::string>;
using List = std::shared_ptr<const ListValue>;
using Mapping = std::shared_ptr<const MappingValue>;
using Namespace = std::shared_ptr<NamespaceValue>;
using Function = std::shared_ptr<const FunctionValue>;
using Loop = std::shared_ptr<const LoopValue>;
using Value = std::variant<Undefined, None, bool, std::int64_t, double, Text, List, Mapping,
                           Namespace, Function, Loop>;

// Lists in lists: bounds every recursion over values, their destruction included.
inline constexpr int kMaxValueDepth = 64;

// What stands under a name.
struct Entry {
  std::string name;
  Value value;
  bool is_number = false;  // the key is the integer that `name` spells
};
struct ListValue {
  std::vector<Value> items;
  int depth = 1;  // 1 + that of the deepest item
};
struct MappingValue {
  std::vector<Entry> entries;  // in order of insertion, keys unique
  int depth = 1;
};
// What `namespace()` makes: the only thing that a template can change.
struct NamespaceValue {
  std::vector<Entry> entries;
};
struct Arguments {
  std::vector<Value> positional;
  std::vector<Entry> named;
};
struct FunctionValue {
  std::string name;
  std::function<Value(Arguments&)> call;
};
// The `loop` of a for block, in one of its rounds.
struct LoopValue {
  List items;
  std::size_t index = 0;
};

Value make_text(std::string text, Budget& budget);
Value make_list(std::vector<Value> items, Budget& budget);
// Later entries replace earlier ones of the same key.
Value make_mapping(std::vector<Entry> entries, Budget& budget);
// Keys are strings or integers; else an error.
Entry make_entry(const Value& key, Value value, Budget& budget);
Value key_of(const Entry& entry, Budget& budget);

// "string", "list", …: for messages.
std::string_view type_name(const Value& value);
bool is_undefined(const Value& value);
bool is_number(const Value& value);  // booleans are no numbers
bool truthy(const Value& value);
// As Python compares: 1 == 1.0 == true; lists and mappings by what they hold.
bool equal(const Value& a, const Value& b, Budget& budget);
// Negative, 0 or positive. Numbers with numbers, text with text; else an error.
int compare(const Value& a, const Value& b, Budget& budget);

// Null when there is none.
const Value* find(const std::vector<Entry>& entries, std::string_view name, Budget& budget);
const Value* find(const std::vector<Entry>& entries, const Value& key, Budget& budget);

// As `{{ value }}` writes it.
std::string to_text(const Value& value, Budget& budget);
// The same without a copy of what is text already: a view of `value` or of `storage`.
std::string_view view_text(const Value& value, std::string& storage, Budget& budget);
// As Python's json.dumps(ensure_ascii=False) writes it; `indent` < 0: on one line.
std::string to_json(const Value& value, int indent, Budget& budget);

const std::string* text_of(const Value& value);  // null when it is no text
const std::vector<Value>* items_of(const Value& value);
const std::vector<Entry>* entries_of(const Value& value);  // of mappings and namespaces

}  // namespace gogrid::jinja
