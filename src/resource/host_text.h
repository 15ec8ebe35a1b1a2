// Reading the kernel's text files, none of which is believed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace gogrid {

// What a look at the machine told, or why it is not known, for people. Unknown is never zero.
template <class T>
using Reading = std::expected<T, std::string>;

// "[load] PART: what was expected: what came".
std::unexpected<std::string> not_known(std::string_view part, std::string_view why);

// The first `limit` bytes of a file, or all where it has fewer: a kernel's file may be long, and
// what is wanted stands at its beginning. Unknown when it is absent, forbidden or no regular file.
Reading<std::string> read_text(const std::filesystem::path& path, std::size_t limit);

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

}  // namespace gogrid
