#include "model/importance_matrix.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <string_view>

#include "base/files.h"
#include "base/format.h"
#include "base/text.h"
#include "model/gguf_encoder.h"
#include "model/gguf_file.h"

namespace gogrid {
namespace {

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";
constexpr std::string_view kDatasetsKey = "imatrix.datasets";
constexpr std::string_view kChunksKey = "imatrix.chunk_count";
constexpr std::string_view kChunkTokensKey = "imatrix.chunk_size";
// Ours; other readers pass over them.
constexpr std::string_view kModelKey = "gogrid.imatrix.model_sha256";
constexpr std::string_view kTextKey = "gogrid.imatrix.text_sha256";
constexpr Bytes kAlignment = 32;

std::unexpected<Error> refuse(const GgufFile& file, const std::string& what) {
  return fail(ErrorCode::kCorrupt, format_text("[imatrix] {}: {}", file.path().string(), what));
}

// All numbers of a tensor; they are finite and not negative.
Result<std::vector<float>> numbers_of(const GgufFile& file, const GgufTensor& tensor) {
  if (tensor.type != GGML_TYPE_F32) {
    return refuse(file, format_text("expected f32 for tensor {}: {}", excerpt(tensor.name),
                                    tensor.type_name));
  }
  const auto bytes = file.data(tensor);
  std::vector<float> numbers(bytes.size() / sizeof(float));
  std::memcpy(numbers.data(), bytes.data(), bytes.size());
  const auto odd =
      std::ranges::find_if(numbers, [](float x) { return !(x >= 0) || std::isinf(x); });
  if (odd != numbers.end()) {
    return refuse(file, format_text("expected sums and counts of 0 and more in tensor {}: {}",
                                    excerpt(tensor.name), *odd));
  }
  return numbers;
}

Result<ImportanceEntry> entry_of(const GgufFile& file, const GgufTensor& sums,
                                 const GgufTensor& counts) {
  ImportanceEntry entry;
  GOGRID_ASSIGN_OR_RETURN(entry.sums, numbers_of(file, sums));
  GOGRID_ASSIGN_OR_RETURN(entry.counts, numbers_of(file, counts));
  if (entry.counts.empty() || entry.sums.size() % entry.counts.size() != 0) {
    return refuse(file, format_text("expected sums for each of {} counts in tensor {}: {}",
                                    entry.counts.size(), excerpt(sums.name), entry.sums.size()));
  }
  for (const float count : entry.counts) {
    if (count != std::floor(count)) {
      return refuse(file, format_text("expected whole numbers in tensor {}: {}",
                                      excerpt(counts.name), count));
    }
  }
  return entry;
}

Status read_keys(const GgufFile& file, ImportanceMatrix& matrix) {
  const auto chunks = file.unsigned_of(kChunksKey);
  const auto tokens = file.unsigned_of(kChunkTokensKey);
  const GgufArray* datasets = file.array_of(kDatasetsKey);
  if (!chunks || !tokens || datasets == nullptr || *chunks > UINT32_MAX || *tokens > UINT32_MAX) {
    return refuse(file, format_text("expected an importance matrix with the keys {}, {} and {}: "
                                    "absent",
                                    kDatasetsKey, kChunksKey, kChunkTokensKey));
  }
  matrix.chunks = static_cast<std::uint32_t>(*chunks);
  matrix.chunk_tokens = static_cast<std::uint32_t>(*tokens);
  for (const std::string_view name : datasets->strings()) matrix.datasets.emplace_back(name);
  matrix.model_digest = file.string_of(kModelKey).value_or("");
  matrix.text_digest = file.string_of(kTextKey).value_or("");
  return {};
}

// The older format begins with how many weights it has, and no name.
Status check_magic(const std::filesystem::path& path) {
  GOGRID_ASSIGN_OR_RETURN(const std::string head, read_head(path, 4));
  if (head == "GGUF") return {};
  return fail(ErrorCode::kUnsupported,
              format_text("[imatrix] {}: expected a GGUF file (llama-imatrix --output-format gguf "
                          "makes one of the older format): another",
                          path.string()));
}

std::string as_stored(const std::vector<std::string>& texts) {
  std::string bytes;
  for (const std::string& text : texts) {
    const std::uint64_t length = text.size();
    bytes.append(reinterpret_cast<const char*>(&length), sizeof length);
    bytes += text;
  }
  return bytes;
}

std::uint32_t add_keys(const ImportanceMatrix& matrix, GgufEncoder& out) {
  const std::string datasets = as_stored(matrix.datasets);
  out.key_text("general.type", "imatrix");
  out.key_array(kDatasetsKey, GgufType::kString, matrix.datasets.size(),
                std::as_bytes(std::span(datasets)));
  out.key_u32(kChunksKey, matrix.chunks);
  out.key_u32(kChunkTokensKey, matrix.chunk_tokens);
  if (matrix.model_digest.empty()) return 4;
  out.key_text(kModelKey, matrix.model_digest);
  out.key_text(kTextKey, matrix.text_digest);
  return 6;
}

// A tensor of floats, and its place behind those before.
class FloatTensors {
 public:
  void add(const std::string& name, std::size_t columns, const std::vector<float>& values) {
    const std::array<std::uint64_t, 2> shape{columns, values.size() / columns};
    head_.tensor(name, shape, GGML_TYPE_F32, data_.size());
    data_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    data_.resize(align_up(data_.size(), kAlignment).value_or(data_.size()));
    ++count_;
  }
  std::uint64_t count() const { return count_; }
  const GgufEncoder& head() const { return head_; }
  const std::string& data() const { return data_; }

