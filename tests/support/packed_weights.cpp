#include "support/packed_weights.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <random>

#include "base/format.h"

namespace gogrid::testing {
namespace {

namespace fs = std::filesystem;

// AutoAWQ: the output that each nibble of a word holds, from the lowest on.
constexpr auto kAwqOrder = std::to_array<std::uint32_t>({0, 2, 4, 6, 1, 3, 5, 7});

// Bits of values one behind the other, from the lowest bit of the first word on.
std::vector<std::uint32_t> stream_of(const std::vector<std::uint32_t>& values, std::uint32_t bits) {
  std::vector<std::uint32_t> words((values.size() * bits + 31) / 32);
  std::size_t at = 0;
  for (const std::uint32_t value : values) {
    for (std::uint32_t bit = 0; bit < bits; ++bit, ++at) {
      words[at / 32] |= (value >> bit & 1U) << (at % 32);
    }
  }
  return words;
}

std::vector<std::uint32_t> awq_words(const std::vector<std::uint32_t>& outputs) {
  std::vector<std::uint32_t> ordered;
  for (std::size_t first = 0; first < outputs.size(); first += kAwqOrder.size()) {
    for (const std::uint32_t output : kAwqOrder) ordered.push_back(outputs[first + output]);
  }
  return stream_of(ordered, 4);
}

float float_of(std::uint16_t half) { return ggml_fp16_to_fp32(half); }

// The scale and zero of a group, as the tools choose them.
struct Grid {
  std::uint16_t scale = 0;
  std::uint32_t zero = 0;
};

Grid grid_of(float least, float most, const ExampleOptions& options) {
  const auto highest = static_cast<float>((1U << options.bits) - 1);
  if (options.symmetric) {
    const float reach = std::max(std::fabs(least), std::fabs(most));
    return {ggml_fp32_to_fp16(2 * reach / highest), 1U << (options.bits - 1)};
  }
  Grid grid;
  grid.scale = ggml_fp32_to_fp16((most - least) / highest);
  const float zero = std::round(-least / float_of(grid.scale));
  grid.zero = static_cast<std::uint32_t>(std::clamp(zero, 1.0F, highest));
  return grid;
}

std::vector<std::uint32_t> group_index(std::uint32_t inputs, const ExampleOptions& options,
                                       std::mt19937_64& random) {
  std::vector<std::uint32_t> order(inputs);
  std::iota(order.begin(), order.end(), 0U);
  if (options.act_order) std::ranges::shuffle(order, random);
  std::vector<std::uint32_t> group_of(inputs);
  for (std::uint32_t i = 0; i < inputs; ++i) {
    group_of[order[i]] = options.group_size == 0 ? 0 : i / options.group_size;
  }
  return group_of;
}

std::string halves(const std::vector<std::vector<std::uint16_t>>& rows) {
  std::string bytes;
  for (const auto& row : rows) bytes += bytes_of(row);
  return bytes;
}

// Halves, so that both folders can hold them.
std::vector<float> random_halves(std::size_t count, float centre, float width,
                                 std::mt19937_64& random) {
  std::normal_distribution<float> normal(centre, width);
  std::vector<float> values(count);
  for (float& value : values) value = float_of(ggml_fp32_to_fp16(normal(random)));
  return values;
}

// The same tensors in two forms.
class TwoFolders {
 public:
  explicit TwoFolders(const PackedModel& model) : model_(model), random_(model.packing.seed) {}

