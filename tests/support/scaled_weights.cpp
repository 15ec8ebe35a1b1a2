#include "support/scaled_weights.h"

#include <ggml.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "base/format.h"

namespace gogrid::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::uint8_t kNoNumber = 0x7F;

// OCP 8-bit floating point: a sign, four bits of exponent, three of fraction.
float value_of(std::uint8_t code) {
  const int exponent = (code >> 3) & 15;
  const auto fraction = static_cast<float>(code & 7);
  const float magnitude =
      exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return (code & 0x80U) != 0 ? -magnitude : magnitude;
}

std::uint16_t bfloat_of(float value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
}

// Cut to what the type holds.
float held_by(const std::string& type, float value) {
  if (type == "BF16") return std::bit_cast<float>(std::uint32_t{bfloat_of(value)} << 16);
  return type == "F16" ? ggml_fp16_to_fp32(ggml_fp32_to_fp16(value)) : value;
}

std::string stored_as(const std::string& type, const std::vector<float>& values) {
  if (type == "F32") return bytes_of(values);
  std::vector<std::uint16_t> stored;
  for (const float value : values) {
    stored.push_back(type == "BF16" ? bfloat_of(value) : ggml_fp32_to_fp16(value));
  }
  return bytes_of(stored);
}

std::vector<std::uint64_t> scale_shape_of(std::uint32_t rows, std::uint32_t columns,
                                          const ScaleOptions& options) {
  switch (options.shape) {
    case ScaleShape::kNumber:
      return {};
    case ScaleShape::kOne:
      return {1};
    case ScaleShape::kRows:
      return {rows};
    case ScaleShape::kRowsOfOne:
      return {rows, 1};
    case ScaleShape::kBlocks:
      break;
  }
  return {(rows + options.block_rows - 1) / options.block_rows,
          (columns + options.block_columns - 1) / options.block_columns};
}

constexpr std::uint32_t kTokens = 325;
constexpr std::uint32_t kHidden = 160;
constexpr std::uint32_t kInner = 200;
constexpr std::uint32_t kLayers = 2;

// The same tensors in two forms.
class TwoFolders {
 public:
  explicit TwoFolders(const ScaledModel& model) : model_(model), random_(model.scales.seed) {}

  void add(std::string_view name, const std::vector<std::uint64_t>& shape, float centre,
           float width) {
    std::size_t count = 1;
    for (const std::uint64_t dimension : shape) count *= dimension;
    std::normal_distribution<float> normal(centre, width);
    std::vector<float> values(count);
    for (float& value : values) value = held_by("BF16", normal(random_));
    scaled_.tensor(name, "BF16", shape, stored_as("BF16", values));
    plain_.floats(name, shape, values);
  }
  void add_matrix(const std::string& layer, const std::string& module, std::uint32_t rows,
                  std::uint32_t columns) {
    const std::string name = layer + module;
    if (model_.plain.contains(module)) {
      add(name + ".weight", {rows, columns}, 0, 0.1F);
      if (model_.plain_has_scales) scaled_.floats(name + ".weight_scale", {}, {1});
      return;
    }
    ScaleOptions options = model_.scales;
    options.seed = random_();
    ScaledExample example = scaled_example(rows, columns, options);
    if (model_.has_no_number) example.codes.back() = kNoNumber;
    add_scaled(scaled_, name, example);
    if (model_.activation_scales) scaled_.floats(name + ".input_scale", {1}, {3});
    plain_.floats(name + ".weight", {rows, columns}, example.weights());
  }
  void add_layer(const std::string& layer) {
    add(layer + "input_layernorm.weight", {kHidden}, 1, 0.1F);
    add_matrix(layer, "self_attn.q_proj", kHidden, kHidden);
    add_matrix(layer, "self_attn.k_proj", kHidden / 2, kHidden);
    add_matrix(layer, "self_attn.v_proj", kHidden / 2, kHidden);
    add_matrix(layer, "self_attn.o_proj", kHidden, kHidden);
    add(layer + "post_attention_layernorm.weight", {kHidden}, 1, 0.1F);
    add_matrix(layer, "mlp.gate_proj", kInner, kHidden);
    add_matrix(layer, "mlp.up_proj", kInner, kHidden);
    add_matrix(layer, "mlp.down_proj", kHidden, kInner);
    if (!model_.activation_scales) return;
    scaled_.floats(layer + "self_attn.k_scale", {}, {2});
    scaled_.floats(layer + "self_attn.v_scale", {}, {2});
    scaled_.floats(layer + "self_attn.k_proj.output_scale", {}, {2});
  }
  void write(const fs::path& scaled, const fs::path& plain) const {
    write_bytes(scaled / "model.safetensors", scaled_.build());
    write_bytes(plain / "model.safetensors", plain_.build());
  }

