// Stages of this process, run by libllama.
#pragma once

#include <memory>

#include "stage/stage.h"

namespace gogrid {

// Thread-safe; the stages it makes are not. initialize_backends() must have been called.
//
// make() answers kUnsupported when the range is not the whole model and the graph has no node
// `l_out-<last layer>` (the model then runs as one stage only), kExhausted when the device refuses
// the memory, kCorrupt when libllama refuses the file.
std::unique_ptr<StageFactory> make_llama_stage_factory();

}  // namespace gogrid
