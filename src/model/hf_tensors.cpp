#include "model/hf_tensors.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <span>
#include <tuple>

#include "base/format.h"
#include "base/text.h"
#include "model/hf_shapes.h"

namespace gogrid {
namespace {

std::unexpected<Error> refuse(ErrorCode code, std::string_view tensor, const std::string& what) {
  return fail(code, format_text("[import] tensor {}: {}", excerpt(tensor), what));
}

// Of "X.weight_scale": all of the part, whatever is cut from a long X.
std::unexpected<Error> refuse_part(ErrorCode code, std::string_view tensor,
                                   const std::string& what) {
  const std::size_t dot = tensor.rfind('.');
  return fail(code, format_text("[import] tensor {}{}: {}", excerpt(tensor.substr(0, dot)),
                                tensor.substr(dot), what));
}

bool is_norm(std::string_view gguf_name) { return gguf_name.ends_with("norm.weight"); }

// libllama wants these unrounded.
bool stays_whole(const GgufTensorSpec& spec) {
  return spec.shape.size() < 2 || spec.name.ends_with("_norm.weight") ||
         spec.name == "position_embd.weight" || spec.name == "token_types.weight";
}

// "X.scales" is the part "scales" of the packed matrix X.
struct PackedPart {
  std::string_view matrix;
  std::string_view part;
};

std::optional<PackedPart> packed_part_of(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view part = name.substr(dot + 1);
  for (const std::string_view known : {"qweight", "qzeros", "scales", "g_idx"}) {
    if (part == known) return PackedPart{name.substr(0, dot), known};
  }
  return std::nullopt;
}

// "X.weight_scale" and "X.weight_scale_inv" scale "X.weight".
std::optional<std::string_view> scaled_weight_of(std::string_view name) {
  for (const std::string_view ending : {"_scale", "_scale_inv"}) {
    if (!name.ends_with(ending)) continue;
    const std::string_view weight = name.substr(0, name.size() - ending.size());
    if (weight.ends_with(".weight")) return weight;
  }
  return std::nullopt;
}

// Scales of what goes into a module, comes out of it or is cached: whoever computes with FP8 wants
// them, and weights do not.
bool is_of_activations(std::string_view name) {
  constexpr auto kParts =
      std::to_array<std::string_view>({"input_scale", "output_scale", "activation_scale", "k_scale",
                                       "v_scale", "q_scale", "kv_scale"});
  return std::ranges::contains(kParts, name.substr(name.rfind('.') + 1));
}

bool is_fp8(SafetensorsType type) {
  return type == SafetensorsType::kF8E4M3 || type == SafetensorsType::kF8E5M2;
}

class Planner {
 public:
  Planner(const HfArchitecture& architecture, const HfConfig& config, const WeightFormat& format,
          const SafetensorsFolder& weights, const TensorTypes& types)
      : architecture_(architecture),
        format_(format),
        weights_(weights),
        types_(types),
        layers_(config.count("num_hidden_layers")),
        heads_(config.count_or("num_attention_heads", 1)),
        kv_heads_(config.count_or("num_key_value_heads", heads_)),
        tied_(config.flag_or("tie_word_embeddings", false)),
        shapes_(architecture, config) {}

  Status add(const ShardTensor& tensor);
  void add_made(std::string_view name, std::vector<float> values);
  Status check_complete() const;
  std::vector<TensorJob> jobs();

 private:
  // Before, in and behind the layers; then the layer, the rule, and bias behind weight.
  using Order = std::tuple<int, std::uint32_t, const TensorRule*, bool>;

  Order order_of(const TensorPlace& place) const;
  // Empty when the tensor needs no place of its own.
  Result<std::optional<TensorPlace>> find_place(const ShardTensor& tensor,
                                                const std::optional<PackedPart>& part) const;
  Status check_scale(const ShardTensor& scale, std::string_view weight) const;
  bool is_made_up_bias(const ShardTensor& tensor, const TensorPlace& place) const;
  // A part of a quantized tensor; empty when there is none.
  TensorView view_of(const std::string& name) const;
  Result<PackedMatrix> open_packed(std::string_view matrix) const;
  Status set_packed(TensorJob& job, std::string_view matrix) const;
  Status set_shape(TensorJob& job) const;
  Status set_scaled(TensorJob& job) const;
  Status check_size(const TensorJob& job) const;
  Status set_edits(TensorJob& job, const TensorPlace& place) const;

