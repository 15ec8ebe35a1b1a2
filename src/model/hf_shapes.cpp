#include "model/hf_shapes.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

// What a weight's rows and columns are as numbers of the configuration: libllama computes with
// those, and would refuse the file, hours later, or read beyond its tensors.
enum class Extent : std::uint8_t { kAny, kHidden, kInner, kQueries, kKeys };

struct WeightShape {
  std::string_view gguf;
  Extent rows;
  std::optional<Extent> columns;  // none: a row alone
};

constexpr auto kShapes = std::to_array<WeightShape>({
    {"token_embd", Extent::kAny, Extent::kHidden},
    {"token_types", Extent::kAny, Extent::kHidden},
    {"position_embd", Extent::kAny, Extent::kHidden},
    {"output", Extent::kAny, Extent::kHidden},
    {"token_embd_norm", Extent::kHidden, std::nullopt},
    {"output_norm", Extent::kHidden, std::nullopt},
    {"blk.{}.attn_norm", Extent::kHidden, std::nullopt},
    {"blk.{}.attn_output_norm", Extent::kHidden, std::nullopt},
    {"blk.{}.layer_output_norm", Extent::kHidden, std::nullopt},
    {"blk.{}.post_attention_norm", Extent::kHidden, std::nullopt},
    {"blk.{}.post_ffw_norm", Extent::kHidden, std::nullopt},
    {"blk.{}.ffn_norm", Extent::kHidden, std::nullopt},
    {"blk.{}.attn_q", Extent::kQueries, Extent::kHidden},
    {"blk.{}.attn_k", Extent::kKeys, Extent::kHidden},
    {"blk.{}.attn_v", Extent::kKeys, Extent::kHidden},
    {"blk.{}.attn_qkv", Extent::kAny, Extent::kHidden},
    {"blk.{}.attn_output", Extent::kHidden, Extent::kQueries},
    {"blk.{}.ffn_gate", Extent::kInner, Extent::kHidden},
    {"blk.{}.ffn_up", Extent::kInner, Extent::kHidden},
    {"blk.{}.ffn_down", Extent::kHidden, Extent::kInner},
});

// By Extent; 0: not said, any will do.
HfShapes::Extents extents_of(const HfArchitecture& architecture, const HfConfig& config) {
  const std::uint64_t hidden = config.maybe_count("hidden_size").value_or(0);
  const std::uint64_t inner = config.maybe_count("intermediate_size").value_or(0);
  const std::uint64_t heads = config.maybe_count("num_attention_heads").value_or(0);
  // What is absent follows from the others, but in Gemma's files, which leave constants out.
  const bool follows = !architecture.gguf.starts_with("gemma");
  const auto said = config.maybe_count("head_dim");
  const std::uint64_t width = said ? *said : follows && heads > 0 ? hidden / heads : 0;
  const auto kv_heads = config.maybe_count("num_key_value_heads");
  return {0, hidden, inner, heads * width, (kv_heads ? *kv_heads : follows ? heads : 0) * width};
}

// `none` stands for 0.
std::string shape_text(std::span<const std::uint64_t> shape, const std::string& none) {
  std::string text;
  for (const std::uint64_t extent : shape)
    text += (text.empty() ? "" : " x ") + (extent == 0 ? none : std::to_string(extent));
  return text.empty() ? "a single number" : text;
}

}  // namespace

HfShapes::HfShapes(const HfArchitecture& architecture, const HfConfig& config)
    : architecture_(architecture), extents_(extents_of(architecture, config)) {}

Status HfShapes::check(std::string_view name, std::span<const std::uint64_t> shape,
                       const TensorPlace& place) const {
  const auto known = std::ranges::find(kShapes, place.rule->gguf, &WeightShape::gguf);
  std::vector<std::uint64_t> expected{0};
  if (known != kShapes.end()) {
    // Phi's holds the gate too.
    const bool doubled = architecture_.gguf == "phi3" && known->gguf == "blk.{}.ffn_up";
    expected = {extents_[std::to_underlying(known->rows)] * (doubled ? 2 : 1)};
    if (known->columns && place.suffix == ".weight")
      expected.push_back(extents_[std::to_underlying(*known->columns)]);
  }
  const auto fits = [](std::uint64_t extent, std::uint64_t wanted) {
    return extent > 0 && (wanted == 0 || extent == wanted);
  };
  if (std::ranges::equal(shape, expected, fits)) return {};
  return fail(ErrorCode::kCorrupt,
              format_text("[import] tensor {}: expected {}, as config.json says: {}", excerpt(name),
                          shape_text(expected, "any"), shape_text(shape, "0")));
}

}  // namespace gogrid
