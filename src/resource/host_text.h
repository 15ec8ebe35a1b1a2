// Reading the kernel's text files, none of which is believed.
#pragma once

#include <cstddef>
#include <expected>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/text.h"

namespace gogrid {

// What a look at the machine told, or why it is not known, for people. Unknown is never zero.
template <class T>
using Reading = std::expected<T, std::string>;

// "[load] PART: what was expected: what came".
std::unexpected<std::string> not_known(std::string_view part, std::string_view why);

// The first `limit` bytes of a file, or all where it has fewer: a kernel's file may be long, and
// what is wanted stands at its beginning. Unknown when it is absent, forbidden or no regular file.
Reading<std::string> read_text(const std::filesystem::path& path, std::size_t limit);

}  // namespace gogrid
