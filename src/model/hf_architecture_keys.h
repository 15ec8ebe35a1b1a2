// What config.json says, as keys of GGUF: one function for each kind of architecture. Private to
// hf_architectures.h, whose HfArchitecture::describe they are.
#pragma once

#include <string_view>

#include "model/hf_architectures.h"
#include "model/hf_config.h"

namespace gogrid {

void describe_llama(const HfConfig& config, std::string_view gguf, HfDescription& out);
void describe_qwen(const HfConfig& config, std::string_view gguf, HfDescription& out);
void describe_gemma2(const HfConfig& config, std::string_view gguf, HfDescription& out);
void describe_gemma3(const HfConfig& config, std::string_view gguf, HfDescription& out);
void describe_phi3(const HfConfig& config, std::string_view gguf, HfDescription& out);
void describe_bert(const HfConfig& config, std::string_view gguf, HfDescription& out);

}  // namespace gogrid
