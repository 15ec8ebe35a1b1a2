#include "model/hf_architecture_keys.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

constexpr float kNoFactor = 1;

// Rotary positions, which newer files keep in an object of their own, by kind of attention.
struct Rope {
  HfConfig config;
  std::string type;
  std::optional<float> theta;
  std::optional<float> window_theta;
};

Rope rope_of(const HfConfig& config) {
  HfConfig outer =
      config.object(config.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  HfConfig inner = outer.has("full_attention") ? outer.object("full_attention") : outer;
  Rope rope{inner, inner.text_or("rope_type", inner.text_or("type", "default")), {}, {}};
  rope.theta = inner.maybe_number("rope_theta");
  if (!rope.theta) rope.theta = config.maybe_number("rope_theta");
  rope.window_theta = outer.object("sliding_attention").maybe_number("rope_theta");
  if (!rope.window_theta) rope.window_theta = config.maybe_number("rope_local_base_freq");
  return rope;
}

// Keys below "llama.".
class ArchitectureKeys {
 public:
  ArchitectureKeys(std::string_view gguf, GgufKeys& keys) : gguf_(gguf), keys_(keys) {}
  void u32(std::string_view tail, std::uint32_t value) { keys_.u32(name(tail), value); }
  void f32(std::string_view tail, float value) { keys_.f32(name(tail), value); }
  void f32(std::string_view tail, std::optional<float> value) {
    if (value) f32(tail, *value);
  }
  void flag(std::string_view tail, bool value) { keys_.flag(name(tail), value); }
  void text(std::string_view tail, std::string_view value) { keys_.text(name(tail), value); }

 private:
  std::string name(std::string_view tail) const { return format_text("{}.{}", gguf_, tail); }

  std::string_view gguf_;
  GgufKeys& keys_;
};

void describe_yarn(const HfConfig& rope, ArchitectureKeys& keys) {
  keys.u32("rope.scaling.original_context_length", rope.count("original_max_position_embeddings"));
  keys.f32("rope.scaling.yarn_ext_factor", rope.maybe_number("extrapolation_factor"));
  keys.f32("rope.scaling.yarn_attn_factor", rope.has("attention_factor")
                                                ? rope.maybe_number("attention_factor")
                                                : rope.maybe_number("attn_factor"));
  keys.f32("rope.scaling.yarn_beta_fast", rope.maybe_number("beta_fast"));
  keys.f32("rope.scaling.yarn_beta_slow", rope.maybe_number("beta_slow"));
}

void describe_rope(const Rope& rope, ArchitectureKeys& keys) {
  if (rope.type == "linear" || rope.type == "yarn") {
    keys.text("rope.scaling.type", rope.type);
    keys.f32("rope.scaling.factor", rope.config.number("factor"));
    if (rope.type == "yarn") describe_yarn(rope.config, keys);
  } else if (rope.type != "default" && rope.type != "llama3") {
    rope.config.refuse(
        "rope_scaling",
        format_text("expected default, linear, yarn or llama3: {}", excerpt(rope.type)),
        ErrorCode::kUnsupported);
  }
  keys.f32("rope.freq_base", rope.theta);
  keys.f32("rope.freq_base_swa", rope.window_theta);
}

void expect_activation(const HfConfig& config, std::string_view key,
                       std::initializer_list<std::string_view> known) {
  const std::string activation = config.text_or(key, *known.begin());
  if (std::ranges::contains(known, activation)) return;
  config.refuse(key, format_text("expected {}: {}", *known.begin(), excerpt(activation)),
                ErrorCode::kUnsupported);
}

void expect_whole_rotation(const HfConfig& config, const Rope& rope) {
  for (const HfConfig* from : {&config, &rope.config}) {
    if (from->maybe_number("partial_rotary_factor").value_or(kNoFactor) == kNoFactor) continue;
    config.refuse("partial_rotary_factor",
                  "expected 1: heads are rotated whole in this architecture",
                  ErrorCode::kUnsupported);
  }
}

void describe_size(const HfConfig& config, ArchitectureKeys& keys) {
  keys.u32("block_count", config.count("num_hidden_layers"));
  keys.u32("embedding_length", config.count("hidden_size"));
  keys.u32("feed_forward_length", config.count("intermediate_size"));
}

void describe_head_width(const HfConfig& config, ArchitectureKeys& keys) {
  if (!config.has("head_dim")) return;
  keys.u32("attention.key_length", config.count("head_dim"));
  keys.u32("attention.value_length", config.count("head_dim"));
}

void describe_decoder(const HfConfig& config, ArchitectureKeys& keys) {
  describe_size(config, keys);
  const std::uint32_t heads = config.count("num_attention_heads");
  keys.u32("attention.head_count", heads);
  keys.u32("attention.head_count_kv", config.count_or("num_key_value_heads", heads));
  keys.f32("attention.layer_norm_rms_epsilon", config.number("rms_norm_eps"));
  describe_head_width(config, keys);
}

std::uint32_t head_width(const HfConfig& config) {
  return config.count_or("head_dim",
                         config.count("hidden_size") / config.count("num_attention_heads"));
}

// Every `period`th layer attends to everything, the others to a window: libllama has that built in.
void expect_layer_pattern(const HfConfig& config, std::uint32_t period) {
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern"}) {
    if (config.count_or(key, period) == period) continue;
    config.refuse(key, format_text("expected {}", period), ErrorCode::kUnsupported);
  }
  const std::vector<std::string> types = config.texts("layer_types", 1024);
  for (std::size_t i = 0; i < types.size(); ++i) {
    const bool full = (i + 1) % period == 0;
    if (types[i] == (full ? "full_attention" : "sliding_attention")) continue;
    config.refuse("layer_types",
                  format_text("expected every {}th layer to have full attention, and the others a "
                              "sliding window: layer {} differs",
                              period, i),
                  ErrorCode::kUnsupported);
  }
}

