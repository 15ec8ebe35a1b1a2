#include "model/gguf_beginning.h"

#include <algorithm>

#include "base/files.h"
#include "base/format.h"
#include "model/gguf_file.h"

namespace gogrid {

namespace {

Status check_part(const GgufFile& header, const FilePart& expected) {
  if (expected.count <= 1) return check_is_whole(header, "pull");
  const FilePart part = part_of(header);
  if (part == expected) return {};
  return fail(ErrorCode::kCorrupt,
              format_text("[pull] {}: expected part {} of {}: it says it is part {} of {}",
                          header.path().string(), expected.number, expected.count, part.number,
                          part.count));
}

}  // namespace

Result<bool> judge_beginning(const std::filesystem::path& file, Bytes prefix,
                             const FilePart& part) {
  // By itself, as the library will read it: no other file lies beside it that it could be a part
  // with.
  GOGRID_ASSIGN_OR_RETURN(const MappedFile mapping, MappedFile::open(file));
  GgufLimits here;
  here.max_header = std::min(here.max_header, prefix);
  const auto header = GgufFile::parse(mapping.bytes(), file.native(), here);
  if (header) {
    GOGRID_RETURN_IF_ERROR(check_part(*header, part));
    return true;
  }
  // Read from front to back, what is wrong in the prefix is wrong in the same words however far the
  // reader may go on; what only the end of the prefix made wrong is not.
  const auto beyond = GgufFile::parse(mapping.bytes(), file.native());
  if (!beyond && beyond.error().message == header.error().message)
    return std::unexpected(header.error());
  return false;
}

}  // namespace gogrid
