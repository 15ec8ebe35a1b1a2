#include "model/quantizer.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <memory>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "base/disk_sync.h"
#include "base/file_descriptor.h"
#include "base/format.h"
#include "base/mutex.h"
#include "model/gguf_writer.h"
#include "model/row_quantizer.h"

namespace gogrid {
namespace {

constexpr Bytes kSyncEvery = 8 * kMiB;
// Keys that say what a file is made of: written anew, behind all others.
constexpr std::string_view kVersionKey = "general.quantization_version";
constexpr std::string_view kFileTypeKey = "general.file_type";
// What it is one file again of.
constexpr std::array<std::string_view, 3> kSplitKeys{"split.no", "split.count",
                                                     "split.tensors.count"};
// And which importance matrix helped. A file that was made of one before has them already.
constexpr std::string_view kMatrixFileKey = "quantize.imatrix.file";
constexpr std::string_view kMatrixDatasetKey = "quantize.imatrix.dataset";
constexpr std::string_view kMatrixEntriesKey = "quantize.imatrix.entries_count";
constexpr std::string_view kMatrixChunksKey = "quantize.imatrix.chunks_count";
// llama.cpp keeps such texts in a fixed array with a final zero.
constexpr std::size_t kMostText = 127;

std::string_view shortened(std::string_view text) { return text.substr(0, kMostText); }

// --- the header

void add_importance(const QuantizeOptions& options, GgufKeys& keys) {
  const ImportanceMatrix& matrix = *options.importance;
  keys.text(kMatrixFileKey, shortened(options.importance_name));
  if (!matrix.datasets.empty()) keys.text(kMatrixDatasetKey, shortened(matrix.datasets.front()));
  keys.u32(kMatrixEntriesKey, static_cast<std::uint32_t>(matrix.entries.size()));
  if (matrix.chunks > 0) keys.u32(kMatrixChunksKey, matrix.chunks);
}

bool is_kept(std::string_view key, const QuantizeOptions& options) {
  if (key == kVersionKey || key == kFileTypeKey || std::ranges::contains(kSplitKeys, key))
    return false;
  const ImportanceMatrix* matrix = options.importance;
  if (matrix == nullptr) return true;
  return key != kMatrixFileKey && key != kMatrixEntriesKey &&
         (key != kMatrixDatasetKey || matrix->datasets.empty()) &&
         (key != kMatrixChunksKey || matrix->chunks == 0);
}

GgufKeys keys_of(const GgufFile& model, const QuantizeOptions& options) {
  GgufKeys keys;
  for (const auto& [key, value] : model.metadata()) {
    if (is_kept(key, options)) keys.copy(key, value);
  }
  keys.u32(kVersionKey, GGML_QNT_VERSION);
  keys.u32(kFileTypeKey, static_cast<std::uint32_t>(options.mix.file_type));
  if (options.importance != nullptr) add_importance(options, keys);
  return keys;
}

// Without trailing dimensions of one, as ggml writes them.
std::vector<std::uint64_t> shape_of(const GgufTensor& tensor) {
  std::size_t n = tensor.shape.size();
  while (n > 1 && tensor.shape[n - 1] == 1) --n;
  return {tensor.shape.begin(), tensor.shape.begin() + static_cast<std::ptrdiff_t>(n)};
}

// --- the pieces

// One tensor: what its pieces have in common.
struct TensorWork {
  const GgufTensor* source = nullptr;
  const QuantizedTensor* planned = nullptr;
  Bytes place = 0;  // of its bytes in the new file
  const ImportanceEntry* importance = nullptr;
  std::uint64_t rows = 0;  // of one matrix
  std::uint64_t step = 0;  // rows of one piece
  std::uint64_t pieces_of_matrix = 0;
  std::uint64_t first_piece = 0;  // among all of the model
  Bytes source_row = 0;
  Bytes made_row = 0;