// libllama scales queries by the width of a head, but for the 27B model, which it knows by its
// number of layers.
void expect_query_scale(const HfConfig& config, std::uint32_t layers_of_27b, std::uint32_t heads,
                        std::uint32_t width) {
  if (!config.has("query_pre_attn_scalar")) return;
  const float scalar = config.number("query_pre_attn_scalar");
  const bool is_27b = config.count("num_hidden_layers") == layers_of_27b;
  const std::uint32_t wanted = is_27b ? config.count("hidden_size") / heads : width;
  if (scalar == static_cast<float>(wanted)) return;
  config.refuse("query_pre_attn_scalar", format_text("expected {}: {}", wanted, scalar),
                ErrorCode::kUnsupported);
}

std::uint32_t phi3_rotated(const HfConfig& config) {
  const auto inner = rope_of(config).config.maybe_number("partial_rotary_factor");
  const float share =
      inner.value_or(config.maybe_number("partial_rotary_factor").value_or(kNoFactor));
  if (!(share > 0 && share <= 1)) {
    config.refuse("partial_rotary_factor", "expected a share above 0 and up to 1");
    return 0;
  }
  return static_cast<std::uint32_t>(share * static_cast<float>(config.count("hidden_size"))) /
         config.count("num_attention_heads");
}

// How much longer contexts are attended to than those of the training, as the paper on LongRoPE
// (arXiv:2402.13753) has it.
float long_rope_attention(float context, float original) {
  return context > original ? std::sqrt(1 + std::log(context / original) / std::log(original)) : 1;
}

