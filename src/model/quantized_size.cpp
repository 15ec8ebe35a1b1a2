#include "model/quantized_size.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "model/layer_name.h"
#include "model/tensor_types.h"

namespace gogrid {
namespace {

// Parts of a layer that mixes keep in more bits than the rest.
enum class Part : std::uint8_t { kOther, kValues, kDown, kAttentionOut, kFusedQkv };

enum class Layers : std::uint8_t {
  kAll,
  kFirstFour,
  kFirstEighth,
  kMoreBits,  // the first and last eighth, and every third between
};

struct Raise {
  Part part = Part::kOther;
  std::string_view type;
  Layers layers = Layers::kAll;
};

// Facts of libllama's quantizer (0.7). Of the raises that apply to a tensor the first counts.
struct Mix {
  std::string_view name;
  std::string_view base;
  std::array<Raise, 5> raises{};
  std::optional<double> loss = {};  // added perplexity of Llama 3 8B
};

constexpr std::string_view kLossModel = "Llama 3 8B";
constexpr std::string_view kLossSource = "llama-quantize --help, llama.cpp (libllama 0.7)";

using enum Part;
using enum Layers;

constexpr auto kMixes = std::to_array<Mix>({
    {.name = "f16", .base = "f16"},
    {.name = "q8_0", .base = "q8_0", .loss = 0.0026},
    {.name = "q6_k", .base = "q6_K", .loss = 0.0217},
    {.name = "q5_1", .base = "q5_1", .loss = 0.1062},
    {.name = "q5_k_m",
     .base = "q5_K",
     .raises =
         {{{kValues, "q6_K", kMoreBits}, {kDown, "q6_K", kMoreBits}, {kFusedQkv, "q6_K", kAll}}},
     .loss = 0.0569},
    {.name = "q5_k_s", .base = "q5_K", .loss = 0.1049},
    {.name = "q5_0", .base = "q5_0", .loss = 0.1316},
    {.name = "q4_1", .base = "q4_1", .loss = 0.4511},
    {.name = "q4_k_m",
     .base = "q4_K",
     .raises =
         {{{kValues, "q6_K", kMoreBits}, {kDown, "q6_K", kMoreBits}, {kFusedQkv, "q5_K", kAll}}},
     .loss = 0.1754},
    {.name = "q4_k_s",
     .base = "q4_K",
     .raises = {{{kValues, "q5_K", kFirstFour}, {kDown, "q5_K", kFirstEighth}}},
     .loss = 0.2689},
    {.name = "iq4_nl",
     .base = "iq4_nl",
     .raises = {{{kValues, "q5_K", kAll}, {kDown, "q5_K", kFirstEighth}}}},
    {.name = "q4_0", .base = "q4_0", .loss = 0.4685},
    {.name = "iq4_xs",
     .base = "iq4_xs",
     .raises = {{{kValues, "q5_K", kAll}, {kDown, "q5_K", kFirstEighth}}}},
    {.name = "q3_k_l",
     .base = "q3_K",
     .raises = {{{kValues, "q5_K", kAll},
                 {kDown, "q5_K", kAll},
                 {kAttentionOut, "q5_K", kAll},
                 {kFusedQkv, "q4_K", kAll}}},
     .loss = 0.5562},
    {.name = "q3_k_m",
     .base = "q3_K",
     .raises = {{{kValues, "q4_K", kAll},
                 {kDown, "q4_K", kMoreBits},
                 {kAttentionOut, "q4_K", kAll},
                 {kFusedQkv, "q4_K", kAll}}},
     .loss = 0.6569},
    {.name = "q3_k_s", .base = "q3_K", .loss = 1.6321},
    {.name = "q2_k",
     .base = "q2_K",
     .raises = {{{kValues, "q4_K", kAll}, {kDown, "q3_K", kAll}, {kAttentionOut, "q3_K", kAll}}},
     .loss = 3.5199},
});

// What a row that is no multiple of a type's block is stored in instead.
struct Fallback {
  std::string_view type;
  std::string_view instead;
};
constexpr auto kFallbacks = std::to_array<Fallback>({{"q2_K", "iq4_nl"},
                                                     {"q3_K", "iq4_nl"},
                                                     {"iq4_xs", "iq4_nl"},
                                                     {"q4_K", "q5_0"},
                                                     {"q5_K", "q5_1"},
                                                     {"q6_K", "q8_0"}});

// Matrices that stay as they are: small, and dear when they are wrong.
constexpr auto kKept = std::to_array<std::string_view>(
    {"_norm.weight", "ffn_gate_inp", "altup", "laurel", "per_layer_model_proj", "position_embd",
     "token_types", "ssm_conv1d", "shortconv.conv", "time_mix_", "attn_rel_b"});

Part part_of(std::string_view name) {
  if (name.contains("attn_v.weight")) return kValues;
  if (name.contains("ffn_down")) return kDown;
  if (name.contains("attn_output.weight")) return kAttentionOut;
  if (name.contains("attn_qkv.weight")) return kFusedQkv;
  return kOther;
}

bool applies(Layers layers, std::uint32_t layer, std::uint32_t n_layers) {
  const std::uint32_t eighth = n_layers / 8;
  switch (layers) {
    case kAll:
      return true;
    case kFirstFour:
      return layer < 4;
    case kFirstEighth:
      return layer < eighth;
    case kMoreBits:
      return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
  }
  return false;
}

class Resizer {
 public:
  Resizer(const GgufFile& file, const ModelProfile& profile, const Mix& mix)
      : file_(file), profile_(profile), mix_(mix) {}

