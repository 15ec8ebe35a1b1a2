#include "model/hf_tensor_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <numeric>
#include <span>
#include <thread>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

// What is read, converted and written at once.
constexpr Bytes kStep = 4 * kMiB;
// Floats between decoding and encoding: they stay in a core's first cache.
constexpr std::size_t kBlock = 2048;

std::unexpected<Error> refuse(ErrorCode code, std::string_view tensor, const std::string& what) {
  return fail(code, format_text("[import] tensor {}: {}", excerpt(tensor), what));
}

Status report(const GgufWriter& writer, const Progress& progress) {
  if (!progress || progress(writer.written(), writer.data_size())) return {};
  return fail(ErrorCode::kCancelled, "[import] cancelled");
}

// Where row `row` of a permuted tensor comes from. There, a head's rows are its first half of
// rotated pairs and then its second; here they take turns.
std::uint64_t source_row(std::uint64_t row, std::uint64_t head_rows) {
  const std::uint64_t within = row % head_rows;
  return row - within + within % 2 * (head_rows / 2) + within / 2;
}

// Collects converted bytes, and hands them on by the step. Not thread-safe.
class Converter {
 public:
  Converter(const TensorJob& job, GgufWriter& writer, const Progress& progress)
      : job_(job),
        writer_(writer),
        progress_(progress),
        from_(job.source.info->type),
        in_(job.source.data().data()),
        scaled_(job.scaled.get()),
        copies_(job.shift == 0 && same_as(from_) == job.type) {
    out_.resize(std::min<Bytes>(kStep, total_elements() * element_size(job.type)));
  }

  Status run();
  // What scaled weights lost.
  const SquaredError& lost() const { return lost_; }

 private:
  std::uint64_t total_elements() const { return job_.source.info->elements; }
  Status copy_whole();
  // Converts elements that lie side by side, there and here.
  Status convert(std::uint64_t first, std::uint64_t count);
  void convert_block(std::uint64_t first, std::size_t count);
  Status flush();

  const TensorJob& job_;
  GgufWriter& writer_;
  const Progress& progress_;
  const SafetensorsType from_;
  const std::byte* in_;
  const ScaledMatrix* scaled_;  // null: weights are what is stored
  const bool copies_;           // the bytes stay as they are
  std::vector<std::byte> out_;
  Bytes filled_ = 0;
  bool finite_ = true;
  std::array<float, kBlock> floats_{};
  SquaredError lost_;
  std::array<float, kBlock> read_back_{};
};

Status Converter::run() {
  if (job_.permuted_heads == 0) {
    if (copies_ && job_.source.file->descriptor() >= 0) return copy_whole();
    GOGRID_RETURN_IF_ERROR(convert(0, total_elements()));
    return flush();
  }
  const std::uint64_t rows = job_.source.info->shape.front();
  const std::uint64_t width = total_elements() / rows;
  const std::uint64_t head_rows = rows / job_.permuted_heads;
  for (std::uint64_t row = 0; row < rows; ++row) {
    GOGRID_RETURN_IF_ERROR(convert(source_row(row, head_rows) * width, width));
  }
  return flush();
}

Status Converter::copy_whole() {
  const SafetensorsTensor& info = *job_.source.info;
  for (Bytes at = 0; at < info.size;) {
    const Bytes step = std::min(info.size - at, kStep);
    GOGRID_RETURN_IF_ERROR(
        writer_.copy_from(job_.source.file->descriptor(), info.offset + at, step));
    at += step;
    GOGRID_RETURN_IF_ERROR(report(writer_, progress_));
  }
  return {};
}

Status Converter::convert(std::uint64_t first, std::uint64_t count) {
  const std::size_t size = element_size(job_.type);
  while (count > 0) {
    const std::uint64_t room = (out_.size() - filled_) / size;
    if (room == 0) {
      GOGRID_RETURN_IF_ERROR(flush());
      continue;
    }
    const auto step = static_cast<std::size_t>(std::min({count, room, std::uint64_t{kBlock}}));
    convert_block(first, step);
    filled_ += step * size;
    first += step;
    count -= step;
  }
  return {};
}

void Converter::convert_block(std::uint64_t first, std::size_t count) {
  std::byte* out = out_.data() + filled_;
  const std::byte* in = in_ + first * element_size(from_);
  if (copies_) {
    std::memcpy(out, in, count * element_size(job_.type));
    return;
  }
  const std::span<float> floats = std::span(floats_).first(count);
  if (scaled_ != nullptr) {
    scaled_->read(first, floats);
  } else {
    decode(from_, in, floats);
  }
  if (job_.shift != 0) {
    for (float& value : floats) value += job_.shift;
  }
  finite_ &= encode(job_.type, floats, out);
  if (scaled_ != nullptr) {
    lost_ += error_of(job_.spec.type, out, floats, std::span(read_back_).first(count));
  }
}

Status Converter::flush() {
  if (!finite_) {
    const bool range = job_.type == StoredType::kF16 && from_ != SafetensorsType::kF16;
    return refuse(range ? ErrorCode::kInvalidArgument : ErrorCode::kCorrupt, job_.source.name(),
                  range ? "expected finite weights within the range of f16: import with --type bf16"
                        : "expected finite weights: one is infinite or no number");
  }
  GOGRID_RETURN_IF_ERROR(writer_.write(std::span(out_).first(filled_)));
  filled_ = 0;
  return report(writer_, progress_);
}

