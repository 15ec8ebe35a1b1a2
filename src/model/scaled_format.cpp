#include "model/scaled_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

// No row of a published model is longer, and no sum of it with another number wraps.
constexpr std::uint32_t kLongestSide = 1U << 20;
// Some files name every gate and norm of theirs.
constexpr std::size_t kMostPlain = 1U << 16;

void refuse_unknown(const HfConfig& fields, std::string_view key, const std::string& expected,
                    const std::string& came) {
  fields.refuse(key, format_text("expected {}: {}", expected, came), ErrorCode::kUnsupported);
}

// "128x128", as older tools of compressed-tensors write a block.
std::vector<float> sides_of(std::string_view text) {
  std::vector<float> sides;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('x'), text.size());
    std::uint32_t side = 0;
    const auto [stopped, error] = std::from_chars(text.data(), text.data() + end, side);
    if (error != std::errc{} || stopped != text.data() + end) return {};
    sides.push_back(static_cast<float>(side));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return sides;
}

std::string text_of(const std::vector<float>& sides) {
  std::string text;
  for (const float side : sides) text += format_text("{}{}", text.empty() ? "" : " x ", side);
  return text.empty() ? "none" : text;
}

BlockSize block_of(const HfConfig& fields, std::string_view key) {
  const bool listed = !fields.has(key) || fields.is_array(key);
  const std::vector<float> sides =
      listed ? fields.numbers(key, 2) : sides_of(fields.text_or(key, ""));
  const auto is_side = [](float side) {
    return side >= 1 && side <= static_cast<float>(kLongestSide) && std::trunc(side) == side;
  };
  if (sides.size() == 2 && std::ranges::all_of(sides, is_side)) {
    return {static_cast<std::uint32_t>(sides[0]), static_cast<std::uint32_t>(sides[1])};
  }
  fields.refuse(key, format_text("expected rows and columns of a block, 1 to {} each: {}",
                                 kLongestSide, text_of(sides)));
  return {};
}

void add_plain(const HfConfig& fields, std::string_view key, ScaledFormat& format) {
  for (std::string& name : fields.texts(key, kMostPlain)) format.plain.insert(std::move(name));
}

// As DeepSeek, Qwen and AutoFP8 write it.
ScaledFormat fp8_format(const HfConfig& fields) {
  ScaledFormat format;
  format.method = "fp8";
  if (const std::string number = fields.text_or("fmt", "e4m3"); number != "e4m3") {
    refuse_unknown(fields, "fmt", "e4m3", excerpt(number));
  }
  if (fields.has("weight_block_size")) format.block = block_of(fields, "weight_block_size");
  add_plain(fields, "modules_to_not_convert", format);
  add_plain(fields, "ignored_layers", format);
  return format;
}

// The block of a group's weights, none where they have a scale a tensor or row.
std::optional<BlockSize> group_block_of(const HfConfig& weights) {
  if (const std::uint32_t bits = weights.count("num_bits"); bits != 8) {
    refuse_unknown(weights, "num_bits", "8", std::to_string(bits));
  }
  if (const std::string type = weights.text_or("type", "int"); type != "float") {
    refuse_unknown(weights, "type", "float", excerpt(type));
  }
  if (!weights.flag_or("symmetric", true)) refuse_unknown(weights, "symmetric", "true", "false");
  const std::string strategy = weights.text_or("strategy", "tensor");
  if (strategy == "block") return block_of(weights, "block_structure");
  if (strategy != "tensor" && strategy != "channel") {
    refuse_unknown(weights, "strategy", "tensor, channel or block", excerpt(strategy));
  }
  return std::nullopt;
}

// A group has a format of its own where they are mixed.
void check_storage(const HfConfig& fields, const std::string& storage) {
  if (storage == "float-quantized" || storage == "naive-quantized") return;
  refuse_unknown(fields, "format", "float-quantized", excerpt(storage));
}

ScaledFormat compressed_format(const HfConfig& fields) {
  ScaledFormat format;
  format.method = "compressed-tensors";
  const HfConfig sparsity = fields.object("sparsity_config");
  if (const std::string sparse = sparsity.text_or("format", "dense"); sparse != "dense") {
    refuse_unknown(sparsity, "sparsity_config", "dense", excerpt(sparse));
  }
  const std::string storage = fields.text_or("format", "");
  const HfConfig groups = fields.object("config_groups");
  std::optional<std::optional<BlockSize>> block;
  for (const std::string& name : groups.keys()) {
    const HfConfig group = groups.object(name);
    if (!group.has("weights")) continue;  // of activations only
    check_storage(group, group.text_or("format", storage));
    const auto here = group_block_of(group.object("weights"));
    if (block && *block != here) {
      refuse_unknown(groups, "config_groups", "scales of one size of blocks", "of several");
    }
    block = here;
  }
  if (!block) fields.refuse("config_groups", "expected one that has weights: none");
  format.block = block.value_or(std::nullopt);
  add_plain(fields, "ignore", format);
  return format;
}

}  // namespace

bool ScaledFormat::is_plain(std::string_view module) const {
  if (plain.contains(module)) return true;
  for (std::size_t dot = module.find('.'); dot != std::string_view::npos;
       dot = module.find('.', dot + 1)) {
    if (plain.contains(module.substr(0, dot)) || plain.contains(module.substr(dot + 1))) {
      return true;
    }
  }
  return false;
}

std::string to_string(const ScaledFormat& format) {
  const std::string name = format.method == "fp8" ? "fp8" : format.method + " fp8";
  if (!format.block) return name + ", a scale a tensor or row";
  return format_text("{}, blocks of {} x {}", name, format.block->rows, format.block->columns);
}

Result<std::optional<ScaledFormat>> scaled_format_of(const HfConfig& fields) {
  const std::string method = fields.text_or("quant_method", "");
  GOGRID_RETURN_IF_ERROR(fields.status());
  if (method != "fp8" && method != "compressed-tensors") return std::nullopt;
  ScaledFormat format = method == "fp8" ? fp8_format(fields) : compressed_format(fields);
  GOGRID_RETURN_IF_ERROR(fields.status());
  return format;
}

Result<std::optional<ScaledFormat>> read_scaled_format(const HfConfig& config) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (config.has(key)) return scaled_format_of(config.object(key));
  }
  return std::nullopt;
}

}  // namespace gogrid
