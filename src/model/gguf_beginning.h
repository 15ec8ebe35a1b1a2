// A GGUF file of which only the beginning is here: judged as soon as its header is.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "base/units.h"
#include "model/split_file.h"

namespace gogrid {

// `file` is as long as the whole; only its first `prefix` bytes are the file's, the others
// anything. True: the header is here, and right. False: it goes on behind the prefix, and nothing
// is wrong up to there. Errors: those of GgufFile::open() and check_is_whole(), for what no byte
// that is still to come can mend; kCorrupt where it is another part of a model than `part`. Linear
// in the prefix, up to the header's end.
Result<bool> judge_beginning(const std::filesystem::path& file, Bytes prefix,
                             const FilePart& part = {});

}  // namespace gogrid