// Packs the rows of a slab on several threads, and hands the slab on. Not thread-safe.
class PackedConverter {
 public:
  PackedConverter(const TensorJob& job, GgufWriter& writer, const Progress& progress);

  Result<SquaredError> run();

 private:
  // Of the slab: where its rows come from.
  std::span<const std::uint64_t> source_rows(std::uint64_t first, std::size_t count);
  Result<SquaredError> pack(std::span<const std::uint64_t> rows);
  Result<SquaredError> pack_part(RowPacker& packer, std::span<const std::uint64_t> rows,
                                 std::span<std::byte> out) const;

  const TensorJob& job_;
  const PackedMatrix& matrix_;
  GgufWriter& writer_;
  const Progress& progress_;
  std::vector<RowPacker> packers_;  // one a thread
  std::vector<std::uint64_t> rows_;
  std::vector<std::byte> out_;
};

// Weights of a slab: enough that starting threads costs nothing beside it.
constexpr std::uint64_t kSlab = 1U << 20;
// Rows that are unpacked together: a line of the cache has 16 words, of as many rows.
constexpr std::size_t kRowsAtOnce = 16;

PackedConverter::PackedConverter(const TensorJob& job, GgufWriter& writer, const Progress& progress)
    : job_(job), matrix_(*job.packed), writer_(writer), progress_(progress) {
  const std::uint64_t rows =
      std::clamp<std::uint64_t>(kSlab / matrix_.inputs(), 1, matrix_.outputs());
  const std::uint64_t parts = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  const std::uint64_t threads =
      std::clamp<std::uint64_t>(std::thread::hardware_concurrency(), 1, parts);
  for (std::uint64_t i = 0; i < threads; ++i) packers_.emplace_back(matrix_, job.spec.type);
  rows_.resize(rows);
  out_.resize(rows * packers_.front().row_bytes());
}

std::span<const std::uint64_t> PackedConverter::source_rows(std::uint64_t first,
                                                            std::size_t count) {
  const std::span<std::uint64_t> rows = std::span(rows_).first(count);
  std::iota(rows.begin(), rows.end(), first);
  if (job_.permuted_heads == 0) return rows;
  const std::uint64_t head_rows = matrix_.outputs() / job_.permuted_heads;
  for (std::uint64_t& row : rows) row = source_row(row, head_rows);
  return rows;
}

Result<SquaredError> PackedConverter::run() {
  SquaredError sum;
  for (std::uint64_t first = 0; first < matrix_.outputs(); first += rows_.size()) {
    const auto count = std::min<std::uint64_t>(rows_.size(), matrix_.outputs() - first);
    GOGRID_ASSIGN_OR_RETURN(const SquaredError error, pack(source_rows(first, count)));
    sum += error;
    GOGRID_RETURN_IF_ERROR(
        writer_.write(std::span(out_).first(count * packers_.front().row_bytes())));
    GOGRID_RETURN_IF_ERROR(report(writer_, progress_));
  }
  return sum;
}

Result<SquaredError> PackedConverter::pack(std::span<const std::uint64_t> rows) {
  const std::size_t share = (rows.size() + packers_.size() - 1) / packers_.size();
  std::vector<std::future<Result<SquaredError>>> parts;
  for (std::size_t first = 0, i = 0; first < rows.size(); first += share, ++i) {
    const auto part = rows.subspan(first, std::min(share, rows.size() - first));
    const auto out = std::span(out_).subspan(first * packers_[i].row_bytes());
    parts.push_back(std::async(std::launch::async,
                               [this, i, part, out] { return pack_part(packers_[i], part, out); }));
  }
  SquaredError sum;
  std::optional<Error> first_error;
  for (auto& part : parts) {
    const auto error = part.get();
    if (error) {
      sum += *error;
    } else if (!first_error) {
      first_error = error.error();
    }
  }
  if (first_error) return refuse(first_error->code, job_.source.name(), first_error->message);
  return sum;
}

Result<SquaredError> PackedConverter::pack_part(RowPacker& packer,
                                                std::span<const std::uint64_t> rows,
                                                std::span<std::byte> out) const {
  SquaredError sum;
  for (std::size_t first = 0; first < rows.size(); first += kRowsAtOnce) {
    const auto some = rows.subspan(first, std::min(kRowsAtOnce, rows.size() - first));
    GOGRID_ASSIGN_OR_RETURN(const SquaredError error,
                            packer.pack(some, out.subspan(first * packer.row_bytes())));
    sum += error;
  }
  return sum;
}

}  // namespace

Result<SquaredError> write_tensor(const TensorJob& job, GgufWriter& writer,
                                  const Progress& progress) {
  if (job.packed) return PackedConverter(job, writer, progress).run();
  if (job.source.info == nullptr) {
    GOGRID_RETURN_IF_ERROR(writer.write(std::as_bytes(std::span(job.made))));
    return SquaredError{};
  }
  Converter converter(job, writer, progress);
  GOGRID_RETURN_IF_ERROR(converter.run());
  return converter.lost();
}

}  // namespace gogrid