// Llama 3.1's stretching of low frequencies: transformers, "llama3" of rope_scaling.
std::vector<float> llama3_factors(const HfConfig& config, const Rope& rope) {
  const auto or_else = [&](std::string_view key, float value) {
    return rope.config.maybe_number(key).value_or(value);
  };
  const float factor = or_else("factor", 8);
  const float low = or_else("low_freq_factor", 1);
  const float high = or_else("high_freq_factor", 4);
  const float original = or_else("original_max_position_embeddings", 8192);
  constexpr std::uint32_t kWidest = 1U << 16;
  const std::uint32_t width = head_width(config);
  const float theta = rope.theta.value_or(10000);
  if (width > kWidest || theta <= 0) {
    config.refuse("head_dim",
                  format_text("expected at most {}, and a rope_theta above 0", kWidest));
    return {};
  }
  if (factor <= 0 || low <= 0 || high <= low || original <= 0) {
    config.refuse("rope_scaling",
                  "expected 0 < low_freq_factor < high_freq_factor, and a factor "
                  "and length above 0");
    return {};
  }
  std::vector<float> factors;
  for (std::uint32_t i = 0; i + 1 < width; i += 2) {
    const float share = static_cast<float>(i) / static_cast<float>(width);
    const float frequency = 1 / std::pow(theta, share);
    const float length = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (length < original / high) {
      factors.push_back(1);
    } else if (length > original / low) {
      factors.push_back(factor);
    } else {
      const float smooth = (original / length - low) / (high - low);
      factors.push_back(1 / ((1 - smooth) / factor + smooth));
    }
  }
  return factors;
}

std::vector<float> phi3_factors(const HfConfig& config, const Rope& rope, std::string_view key) {
  const std::size_t wanted = phi3_rotated(config) / 2;
  std::vector<float> factors = rope.config.numbers(key, wanted);
  if (factors.size() != wanted) {
    config.refuse(key, format_text("expected {} numbers: {}", wanted, factors.size()));
  }
  return factors;
}

}  // namespace

void describe_llama(const HfConfig& config, std::string_view gguf, HfDescription& out) {
  ArchitectureKeys keys(gguf, out.keys);
  const Rope rope = rope_of(config);
  expect_activation(config, "hidden_act", {"silu"});
  expect_whole_rotation(config, rope);
  describe_decoder(config, keys);
  std::uint32_t context = config.count("max_position_embeddings");
  // libllama attends to everything in this architecture: up to the window that is the same.
  const auto window = config.maybe_count("sliding_window");
  if (window && *window > 0 && *window < context) {
    out.notes.push_back(format_text(
        "context cut from {} to {} tokens, the model's sliding window, which is not computed here",
        context, *window));
    context = *window;
  }
  keys.u32("context_length", context);
  keys.u32("vocab_size", config.count("vocab_size"));
  keys.u32("rope.dimension_count", head_width(config));
  describe_rope(rope, keys);
}

void describe_qwen(const HfConfig& config, std::string_view gguf, HfDescription& out) {
  ArchitectureKeys keys(gguf, out.keys);
  const Rope rope = rope_of(config);
  expect_activation(config, "hidden_act", {"silu"});
  expect_whole_rotation(config, rope);
  if (config.flag_or("use_sliding_window", false)) {
    config.refuse("use_sliding_window",
                  "expected false: sliding windows of this architecture are "
                  "not computed here",
                  ErrorCode::kUnsupported);
  }
  describe_decoder(config, keys);
  keys.u32("context_length", config.count("max_position_embeddings"));
  describe_rope(rope, keys);
}

void describe_gemma2(const HfConfig& config, std::string_view gguf, HfDescription& out) {
  ArchitectureKeys keys(gguf, out.keys);
  constexpr std::uint32_t kLayersOf27B = 46;
  expect_activation(config, "hidden_activation", {"gelu_pytorch_tanh"});
  expect_layer_pattern(config, 2);
  const std::uint32_t heads = config.count("num_attention_heads");
  const std::uint32_t width = config.count("head_dim");
  expect_query_scale(config, kLayersOf27B, heads, width);
  describe_decoder(config, keys);
  keys.u32("context_length", config.count("max_position_embeddings"));
  keys.f32("attn_logit_softcapping", config.number("attn_logit_softcapping"));
  keys.f32("final_logit_softcapping", config.number("final_logit_softcapping"));
  keys.u32("attention.sliding_window", config.count("sliding_window"));
}

