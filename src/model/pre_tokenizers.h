// How byte-pair tokenizers split a text before they merge: definitions in tokenizer.json, and what
// libllama calls the same.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace gogrid {

// The steps of `pre_tokenizer`, one a line, in a form that is the same for what does the same.
std::string canonical_pre_tokenizer(const nlohmann::json& pre_tokenizer);

// libllama's name for it ("llama-bpe"); empty when it has none. `ignores_merges`: words that are
// tokens are taken whole.
std::string_view pre_tokenizer_named(std::string_view canonical, bool ignores_merges);

// What libllama's splitter of this name is known to do otherwise than the original; empty: nothing.
std::string_view pre_tokenizer_caveat(std::string_view name);

}  // namespace gogrid
