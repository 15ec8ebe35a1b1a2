// How large a model would be in other types: predicted from its header, before anybody quantizes
// it.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "model/gguf_file.h"
#include "model/model_profile.h"

namespace gogrid {

// What a type was found to cost another model; of this one nobody knows until it is measured.
struct PublishedLoss {
  double added_perplexity = 0;
  std::string_view model;   // that it was measured on
  std::string_view source;  // where it was published
};

struct QuantizedModel {
  std::string_view type;  // as llama-quantize names it, in small letters: "q4_k_m"
  Bytes bytes = 0;        // of the file
  std::optional<PublishedLoss> loss = {};
  ModelProfile profile = {};  // of that file: the same model with smaller tensors
};

// The types in which the file would be smaller than it is, the largest first. Sizes are those that
// libllama's quantizer writes without an importance matrix, within 10 %
// (tests/model/quantized_size_test.cpp): matrices in the type, or in the larger one that the mix
// has for their part of a layer; norms, biases and routers as they are.
std::vector<QuantizedModel> smaller_quantizations(const GgufFile& file,
                                                  const ModelProfile& profile);

// What libllama's quantizer does with one tensor, whatever the mix: matrices of weights get another
// type, but for those that are small, and dear when they are wrong (norms, routers, convolutions).
bool is_quantized_weight(const GgufTensor& tensor);
// The type that takes a type's place where rows are no multiple of its block: "q4_K" -> "q5_0".
// Empty: none does.
std::string_view type_for_odd_rows(std::string_view type);
// Of a mix, by its name: "q4_k_s".
std::optional<PublishedLoss> published_loss(std::string_view mix);

}  // namespace gogrid