void describe_gemma3(const HfConfig& config, std::string_view gguf, HfDescription& out) {
  ArchitectureKeys keys(gguf, out.keys);
  constexpr std::uint32_t kLayersOf27B = 62;
  // What files of the larger models leave out.
  constexpr std::uint32_t kHeads = 8;
  constexpr std::uint32_t kKvHeads = 4;
  constexpr std::uint32_t kWidth = 256;
  constexpr std::uint32_t kContext = 131072;
  constexpr float kEpsilon = 1e-6F;
  constexpr float kTheta = 1e6F;
  expect_activation(config, "hidden_activation", {"gelu_pytorch_tanh"});
  expect_layer_pattern(config, 6);
  const std::uint32_t heads = config.count_or("num_attention_heads", kHeads);
  const std::uint32_t width = config.count_or("head_dim", kWidth);
  expect_query_scale(config, kLayersOf27B, heads, width);
  if (config.has("attn_logit_softcapping")) {
    config.refuse("attn_logit_softcapping", "expected none", ErrorCode::kUnsupported);
  }
  describe_size(config, keys);
  keys.u32("context_length", config.count_or("max_position_embeddings", kContext));
  keys.u32("attention.head_count", heads);
  keys.u32("attention.head_count_kv", config.count_or("num_key_value_heads", kKvHeads));
  keys.f32("attention.layer_norm_rms_epsilon",
           config.maybe_number("rms_norm_eps").value_or(kEpsilon));
  keys.u32("attention.key_length", width);
  keys.u32("attention.value_length", width);
  keys.u32("attention.sliding_window", config.count("sliding_window"));
  keys.f32("final_logit_softcapping", config.maybe_number("final_logit_softcapping"));
  Rope rope = rope_of(config);
  if (!rope.theta) rope.theta = kTheta;
  describe_rope(rope, keys);
}

void describe_phi3(const HfConfig& config, std::string_view gguf, HfDescription& out) {
  ArchitectureKeys keys(gguf, out.keys);
  expect_activation(config, "hidden_act", {"silu"});
  describe_decoder(config, keys);
  const std::uint32_t context = config.count("max_position_embeddings");
  const Rope rope = rope_of(config);
  const std::uint32_t original =
      rope.config.count_or("original_max_position_embeddings",
                           config.count_or("original_max_position_embeddings", context));
  keys.u32("context_length", context);
  keys.u32("rope.scaling.original_context_length", original);
  keys.u32("rope.dimension_count", phi3_rotated(config));
  keys.f32("rope.freq_base", rope.theta);
  // Zero tells libllama that there is none (Phi-4).
  keys.u32("attention.sliding_window", config.maybe_count("sliding_window").value_or(0));
  if (rope.type == "longrope" || rope.type == "su") {
    keys.f32("rope.scaling.attn_factor",
             long_rope_attention(static_cast<float>(context), static_cast<float>(original)));
  } else if (rope.type != "default") {
    config.refuse("rope_scaling", format_text("expected longrope: {}", excerpt(rope.type)),
                  ErrorCode::kUnsupported);
  }
}

void describe_bert(const HfConfig& config, std::string_view gguf, HfDescription& out) {
  ArchitectureKeys keys(gguf, out.keys);
  expect_activation(config, "hidden_act", {"gelu"});
  if (config.text_or("position_embedding_type", "absolute") != "absolute") {
    config.refuse("position_embedding_type", "expected absolute", ErrorCode::kUnsupported);
  }
  describe_size(config, keys);
  keys.u32("context_length", config.count("max_position_embeddings"));
  keys.u32("attention.head_count", config.count("num_attention_heads"));
  keys.f32("attention.layer_norm_epsilon", config.number("layer_norm_eps"));
  keys.flag("attention.causal", false);
  out.keys.u32("tokenizer.ggml.token_type_count", config.count_or("type_vocab_size", 1));
}

RopeFactors rope_factors(const HfArchitecture& architecture, const HfConfig& config) {
  const Rope rope = rope_of(config);
  RopeFactors factors;
  if (architecture.describe == describe_phi3) {
    if (rope.type == "default") return factors;
    factors.long_context = phi3_factors(config, rope, "long_factor");
    factors.short_context = phi3_factors(config, rope, "short_factor");
  } else if (rope.type == "llama3") {
    if (architecture.describe == describe_llama) {
      factors.all = llama3_factors(config, rope);
    } else {
      config.refuse("rope_scaling", "expected another type than llama3 in this architecture",
                    ErrorCode::kUnsupported);
    }
  }
  return factors;
}

}  // namespace gogrid
