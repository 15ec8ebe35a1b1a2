#include "model/llama_assumptions.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/format.h"

namespace gogrid {
namespace {

constexpr std::uint64_t kMaxExperts = 512;  // LLAMA_MAX_EXPERTS

// Architectures of libllama 0.7 whose graphs assert that rotary positions cover the whole head, and
// that keys are as wide as values.
constexpr auto kWholeHeadTurns = std::to_array<std::string_view>(
    {"apertus",        "arcee",       "arctic",       "baichuan",      "chameleon",
     "codeshell",      "cogvlm",      "cohere2moe",   "dbrx",          "deepseek",
     "dots1",          "ernie4_5",    "ernie4_5-moe", "exaone",        "exaone-moe",
     "exaone4",        "falcon",      "granite",      "granite_swa",   "graniteswitch",
     "granitemoe",     "grok",        "grovemoe",     "hunyuan-dense", "hunyuan-moe",
     "hunyuan_vl",     "internlm2",   "jais2",        "llama",         "llama4",
     "maincoder",      "maion-coder", "mellum",       "minicpm",       "mistral3",
     "olmo",           "olmo2",       "olmoe",        "orion",         "paddleocr",
     "pangu-embedded", "plamo",       "qwen2",        "qwen2moe",      "qwen2vl",
     "qwen3",          "qwen3moe",    "qwen3vl",      "qwen3vlmoe",    "seed_oss",
     "smallthinker",   "smollm3",     "starcoder2",   "talkie",        "xverse"});

// Matrices by shape that are multiplied element by element: ggml does so with plain floats only.
constexpr auto kElementwiseParts = std::to_array<std::string_view>({"norm"});
constexpr auto kElementwiseEnds = std::to_array<std::string_view>(
    {".bias", ".ssm_a", ".ssm_d", ".ssm_conv1d.weight", ".shortconv.conv.weight"});

std::unexpected<Error> refuse(ErrorCode code, const std::string& what) {
  return fail(code, "[llama_assumptions] " + what);
}

bool is_elementwise(const GgufTensor& tensor) {
  if (tensor.n_dims == 1) return true;
  const auto has = [&](std::string_view part) { return tensor.name.contains(part); };
  const auto ends = [&](std::string_view end) { return tensor.name.ends_with(end); };
  return std::ranges::any_of(kElementwiseParts, has) || std::ranges::any_of(kElementwiseEnds, ends);
}

class Checker {
 public:
  explicit Checker(const GgufFile& file)
      : file_(file), arch_(file.string_of("general.architecture").value_or("")) {}

  Status check() const;

 private:
  std::string key(std::string_view tail) const { return format_text("{}.{}", arch_, tail); }
  std::optional<std::uint64_t> number(std::string_view tail) const {
    return file_.unsigned_of(key(tail));
  }

  Status check_weights() const;
  Status check_reals() const;
  Status check_heads() const;
  Status check_rotation(std::uint64_t head_width) const;
  Status check_experts() const;
  Status check_expert_groups(std::uint64_t experts) const;
  Result<std::uint64_t> most_used_experts() const;
  Status check_layer_counts() const;
  Status check_scaling() const;
  Status check_vocabulary() const;
  Status check_bytes(std::span<const std::string_view> sorted_tokens) const;
  Status check_beside_tokens(std::string_view name, GgufType type, std::uint64_t tokens) const;

