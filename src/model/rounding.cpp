#include "model/rounding.h"

#include <ggml.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/file_descriptor.h"

namespace gogrid {
namespace {

// Weights that are in memory as floats at once.
constexpr std::uint64_t kWeightsAtOnce = 1U << 20;
constexpr std::uint64_t kFewestRows = 32;

ggml_type known(std::uint32_t type) { return static_cast<ggml_type>(type); }

// Rows of a tensor, all its matrices one below the other.
class Rows {
 public:
  Rows(const GgufFile& file, const GgufTensor& tensor)
      : type_(known(tensor.type)),
        columns_(tensor.shape[0]),
        rows_of_matrix_(tensor.shape[1]),
        count_(tensor.shape[1] * tensor.shape[2] * tensor.shape[3]),
        row_bytes_(tensor.size / count_),
        data_(file.data(tensor)) {}

  std::uint64_t count() const { return count_; }
  std::uint64_t columns() const { return columns_; }
  std::uint64_t matrix_of(std::uint64_t row) const { return row / rows_of_matrix_; }
  std::uint64_t left_in_matrix(std::uint64_t row) const {
    return rows_of_matrix_ - row % rows_of_matrix_;
  }

  void read(std::uint64_t row, std::span<float> weights) const {
    const std::byte* from = data_.data() + row * row_bytes_;
    if (type_ == GGML_TYPE_F32) {
      std::memcpy(weights.data(), from, weights.size_bytes());
      return;
    }
    ggml_get_type_traits(type_)->to_float(from, weights.data(),
                                          static_cast<std::int64_t>(weights.size()));
  }

 private:
  const ggml_type type_;
  const std::uint64_t columns_;
  const std::uint64_t rows_of_matrix_;
  const std::uint64_t count_;
  const Bytes row_bytes_;
  const std::span<const std::byte> data_;
};

// Rows of one matrix, to a type and back.
class Rounder {
 public:
  Rounder(const Rows& rows, ggml_type type, ColumnImportance importance)
      : rows_(rows), type_(type), importance_(importance) {}

  // Columns of the matrix that `row` belongs to; empty: all alike.
  ColumnImportance importance_of(std::uint64_t row) const {
    if (importance_.empty()) return {};
    return importance_.subspan(rows_.matrix_of(row) * rows_.columns(), rows_.columns());
  }

  // As the type stores them; valid until the next call.
  std::span<const std::byte> encode(std::uint64_t row, std::span<const float> weights) {
    const auto columns = static_cast<std::int64_t>(rows_.columns());
    const auto count = static_cast<std::int64_t>(weights.size()) / columns;
    packed_.resize(ggml_row_size(type_, columns) * static_cast<std::size_t>(count));
    const ColumnImportance importance = importance_of(row);
    ggml_quantize_chunk(type_, weights.data(), packed_.data(), 0, count, columns,
                        importance.empty() ? nullptr : importance.data());
    return packed_;
  }

  void round(std::uint64_t row, std::span<const float> weights, std::span<float> rounded) {
    const auto packed = encode(row, weights);
    if (type_ == GGML_TYPE_F32) {
      std::memcpy(rounded.data(), packed.data(), rounded.size_bytes());
      return;
    }
    ggml_get_type_traits(type_)->to_float(packed.data(), rounded.data(),
                                          static_cast<std::int64_t>(rounded.size()));
  }

 private:
  const Rows& rows_;
  const ggml_type type_;
  const ColumnImportance importance_;
  std::vector<std::byte> packed_;
};

// Block by block, none of which spans two matrices. `change` may be empty.
Status write_through(const Rows& rows, Rounder* rounding, std::uint32_t stored, int fd,
                     Bytes offset) {
  Rounder storing(rows, known(stored), {});
  const std::uint64_t most = std::max<std::uint64_t>(1, kWeightsAtOnce / rows.columns());
  std::vector<float> weights;
  std::vector<float> rounded;
  for (std::uint64_t row = 0; row < rows.count();) {
    const std::uint64_t step = std::min(most, rows.left_in_matrix(row));
    weights.resize(step * rows.columns());
    rows.read(row, weights);
    if (rounding != nullptr) {
      rounded.resize(weights.size());
      rounding->round(row, weights, rounded);
      weights.swap(rounded);
    }
    const auto packed = storing.encode(row, weights);
    GOGRID_RETURN_IF_ERROR(write_at(fd, packed, offset, "the trial model"));
    offset += packed.size();
    row += step;
  }
  return {};
}

}  // namespace

double rounding_error(const GgufFile& file, const GgufTensor& tensor, const WeightType& type,
                      ColumnImportance importance, std::uint64_t sample) {
  const Rows rows(file, tensor);
  Rounder rounder(rows, known(type.type), importance);
  const std::uint64_t wanted =
      std::clamp(sample / rows.columns(), std::min(kFewestRows, rows.count()), rows.count());
  std::vector<float> weights(rows.columns());
  std::vector<float> rounded(rows.columns());
  double lost = 0;
  double all = 0;
  for (std::uint64_t i = 0; i < wanted; ++i) {
    const std::uint64_t row = i * rows.count() / wanted;
    rows.read(row, weights);
    rounder.round(row, weights, rounded);
    const ColumnImportance columns = rounder.importance_of(row);
    for (std::size_t c = 0; c < weights.size(); ++c) {
      const double matters = columns.empty() ? 1.0 : static_cast<double>(columns[c]);
      const auto weight = static_cast<double>(weights[c]);
      const double off = weight - static_cast<double>(rounded[c]);
      lost += matters * off * off;
      all += matters * weight * weight;
    }
  }
  return all > 0 ? lost / all : 0;
}

Status write_rounded(const GgufFile& file, const GgufTensor& tensor, const WeightType& type,
                     ColumnImportance importance, std::uint32_t stored, int fd, Bytes offset) {
  const Rows rows(file, tensor);
  Rounder rounder(rows, known(type.type), importance);
  return write_through(rows, &rounder, stored, fd, offset);
}

Status write_weights(const GgufFile& file, const GgufTensor& tensor, std::uint32_t stored, int fd,
                     Bytes offset) {
  return write_through(Rows(file, tensor), nullptr, stored, fd, offset);
}

}  // namespace gogrid
