#include "model/row_quantizer.h"

#include <ggml.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

namespace gogrid {
namespace {

constexpr std::uint64_t kWeightsAtOnce = 64 * 1024;

ggml_type known(std::uint32_t type) { return static_cast<ggml_type>(type); }

std::unexpected<Error> no_numbers() {
  return fail(ErrorCode::kCorrupt, "[row_quantizer] weights that are numbers: NaN or infinite");
}

// Rows of one tensor, shared out among threads.
class SharedRows {
 public:
  SharedRows(const WeightRows& rows, const WeightType& type)
      : rows_(rows),
        type_(type),
        source_row_(ggml_row_size(known(rows.type), static_cast<std::int64_t>(rows.row_length))),
        made_row_(ggml_row_size(known(type.type), static_cast<std::int64_t>(rows.row_length))),
        count_(rows.bytes.size() / source_row_),
        step_(rows_at_once(rows.row_length)),
        made_(count_ * made_row_) {}

  void run(unsigned threads) {
    const std::size_t most = std::max<std::size_t>(1, (count_ + step_ - 1) / step_);
    std::vector<RowQuantizer> quantizers(std::clamp<std::size_t>(threads, 1, most),
                                         RowQuantizer(step_ * rows_.row_length));
    std::vector<std::jthread> helpers;
    for (RowQuantizer& quantizer : std::span(quantizers).subspan(1))
      helpers.emplace_back([&] { work(quantizer); });
    work(quantizers.front());
  }
  bool all_numbers() const { return all_numbers_; }
  std::vector<std::byte> take() { return std::move(made_); }

 private:
  void work(RowQuantizer& quantizer) {
    while (all_numbers_) {
      const std::size_t first = next_.fetch_add(step_);
      if (first >= count_) return;
      const std::size_t rows = std::min<std::size_t>(step_, count_ - first);
      WeightRows some = rows_;
      some.bytes = rows_.bytes.subspan(first * source_row_, rows * source_row_);
      const auto made = std::span(made_).subspan(first * made_row_, rows * made_row_);
      if (!quantizer.quantize(some, type_, made)) all_numbers_ = false;
    }
  }

  const WeightRows& rows_;
  const WeightType& type_;
  const std::size_t source_row_;
  const std::size_t made_row_;
  const std::size_t count_;
  const std::size_t step_;
  std::vector<std::byte> made_;  // threads have rows of their own
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> all_numbers_{true};
};

}  // namespace

std::uint64_t rows_at_once(std::uint64_t row_length) {
  return std::max<std::uint64_t>(1, kWeightsAtOnce / row_length);
}

Bytes quantizing_memory(std::uint64_t row_length) {
  // No type takes more than a float does.
  return rows_at_once(row_length) * row_length * 2 * sizeof(float);
}

Status check_numbers(std::uint32_t type, std::span<const std::byte> bytes) {
  if (ggml_validate_row_data(known(type), bytes.data(), bytes.size())) return {};
  return no_numbers();
}

Status RowQuantizer::quantize(const WeightRows& rows, const WeightType& type,
                              std::span<std::byte> made) {
  // First: ggml's search for the nearest grid point may end the process on a NaN.
  GOGRID_RETURN_IF_ERROR(check_numbers(rows.type, rows.bytes));
  const auto columns = static_cast<std::int64_t>(rows.row_length);
  const auto count =
      static_cast<std::int64_t>(rows.bytes.size() / ggml_row_size(known(rows.type), columns));
  if (known(rows.type) == GGML_TYPE_F32) {
    std::memcpy(floats_.data(), rows.bytes.data(), rows.bytes.size());
  } else {
    ggml_get_type_traits(known(rows.type))
        ->to_float(rows.bytes.data(), floats_.data(), count * columns);
  }
  ggml_quantize_chunk(known(type.type), floats_.data(), made.data(), 0, count, columns,
                      rows.importance.empty() ? nullptr : rows.importance.data());
  return check_numbers(type.type, made);
}

Result<std::vector<std::byte>> quantize_rows(const WeightRows& rows, const WeightType& type,
                                             unsigned threads) {
  SharedRows shared(rows, type);
  shared.run(threads);
  if (shared.all_numbers()) return shared.take();
  return no_numbers();
}

}  // namespace gogrid