  std::uint64_t matrices() const { return source->shape[2] * source->shape[3]; }
  std::uint64_t pieces() const { return pieces_of_matrix * matrices(); }
};

// Rows of one matrix.
struct Piece {
  const TensorWork* tensor = nullptr;
  std::uint64_t matrix = 0;
  std::uint64_t first_row = 0;  // of all matrices
  std::uint64_t rows = 0;
};

const ImportanceEntry* importance_of(const GgufTensor& tensor, const QuantizeOptions& options) {
  if (options.importance == nullptr) return nullptr;
  const auto found = options.importance->entries.find(std::string(tensor.name));
  // An embedding's may have another size, which the plan says nothing against: it is looked up,
  // not multiplied with.
  if (found == options.importance->entries.end() ||
      found->second.sums.size() != tensor.shape[0] * tensor.shape[2])
    return nullptr;
  return &found->second;
}

TensorWork work_on(const GgufTensor& source, const QuantizedTensor& planned, Bytes place,
                   const QuantizeOptions& options) {
  TensorWork work{.source = &source, .planned = &planned, .place = place};
  const auto row = static_cast<std::int64_t>(source.shape[0]);
  work.rows = source.shape[1];
  work.step = rows_at_once(source.shape[0]);
  work.pieces_of_matrix = (work.rows + work.step - 1) / work.step;
  work.source_row = ggml_row_size(static_cast<ggml_type>(planned.from.type), row);
  work.made_row = ggml_row_size(static_cast<ggml_type>(planned.to.type), row);
  if (planned.changes()) work.importance = importance_of(source, options);
  return work;
}

// The plan's tensors on several threads, which take the next piece as soon as they are through with
// one.
class Quantization {
 public:
  Quantization(const GgufFile& model, const QuantizationPlan& plan, const AtomicFile& file,
               const Progress& progress)
      : model_(model), plan_(plan), file_(file), progress_(progress), total_(plan.before()) {}

  void add(TensorWork tensor) {
    tensor.first_piece = pieces_;
    pieces_ += tensor.pieces();
    tensors_.push_back(std::move(tensor));
  }

  Status run() {
    // Here, where a want of memory is an error like others.
    const auto threads = std::clamp<std::uint64_t>(plan_.threads, 1, std::max(pieces_, kOne));
    std::vector<std::unique_ptr<Worker>> workers;
    for (std::uint64_t i = 0; i < threads; ++i) workers.push_back(make_worker());
    {
      std::vector<std::jthread> helpers;
      for (const auto& worker : std::span(workers).subspan(1)) {
        try {
          helpers.emplace_back([this, &worker] { work(*worker); });
        } catch (const std::system_error&) {
          break;  // the system gives no more threads: those that there are do all of it
        }
      }
      work(*workers.front());
    }
    const MutexLock lock(mu_);
    return failure_;
  }

 private:
  static constexpr std::uint64_t kOne = 1;

  struct Worker {
    RowQuantizer quantizer;
    std::vector<std::byte> made;
  };

  std::unique_ptr<Worker> make_worker() const {
    std::uint64_t weights = 0;
    Bytes bytes = 0;
    for (const TensorWork& tensor : tensors_) {
      if (!tensor.planned->changes()) continue;
      weights = std::max(weights, tensor.step * tensor.source->shape[0]);
      bytes = std::max(bytes, tensor.step * tensor.made_row);
    }
    return std::make_unique<Worker>(RowQuantizer(weights), std::vector<std::byte>(bytes));
  }

  Piece piece(std::uint64_t i) const {
    const auto next = std::ranges::upper_bound(tensors_, i, {}, &TensorWork::first_piece);
    const TensorWork& tensor = *std::prev(next);
    const std::uint64_t of_tensor = i - tensor.first_piece;
    const std::uint64_t matrix = of_tensor / tensor.pieces_of_matrix;
    const std::uint64_t row = of_tensor % tensor.pieces_of_matrix * tensor.step;
    return {&tensor, matrix, matrix * tensor.rows + row, std::min(tensor.step, tensor.rows - row)};
  }

  void work(Worker& worker) {
    try {
      while (!stopped_) {
        const std::uint64_t i = next_.fetch_add(1);
        if (i >= pieces_) return;
        const Piece mine = piece(i);
        report(mine, write(mine, worker));
      }
    } catch (const std::exception& error) {
      const MutexLock lock(mu_);
      stop(fail(ErrorCode::kInternal, format_text("[quantize] {}", error.what())));
    }
  }

