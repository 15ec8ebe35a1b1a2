// JSON files that nobody vouches for: how large, how deep and how many values is checked before a
// tree is built of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// Above the largest published tokenizer.json (33 MB, two million values), and low enough that the
// tree takes less than 512 MiB.
struct JsonLimits {
  Bytes size = 48 * kMiB;
  std::size_t depth = 64;
  std::uint64_t values = 3'000'000;
};

// kNotFound, kIo, kTooLarge; kCorrupt "[json] PATH: what was expected: what came".
Result<nlohmann::json> read_json(const std::filesystem::path& path, const JsonLimits& limits = {});
// The same of a text; `name` begins the error texts.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view name,
                                  const JsonLimits& limits = {});

}  // namespace gogrid