 private:
  const ScaledModel& model_;
  std::mt19937_64 random_;
  SafetensorsBuilder scaled_;
  SafetensorsBuilder plain_;
};

std::string config_of(const std::string& quantization) {
  return format_text(
      R"({{"architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": {},
"intermediate_size": {}, "max_position_embeddings": 128, "num_attention_heads": 4,
"num_hidden_layers": {}, "num_key_value_heads": 2, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
"vocab_size": {}{}{}}})",
      kHidden, kInner, kLayers, kTokens,
      quantization.empty() ? "" : ", \"quantization_config\": ", quantization);
}

}  // namespace

std::vector<float> ScaledExample::weights() const {
  const bool blocks = options.shape == ScaleShape::kBlocks;
  std::vector<float> all;
  for (std::uint32_t row = 0; row < rows; ++row) {
    for (std::uint32_t column = 0; column < columns; ++column) {
      const std::size_t scale =
          blocks ? row / options.block_rows * scale_shape[1] + column / options.block_columns
                 : row * (scales.size() > 1 ? 1 : 0);
      all.push_back(value_of(codes[row * columns + column]) * scales[scale]);
    }
  }
  return all;
}

ScaledExample scaled_example(std::uint32_t rows, std::uint32_t columns,
                             const ScaleOptions& options) {
  std::mt19937_64 random(options.seed);
  ScaledExample example{.rows = rows,
                        .columns = columns,
                        .options = options,
                        .codes = std::vector<std::uint8_t>(std::size_t{rows} * columns),
                        .scales = {},
                        .scale_shape = scale_shape_of(rows, columns, options)};
  for (std::uint8_t& code : example.codes) {
    do {
      code = static_cast<std::uint8_t>(random());
    } while ((code & kNoNumber) == kNoNumber);
  }
  std::size_t count = 1;
  for (const std::uint64_t dimension : example.scale_shape) count *= dimension;
  std::uniform_real_distribution<float> scale(options.size / 2, options.size * 2);
  for (std::size_t i = 0; i < count; ++i) {
    example.scales.push_back(held_by(options.type, scale(random)));
  }
  return example;
}

void add_scaled(SafetensorsBuilder& builder, std::string_view name, const ScaledExample& example) {
  builder.tensor(format_text("{}.weight", name), "F8_E4M3", {example.rows, example.columns},
                 bytes_of(example.codes));
  builder.tensor(format_text("{}.{}", name, example.options.part), example.options.type,
                 example.scale_shape, stored_as(example.options.type, example.scales));
}

void write_scaled_model(const fs::path& fixtures, const fs::path& scaled, const fs::path& plain,
                        const ScaledModel& model) {
  for (const fs::path& folder : {scaled, plain}) {
    fs::create_directories(folder);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      fs::copy(fixtures / "llama" / file, folder / file);
    }
    write_bytes(folder / "config.json", config_of(folder == scaled ? model.quantization : ""));
  }
  TwoFolders folders(model);
  folders.add("model.embed_tokens.weight", {kTokens, kHidden}, 0, 1);
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
    folders.add_layer(format_text("model.layers.{}.", layer));
  }
  folders.add("model.norm.weight", {kHidden}, 1, 0.1F);
  folders.add("lm_head.weight", {kTokens, kHidden}, 0, 0.1F);
  folders.write(scaled, plain);
}

}  // namespace gogrid::testing