  const HfArchitecture& architecture_;
  const WeightFormat& format_;
  const SafetensorsFolder& weights_;
  const TensorTypes& types_;
  const std::uint32_t layers_;
  const std::uint32_t heads_;
  const std::uint32_t kv_heads_;
  const bool tied_;
  const HfShapes shapes_;
  std::map<Order, TensorJob> jobs_;
  std::vector<TensorJob> made_;
};

Planner::Order Planner::order_of(const TensorPlace& place) const {
  const auto is_layered = [](const TensorRule& rule) {
    return rule.hf.find("{}") != std::string_view::npos;
  };
  const auto first = std::ranges::find_if(architecture_.rules, is_layered);
  const bool before = place.rule < std::to_address(first);
  const int group = place.has_layer ? 1 : before ? 0 : 2;
  return {group, place.layer, place.rule, place.suffix == ".bias"};
}

Result<std::optional<TensorPlace>> Planner::find_place(
    const ShardTensor& tensor, const std::optional<PackedPart>& part) const {
  if (const auto weight = scaled_weight_of(tensor.name())) {
    GOGRID_RETURN_IF_ERROR(check_scale(tensor, *weight));
    return std::nullopt;
  }
  if (format_.scaled && is_of_activations(tensor.name())) return std::nullopt;
  if (!part) return place_of(architecture_, tensor.name());
  if (!format_.packed) {
    return refuse(ErrorCode::kUnsupported, tensor.name(),
                  "expected quantization_config in config.json, or quantize_config.json, that says "
                  "how it is packed: absent");
  }
  if (part->part == "qweight")
    return place_of(architecture_, format_text("{}.weight", part->matrix));
  if (weights_.tensor(format_text("{}.qweight", part->matrix)) != nullptr) return std::nullopt;
  return refuse(ErrorCode::kCorrupt, tensor.name(), "expected qweight beside it: absent");
}

Status Planner::check_scale(const ShardTensor& scale, std::string_view weight) const {
  if (!format_.scaled) {
    return refuse_part(
        ErrorCode::kUnsupported, scale.name(),
        "expected quantization_config of fp8 or compressed-tensors in config.json, that "
        "says what it scales: absent");
  }
  const ShardTensor* scaled = weights_.tensor(weight);
  if (scaled == nullptr) {
    return refuse_part(ErrorCode::kCorrupt, scale.name(), "expected weight beside it: absent");
  }
  if (is_fp8(scaled->info->type)) return {};
  return refuse_part(
      ErrorCode::kCorrupt, scale.name(),
      format_text("expected a weight of F8_E4M3 beside it: {}", to_string(scaled->info->type)));
}

Status Planner::add(const ShardTensor& tensor) {
  const auto part = packed_part_of(tensor.name());
  GOGRID_ASSIGN_OR_RETURN(const auto place, find_place(tensor, part));
  if (!place || is_made_up_bias(tensor, *place)) return {};
  // A model that says so computes with the embeddings, whatever else its file holds.
  if (tied_ && place->rule->gguf == "output") return {};
  if (place->has_layer && place->layer >= layers_) {
    return refuse(ErrorCode::kCorrupt, tensor.name(),
                  format_text("expected layers below {}", layers_));
  }
  TensorJob job;
  job.source = tensor;
  job.spec.name = place->gguf_name();
  if (!part) GOGRID_RETURN_IF_ERROR(shapes_.check(tensor.name(), tensor.info->shape, *place));
  GOGRID_RETURN_IF_ERROR(part ? set_packed(job, part->matrix) : set_shape(job));
  if (part) {
    const std::array shape{job.packed->outputs(), job.packed->inputs()};
    GOGRID_RETURN_IF_ERROR(shapes_.check(tensor.name(), shape, *place));
  }
  GOGRID_RETURN_IF_ERROR(set_edits(job, *place));
  const auto [at, added] = jobs_.emplace(order_of(*place), std::move(job));
  if (!added) {
    return refuse(ErrorCode::kCorrupt, tensor.name(),
                  format_text("expected one that becomes {}: there is {} too", at->second.spec.name,
                              excerpt(at->second.source.name())));
  }
  return {};
}

// The tools give each packed matrix a bias, of zeros where the model has none; libllama takes none
// but those that it knows.
bool Planner::is_made_up_bias(const ShardTensor& tensor, const TensorPlace& place) const {
  if (!format_.packed || place.suffix != ".bias") return false;
  const std::string_view gguf = place.rule->gguf;
  if (architecture_.biased_attention &&
      (gguf == "blk.{}.attn_q" || gguf == "blk.{}.attn_k" || gguf == "blk.{}.attn_v")) {
    return false;
  }
  const std::string_view matrix = tensor.name().substr(0, tensor.name().rfind('.'));
  return weights_.tensor(format_text("{}.qweight", matrix)) != nullptr &&
         std::ranges::all_of(tensor.data(), [](std::byte byte) { return byte == std::byte{0}; });
}

TensorView Planner::view_of(const std::string& name) const {
  const ShardTensor* found = weights_.tensor(name);
  return found == nullptr ? TensorView{} : TensorView{found->info, found->data()};
}

Result<PackedMatrix> Planner::open_packed(std::string_view matrix) const {
  const auto part = [&](std::string_view name) {
    return view_of(format_text("{}.{}", matrix, name));
  };
  return PackedMatrix::open(*format_.packed, matrix,
                            {part("qweight"), part("qzeros"), part("scales"), part("g_idx")});
}

Status Planner::set_packed(TensorJob& job, std::string_view matrix) const {
  GOGRID_ASSIGN_OR_RETURN(PackedMatrix opened, open_packed(matrix));
  job.packed = std::make_shared<const PackedMatrix>(std::move(opened));
  job.spec.shape = {job.packed->inputs(), job.packed->outputs()};
  job.spec.type = types_.packed.value_or(gogrid::natural_type(*job.packed));
  if (stays_whole(job.spec)) {
    return refuse(ErrorCode::kUnsupported, job.source.name(), "expected a matrix of a layer's");
  }
  if (types_.packed) {
    if (const auto size = tensor_size(job.spec); !size) {
      return fail(ErrorCode::kInvalidArgument, size.error().message + "; choose another --type",
                  "type");
    }
  }
  return check_size(job);
}

// What tensor_size() refuses in our words would be a fault of the writer's caller: here it is the
// file's.
Status Planner::check_size(const TensorJob& job) const {
  const auto size = tensor_size(job.spec);
  if (!size) return refuse(ErrorCode::kCorrupt, job.source.name(), size.error().message);
  return {};
}

Status Planner::set_shape(TensorJob& job) const {
  const SafetensorsTensor& info = *job.source.info;
  if (!is_weight(info.type)) {
    return refuse(
        ErrorCode::kUnsupported, info.name,
        format_text("expected F32, F16, BF16, F8_E4M3 or F8_E5M2: {}", to_string(info.type)));
  }
  job.spec.shape.assign(info.shape.rbegin(), info.shape.rend());
  job.type = stays_whole(job.spec) ? StoredType::kF32 : types_.plain;
  job.spec.type = ggml_type_of(job.type);
  if (format_.scaled && is_fp8(info.type)) GOGRID_RETURN_IF_ERROR(set_scaled(job));
  return check_size(job);
}

Status Planner::set_scaled(TensorJob& job) const {
  const std::string_view name = job.source.name();
  const ScaledTensors tensors{{job.source.info, job.source.data()},
                              view_of(format_text("{}_scale", name)),
                              view_of(format_text("{}_scale_inv", name))};
  const bool alone = tensors.scale.info == nullptr && tensors.scale_inv.info == nullptr;
  const std::string_view module = name.substr(0, name.rfind('.'));
  if (alone && format_.scaled->is_plain(module)) return {};
  GOGRID_ASSIGN_OR_RETURN(ScaledMatrix opened,
                          ScaledMatrix::open(*format_.scaled, module, tensors));
  job.scaled = std::make_shared<const ScaledMatrix>(std::move(opened));
  return {};
}

Status Planner::set_edits(TensorJob& job, const TensorPlace& place) const {
  if (architecture_.shifts_norms && is_norm(job.spec.name)) job.shift = 1;
  if (!architecture_.permutes_heads) return {};
  if (place.rule->gguf == "blk.{}.attn_q") job.permuted_heads = heads_;
  if (place.rule->gguf == "blk.{}.attn_k") job.permuted_heads = kv_heads_;
  const std::uint64_t rows = job.spec.shape.back();
  if (job.permuted_heads == 0 || rows % (std::uint64_t{job.permuted_heads} * 2) == 0) return {};
  return refuse(
      ErrorCode::kCorrupt, job.source.name(),
      format_text("expected rows of {} heads of even width: {} rows", job.permuted_heads, rows));
}

void Planner::add_made(std::string_view name, std::vector<float> values) {
  if (values.empty()) return;
  TensorJob job;
  job.spec = {std::string(name), {values.size()}, ggml_type_of(StoredType::kF32)};
  job.made = std::move(values);
  made_.push_back(std::move(job));
}

Status Planner::check_complete() const {
  std::set<std::string> names;
  for (const auto& [order, job] : jobs_) names.insert(job.spec.name);
  for (const TensorRule& rule : architecture_.rules) {
    if (!rule.required) continue;
    const bool layered = rule.hf.find("{}") != std::string_view::npos;
    for (std::uint32_t layer = 0; layer < (layered ? layers_ : 1); ++layer) {
      const TensorPlace place{&rule, layer, layered, ".weight"};
      if (names.contains(place.gguf_name())) continue;
      return fail(ErrorCode::kCorrupt, format_text("[import] expected the tensor {} ({}): absent",
                                                   rule.hf, place.gguf_name()));
    }
  }
  return {};
}

std::vector<TensorJob> Planner::jobs() {
  std::vector<TensorJob> all = std::move(made_);
  for (auto& [order, job] : jobs_) all.push_back(std::move(job));
  return all;
}

}  // namespace

StoredType natural_type(const SafetensorsFolder& weights) {
  std::map<SafetensorsType, std::uint64_t> elements;
  for (const ShardTensor& tensor : weights.tensors()) {
    if (tensor.info->shape.size() < 2 || packed_part_of(tensor.name()) ||
        scaled_weight_of(tensor.name())) {
      continue;
    }
    elements[tensor.info->type] += tensor.info->elements;
  }
  if (elements.empty()) return StoredType::kF16;
  const auto most =
      std::ranges::max_element(elements, {}, [](const auto& one) { return one.second; })->first;
  // Eight bits of E5M2 and E4M3 are all in either.
  return most == SafetensorsType::kBF16 ? StoredType::kBF16 : StoredType::kF16;
}

Result<std::vector<TensorJob>> plan_tensors(const HfArchitecture& architecture,
                                            const HfConfig& config, const WeightFormat& format,
                                            const SafetensorsFolder& weights,
                                            const TensorTypes& types) {
  Planner planner(architecture, config, format, weights, types);
  RopeFactors factors = rope_factors(architecture, config);
  GOGRID_RETURN_IF_ERROR(config.status());
  planner.add_made("rope_freqs.weight", std::move(factors.all));
  planner.add_made("rope_factors_long.weight", std::move(factors.long_context));
  planner.add_made("rope_factors_short.weight", std::move(factors.short_context));
  for (const ShardTensor& tensor : weights.tensors()) GOGRID_RETURN_IF_ERROR(planner.add(tensor));
  GOGRID_RETURN_IF_ERROR(planner.check_complete());
  return planner.jobs();
}

}  // namespace gogrid