  const GgufFile& file_;
  const std::string_view arch_;
};

Status Checker::check() const {
  GOGRID_RETURN_IF_ERROR(check_weights());
  GOGRID_RETURN_IF_ERROR(check_reals());
  GOGRID_RETURN_IF_ERROR(check_heads());
  GOGRID_RETURN_IF_ERROR(check_experts());
  GOGRID_RETURN_IF_ERROR(check_layer_counts());
  GOGRID_RETURN_IF_ERROR(check_scaling());
  return check_vocabulary();
}

// A kernel for the type must exist: ggml ends the process where it has none.
Status Checker::check_weights() const {
  for (const GgufTensor& tensor : file_.tensors()) {
    const auto type = static_cast<ggml_type>(tensor.type);
    const bool is_float = type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16;
    if (!is_float && !ggml_is_quantized(type)) {
      return refuse(ErrorCode::kUnsupported,
                    format_text("weights of a float or quantized type: tensor '{}' is {}",
                                tensor.name, tensor.type_name));
    }
    if (type != GGML_TYPE_F32 && is_elementwise(tensor)) {
      return refuse(ErrorCode::kUnsupported,
                    format_text("norms, biases and other vectors of type f32: tensor '{}' is {}",
                                tensor.name, tensor.type_name));
    }
  }
  return {};
}

Status Checker::check_reals() const {
  for (const auto& [name, value] : file_.metadata()) {
    const auto* real = std::get_if<double>(&value.value);
    if (real == nullptr || !name.starts_with(arch_)) continue;
    if (std::isnan(*real)) {
      return refuse(ErrorCode::kCorrupt, format_text("a number for the key {}: nan", name));
    }
    if (name.ends_with("epsilon") && !(*real >= 0 && *real <= 1)) {
      return refuse(ErrorCode::kCorrupt, format_text("the key {} from 0 to 1: {}", name, *real));
    }
  }
  return {};
}

Status Checker::check_heads() const {
  const auto embedding = number("embedding_length");
  const auto heads = number("attention.head_count");  // absent where layers differ
  auto width = number("attention.key_length");
  if (!width && embedding && heads && *heads > 0) width = *embedding / *heads;
  const bool whole_head = std::ranges::contains(kWholeHeadTurns, arch_);
  const auto value_width = number("attention.value_length");
  if (whole_head && width && value_width && *value_width != *width) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("values as wide as keys ({}): {}", *width, *value_width));
  }
  return width ? check_rotation(*width) : Status{};
}

Status Checker::check_rotation(std::uint64_t head_width) const {
  const auto turned = number("rope.dimension_count");
  if (!turned) return {};
  // Hybrids write 0 for "no positions at all", and then turn nothing.
  const bool hybrid = number("ssm.state_size").has_value();
  if (*turned == 0 && hybrid) return {};
  if (*turned == 0 || *turned % 2 != 0 || *turned > head_width) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("the key {} even, and from 2 to the width of a head ({}): {}",
                              key("rope.dimension_count"), head_width, *turned));
  }
  if (*turned != head_width && std::ranges::contains(kWholeHeadTurns, arch_)) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("rotary positions over the whole head of {}, as architecture '{}' "
                              "has them: {}",
                              head_width, arch_, *turned));
  }
  return {};
}

// One number, or one for each layer.
Result<std::uint64_t> Checker::most_used_experts() const {
  const GgufArray* array = file_.array_of(key("expert_used_count"));
  if (array == nullptr) return number("expert_used_count").value_or(0);
  const std::vector<std::int64_t> used = array->integers();
  for (std::size_t layer = 0; layer < used.size(); ++layer) {
    const bool has_experts =
        file_.tensor(format_text("blk.{}.ffn_gate_inp.weight", layer)) != nullptr;
    if (used[layer] < 0 || (has_experts && used[layer] == 0)) {
      return refuse(ErrorCode::kCorrupt,
                    format_text("at least 1 expert used in layer {}: {}", layer, used[layer]));
    }
  }
  return used.empty() ? 0 : static_cast<std::uint64_t>(std::ranges::max(used));
}

Status Checker::check_experts() const {
  const std::uint64_t experts = number("expert_count").value_or(0);
  GOGRID_ASSIGN_OR_RETURN(const std::uint64_t used, most_used_experts());
  const bool needs_some =
      arch_.contains("moe") || std::ranges::any_of(file_.tensors(), [](const GgufTensor& tensor) {
        return tensor.name.ends_with(".ffn_gate_inp.weight");
      });
  if (experts > kMaxExperts || (needs_some && experts == 0)) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("the key {} from {} to {}: {}", key("expert_count"),
                              needs_some ? 1 : 0, kMaxExperts, experts));
  }
  if (used > experts || (experts > 0 && used == 0)) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("the key {} from 1 to the number of experts ({}): {}",
                              key("expert_used_count"), experts, used));
  }
  return check_expert_groups(experts);
}

