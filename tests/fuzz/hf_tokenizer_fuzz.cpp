// Any bytes at all as tokenizer.json, as tokenizer.model and as config.json: read or refused.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "model/bounded_json.h"
#include "model/hf_architectures.h"
#include "model/sentencepiece_model.h"
#include "model/tokenizer_json.h"

namespace {

using namespace gogrid;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "hf_tokenizer_fuzz: %s\n", what);
  std::abort();
}

void describe(const HfConfig& config) {
  for (const char* name : {"LlamaForCausalLM", "Qwen3ForCausalLM", "Gemma2ForCausalLM",
                           "Gemma3ForCausalLM", "Phi3ForCausalLM", "BertModel"}) {
    const auto architecture = architecture_named(name);
    require(architecture.has_value(), "these are known");
    HfDescription description;
    (*architecture)->describe(config, (*architecture)->gguf, description);
    require(description.keys.count() > 0, "a model has keys");
    rope_factors(**architecture, config);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto pieces = parse_sentencepiece(text, "fuzz");
  require(pieces || pieces.error().message.starts_with("[sentencepiece] fuzz: "), "says where");
  const auto tokenizer = parse_tokenizer_json(text, "fuzz");
  require(!tokenizer || !tokenizer->vocabulary.empty(), "what is accepted has tokens");
  auto json = parse_json(text, "fuzz");
  if (!json) return 0;
  const auto config = HfConfig::of(*std::move(json), "fuzz");
  if (config) describe(*config);
  return 0;
}
