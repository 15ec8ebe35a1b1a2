// Text as Python's str sees it: characters are code points. Every function takes time in proportion
// to the text, whatever the text is; where it takes no budget, its caller pays. Not part of the
// interface of the template language.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/template_value.h"

namespace gogrid::jinja {

enum class Side : std::uint8_t { kBoth, kLeft, kRight };

// Where each character begins, and the end. Bytes that are no UTF-8 count as one character each.
std::vector<std::uint32_t> character_starts(std::string_view text, Budget& budget);
std::size_t count_characters(std::string_view text);

// npos when absent.
std::size_t find_text(std::string_view text, std::string_view part, std::size_t from,
                      Budget& budget);

// `characters` empty: white space. Reads them all.
std::string_view strip(std::string_view text, std::string_view characters, Side side);

// At most `limit` times; negative: always. `before` is not empty.
std::string replace_text(std::string_view text, std::string_view before, std::string_view after,
                         std::int64_t limit, Budget& budget);

// `separator` empty: runs of white space. At most `limit` times; negative: always.
std::vector<std::string_view> split_text(std::string_view text, std::string_view separator,
                                         std::int64_t limit, Budget& budget);

std::string lower_case(std::string_view text);  // ASCII letters only
std::string upper_case(std::string_view text);
std::string capitalized(std::string_view text);
std::string title_case(std::string_view text);

// Reads the arguments of a filter or method by place or name.
class ArgumentReader {
 public:
  // `what`: for messages. `arguments` must outlive it.
  ArgumentReader(std::string_view what, const Arguments& arguments)
      : what_(what), arguments_(arguments) {}

  // Null when not given (or none).
  const Value* get(std::size_t place, std::string_view name) const;
  // Errors say which argument must be what.
  const std::string& text(std::size_t place, std::string_view name) const;
  // A view of the argument or of `otherwise`.
  std::string_view text_or(std::size_t place, std::string_view name,
                           std::string_view otherwise) const;
  std::int64_t integer_or(std::size_t place, std::string_view name, std::int64_t otherwise) const;
  bool flag_or(std::size_t place, std::string_view name, bool otherwise) const;
  [[noreturn]] void refuse(std::string_view name, std::string_view wanted) const;

 private:
  const std::string_view what_;
  const Arguments& arguments_;
};

}  // namespace gogrid::jinja
