#include "model/hf_architectures.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "base/format.h"
#include "base/nearest.h"
#include "base/text.h"
#include "model/hf_architecture_keys.h"

namespace gogrid {
namespace {

// --- names of tensors

// Rows that decoders share, put together in the order in which they are written.
template <std::size_t... kSizes>
consteval auto joined(const std::array<TensorRule, kSizes>&... parts) {
  std::array<TensorRule, (kSizes + ...)> all{};
  auto out = all.begin();
  ((out = std::ranges::copy(parts, out).out), ...);
  return all;
}

constexpr auto kEmbeddings = std::to_array<TensorRule>({{"embed_tokens", "token_embd"}});
constexpr auto kAttention = std::to_array<TensorRule>({
    {"layers.{}.input_layernorm", "blk.{}.attn_norm"},
    {"layers.{}.self_attn.q_proj", "blk.{}.attn_q"},
    {"layers.{}.self_attn.k_proj", "blk.{}.attn_k"},
    {"layers.{}.self_attn.v_proj", "blk.{}.attn_v"},
    {"layers.{}.self_attn.o_proj", "blk.{}.attn_output"},
});
constexpr auto kFeedForwardNorm = std::to_array<TensorRule>({
    {"layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"},
});
constexpr auto kFeedForward = std::to_array<TensorRule>({
    {"layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"},
    {"layers.{}.mlp.up_proj", "blk.{}.ffn_up"},
    {"layers.{}.mlp.down_proj", "blk.{}.ffn_down"},
});
constexpr auto kOutputNorm = std::to_array<TensorRule>({{"norm", "output_norm"}});
constexpr auto kOutput = std::to_array<TensorRule>({{"lm_head", "output", false}});

constexpr auto kLlamaRules =
    joined(kEmbeddings, kAttention, kFeedForwardNorm, kFeedForward, kOutputNorm, kOutput);

constexpr auto kQwen3Rules = joined(kEmbeddings, kAttention,
                                    std::to_array<TensorRule>({
                                        {"layers.{}.self_attn.q_norm", "blk.{}.attn_q_norm"},
                                        {"layers.{}.self_attn.k_norm", "blk.{}.attn_k_norm"},
                                    }),
                                    kFeedForwardNorm, kFeedForward, kOutputNorm, kOutput);

// Gemma norms what attention and the feed-forward network answer too, and has no output of its own.
constexpr auto kGemmaRules =
    joined(kEmbeddings, kAttention,
           std::to_array<TensorRule>({
               {"layers.{}.self_attn.q_norm", "blk.{}.attn_q_norm", false},
               {"layers.{}.self_attn.k_norm", "blk.{}.attn_k_norm", false},
               {"layers.{}.post_attention_layernorm", "blk.{}.post_attention_norm"},
               {"layers.{}.pre_feedforward_layernorm", "blk.{}.ffn_norm"},
               {"layers.{}.post_feedforward_layernorm", "blk.{}.post_ffw_norm"},
           }),
           kFeedForward, kOutputNorm);

constexpr auto kPhi3Rules = joined(kEmbeddings,
                                   std::to_array<TensorRule>({
                                       {"layers.{}.input_layernorm", "blk.{}.attn_norm"},
                                       {"layers.{}.self_attn.qkv_proj", "blk.{}.attn_qkv"},
                                       {"layers.{}.self_attn.o_proj", "blk.{}.attn_output"},
                                   }),
                                   kFeedForwardNorm,
                                   std::to_array<TensorRule>({
                                       {"layers.{}.mlp.gate_up_proj", "blk.{}.ffn_up"},
                                       {"layers.{}.mlp.down_proj", "blk.{}.ffn_down"},
                                   }),
                                   kOutputNorm, kOutput);

constexpr auto kBertRules = std::to_array<TensorRule>({
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.token_type_embeddings", "token_types"},
    {"embeddings.position_embeddings", "position_embd"},
    {"embeddings.LayerNorm", "token_embd_norm"},
    {"encoder.layer.{}.attention.self.query", "blk.{}.attn_q"},
    {"encoder.layer.{}.attention.self.key", "blk.{}.attn_k"},
    {"encoder.layer.{}.attention.self.value", "blk.{}.attn_v"},
    {"encoder.layer.{}.attention.output.dense", "blk.{}.attn_output"},
    {"encoder.layer.{}.attention.output.LayerNorm", "blk.{}.attn_output_norm"},
    {"encoder.layer.{}.intermediate.dense", "blk.{}.ffn_up"},
    {"encoder.layer.{}.output.dense", "blk.{}.ffn_down"},
    {"encoder.layer.{}.output.LayerNorm", "blk.{}.layer_output_norm"},
});

// Prefixes of towers and wrappers around the model that writes text, the longest first.
constexpr auto kWrappers = std::to_array<std::string_view>(
    {"model.language_model.", "language_model.model.", "language_model.", "model.", "bert."});

// What is not served: computed anew, heads for other tasks, towers of other senses.
constexpr auto kLeftOutEnds = std::to_array<std::string_view>(
    {".rotary_emb.inv_freq", ".attention.masked_bias", "embeddings.position_ids"});
constexpr auto kLeftOutStarts =
    std::to_array<std::string_view>({"pooler.", "cls.", "vision_tower.", "multi_modal_projector."});

std::string_view without_wrapper(std::string_view name) {
  for (const std::string_view wrapper : kWrappers) {
    if (name.starts_with(wrapper)) return name.substr(wrapper.size());
  }
  return name;
}

bool is_left_out(std::string_view name) {
  return std::ranges::any_of(kLeftOutEnds, [&](auto end) { return name.ends_with(end); }) ||
         std::ranges::any_of(kLeftOutStarts, [&](auto start) { return name.starts_with(start); });
}

struct LayerPart {
  std::string pattern;  // with {} in the number's place
  std::uint32_t layer = 0;
  bool has_layer = false;
};

// The first number between dots is the layer's.
LayerPart layer_part_of(std::string_view name) {
  for (std::size_t start = 0; start < name.size();) {
    const std::size_t end = std::min(name.find('.', start), name.size());
    LayerPart part;
    const auto [stopped, error] =
        std::from_chars(name.data() + start, name.data() + end, part.layer);
    if (error == std::errc{} && stopped == name.data() + end) {
      part.pattern = format_text("{}{{}}{}", name.substr(0, start), name.substr(end));
      part.has_layer = true;
      return part;
    }
    start = end + 1;
  }
  return {std::string(name), 0, false};
}

constexpr auto kArchitectures = std::to_array<HfArchitecture>({
    {.hf = "LlamaForCausalLM",
     .gguf = "llama",
     .rules = kLlamaRules,
     .describe = describe_llama,
     .permutes_heads = true},
    {.hf = "MistralForCausalLM",
     .gguf = "llama",
     .rules = kLlamaRules,
     .describe = describe_llama,
     .permutes_heads = true},
    {.hf = "Qwen2ForCausalLM",
     .gguf = "qwen2",
     .rules = kLlamaRules,
     .describe = describe_qwen,
     .biased_attention = true},
    {.hf = "Qwen3ForCausalLM", .gguf = "qwen3", .rules = kQwen3Rules, .describe = describe_qwen},
    {.hf = "Gemma2ForCausalLM",
     .gguf = "gemma2",
     .rules = kGemmaRules,
     .describe = describe_gemma2,
     .shifts_norms = true,
     .always_tied = true,
     .space_prefix = false},
    {.hf = "Gemma3ForCausalLM",
     .gguf = "gemma3",
     .rules = kGemmaRules,
     .describe = describe_gemma3,
     .shifts_norms = true,
     .always_tied = true,
     .space_prefix = false},
    {.hf = "Gemma3ForConditionalGeneration",
     .gguf = "gemma3",
     .rules = kGemmaRules,
     .describe = describe_gemma3,
     .shifts_norms = true,
     .always_tied = true,
     .space_prefix = false},
    {.hf = "Phi3ForCausalLM", .gguf = "phi3", .rules = kPhi3Rules, .describe = describe_phi3},
    {.hf = "BertModel",
     .gguf = "bert",
     .rules = kBertRules,
     .describe = describe_bert,
     .vocabulary = VocabularyKind::kBert},
    {.hf = "BertForMaskedLM",
     .gguf = "bert",
     .rules = kBertRules,
     .describe = describe_bert,
     .vocabulary = VocabularyKind::kBert},
});

}  // namespace

Result<const HfArchitecture*> architecture_named(std::string_view hf) {
  const auto found = std::ranges::find(kArchitectures, hf, &HfArchitecture::hf);
  if (found != kArchitectures.end()) return &*found;
  if (hf.starts_with("Whisper")) {
    return fail(ErrorCode::kUnsupported,
                format_text("[import] expected a model of text: {} is speech, served by a later "
                            "version",
                            excerpt(hf)));
  }
  std::vector<std::string> known;
  for (const HfArchitecture& one : kArchitectures) known.emplace_back(one.hf);
  return fail(
      ErrorCode::kUnsupported,
      format_text("[import] expected an architecture that can be imported: {}{}",
                  hf.empty() ? "config.json names none" : excerpt(hf), suggestion(hf, known)));
}

std::string TensorPlace::gguf_name() const {
  std::string name(rule->gguf);
  if (has_layer) name.replace(name.find("{}"), 2, std::to_string(layer));
  return name + suffix;
}

Result<std::optional<TensorPlace>> place_of(const HfArchitecture& architecture,
                                            std::string_view hf_name) {
  const std::string_view name = without_wrapper(hf_name);
  if (is_left_out(name)) return std::nullopt;
  if (architecture.always_tied && name == "lm_head.weight") return std::nullopt;
  TensorPlace place;
  // BERTs of TensorFlow's days call a norm's weight gamma, and its bias beta.
  for (const auto& [ending, suffix] :
       {std::pair<std::string_view, const char*>{".weight", ".weight"},
        {".bias", ".bias"},
        {".gamma", ".weight"},
        {".beta", ".bias"}}) {
    if (!name.ends_with(ending)) continue;
    if (name.contains('{')) break;  // it would stand for any layer
    const LayerPart part = layer_part_of(name.substr(0, name.size() - ending.size()));
    const auto rule = std::ranges::find(architecture.rules, part.pattern, &TensorRule::hf);
    if (rule == architecture.rules.end()) break;
    place.rule = &*rule;
    place.layer = part.layer;
    place.has_layer = part.has_layer;
    place.suffix = suffix;
    return place;
  }
  return fail(ErrorCode::kUnsupported, format_text("[import] expected tensors of {} only: {}",
                                                   architecture.hf, excerpt(hf_name)));
}

}  // namespace gogrid