  // The file's bytes of this piece.
  Status write(const Piece& piece, Worker& worker) const {
    const TensorWork& tensor = *piece.tensor;
    const auto source =
        model_.data(*tensor.source)
            .subspan(piece.first_row * tensor.source_row, piece.rows * tensor.source_row);
    const Bytes place = tensor.place + piece.first_row * tensor.made_row;
    if (!tensor.planned->changes()) {
      GOGRID_RETURN_IF_ERROR(check_numbers(tensor.source->type, source));
      return write_at(file_.descriptor(), source, place, file_.path());
    }
    const std::uint64_t columns = tensor.source->shape[0];
    WeightRows rows{source, tensor.source->type, columns};
    const std::vector<float> importance =
        tensor.importance == nullptr ? std::vector<float>()
                                     : tensor.importance->means(piece.matrix * columns, columns);
    rows.importance = importance;
    const auto made = std::span(worker.made).first(piece.rows * tensor.made_row);
    GOGRID_RETURN_IF_ERROR(worker.quantizer.quantize(rows, tensor.planned->to, made));
    return write_at(file_.descriptor(), made, place, file_.path());
  }

  void report(const Piece& piece, const Status& written) EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    if (!failure_) return;
    if (!written) {
      stop(fail(written.error().code, format_text("[quantize] {}: {}", piece.tensor->source->name,
                                                  written.error().message)));
      return;
    }
    done_ += piece.rows * piece.tensor->source_row;
    unsynced_ += piece.rows * piece.tensor->made_row;
    if (unsynced_ >= kSyncEvery) {
      begin_to_sync(file_.descriptor());
      unsynced_ = 0;
    }
    if (progress_ && !progress_(done_, total_))
      stop(fail(ErrorCode::kCancelled, "[quantize] " + model_.path().string() + ": cancelled"));
  }

  void stop(Status failure) REQUIRES(mu_) {
    failure_ = std::move(failure);
    stopped_ = true;
  }

  const GgufFile& model_;
  const QuantizationPlan& plan_;
  const AtomicFile& file_;
  const Progress& progress_;
  const Bytes total_;
  std::vector<TensorWork> tensors_;
  std::uint64_t pieces_ = 0;
  std::atomic<std::uint64_t> next_{0};
  std::atomic<bool> stopped_{false};
  Mutex mu_;
  Status failure_ GUARDED_BY(mu_);  // the first
  Bytes done_ GUARDED_BY(mu_) = 0;
  Bytes unsynced_ GUARDED_BY(mu_) = 0;
};

// --- afterwards

Status check_written(const GgufFile& made, const QuantizationPlan& plan) {
  for (const QuantizedTensor& tensor : plan.tensors) {
    const GgufTensor* written = made.tensor(tensor.name);
    if (written != nullptr && written->type == tensor.to.type && written->size == tensor.after)
      continue;
    return fail(ErrorCode::kInternal,
                format_text("[quantize] {} written as {}: {}", tensor.name, tensor.to.name,
                            written == nullptr ? "it is not there" : written->type_name));
  }
  return {};
}

}  // namespace

Result<AtomicFile> quantize_model(const GgufFile& model, AtomicFile file,
                                  const QuantizeOptions& options, const QuantizationPlan& plan,
                                  const Progress& progress) {
  std::vector<GgufTensorSpec> specs;
  for (const QuantizedTensor& tensor : plan.tensors)
    specs.push_back({tensor.name, shape_of(*model.tensor(tensor.name)), tensor.to.type});
  GOGRID_ASSIGN_OR_RETURN(const GgufLayout layout, lay_out(keys_of(model, options), specs));
  GOGRID_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(layout.header))));
  GOGRID_RETURN_IF_ERROR(file.set_size(layout.file_size));
  Quantization quantization(model, plan, file, progress);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const QuantizedTensor& planned = plan.tensors[i];
    quantization.add(work_on(*model.tensor(planned.name), planned, layout.offsets[i], options));
  }
  GOGRID_RETURN_IF_ERROR(quantization.run());
  GOGRID_ASSIGN_OR_RETURN(const GgufFile made, GgufFile::open(file.path()));
  GOGRID_RETURN_IF_ERROR(check_written(made, plan));
  return file;
}

}  // namespace gogrid
