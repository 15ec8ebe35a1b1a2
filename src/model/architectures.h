// What libllama's graphs are like, architecture by architecture: facts that no metadata tells.
//
// Taken from the library that this program links (libllama 0.7): which graphs name the node
// `l_out` after each layer, what they do to rows before the first layer, and what they derive from
// a layer's index or from the number of layers. An architecture that is not in this table runs as
// one stage: libllama decides whether it runs at all.
#pragma once

#include <cstdint>
#include <string_view>

namespace gogrid {

enum class ArchitectureUse : std::uint8_t {
  kCuttable,  // every `period` layers
  kOneStage,  // `why`
  kNoText,    // does not write text token by token: `why`
};

struct Architecture {
  std::string_view name;  // general.architecture
  ArchitectureUse use = ArchitectureUse::kOneStage;
  // Layers whose index has the same remainder are alike. Counts where the sliding window is on
  // whenever `windowed`: with no window in the file they are all alike.
  std::uint32_t period = 1;
  bool windowed = false;             // the period is that of its sliding window's pattern
  bool scales_token_rows = false;    // by sqrt(n_embd), rows that come in as embeddings not
  std::uint32_t layers_to_keep = 0;  // with exactly so many layers it computes something else
  // Its layers, or some of them, carry a state instead of a KV cache or besides. Where it is
  // cuttable, every range must have layers of both kinds: libllama cannot load others.
  bool recurrent = false;
  std::uint32_t attention_every = 0;  // of so many layers the last has attention; 0: the file says
  bool state_beside_attention = false;  // in every layer
  std::string_view why = {};
};

// Null when unknown.
const Architecture* find_architecture(std::string_view name);

}  // namespace gogrid
