#include "support/tiny_gguf.h"

#include <ggml.h>
#include <gguf.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "support/tiny_vocabulary.h"

namespace gogrid::testing {
namespace {

// What makes an architecture's file differ from llama's.
struct Traits {
  std::string_view name;
  bool qkv_bias = false;
  bool qk_norm = false;
  bool fused_qkv = false;
  bool layer_norm = false;  // norms and projections have biases; epsilon by another name
  bool second_norm = true;  // ffn_norm
  bool post_norms = false;  // gemma: after attention and after the feed-forward part
  bool gated = true;        // ffn_gate beside ffn_up
  bool fused_gate = false;  // ffn_up holds both
  bool tied = false;        // never an output.weight
  bool window = false;      // sliding window pattern
  std::uint32_t min_experts = 0;
  bool shared_expert = false;
  bool short_convolution = false;  // lfm2: every layer but the third of four is a convolution
  bool learned_positions = false;
  bool state_space = false;  // plamo2: every other layer is a Mamba
};

constexpr Traits kTraits[] = {
    {.name = "llama"},
    {.name = "qwen2", .qkv_bias = true},
    {.name = "qwen3", .qk_norm = true},
    {.name = "gemma2", .post_norms = true, .tied = true, .window = true},
    {.name = "gemma3", .qk_norm = true, .post_norms = true, .tied = true, .window = true},
    {.name = "phi2",
     .qkv_bias = true,
     .fused_qkv = true,
     .layer_norm = true,
     .second_norm = false,
     .gated = false},
    {.name = "phi3", .fused_qkv = true, .gated = false, .fused_gate = true},
    {.name = "qwen2moe", .qkv_bias = true, .min_experts = 4, .shared_expert = true},
    {.name = "qwen3moe", .qk_norm = true, .min_experts = 4},
    {.name = "lfm2", .qk_norm = true, .tied = true, .short_convolution = true},
    {.name = "gpt2",
     .qkv_bias = true,
     .fused_qkv = true,
     .layer_norm = true,
     .gated = false,
     .learned_positions = true},
    {.name = "plamo2",
     .fused_qkv = true,
     .post_norms = true,
     .gated = false,
     .fused_gate = true,
     .state_space = true},
};

constexpr std::uint32_t kExpertsUsed = 2;
constexpr std::uint32_t kShortConvolution = 3;  // its length in tokens
constexpr std::uint32_t kStateConvolution = 4;
constexpr std::uint32_t kStateSize = 16;

const Traits& traits_of(std::string_view name) {
  const auto* found = std::ranges::find(kTraits, name, &Traits::name);
  if (found == std::end(kTraits)) {
    throw std::runtime_error("[tiny_gguf] unknown architecture: " + std::string(name));
  }
  return *found;
}

// Layers without attention, and so without KV heads.
bool is_recurrent(const Traits& traits, std::uint32_t layer) {
  return (traits.short_convolution && layer % 4 != 2) || (traits.state_space && layer % 2 == 0);
}

// SplitMix64 (Steele, Lea, Flood 2014), and a bell curve as the sum of four uniforms.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  float normal() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(next() >> 40) * 0x1p-24F;
    return (sum - 2.0F) * 1.7320508F;
  }

 private:
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

struct Tokens {
  std::string_view model;
  std::vector<std::string> text;
  std::vector<std::int32_t> types;  // 1 normal, 2 unknown, 3 control, 4 the user's own, 6 byte
  std::vector<float> scores;
  std::vector<std::string> merges;
  std::uint32_t bos = 0;
  std::uint32_t eos = 0;

