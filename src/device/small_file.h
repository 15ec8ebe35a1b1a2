// The kernel's one-line files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// The whole of a regular file of at most `limit` bytes: kTooLarge above, kNotFound, kIo.
Result<std::string> read_small_file(const std::filesystem::path& path, Bytes limit = 4096);

// The same without the white space around it; "" where it cannot be read.
std::string small_text(const std::filesystem::path& path);

// "12345\n" -> 12345, with an optional minus; kCorrupt with the path for anything else.
Result<std::int64_t> read_number(const std::filesystem::path& path);

// The value of "KEY=value" among the lines of a uevent file; "" where there is none.
std::string uevent_value(std::string_view text, std::string_view key);

}  // namespace gogrid