  QuantizedModel resize() const;

 private:
  bool is_head(const GgufTensor& tensor) const {
    return tensor.name == (profile_.tied_embeddings ? "token_embd.weight" : "output.weight");
  }
  std::string_view wanted_type(const GgufTensor& tensor) const;
  Bytes size_of(const GgufTensor& tensor) const;

  const GgufFile& file_;
  const ModelProfile& profile_;
  const Mix& mix_;
};

std::string_view Resizer::wanted_type(const GgufTensor& tensor) const {
  const bool is_float = mix_.base == "f16";
  if (is_float || mix_.base == "q8_0") return mix_.base;
  // What chooses among all tokens is kept in more bits.
  if (is_head(tensor)) return "q6_K";
  const Part part = part_of(tensor.name);
  const std::uint32_t layer = parse_layer_name(tensor.name).value_or(LayerName{}).layer;
  for (const Raise& raise : mix_.raises) {
    const bool meant = part != kOther && raise.part == part;
    if (meant && applies(raise.layers, layer, profile_.n_layers)) return raise.type;
  }
  return mix_.base;
}

// At most the 63 bits that the reader allows, but for a type that is larger than what is there: the
// sum below is bounded.
Bytes Resizer::size_of(const GgufTensor& tensor) const {
  if (!is_quantized_weight(tensor)) return tensor.size;
  std::string_view name = wanted_type(tensor);
  const auto fits = [&](std::string_view type) {
    const auto found = find_tensor_type(type);
    return found && tensor.shape[0] % found->block == 0;
  };
  if (!fits(name)) {
    if (const std::string_view other = type_for_odd_rows(name); !other.empty()) name = other;
  }
  if (!fits(name)) name = "f16";
  const auto type = find_tensor_type(name);
  if (!type) return tensor.size;
  Bytes blocks = tensor.shape[0] / type->block;
  for (std::size_t i = 1; i < tensor.shape.size(); ++i) {
    blocks = checked_mul(blocks, tensor.shape[i]).value_or(UINT64_MAX);
  }
  return checked_mul(blocks, type->block_bytes).value_or(UINT64_MAX);
}

QuantizedModel Resizer::resize() const {
  QuantizedModel model{
      .type = mix_.name, .bytes = file_.data_offset(), .loss = {}, .profile = profile_};
  model.loss = published_loss(mix_.name);
  ModelProfile& profile = model.profile;
  std::ranges::fill(profile.layer_weights, 0);
  profile.other_bytes = 0;
  const auto add = [](Bytes& sum, Bytes more) {
    sum = checked_add(sum, more).value_or(UINT64_MAX);
  };
  for (const GgufTensor& tensor : file_.tensors()) {
    const Bytes size = size_of(tensor);
    add(model.bytes, align_up(size, file_.alignment()).value_or(UINT64_MAX));
    const auto layer = parse_layer_name(tensor.name);
    if (layer && layer->layer < profile.n_layers) {
      add(profile.layer_weights[layer->layer], size);
    } else if (tensor.name == "token_embd.weight") {
      profile.token_embedding_bytes = size;
    } else if (tensor.name == "output.weight") {
      profile.head_bytes = size;
    } else {
      add(profile.other_bytes, size);
    }
  }
  if (profile.tied_embeddings) profile.head_bytes = profile.token_embedding_bytes;
  profile.file_bytes = model.bytes;
  return model;
}

}  // namespace

bool is_quantized_weight(const GgufTensor& tensor) {
  if (tensor.n_dims < 2 || !tensor.name.ends_with("weight")) return false;
  return std::ranges::none_of(kKept, [&](auto part) { return tensor.name.contains(part); });
}

std::string_view type_for_odd_rows(std::string_view type) {
  const auto* found = std::ranges::find(kFallbacks, type, &Fallback::type);
  return found == kFallbacks.end() ? std::string_view() : found->instead;
}

std::optional<PublishedLoss> published_loss(std::string_view mix) {
  const auto* found = std::ranges::find(kMixes, mix, &Mix::name);
  if (found == kMixes.end() || !found->loss) return std::nullopt;
  return PublishedLoss{*found->loss, kLossModel, kLossSource};
}

std::vector<QuantizedModel> smaller_quantizations(const GgufFile& file,
                                                  const ModelProfile& profile) {
  std::vector<QuantizedModel> models;
  for (const Mix& mix : kMixes) {
    QuantizedModel model = Resizer(file, profile, mix).resize();
    if (model.bytes < file.file_size()) models.push_back(std::move(model));
  }
  std::ranges::stable_sort(models, std::ranges::greater{}, &QuantizedModel::bytes);
  return models;
}

}  // namespace gogrid