  std::uint32_t add(std::string token, std::int32_t type, float score = 0) {
    text.push_back(std::move(token));
    types.push_back(type);
    scores.push_back(score);
    return static_cast<std::uint32_t>(text.size() - 1);
  }
};

Tokens bpe_tokens() {
  Tokens tokens;
  tokens.model = "gpt2";
  for (std::uint32_t byte = 0; byte < 256; ++byte) tokens.add(byte_as_text(byte), 1);
  const std::string space = byte_as_text(' ');
  const std::pair<std::string, std::string> merges[] = {
      {"t", "h"},    {"th", "e"},    {space, "the"}, {"i", "n"},       {"a", "n"},
      {"an", "d"},   {space, "and"}, {"e", "r"},     {"o", "n"},       {"l", "l"},
      {"h", "e"},    {"he", "ll"},   {"hell", "o"},  {space, "hello"}, {"o", "r"},
      {"w", "or"},   {"l", "d"},     {"wor", "ld"},  {space, "world"}, {"i", "s"},
      {space, "is"}, {space, "a"},   {"o", "f"},     {space, "of"},    {"in", "g"},
  };
  for (const auto& [left, right] : merges) {
    tokens.merges.push_back(left + " " + right);
    tokens.add(left + right, 1);
  }
  tokens.bos = tokens.add("<|endoftext|>", 3);
  tokens.add("<|im_start|>", 3);
  tokens.eos = tokens.add("<|im_end|>", 3);
  tokens.add("<think>", 4);
  return tokens;
}

Tokens spm_tokens() {
  Tokens tokens;
  tokens.model = "llama";
  tokens.add("<unk>", 2);
  tokens.bos = tokens.add("<s>", 3);
  tokens.eos = tokens.add("</s>", 3);
  constexpr char kHex[] = "0123456789ABCDEF";
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    tokens.add({'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'}, 6);
  }
  const std::string space = "\xE2\x96\x81";
  float score = -1;
  for (const std::string& piece :
       {space, space + "the", std::string("th"), std::string("the"), space + "a", std::string("in"),
        space + "hello", std::string("hello"), space + "world", std::string("ing")}) {
    tokens.add(piece, 1, score--);
  }
  for (char c = 'a'; c <= 'z'; ++c) tokens.add({c}, 1, score--);
  tokens.add("<|im_start|>", 3);
  tokens.add("<|im_end|>", 3);
  tokens.add("<think>", 4);
  return tokens;
}

// A multiple of 32, so that any weight type may hold the embedding's transpose.
Tokens tokens_of(const TinyModel& model) {
  Tokens tokens = model.vocabulary == TinyVocabulary::kBpe ? bpe_tokens() : spm_tokens();
  while (tokens.text.size() % 32 != 0) {
    tokens.add("<|reserved_" + std::to_string(tokens.text.size()) + "|>", 3);
  }
  return tokens;
}

ggml_type type_of(TinyWeights weights) {
  switch (weights) {
    case TinyWeights::kF16:
      return GGML_TYPE_F16;
    case TinyWeights::kQ8_0:
      return GGML_TYPE_Q8_0;
    case TinyWeights::kQ4_0:
      return GGML_TYPE_Q4_0;
    case TinyWeights::kQ4_1:
      return GGML_TYPE_Q4_1;
    case TinyWeights::kQ4_K:
      return GGML_TYPE_Q4_K;
    case TinyWeights::kF32:
      break;
  }
  return GGML_TYPE_F32;
}

constexpr std::string_view kChatTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

class Writer {
 public:
  Writer(const TinyModel& model, const Traits& traits)
      : model_(model),
        traits_(traits),
        tokens_(tokens_of(model)),
        random_(model.seed),
        type_(type_of(model.weights)),
        file_(gguf_init_empty(), &gguf_free),
        tensors_(ggml_init({.mem_size = ggml_tensor_overhead() * (64 * (model.n_layers + 1)),
                            .mem_buffer = nullptr,
                            .no_alloc = true}),
                 &ggml_free) {}

  void write(const std::filesystem::path& path) {
    add_metadata();
    add_vocabulary();
    add_embedding();
    for (std::uint32_t layer = 0; layer < model_.n_layers; ++layer) add_layer(layer);
    add_head();
    if (!gguf_write_to_file(file_.get(), path.c_str(), false)) {
      throw std::runtime_error("[tiny_gguf] cannot write " + path.string());
    }
  }

 private:
  std::uint32_t head_width() const { return model_.n_embd / model_.n_heads; }
  std::uint32_t kv_width() const { return head_width() * model_.n_kv_heads; }
  std::uint32_t n_experts() const { return std::max(model_.n_experts, traits_.min_experts); }
  std::string key(std::string_view name) const {
    return model_.architecture + "." + std::string(name);
  }
  void set(std::string_view name, std::uint32_t value) {
    gguf_set_val_u32(file_.get(), key(name).c_str(), value);
  }
  void set(std::string_view name, float value) {
    gguf_set_val_f32(file_.get(), key(name).c_str(), value);
  }

