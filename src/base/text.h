// Cutting and reading short texts that nobody vouches for: files of the kernel, lines of a driver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gogrid {

// Digits only, within 64 bits.
std::optional<std::uint64_t> parse_number(std::string_view text);
// The same with a minus before it, as temperatures have.
std::optional<std::int64_t> parse_signed(std::string_view text);

// The next line, without its end; cut from `rest`.
std::string_view next_line(std::string_view& rest);
// The next word between blanks; empty at the end of `rest`, from which it is cut.
std::string_view next_word(std::string_view& rest);
// Without blanks and line ends around it.
std::string_view trimmed(std::string_view text);

// What follows `key` on its line: "MemTotal:       16 kB" -> "16 kB". Empty: no such line.
std::optional<std::string_view> field_of(std::string_view text, std::string_view key);

// For a message: one line, printable, short.
std::string excerpt(std::string_view text);

// What of `text`, which may be anything, a terminal may show and a record keep: UTF-8 on one line,
// of at most `most` bytes and never cut inside a character. A byte that is no UTF-8 becomes '?';
// what commands a terminal (the C0 and C1 controls), ends a line or turns its direction a blank.
std::string printable(std::string_view text, std::size_t most);

}  // namespace gogrid
