#include "model/lora_adapter.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "base/format.h"
#include "base/text.h"
#include "model/gguf_writer.h"
#include "model/layer_name.h"

namespace gogrid {
namespace {

constexpr std::string_view kTypeKey = "general.type";
constexpr std::string_view kKindKey = "adapter.type";
constexpr std::string_view kAlphaKey = "adapter.lora.alpha";
constexpr std::string_view kInvocationKey = "adapter.alora.invocation_tokens";
constexpr std::string_view kHead = "output.weight";
constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kA = ".lora_a";
constexpr std::string_view kB = ".lora_b";
constexpr std::uint64_t kHighestRank = 1U << 16;
// Whose graphs of libllama apply adapters to all of kMatrices that they have: an integration test
// looks at each. Others pass some over without a word.
constexpr std::array<std::string_view, 9> kArchitectures{
    "llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "qwen2moe", "qwen3moe", "phi2"};
constexpr std::array<std::string_view, 16> kMatrices{
    ".attn_q.weight",         ".attn_k.weight",
    ".attn_v.weight",         ".attn_qkv.weight",
    ".attn_output.weight",    ".ffn_gate.weight",
    ".ffn_up.weight",         ".ffn_down.weight",
    ".ffn_gate_inp.weight",   ".ffn_gate_exps.weight",
    ".ffn_up_exps.weight",    ".ffn_down_exps.weight",
    ".ffn_gate_shexp.weight", ".ffn_up_shexp.weight",
    ".ffn_down_shexp.weight", ".ffn_gate_inp_shexp.weight"};
// What converters write.
constexpr std::array<std::uint32_t, 4> kTypes{GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16,
                                              GGML_TYPE_Q8_0};

struct Pair {
  const GgufTensor* a = nullptr;  // [in, rank]
  const GgufTensor* b = nullptr;  // [rank, out]
};

class AdapterReader {
 public:
  AdapterReader(const GgufFile& file, const GgufFile& base, const ModelProfile& profile)
      : file_(file), base_(base), profile_(profile) {}

  Result<LoraAdapter> read() {
    GOGRID_RETURN_IF_ERROR(check_kind());
    GOGRID_RETURN_IF_ERROR(collect_pairs());
    adapter_.layer_bytes.assign(profile_.n_layers, 0);
    for (const auto& [name, pair] : pairs_) GOGRID_RETURN_IF_ERROR(add(name, pair));
    return std::move(adapter_);
  }

 private:
  std::unexpected<Error> refuse(ErrorCode code, const std::string& what) const {
    return fail(code, format_text("[lora_adapter] {}: {}", file_.path().string(), what), "model");
  }

  Status check_kind();
  Status collect_pairs();
  Status add(std::string_view name, const Pair& pair);
  Status check_halves(std::string_view name, const Pair& pair) const;
  Status check_base(std::string_view name, const Pair& pair) const;
  Status account(std::string_view name, Bytes size);

  const GgufFile& file_;
  const GgufFile& base_;
  const ModelProfile& profile_;
  const std::uint64_t experts_used_ = std::clamp<std::uint64_t>(
      base_.unsigned_of(profile_.architecture + ".expert_used_count").value_or(1), 1, 1024);
  std::map<std::string_view, Pair> pairs_;
  LoraAdapter adapter_;
};

Status AdapterReader::check_kind() {
  if (!is_adapter(file_))
    return refuse(ErrorCode::kInvalidArgument, "expected an adapter: a model");
  const std::string_view kind = file_.string_of(kKindKey).value_or("none");
  if (kind != "lora") {
    return refuse(ErrorCode::kUnsupported,
                  format_text("expected an adapter of type lora: {}", printable(kind, 40)));
  }
  if (!std::ranges::contains(kArchitectures, profile_.architecture)) {
    return refuse(
        ErrorCode::kUnsupported,
        format_text("adapters of architecture {} are not known to act on all they change; "
                    "merge it into the base model",
                    profile_.architecture));
  }
  if (file_.find(kInvocationKey) != nullptr) {
    return refuse(ErrorCode::kUnsupported,
                  "it acts only behind its invocation tokens (aLoRA), which is not built");
  }
  const std::string_view architecture = file_.string_of("general.architecture").value_or("none");
  if (architecture != profile_.architecture) {
    return refuse(ErrorCode::kInvalidArgument,
                  format_text("expected an adapter of architecture {}, as {} has: {}",
                              profile_.architecture, profile_.name, printable(architecture, 40)));
  }
  const bool is_number = file_.find(kAlphaKey) == nullptr || file_.float_of(kAlphaKey);
  const double alpha = file_.float_of(kAlphaKey).value_or(0.0);
  constexpr double kLargest = 1e6;
  if (!is_number || !std::isfinite(alpha) || std::abs(alpha) > kLargest) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("expected {} within {}: {}", kAlphaKey, kLargest, alpha));
  }
  adapter_.alpha = static_cast<float>(alpha);
  return {};
}

Status AdapterReader::collect_pairs() {
  for (const GgufTensor& tensor : file_.tensors()) {
    const bool is_a = tensor.name.ends_with(kA);
    if (!is_a && !tensor.name.ends_with(kB)) {
      return refuse(ErrorCode::kUnsupported,
                    format_text("expected tensors named *{} and *{} alone: {}, which would be "
                                "passed over; merge it into the base model",
                                kA, kB, tensor.name));
    }
    if (!std::ranges::contains(kTypes, tensor.type)) {
      return refuse(
          ErrorCode::kUnsupported,
          format_text("expected {} in f32, f16, bf16 or q8_0: {}", tensor.name, tensor.type_name));
    }
    Pair& pair = pairs_[tensor.name.substr(0, tensor.name.size() - kA.size())];
    (is_a ? pair.a : pair.b) = &tensor;
  }
  if (pairs_.empty()) return refuse(ErrorCode::kCorrupt, "expected tensors: it has none");
  return {};
}

Status AdapterReader::check_halves(std::string_view name, const Pair& pair) const {
  if (pair.a == nullptr || pair.b == nullptr) {
    return refuse(ErrorCode::kCorrupt, format_text("expected {}{} beside its other half: absent",
                                                   name, pair.a == nullptr ? kA : kB));
  }
  const std::uint64_t rank = pair.a->shape[1];
  if (rank != pair.b->shape[0] || rank > kHighestRank) {
    return refuse(ErrorCode::kCorrupt, format_text("expected one rank of {}, up to {}: {} and {}",
                                                   name, kHighestRank, rank, pair.b->shape[0]));
  }
  return {};
}

Status AdapterReader::check_base(std::string_view name, const Pair& pair) const {
  const GgufTensor* weight = base_.tensor(name);
  if (weight == nullptr) {
    return refuse(ErrorCode::kInvalidArgument,
                  format_text("expected a change of {}'s weights: {}, which it has not",
                              profile_.name, name));
  }
  if (weight->n_dims < 2) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("expected changes of matrices: {} is a vector", name));
  }
  const bool same = weight->shape[0] == pair.a->shape[0] && weight->shape[1] == pair.b->shape[1] &&
                    weight->shape[2] == pair.a->shape[2] && weight->shape[2] == pair.b->shape[2] &&
                    weight->shape[3] == 1 && pair.a->shape[3] == 1 && pair.b->shape[3] == 1;
  if (same) return {};
  return refuse(
      ErrorCode::kInvalidArgument,
      format_text("expected {} of {} by {} numbers, as {} has: {} by {}", name, weight->shape[0],
                  weight->shape[1], profile_.name, pair.a->shape[0], pair.b->shape[1]));
}