  void add(std::string_view name, const std::vector<std::uint64_t>& shape, float centre,
           float width) {
    std::size_t count = 1;
    for (const std::uint64_t dimension : shape) count *= dimension;
    const std::vector<float> values = random_halves(count, centre, width, random_);
    std::vector<std::uint16_t> stored(count);
    std::ranges::transform(values, stored.begin(), [](float v) { return ggml_fp32_to_fp16(v); });
    packed_.tensor(name, "F16", shape, bytes_of(stored));
    plain_.floats(name, shape, values);
  }
  void add_matrix(const std::string& name, std::uint32_t outputs, std::uint32_t inputs,
                  bool biased) {
    ExampleOptions options = model_.packing;
    options.seed = random_();
    const PackedExample example = packed_example(outputs, inputs, options);
    add_packed(packed_, name, example);
    plain_.floats(name + ".weight", {outputs, inputs}, example.weights());
    if (biased) {
      add(name + ".bias", {outputs}, 0, 0.1F);
    } else if (model_.made_up_biases) {
      packed_.tensor(name + ".bias", "F16", {outputs}, std::string(2 * outputs, '\0'));
    }
  }
  void add_layer(const std::string& layer) {
    const std::uint32_t hidden = model_.hidden;
    const bool biased = model_.architecture == "qwen2";
    add(layer + "input_layernorm.weight", {hidden}, 1, 0.1F);
    add_matrix(layer + "self_attn.q_proj", hidden, hidden, biased);
    add_matrix(layer + "self_attn.k_proj", hidden / 2, hidden, biased);
    add_matrix(layer + "self_attn.v_proj", hidden / 2, hidden, biased);
    add_matrix(layer + "self_attn.o_proj", hidden, hidden, false);
    add(layer + "post_attention_layernorm.weight", {hidden}, 1, 0.1F);
    add_matrix(layer + "mlp.gate_proj", model_.feed_forward, hidden, false);
    add_matrix(layer + "mlp.up_proj", model_.feed_forward, hidden, false);
    add_matrix(layer + "mlp.down_proj", hidden, model_.feed_forward, false);
  }
  void write(const fs::path& packed, const fs::path& plain) const {
    write_bytes(packed / "model.safetensors", packed_.build());
    write_bytes(plain / "model.safetensors", plain_.build());
  }

 private:
  const PackedModel& model_;
  std::mt19937_64 random_;
  SafetensorsBuilder packed_;
  SafetensorsBuilder plain_;
};

constexpr std::uint32_t kLlamaTokens = 325;
constexpr std::uint32_t kQwenTokens = 323;
constexpr std::uint32_t kHeadWidth = 64;

std::string config_of(const PackedModel& model, std::uint32_t tokens, bool packed) {
  return format_text(
      R"({{"architectures": ["{}ForCausalLM"], "hidden_act": "silu", "hidden_size": {},
"intermediate_size": {}, "max_position_embeddings": 128, "num_attention_heads": {},
"num_hidden_layers": {}, "num_key_value_heads": {}, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
"vocab_size": {}{}{}}})",
      model.architecture == "llama" ? "Llama" : "Qwen2", model.hidden, model.feed_forward,
      model.hidden / kHeadWidth, model.layers, model.hidden / kHeadWidth / 2, tokens,
      packed ? ", \"quantization_config\": " : "",
      packed ? quantization_config(model.packing) : "");
}

}  // namespace

std::vector<float> PackedExample::weights() const {
  std::vector<float> all;
  for (std::uint32_t output = 0; output < outputs; ++output) {
    for (std::uint32_t input = 0; input < inputs; ++input) {
      const std::uint32_t group = group_of[input];
      const float zero = static_cast<float>(zeros[group][output]);
      all.push_back(float_of(scales[group][output]) *
                    (static_cast<float>(codes[output][input]) - zero));
    }
  }
  return all;
}

PackedExample packed_example(std::uint32_t outputs, std::uint32_t inputs,
                             const ExampleOptions& options) {
  std::mt19937_64 random(options.seed);
  std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(inputs)));
  PackedExample example{.method = options.method,
                        .bits = options.bits,
                        .inputs = inputs,
                        .outputs = outputs,
                        .group_of = group_index(inputs, options, random),
                        .codes = {},
                        .zeros = {},
                        .scales = {},
                        .zeros_less_one = options.method == "gptq" && options.zeros_less_one};
  const std::uint32_t groups = 1 + *std::ranges::max_element(example.group_of);
  example.codes.assign(outputs, std::vector<std::uint32_t>(inputs));
  example.zeros.assign(groups, std::vector<std::uint32_t>(outputs));
  example.scales.assign(groups, std::vector<std::uint16_t>(outputs));
  for (std::uint32_t output = 0; output < outputs; ++output) {
    std::vector<float> row(inputs);
    for (float& weight : row) weight = normal(random);
    std::vector<float> least(groups, 0);
    std::vector<float> most(groups, 0);
    for (std::uint32_t input = 0; input < inputs; ++input) {
      const std::uint32_t group = example.group_of[input];
      least[group] = std::min(least[group], row[input]);
      most[group] = std::max(most[group], row[input]);
    }
    for (std::uint32_t group = 0; group < groups; ++group) {
      const Grid grid = grid_of(least[group], most[group], options);
      example.scales[group][output] = grid.scale;
      example.zeros[group][output] = grid.zero;
    }
    for (std::uint32_t input = 0; input < inputs; ++input) {
      const std::uint32_t group = example.group_of[input];
      const float code = std::round(row[input] / float_of(example.scales[group][output])) +
                         static_cast<float>(example.zeros[group][output]);
      const auto highest = static_cast<float>((1U << options.bits) - 1);
      example.codes[output][input] = static_cast<std::uint32_t>(std::clamp(code, 0.0F, highest));
    }
  }
  return example;
}

