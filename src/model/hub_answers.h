// What hubs and registries answer, read as what it is: text from outside. Each answer is bounded in
// bytes, nesting and entries before anything is made of it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// A thousand files, as a page of the hub has them, take about half of this.
inline constexpr Bytes kMaxHubAnswer = 4 * kMiB;
// No model is near it, and sums of sizes below it stay far from the end of 64 bits.
inline constexpr Bytes kMaxModelSize = Bytes{1} << 46;

struct HubFile {
  std::string path;  // in the repository
  Bytes size = 0;
  std::string sha256;  // of large files (LFS); empty for others: their oid is git's
};

// The files of one page of /api/models/OWNER/REPO/tree/REVISION; folders are left out. `where`
// begins the error texts. kCorrupt for what is no such page, or names absurd sizes or paths.
Result<std::vector<HubFile>> parse_tree_page(std::string_view json, std::string_view where);

// The address of the next page, from a Link header (RFC 8288): <https://...>; rel="next".
std::optional<std::string> next_page(std::string_view link);

// One file, by what it is.
struct RegistryBlob {
  std::string sha256;
  Bytes size = 0;
};

// The layer of a manifest that holds the model. kUnsupported when it is in several or in another
// format, kCorrupt for what is no manifest.
Result<RegistryBlob> parse_registry_manifest(std::string_view json, std::string_view where);

// What another GoGrid says of a model of its library (/admin/v1/models/NAME). kCorrupt for what is
// no such answer.
Result<RegistryBlob> parse_library_entry(std::string_view json, std::string_view where);

}  // namespace gogrid