Status AdapterReader::account(std::string_view name, Bytes size) {
  const auto layered = parse_layer_name(name);
  if (!layered && name != kHead) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("expected changes of layers and of {}: {}; merge it into the base "
                              "model",
                              kHead, name));
  }
  if (layered && !std::ranges::contains(kMatrices, layered->rest)) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("{} is not known to be changed by adapters; merge it into the base "
                              "model",
                              name));
  }
  if (layered && layered->layer >= profile_.n_layers) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("expected layers below {}: {}", profile_.n_layers, name));
  }
  (layered ? adapter_.layer_bytes[layered->layer] : adapter_.head_bytes) += size;
  return {};
}

Status AdapterReader::add(std::string_view name, const Pair& pair) {
  if (name == kEmbedding) {
    return refuse(ErrorCode::kUnsupported,
                  "it changes the token embedding; merge it into the base model");
  }
  GOGRID_RETURN_IF_ERROR(check_halves(name, pair));
  GOGRID_RETURN_IF_ERROR(check_base(name, pair));
  // No sum wraps: both lie in one file.
  GOGRID_RETURN_IF_ERROR(account(name, pair.a->size + pair.b->size));
  constexpr std::uint64_t kWidest = UINT32_MAX;
  adapter_.rank = std::max(adapter_.rank, static_cast<std::uint32_t>(pair.b->shape[0]));
  // Experts: a row for each that a token uses.
  const std::uint64_t rows = pair.b->shape[2] > 1 ? experts_used_ : 1;
  const std::uint64_t width = rows * std::max(pair.b->shape[0], pair.b->shape[1]);
  adapter_.widest = std::max(adapter_.widest, static_cast<std::uint32_t>(std::min(width, kWidest)));
  ++adapter_.matrices;
  return {};
}

