#include "model/stage_types.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "base/format.h"
#include "base/nearest.h"
#include "base/text.h"
#include "model/layer_name.h"
#include "model/quantized_size.h"
#include "model/tensor_types.h"

namespace gogrid {
namespace {

constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kOutput = "output.weight";
constexpr std::string_view kLeastOfHead = "q6_K";

struct Known {
  std::string_view type;
  // Of the types of one size only the best has one: the planner never takes the others by itself.
  // Nor does it take less than three bits: what is left of a model then is not worth serving.
  std::string_view mix = {};  // that its published loss is of: the one with the fewest raises
};

// The largest first.
constexpr auto kTypes = std::to_array<Known>({{"q8_0", "q8_0"},
                                              {"q6_K", "q6_k"},
                                              {"q5_1"},
                                              {"q5_0"},
                                              {"q5_K", "q5_k_s"},
                                              {"q4_1"},
                                              {"q4_K", "q4_k_s"},
                                              {"q4_0"},
                                              {"iq4_nl"},
                                              {"iq4_xs"},
                                              {"q3_K", "q3_k_s"},
                                              {"q2_K"}});

WeightType weight_type(const TensorType& type) {
  return {type.name, type.number, static_cast<std::uint32_t>(type.block)};
}

bool is_read_as_floats(const GgufTensor& tensor) {
  const auto type = static_cast<ggml_type>(tensor.type);
  return type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float != nullptr;
}

bool is_head(const GgufTensor& tensor) {
  return tensor.name == kEmbedding || tensor.name == kOutput;
}

std::optional<TensorType> wanted_type(const GgufTensor& tensor, const WeightType& type) {
  const auto wanted = find_tensor_type(type.type);
  if (!wanted || !is_head(tensor)) return wanted;
  const auto least = find_tensor_type(kLeastOfHead);
  return least && least->bits_per_weight() > wanted->bits_per_weight() ? least : wanted;
}

// At most the tensor's own size, which the reader has checked: no overflow.
Bytes size_as(const GgufTensor& tensor, const TensorType& type) {
  const Bytes elements =
      std::accumulate(tensor.shape.begin(), tensor.shape.end(), Bytes{1}, std::multiplies<Bytes>());
  return elements / type.block * type.block_bytes;
}

Bytes size_in_slice(const GgufTensor& tensor, const WeightType& wanted) {
  const auto type = type_in_slice(tensor, wanted);
  return type ? size_as(tensor, *find_tensor_type(type->type)) : tensor.size;
}

ModelProfile profile_as(const GgufFile& file, const ModelProfile& profile, const WeightType& type) {
  ModelProfile smaller = profile;
  std::ranges::fill(smaller.layer_weights, 0);
  smaller.other_bytes = 0;
  smaller.file_bytes = file.data_offset();
  for (const GgufTensor& tensor : file.tensors()) {
    const Bytes size = size_in_slice(tensor, type);
    smaller.file_bytes += align_up(size, file.alignment()).value_or(size);
    const auto layer = parse_layer_name(tensor.name);
    if (layer && layer->layer < profile.n_layers) {
      smaller.layer_weights[layer->layer] += size;
    } else if (tensor.name == kEmbedding) {
      smaller.token_embedding_bytes = size;
    } else if (tensor.name == kOutput) {
      smaller.head_bytes = size;
    } else {
      smaller.other_bytes += size;
    }
  }
  if (profile.tied_embeddings) smaller.head_bytes = smaller.token_embedding_bytes;
  return smaller;
}

Bytes sum(const std::vector<Bytes>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), Bytes{0});
}

}  // namespace

Result<WeightType> find_stage_type(std::string_view name) {
  const auto type = find_weight_type(name);
  if (type && std::ranges::contains(kTypes, type->name, &Known::type)) return type;
  const std::vector<std::string> known = stage_type_names();
  return fail(ErrorCode::kInvalidArgument,
              format_text("expected a type for the layers of a stage: {}{}", excerpt(name),
                          suggestion(name, known)));
}

std::vector<std::string> stage_type_names() {
  std::vector<std::string> names;
  for (const Known& known : kTypes) {
    std::string name(known.type);
    std::ranges::replace(name, 'K', 'k');
    names.push_back(std::move(name));
  }
  return names;
}

std::optional<WeightType> type_in_slice(const GgufTensor& tensor, const WeightType& type) {
  if (!parse_layer_name(tensor.name) && !is_head(tensor)) return std::nullopt;
  if (!is_quantized_weight(tensor) || !is_read_as_floats(tensor)) return std::nullopt;
  auto chosen = wanted_type(tensor, type);
  const auto fits = [&] { return chosen && tensor.shape[0] % chosen->block == 0; };
  if (chosen && !fits()) chosen = find_tensor_type(type_for_odd_rows(chosen->name));
  if (!fits() || size_as(tensor, *chosen) >= tensor.size) return std::nullopt;
  return weight_type(*chosen);
}

std::vector<SmallerLayers> smaller_layers(const GgufFile& file, const ModelProfile& profile) {
  const Bytes whole = sum(profile.layer_weights);
  std::vector<SmallerLayers> all;
  for (const Known& known : kTypes) {
    const auto type = find_tensor_type(known.type);
    if (!type) continue;
    SmallerLayers made{.type = weight_type(*type), .profile = {}};
    made.profile = profile_as(file, profile, made.type);
    if (sum(made.profile.layer_weights) >= whole) continue;
    const auto published = published_loss(known.mix);
    if (published) made.cost = published->added_perplexity;
    all.push_back(std::move(made));
  }
  return all;
}

}  // namespace gogrid