std::vector<std::uint32_t> packed_codes(const PackedExample& example) {
  std::vector<std::uint32_t> words;
  if (example.method == "awq") {
    for (std::uint32_t input = 0; input < example.inputs; ++input) {
      std::vector<std::uint32_t> outputs;
      for (const auto& row : example.codes) outputs.push_back(row[input]);
      std::ranges::copy(awq_words(outputs), std::back_inserter(words));
    }
    return words;
  }
  words.resize(example.inputs * example.bits / 32 * example.outputs);
  for (std::uint32_t output = 0; output < example.outputs; ++output) {
    const auto column = stream_of(example.codes[output], example.bits);
    for (std::size_t row = 0; row < column.size(); ++row) {
      words[row * example.outputs + output] = column[row];
    }
  }
  return words;
}

std::vector<std::uint32_t> packed_zeros(const PackedExample& example) {
  std::vector<std::uint32_t> words;
  for (std::vector<std::uint32_t> row : example.zeros) {
    if (example.zeros_less_one) {
      for (std::uint32_t& zero : row) --zero;
    }
    std::ranges::copy(example.method == "awq" ? awq_words(row) : stream_of(row, example.bits),
                      std::back_inserter(words));
  }
  return words;
}

std::vector<std::uint64_t> codes_shape(const PackedExample& example) {
  if (example.method == "awq") return {example.inputs, example.outputs / 8};
  return {std::uint64_t{example.inputs} * example.bits / 32, example.outputs};
}

std::vector<std::uint64_t> zeros_shape(const PackedExample& example) {
  return {example.groups(), std::uint64_t{example.outputs} * example.bits / 32};
}

void add_packed(SafetensorsBuilder& builder, std::string_view name, const PackedExample& example) {
  const auto part = [&](const char* what) { return format_text("{}.{}", name, what); };
  builder.tensor(part("qweight"), "I32", codes_shape(example), bytes_of(packed_codes(example)));
  builder.tensor(part("qzeros"), "I32", zeros_shape(example), bytes_of(packed_zeros(example)));
  builder.tensor(part("scales"), "F16", {example.groups(), example.outputs},
                 halves(example.scales));
  if (example.method == "awq") return;
  builder.tensor(part("g_idx"), "I32", {example.inputs}, bytes_of(example.group_of));
}

std::string quantization_config(const ExampleOptions& options) {
  const std::string size = options.group_size == 0 ? "-1" : std::to_string(options.group_size);
  if (options.method == "awq") {
    return format_text(
        R"({{"quant_method": "awq", "bits": 4, "group_size": {}, "zero_point": true,
"version": "gemm"}})",
        size);
  }
  return format_text(
      R"({{"quant_method": "gptq", "bits": {}, "group_size": {}, "sym": {}, "desc_act": {},
"checkpoint_format": "{}"}})",
      options.bits, size, options.symmetric, options.act_order,
      options.zeros_less_one ? "gptq" : "gptq_v2");
}

void write_packed_model(const fs::path& fixtures, const fs::path& packed, const fs::path& plain,
                        const PackedModel& model) {
  const bool llama = model.architecture == "llama";
  const std::uint32_t tokens = llama ? kLlamaTokens : kQwenTokens;
  const fs::path fixture = fixtures / model.architecture;
  for (const fs::path& folder : {packed, plain}) {
    fs::create_directories(folder);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      fs::copy(fixture / file, folder / file);
    }
    write_bytes(folder / "config.json", config_of(model, tokens, folder == packed));
  }
  TwoFolders folders(model);
  folders.add("model.embed_tokens.weight", {tokens, model.hidden}, 0, 1);
  for (std::uint32_t layer = 0; layer < model.layers; ++layer) {
    folders.add_layer(format_text("model.layers.{}.", layer));
  }
  folders.add("model.norm.weight", {model.hidden}, 1, 0.1F);
  folders.add("lm_head.weight", {tokens, model.hidden}, 0,
              1 / std::sqrt(static_cast<float>(model.hidden)));
  folders.write(packed, plain);
}

}  // namespace gogrid::testing