  void add_metadata() {
    gguf_set_val_str(file_.get(), "general.architecture", model_.architecture.c_str());
    gguf_set_val_str(file_.get(), "general.name", "Tiny random model");
    gguf_set_val_str(file_.get(), "general.license", "cc0-1.0");
    set("block_count", model_.n_layers);
    set("context_length", model_.context);
    set("embedding_length", model_.n_embd);
    set("feed_forward_length", model_.n_ff);
    set("vocab_size", static_cast<std::uint32_t>(tokens_.text.size()));
    set("attention.head_count", model_.n_heads);
    set(traits_.layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
        1e-5F);
    if (!traits_.learned_positions) {
      set("rope.dimension_count", head_width());
      set("rope.freq_base", 10000.0F);
    }
    add_head_counts();
    if (traits_.window) add_window();
    if (n_experts() > 0) add_experts();
    if (traits_.short_convolution) set("shortconv.l_cache", kShortConvolution);
    if (traits_.state_space) add_states();
  }

  void add_states() {
    set("attention.key_length", head_width());
    set("attention.value_length", head_width());
    set("ssm.conv_kernel", kStateConvolution);
    set("ssm.inner_size", model_.n_embd);
    set("ssm.state_size", kStateSize);
    set("ssm.time_step_rank", model_.n_heads);
    set("ssm.group_count", std::uint32_t{0});
  }

  void add_head_counts() {
    if (!traits_.short_convolution && !traits_.state_space)
      return set("attention.head_count_kv", model_.n_kv_heads);
    std::vector<std::int32_t> counts;
    for (std::uint32_t layer = 0; layer < model_.n_layers; ++layer) {
      counts.push_back(is_recurrent(traits_, layer) ? 0
                                                    : static_cast<std::int32_t>(model_.n_kv_heads));
    }
    gguf_set_arr_data(file_.get(), key("attention.head_count_kv").c_str(), GGUF_TYPE_INT32,
                      counts.data(), counts.size());
  }

  void add_window() {
    set("attention.sliding_window", model_.sliding_window);
    set("attention.key_length", head_width());
    set("attention.value_length", head_width());
    if (model_.architecture == "gemma2") {
      set("attn_logit_softcapping", 50.0F);
      set("final_logit_softcapping", 30.0F);
    }
  }

  void add_experts() {
    set("expert_count", n_experts());
    set("expert_used_count", kExpertsUsed);
    if (traits_.min_experts > 0) set("expert_feed_forward_length", model_.n_ff);
    if (traits_.shared_expert) set("expert_shared_feed_forward_length", model_.n_ff);
  }

  void set_strings(const char* name, const std::vector<std::string>& values) {
    std::vector<const char*> pointers;
    for (const auto& value : values) pointers.push_back(value.c_str());
    gguf_set_arr_str(file_.get(), name, pointers.data(), pointers.size());
  }

  void add_vocabulary() {
    gguf_context* file = file_.get();
    gguf_set_val_str(file, "tokenizer.ggml.model", std::string(tokens_.model).c_str());
    if (model_.vocabulary == TinyVocabulary::kBpe) {
      gguf_set_val_str(file, "tokenizer.ggml.pre", "gpt-2");
      set_strings("tokenizer.ggml.merges", tokens_.merges);
    } else {
      gguf_set_arr_data(file, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, tokens_.scores.data(),
                        tokens_.scores.size());
    }
    set_strings("tokenizer.ggml.tokens", tokens_.text);
    gguf_set_arr_data(file, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, tokens_.types.data(),
                      tokens_.types.size());
    gguf_set_val_u32(file, "tokenizer.ggml.bos_token_id", tokens_.bos);
    gguf_set_val_u32(file, "tokenizer.ggml.eos_token_id", tokens_.eos);
    gguf_set_val_bool(file, "tokenizer.ggml.add_bos_token", model_.begin_token);
    if (model_.chat_template) {
      gguf_set_val_str(file, "tokenizer.chat_template", std::string(kChatTemplate).c_str());
    }
  }

