#include "model/scaled_matrix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/format.h"
#include "base/text.h"
#include "model/weight_conversion.h"

namespace gogrid {
namespace {

std::unexpected<Error> corrupt(std::string_view name, std::string_view part,
                               const std::string& what) {
  return fail(ErrorCode::kCorrupt,
              format_text("[import] tensor {}.{}: {}", excerpt(name), part, what));
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string text;
  for (const std::uint64_t dimension : shape) {
    text += format_text("{}{}", text.empty() ? "" : " x ", dimension);
  }
  return text.empty() ? "one number" : text;
}

bool is_scale(SafetensorsType type) {
  return type == SafetensorsType::kF32 || type == SafetensorsType::kBF16 ||
         type == SafetensorsType::kF16;
}

std::uint64_t blocks_in(std::uint64_t length, std::uint64_t block) {
  return length / block + (length % block != 0 ? 1 : 0);
}

Status check_weight(std::string_view name, const SafetensorsTensor& weight) {
  if (weight.type != SafetensorsType::kF8E4M3) {
    return corrupt(
        name, "weight",
        format_text("expected F8_E4M3, since it has scales: {}", to_string(weight.type)));
  }
  if (weight.shape.size() == 2 && weight.elements > 0) return {};
  return corrupt(name, "weight", "expected two dimensions from 1 on: " + shape_text(weight.shape));
}

}  // namespace

Result<ScaledMatrix> ScaledMatrix::open(const ScaledFormat& format, std::string_view name,
                                        const ScaledTensors& tensors) {
  if (tensors.scale.info == nullptr && tensors.scale_inv.info == nullptr) {
    return corrupt(name, "weight",
                   format_text("expected weight_scale or weight_scale_inv beside it, since "
                               "config.json says {}: absent",
                               to_string(format)));
  }
  if (tensors.scale.info != nullptr && tensors.scale_inv.info != nullptr) {
    return corrupt(name, "weight", "expected weight_scale or weight_scale_inv beside it: both");
  }
  GOGRID_RETURN_IF_ERROR(check_weight(name, *tensors.weight.info));
  ScaledMatrix matrix(name, tensors);
  GOGRID_RETURN_IF_ERROR(matrix.set_blocks(format));
  GOGRID_RETURN_IF_ERROR(matrix.check_scales());
  matrix.name_ = {};
  return matrix;
}

std::unexpected<Error> ScaledMatrix::refuse_scale(const std::string& what) const {
  const std::string_view stored = scale_.info->name;
  return corrupt(name_, stored.substr(stored.rfind('.') + 1), what);
}

Status ScaledMatrix::set_blocks(const ScaledFormat& format) {
  rows_ = weight_.info->shape[0];
  columns_ = weight_.info->shape[1];
  const SafetensorsTensor& scale = *scale_.info;
  std::string expected;
  bool fits = false;
  if (format.block) {
    block_rows_ = std::min<std::uint64_t>(format.block->rows, rows_);
    block_columns_ = std::min<std::uint64_t>(format.block->columns, columns_);
    const std::array shape{blocks_in(rows_, block_rows_), blocks_in(columns_, block_columns_)};
    fits = std::ranges::equal(scale.shape, shape);
    expected = shape_text(shape);
  } else {
    const bool one = scale.elements == 1;
    block_rows_ = one ? rows_ : 1;
    block_columns_ = columns_;
    const std::array by_row{rows_, std::uint64_t{1}};
    fits = one ? scale.shape.size() <= 2
               : std::ranges::equal(scale.shape, by_row) ||
                     std::ranges::equal(scale.shape, std::span(by_row).first(1));
    expected = format_text("one number, or {} for as many rows,", rows_);
  }
  if (fits && is_scale(scale.type)) return {};
  return refuse_scale(format_text("expected {} of F32, BF16 or F16 for {}: {} of {}", expected,
                                  to_string(format), shape_text(scale.shape),
                                  to_string(scale.type)));
}

Status ScaledMatrix::check_scales() const {
  constexpr std::size_t kStep = 1024;
  std::array<float, kStep> values{};
  const SafetensorsTensor& scale = *scale_.info;
  for (std::uint64_t at = 0; at < scale.elements; at += kStep) {
    const auto part = std::span(values).first(std::min<std::uint64_t>(kStep, scale.elements - at));
    decode(scale.type, scale_.data.data() + at * element_size(scale.type), part);
    if (!std::ranges::all_of(part, [](float value) { return std::isfinite(value); })) {
      return refuse_scale("expected finite scales: one is infinite or no number");
    }
  }
  return {};
}

float ScaledMatrix::scale_at(std::uint64_t row, std::uint64_t column) const {
  const std::uint64_t in_row = blocks_in(columns_, block_columns_);
  const std::uint64_t index = row / block_rows_ * in_row + column / block_columns_;
  const SafetensorsType type = scale_.info->type;
  float scale = 0;
  decode(type, scale_.data.data() + index * element_size(type), std::span(&scale, 1));
  return scale;
}

void ScaledMatrix::read(std::uint64_t first, std::span<float> out) const {
  decode(weight_.info->type, weight_.data.data() + first * element_size(weight_.info->type), out);
  std::uint64_t row = first / columns_;
  std::uint64_t column = first % columns_;
  while (!out.empty()) {
    const std::uint64_t to_block_end = block_columns_ - column % block_columns_;
    const auto run = static_cast<std::size_t>(
        std::min<std::uint64_t>({out.size(), to_block_end, columns_ - column}));
    const float scale = scale_at(row, column);
    for (float& weight : out.first(run)) weight *= scale;
    out = out.subspan(run);
    column += run;
    if (column == columns_) {
      column = 0;
      ++row;
    }
  }
}

}  // namespace gogrid