// The tensor's name in the slice of these layers; empty where it is not in it.
std::optional<std::string> name_in_slice(std::string_view name, LayerRange layers, bool last) {
  const auto layered = parse_layer_name(name);
  if (!layered) return last ? std::optional(std::string(name)) : std::nullopt;
  if (layered->layer < layers.first || layered->layer >= layers.last) return std::nullopt;
  return format_text("blk.{}{}", layered->layer - layers.first, layered->rest);
}

}  // namespace

bool is_adapter(const GgufFile& file) { return file.string_of(kTypeKey) == "adapter"; }

Result<LoraAdapter> read_adapter(const GgufFile& adapter, const GgufFile& base,
                                 const ModelProfile& profile) {
  return AdapterReader(adapter, base, profile).read();
}

Status add_adapter(ModelProfile& profile, const GgufFile& base, const std::filesystem::path& path) {
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(path));
  GOGRID_ASSIGN_OR_RETURN(const LoraAdapter adapter, read_adapter(file, base, profile));
  profile.adapter_layer_bytes = adapter.layer_bytes;
  profile.adapter_head_bytes = adapter.head_bytes;
  profile.adapter_width = adapter.widest;
  return {};
}

Result<std::optional<AtomicFile>> write_adapter_slice(const GgufFile& adapter, LayerRange layers,
                                                      bool last,
                                                      const std::filesystem::path& folder) {
  GgufKeys keys;
  keys.text("general.architecture", adapter.string_of("general.architecture").value_or(""));
  keys.text(kTypeKey, "adapter");
  keys.text(kKindKey, "lora");
  keys.f32(kAlphaKey, static_cast<float>(adapter.float_of(kAlphaKey).value_or(0.0)));
  std::vector<GgufTensorSpec> specs;
  std::vector<const GgufTensor*> sources;
  for (const GgufTensor& tensor : adapter.tensors()) {
    auto name = name_in_slice(tensor.name, layers, last);
    if (!name) continue;
    const auto shape = std::span(tensor.shape).first(tensor.n_dims);
    specs.push_back({*std::move(name), {shape.begin(), shape.end()}, tensor.type});
    sources.push_back(&tensor);
  }
  if (specs.empty()) return std::nullopt;
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(folder / "adapter.gguf"));
  GOGRID_ASSIGN_OR_RETURN(GgufWriter writer,
                          GgufWriter::begin(std::move(file), keys, std::move(specs)));
  for (const GgufTensor* tensor : sources)
    GOGRID_RETURN_IF_ERROR(writer.write(adapter.data(*tensor)));
  return writer.finish();
}

}  // namespace gogrid