Status Checker::check_expert_groups(std::uint64_t experts) const {
  const std::uint64_t groups = number("expert_group_count").value_or(0);
  if (groups == 0 || (groups == 1 && experts > 0)) return {};
  const std::uint64_t used = number("expert_group_used_count").value_or(0);
  if (groups < experts && experts % groups == 0 && used > 0 && used < groups) return {};
  return refuse(
      ErrorCode::kCorrupt,
      format_text("{} experts in equal groups, some of which are used: {} groups, {} used", experts,
                  groups, used));
}

Status Checker::check_layer_counts() const {
  const std::uint64_t layers = number("block_count").value_or(0);
  const std::uint64_t predicting = number("nextn_predict_layers").value_or(0);
  if (predicting > 0 && predicting >= layers) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("the key {} below the number of layers ({}): {}",
                              key("nextn_predict_layers"), layers, predicting));
  }
  const std::uint64_t sharing = number("attention.shared_kv_layers").value_or(0);
  if (sharing > 0 && sharing + 2 > layers) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("the key {} at least 2 below the number of layers ({}): {}",
                              key("attention.shared_kv_layers"), layers, sharing));
  }
  return {};
}

Status Checker::check_scaling() const {
  constexpr auto kKinds = std::to_array<std::string_view>({"none", "linear", "yarn", "longrope"});
  const auto kind = file_.string_of(key("rope.scaling.type"));
  if (!kind || std::ranges::contains(kKinds, *kind)) return {};
  return refuse(
      ErrorCode::kUnsupported,
      format_text("the key {} one of none, linear, yarn, longrope", key("rope.scaling.type")));
}

// --- vocabulary

// libllama indexes these arrays with a token's id, and believes their type.
Status Checker::check_beside_tokens(std::string_view name, GgufType type,
                                    std::uint64_t tokens) const {
  const GgufValue* value = file_.find(name);
  if (value == nullptr) return {};
  const auto* array = std::get_if<GgufArray>(&value->value);
  if (array != nullptr && array->type == type && array->count == tokens) return {};
  return refuse(ErrorCode::kCorrupt,
                format_text("the key {} with one {} for each of {} tokens: {}", name,
                            type == GgufType::kF32 ? "f32" : "i32", tokens,
                            array == nullptr ? "no array" : std::to_string(array->count)));
}

Status Checker::check_vocabulary() const {
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  if (file_.find(kTokens) == nullptr) return {};
  const GgufArray* array = file_.array_of(kTokens);
  if (array == nullptr || array->type != GgufType::kString) {
    return refuse(ErrorCode::kCorrupt, format_text("the key {} with strings", kTokens));
  }
  GOGRID_RETURN_IF_ERROR(
      check_beside_tokens("tokenizer.ggml.scores", GgufType::kF32, array->count));
  GOGRID_RETURN_IF_ERROR(
      check_beside_tokens("tokenizer.ggml.token_type", GgufType::kI32, array->count));
  std::vector<std::string_view> tokens = array->strings();
  // Empty ones get names of their own from libllama.
  std::erase(tokens, std::string_view());
  std::ranges::sort(tokens);
  if (std::ranges::adjacent_find(tokens) != tokens.end()) {
    return refuse(ErrorCode::kCorrupt, format_text("each of {} once: one comes twice", kTokens));
  }
  return check_bytes(tokens);
}

// A text that no token spells is spelled in tokens for single bytes.
Status Checker::check_bytes(std::span<const std::string_view> sorted_tokens) const {
  const auto model = file_.string_of("tokenizer.ggml.model").value_or("");
  if (model == "bert") {
    constexpr std::int64_t kByteToken = 6;
    const GgufArray* types = file_.array_of("tokenizer.ggml.token_type");
    if (types == nullptr || !std::ranges::contains(types->integers(), kByteToken)) return {};
    return refuse(ErrorCode::kCorrupt, "no tokens for bytes in a vocabulary of whole words");
  }
  if (model != "llama") return {};
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char character = static_cast<char>(byte);
    const std::string name = format_text("<0x{:02X}>", byte);
    if (std::ranges::binary_search(sorted_tokens, std::string_view(name)) ||
        std::ranges::binary_search(sorted_tokens, std::string_view(&character, 1))) {
      continue;
    }
    return refuse(ErrorCode::kCorrupt, format_text("a token for each byte: {} is absent", name));
  }
  return {};
}

}  // namespace

Status check_assumptions(const GgufFile& file) { return Checker(file).check(); }

}  // namespace gogrid
