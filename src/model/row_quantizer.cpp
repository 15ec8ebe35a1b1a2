#include "model/row_quantizer.h"

#include <ggml.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

namespace gogrid {
namespace {

// A thread's share is worth starting it.
constexpr std::uint64_t kLeastWeights = 64 * 1024;

class RowQuantizer {
 public:
  RowQuantizer(const WeightRows& rows, const WeightType& type)
      : rows_(rows),
        from_(static_cast<ggml_type>(rows.type)),
        to_(static_cast<ggml_type>(type.type)),
        row_length_(static_cast<std::int64_t>(rows.row_length)),
        source_row_(ggml_row_size(from_, row_length_)),
        target_row_(ggml_row_size(to_, row_length_)),
        count_(rows.bytes.size() / source_row_),
        floats_(count_ * rows.row_length),
        made_(count_ * target_row_) {}

  void run(unsigned threads) {
    ggml_quantize_init(to_);  // its tables, before threads that would race for them
    const std::size_t most = std::max<std::size_t>(1, count_ * rows_.row_length / kLeastWeights);
    const std::size_t parts = std::clamp<std::size_t>(threads, 1, std::min(count_, most));
    std::vector<std::jthread> helpers;
    for (std::size_t part = 1; part < parts; ++part) {
      helpers.emplace_back([this, part, parts] { quantize(part, parts); });
    }
    quantize(0, parts);
  }
  bool all_finite() const { return all_finite_; }
  std::vector<std::byte> take() { return std::move(made_); }

 private:
  void quantize(std::size_t part, std::size_t parts) {
    const std::size_t first = count_ * part / parts;
    const std::size_t last = count_ * (part + 1) / parts;
    if (first == last) return;
    const std::size_t weights = (last - first) * rows_.row_length;
    const std::span floats(floats_.data() + first * rows_.row_length, weights);
    const std::byte* const source = rows_.bytes.data() + first * source_row_;
    if (from_ == GGML_TYPE_F32) {
      std::memcpy(floats.data(), source, weights * sizeof(float));
    } else {
      ggml_get_type_traits(from_)->to_float(source, floats.data(),
                                            static_cast<std::int64_t>(weights));
    }
    // ggml's search for the nearest grid point may end the process on a NaN.
    if (!std::ranges::all_of(floats, [](float weight) { return std::isfinite(weight); })) {
      all_finite_ = false;
      return;
    }
    ggml_quantize_chunk(to_, floats.data(), made_.data() + first * target_row_, 0,
                        static_cast<std::int64_t>(last - first), row_length_, nullptr);
  }

  const WeightRows& rows_;
  const ggml_type from_;
  const ggml_type to_;
  const std::int64_t row_length_;
  const std::size_t source_row_;
  const std::size_t target_row_;
  const std::size_t count_;
  std::vector<float> floats_;  // threads have rows of their own
  std::vector<std::byte> made_;
  std::atomic<bool> all_finite_{true};
};

}  // namespace

Result<std::vector<std::byte>> quantize_rows(const WeightRows& rows, const WeightType& type,
                                             unsigned threads) {
  RowQuantizer quantizer(rows, type);
  quantizer.run(threads);
  if (quantizer.all_finite()) return quantizer.take();
  return fail(ErrorCode::kCorrupt, "[row_quantizer] weights that are numbers: NaN or infinite");
}

}  // namespace gogrid
