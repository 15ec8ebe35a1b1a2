#include "model/gguf_beginning.h"

#include <algorithm>

#include "base/files.h"
#include "model/gguf_file.h"
#include "model/split_file.h"

namespace gogrid {

Result<bool> judge_beginning(const std::filesystem::path& file, Bytes prefix) {
  // By itself, as the library will read it: no other file lies beside it that it could be a part
  // with.
  GOGRID_ASSIGN_OR_RETURN(const MappedFile mapping, MappedFile::open(file));
  GgufLimits here;
  here.max_header = std::min(here.max_header, prefix);
  const auto header = GgufFile::parse(mapping.bytes(), file.native(), here);
  if (header) {
    GOGRID_RETURN_IF_ERROR(check_is_whole(*header, "pull"));
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