  // `deviation` around `mean`; vectors, norms and convolutions stay in F32, as converters write
  // them.
  void add(const std::string& name, std::initializer_list<std::int64_t> shape, float mean,
           float deviation) {
    const auto count = static_cast<std::size_t>(
        std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
    std::vector<float> values(count);
    for (float& value : values) value = mean + deviation * random_.normal();
    const std::int64_t width = *shape.begin();
    const bool small = shape.size() == 1 || name.contains("conv.weight") ||
                       name.contains("conv1d") || name.contains("norm");
    const ggml_type type = small ? GGML_TYPE_F32 : type_;
    ggml_tensor* tensor =
        ggml_new_tensor(tensors_.get(), type, static_cast<int>(shape.size()), shape.begin());
    ggml_set_name(tensor, name.c_str());
    auto& bytes = data_.emplace_back(std::make_unique<std::byte[]>(ggml_nbytes(tensor)));
    ggml_quantize_chunk(type, values.data(), bytes.get(), 0,
                        static_cast<std::int64_t>(count) / width, width, nullptr);
    tensor->data = bytes.get();
    gguf_add_tensor(file_.get(), tensor);
  }
  void add_matrix(const std::string& name, std::int64_t in, std::int64_t out) {
    add(name + ".weight", {in, out}, 0, 1 / std::sqrt(static_cast<float>(in)));
  }
  void add_stack(const std::string& name, std::int64_t in, std::int64_t out) {
    add(name + ".weight", {in, out, n_experts()}, 0, 1 / std::sqrt(static_cast<float>(in)));
  }
  void add_bias(const std::string& name, std::int64_t width) {
    add(name + ".bias", {width}, 0, 0.1F);
  }
  void add_norm(const std::string& name, std::int64_t width) {
    add(name + ".weight", {width}, 1, 0.2F);
    if (traits_.layer_norm) add_bias(name, width);
  }

  // plamo2 leaves the ".weight" of these away.
  void add_post_norm(const std::string& name) {
    add(traits_.state_space ? name : name + ".weight", {model_.n_embd}, 1, 0.2F);
  }

  void add_embedding() {
    // Gemma's graph multiplies these by sqrt(n_embd): small ones, or the next token were always
    // the last.
    add("token_embd.weight", {model_.n_embd, static_cast<std::int64_t>(tokens_.text.size())}, 0,
        traits_.window ? 0.05F : 0.5F);
    if (traits_.learned_positions) {
      add("position_embd.weight", {model_.n_embd, model_.context}, 0, 0.1F);
    }
  }

  void add_layer(std::uint32_t layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    add_norm(block + "attn_norm", model_.n_embd);
    if (is_recurrent(traits_, layer)) {
      traits_.state_space ? add_state_space(block) : add_convolution(block);
    } else {
      add_attention(block);
    }
    if (traits_.post_norms) add_post_norm(block + "post_attention_norm");
    if (traits_.second_norm) add_norm(block + "ffn_norm", model_.n_embd);
    if (n_experts() > 0) {
      add_mixture(block);
    } else {
      add_feed_forward(block);
    }
    if (traits_.post_norms) add_post_norm(block + "post_ffw_norm");
  }

  void add_convolution(const std::string& block) {
    add(block + "shortconv.conv.weight", {kShortConvolution, model_.n_embd}, 0, 0.5F);
    add_matrix(block + "shortconv.in_proj", model_.n_embd, 3 * model_.n_embd);
    add_matrix(block + "shortconv.out_proj", model_.n_embd, model_.n_embd);
  }

  void add_attention(const std::string& block) {
    if (traits_.fused_qkv) {
      add_matrix(block + "attn_qkv", model_.n_embd, model_.n_embd + 2 * kv_width());
      if (traits_.qkv_bias) add_bias(block + "attn_qkv", model_.n_embd + 2 * kv_width());
    } else {
      for (const auto& [part, width] :
           {std::pair{"attn_q", model_.n_embd}, {"attn_k", kv_width()}, {"attn_v", kv_width()}}) {
        add_matrix(block + part, model_.n_embd, width);
        if (traits_.qkv_bias) add_bias(block + part, width);
      }
    }
    add_matrix(block + "attn_output", model_.n_embd, model_.n_embd);
    if (traits_.layer_norm) add_bias(block + "attn_output", model_.n_embd);
    if (traits_.qk_norm) {
      add_norm(block + "attn_q_norm", head_width());
      add_norm(block + "attn_k_norm", head_width());
    }
    if (traits_.state_space) {  // a norm of its own for each head
      add(block + "attn_q_norm.weight", {head_width(), model_.n_heads}, 1, 0.2F);
      add(block + "attn_k_norm.weight", {head_width(), model_.n_kv_heads}, 1, 0.2F);
    }
  }

  void add_feed_forward(const std::string& block) {
    if (traits_.gated) add_matrix(block + "ffn_gate", model_.n_embd, model_.n_ff);
    const std::uint32_t up = traits_.fused_gate ? 2 * model_.n_ff : model_.n_ff;
    add_matrix(block + "ffn_up", model_.n_embd, up);
    add_matrix(block + "ffn_down", model_.n_ff, model_.n_embd);
    if (traits_.layer_norm) {
      add_bias(block + "ffn_up", up);
      add_bias(block + "ffn_down", model_.n_embd);
    }
  }

  // A Mamba with one group; its step size and both projections are normalized first.
  void add_state_space(const std::string& block) {
    const std::int64_t step = std::max<std::int64_t>(64, model_.n_embd / 16);
    add_matrix(block + "ssm_in", model_.n_embd, 2 * model_.n_embd);
    add(block + "ssm_conv1d.weight", {kStateConvolution, model_.n_embd}, 0, 0.5F);
    add_matrix(block + "ssm_x", model_.n_embd, step + 2 * kStateSize);
    add_matrix(block + "ssm_dt", step, model_.n_heads);
    add_bias(block + "ssm_dt", model_.n_heads);
    add(block + "ssm_a", {model_.n_heads}, -1, 0.2F);
    add(block + "ssm_d", {model_.n_heads}, 1, 0.2F);
    add_matrix(block + "ssm_out", model_.n_embd, model_.n_embd);
    add(block + "ssm_dt_norm", {step}, 1, 0.2F);
    add(block + "ssm_b_norm", {kStateSize}, 1, 0.2F);
    add(block + "ssm_c_norm", {kStateSize}, 1, 0.2F);
  }

  void add_mixture(const std::string& block) {
    add_matrix(block + "ffn_gate_inp", model_.n_embd, n_experts());
    add_stack(block + "ffn_gate_exps", model_.n_embd, model_.n_ff);
    add_stack(block + "ffn_up_exps", model_.n_embd, model_.n_ff);
    add_stack(block + "ffn_down_exps", model_.n_ff, model_.n_embd);
    if (!traits_.shared_expert) return;
    add(block + "ffn_gate_inp_shexp.weight", {model_.n_embd}, 0, 0.1F);
    add_matrix(block + "ffn_gate_shexp", model_.n_embd, model_.n_ff);
    add_matrix(block + "ffn_up_shexp", model_.n_embd, model_.n_ff);
    add_matrix(block + "ffn_down_shexp", model_.n_ff, model_.n_embd);
  }

  void add_head() {
    if (traits_.window) {  // small embeddings are a small head: make up for it here
      add("output_norm.weight", {model_.n_embd}, 10, 2);
    } else {
      add_norm(traits_.short_convolution ? "token_embd_norm" : "output_norm", model_.n_embd);
    }
    const auto n_vocab = static_cast<std::int64_t>(tokens_.text.size());
    if (!model_.tied && !traits_.tied) {
      // Wide logits: the next token is clear, and a wrong cut shows.
      add("output.weight", {model_.n_embd, n_vocab}, 0,
          4 / std::sqrt(static_cast<float>(model_.n_embd)));
    }
    if (model_.architecture == "phi2") add_bias("output", n_vocab);
  }

  const TinyModel& model_;
  const Traits& traits_;
  const Tokens tokens_;
  Random random_;
  const ggml_type type_;
  std::unique_ptr<gguf_context, decltype(&gguf_free)> file_;
  std::unique_ptr<ggml_context, decltype(&ggml_free)> tensors_;
  std::vector<std::unique_ptr<std::byte[]>> data_;
};

}  // namespace

void write_tiny_model(const std::filesystem::path& path, const TinyModel& model) {
  Writer(model, traits_of(model.architecture)).write(path);
}

const std::vector<std::string>& tiny_architectures() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Traits& traits : kTraits) all.emplace_back(traits.name);
    return all;
  }();
  return names;
}

std::uint32_t tiny_vocabulary_size(const TinyModel& model) {
  return static_cast<std::uint32_t>(tokens_of(model).text.size());
}

}  // namespace gogrid::testing