 private:
  GgufEncoder head_;
  std::string data_;
  std::uint64_t count_ = 0;
};

}  // namespace

Status write_importance_matrix(const std::filesystem::path& path, const ImportanceMatrix& matrix) {
  FloatTensors tensors;
  for (const auto& [name, entry] : matrix.entries) {
    if (name.size() + kSums.size() > kMaxTensorName) {
      return fail(ErrorCode::kUnsupported,
                  format_text("[imatrix] names of weights of at most {} characters: {}",
                              kMaxTensorName - kSums.size(), name));
    }
    tensors.add(name + std::string(kSums), entry.columns(), entry.sums);
    tensors.add(name + std::string(kCounts), 1, entry.counts);
  }
  GgufEncoder keys;
  const std::uint32_t n_keys = add_keys(matrix, keys);
  GgufEncoder head;
  head.start(tensors.count(), n_keys);
  head.append(keys);
  head.append(tensors.head());
  std::string bytes = head.buffer();
  bytes.resize(align_up(bytes.size(), kAlignment).value_or(bytes.size()));
  return write_file(path, bytes + tensors.data());
}

std::vector<float> ImportanceEntry::means() const { return means(0, sums.size()); }

std::vector<float> ImportanceEntry::means(std::size_t first, std::size_t count) const {
  std::vector<float> values(count);
  const std::size_t width = columns();
  for (std::size_t i = 0; i < count; ++i) {
    const float seen = counts[(first + i) / width];
    values[i] = seen > 0 ? sums[first + i] / seen : 1.0F;
  }
  return values;
}

Result<ImportanceMatrix> read_importance_matrix(const std::filesystem::path& path) {
  GOGRID_RETURN_IF_ERROR(check_magic(path));
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(path));
  ImportanceMatrix matrix;
  GOGRID_RETURN_IF_ERROR(read_keys(file, matrix));
  for (const GgufTensor& sums : file.tensors()) {
    if (!sums.name.ends_with(kSums)) continue;
    const std::string name(sums.name.substr(0, sums.name.size() - kSums.size()));
    const GgufTensor* counts = file.tensor(name + std::string(kCounts));
    if (counts == nullptr) {
      return refuse(file,
                    format_text("expected counts beside tensor {}: none", excerpt(sums.name)));
    }
    GOGRID_ASSIGN_OR_RETURN(matrix.entries[name], entry_of(file, sums, *counts));
  }
  if (matrix.entries.empty()) return refuse(file, "expected sums of some weight: none");
  return matrix;
}

}  // namespace gogrid
