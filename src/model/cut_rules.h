// Where libllama's tokenizers let a text be cut.
#pragma once

#include "model/text_cutter.h"

struct llama_model;

namespace gogrid {

// Reads every token of `model`, which must have a vocabulary.
CutRules read_cut_rules(const llama_model* model);

}  // namespace gogrid
