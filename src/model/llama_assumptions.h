// What libllama takes for granted of a model file. Where it is wrong the library does not refuse
// the file, but ends the process (an assertion), loops, or reads beyond an array.
#pragma once

#include "base/result.h"
#include "model/gguf_file.h"

namespace gogrid {

// kUnsupported or kCorrupt "[llama_assumptions] what was expected: what came" for a file that
// GgufFile accepts and libllama must not be given: types of weights that no kernel has, numbers
// that its graphs assert on, a vocabulary that does not fit together. Shapes of tensors are not
// among it: those libllama compares with the metadata itself, and refuses. Called by
// read_profile(); linear in the vocabulary but for a sort.
Status check_assumptions(const GgufFile& file);

}  // namespace gogrid
