#include "model/gguf_slicer.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/format.h"
#include "model/gguf_encoder.h"
#include "model/layer_name.h"
#include "model/row_quantizer.h"
#include "model/split_file.h"
#include "model/stage_types.h"

namespace gogrid {
namespace {

// Rows that stand for the vocabulary where nobody asks for logits. Not 1: libllama looks at special
// token ids below the vocabulary's size, and quantized rows of one are no smaller on disk.
constexpr std::uint64_t kVocabularyStub = 32;
constexpr Bytes kCopyStep = 8 * kMiB;
// Weights that are quantized at once: 16 MiB of floats, and what is made of them.
constexpr Bytes kQuantizeStep = 4 * 1024 * 1024;
// File systems share blocks of this size between files, at equal offsets inside a block.
constexpr Bytes kBlock = 4096;
constexpr std::string_view kPaddingKey = "gogrid.padding";
constexpr std::string_view kTypeOfFileKey = "general.file_type";
constexpr std::string_view kQuantizationKey = "general.quantization_version";

// Tensors with one row per token. Every range but the last keeps a stub of each, since an
// architecture may demand any of them.
constexpr std::array<std::string_view, 3> kVocabularyWide{"token_embd.weight", "output.weight",
                                                          "output.bias"};
// Arrays that only look as if they had one element per layer when a model has as many layers.
constexpr std::array<std::string_view, 2> kNotPerLayer{"rope.dimension_sections",
                                                       "rope.dimension_count_per_section"};

struct SliceTensor {
  const GgufTensor* source = nullptr;
  std::string name;
  std::array<std::uint64_t, 4> shape{};
  Bytes size = 0;
  Bytes offset = 0;                        // from the start of the data section
  std::optional<WeightType> becomes = {};  // empty: copied as it is
};

// Of all its rows; not larger than the tensor.
Bytes size_as(const GgufTensor& tensor, const WeightType& type) {
  const Bytes rows = tensor.shape[1] * tensor.shape[2] * tensor.shape[3];
  return rows * ggml_row_size(static_cast<ggml_type>(type.type),
                              static_cast<std::int64_t>(tensor.shape[0]));
}

class Slicer {
 public:
  Slicer(const GgufFile& source, LayerRange range, const std::optional<WeightType>& type)
      : source_(source), range_(range), type_(type) {}

  Status plan();
  Bytes file_size() const;
  Status write(const std::filesystem::path& target, const Progress& progress) const;

 private:
  std::unexpected<Error> refuse(ErrorCode code, const std::string& what) const {
    return fail(code, format_text("[gguf_slicer] {}: {}", source_.path().string(), what));
  }
  std::string arch_key(std::string_view tail) const { return format_text("{}.{}", arch_, tail); }
  bool is_last() const { return range_.last == n_layers_; }

  Status check_source();
  Status choose_tensors();
  Status add_tensor(const GgufTensor& tensor, std::string name);
  Status check_layers() const;
  void place_tensors();

  // What becomes of one key of the source: kept, dropped, or written anew.
  void add_key(std::string_view key, const GgufValue& value);
  void add_array(std::string_view key, const GgufValue& value, const GgufArray& array);
  bool is_per_layer(std::string_view key, const GgufArray& array) const;
  void add_own_keys();

  std::string header(std::uint64_t padding) const;
  std::uint64_t padding_for_shared_blocks() const;
  Bytes wanted_place_in_block() const;
  Status copy_tensor(AtomicFile& file, const SliceTensor& tensor, Bytes& done,
                     const Progress& progress) const;
  Status quantize_tensor(AtomicFile& file, const SliceTensor& tensor, Bytes& done,
                         const Progress& progress) const;
  Status report(Bytes done, const Progress& progress) const;

  const GgufFile& source_;
  const LayerRange range_;
  const std::optional<WeightType> type_;
  std::string_view arch_;
  std::uint32_t n_layers_ = 0;
  std::vector<SliceTensor> tensors_;
  Bytes data_size_ = 0;
  GgufEncoder keys_;
  std::uint64_t n_keys_ = 0;
};

Status Slicer::plan() {
  GOGRID_RETURN_IF_ERROR(check_source());
  GOGRID_RETURN_IF_ERROR(choose_tensors());
  place_tensors();
  for (const auto& [key, value] : source_.metadata()) add_key(key, value);
  add_own_keys();
  return {};
}

Status Slicer::check_source() {
  GOGRID_RETURN_IF_ERROR(check_is_whole(source_, "gguf_slicer"));
  const auto arch = source_.string_of("general.architecture");
  if (!arch) return refuse(ErrorCode::kCorrupt, "expected the key general.architecture: absent");
  arch_ = *arch;
  const auto layers = source_.unsigned_of(arch_key("block_count"));
  constexpr std::uint64_t kMostLayers = 1U << 16;
  if (!layers || *layers == 0 || *layers > kMostLayers) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("expected the key {} from 1 to {}: {}", arch_key("block_count"),
                              kMostLayers, layers ? std::to_string(*layers) : "absent"));
  }
  n_layers_ = static_cast<std::uint32_t>(*layers);
  if (range_.first >= range_.last || range_.last > n_layers_) {
    return fail(
        ErrorCode::kInvalidArgument,
        format_text("[gguf_slicer] layers {}: model has {} layers", to_string(range_), n_layers_));
  }
  return {};
}

// --- tensors

Status Slicer::choose_tensors() {
  for (const GgufTensor& tensor : source_.tensors()) {
    const auto layered = parse_layer_name(tensor.name);
    if (layered && (layered->layer < range_.first || layered->layer >= range_.last)) continue;
    GOGRID_RETURN_IF_ERROR(add_tensor(
        tensor, layered ? format_text("blk.{}{}", layered->layer - range_.first, layered->rest)
                        : std::string(tensor.name)));
  }
  return check_layers();
}

Status Slicer::add_tensor(const GgufTensor& tensor, std::string name) {
  SliceTensor slice{&tensor, std::move(name), tensor.shape, tensor.size, 0};
  const bool stub = !is_last() && std::ranges::contains(kVocabularyWide, tensor.name);
  const std::size_t wide = tensor.n_dims - 1;
  if (stub && tensor.shape[wide] > kVocabularyStub) {
    const bool rows_are_whole_blocks =
        wide > 0 || ggml_blck_size(static_cast<ggml_type>(tensor.type)) == 1;
    if (!rows_are_whole_blocks) {
      return refuse(ErrorCode::kUnsupported, format_text("expected {} to be stored unpacked: {}",
                                                         tensor.name, tensor.type_name));
    }
    slice.size = tensor.size / tensor.shape[wide] * kVocabularyStub;
    slice.shape[wide] = kVocabularyStub;
  } else if (type_) {
    slice.becomes = type_in_slice(tensor, *type_);
    if (slice.becomes) slice.size = size_as(tensor, *slice.becomes);
  }
  tensors_.push_back(std::move(slice));
  return {};
}

Status Slicer::check_layers() const {
  std::vector<bool> seen(range_.size());
  for (const SliceTensor& tensor : tensors_) {
    if (const auto layered = parse_layer_name(tensor.name)) seen[layered->layer] = true;
  }
  if (std::ranges::none_of(seen, std::identity{})) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("expected tensors named blk.N.*: architecture '{}' has none", arch_));
  }
  const auto absent = std::ranges::find(seen, false);
  if (absent != seen.end()) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("expected tensors of {} layers: layer {} has none", n_layers_,
                              range_.first + static_cast<std::uint32_t>(absent - seen.begin())));
  }
  if (source_.tensor("token_embd.weight") == nullptr) {
    return refuse(ErrorCode::kUnsupported, "expected the tensor token_embd.weight: absent");
  }
  return {};
}

// In the source's order and without gaps, as ggml's reader demands.
void Slicer::place_tensors() {
  for (SliceTensor& tensor : tensors_) {
    tensor.offset = data_size_;
    data_size_ = *align_up(data_size_ + tensor.size, source_.alignment());
  }
}

// --- keys

bool Slicer::is_per_layer(std::string_view key, const GgufArray& array) const {
  if (array.count != n_layers_ || array.type == GgufType::kString) return false;
  if (!key.starts_with(arch_) || !key.substr(arch_.size()).starts_with('.')) return false;
  return !std::ranges::contains(kNotPerLayer, key.substr(arch_.size() + 1));
}

void Slicer::add_array(std::string_view key, const GgufValue& value, const GgufArray& array) {
  if (!is_per_layer(key, array)) return keys_.key(key, value.type, value.raw);
  const std::size_t element = array.bytes.size() / array.count;
  keys_.key_array(key, array.type, range_.size(),
                  array.bytes.subspan(range_.first * element, range_.size() * element));
}

void Slicer::add_key(std::string_view key, const GgufValue& value) {
  if (key.starts_with("split.") || key.starts_with("gogrid.")) return;
  if (key == arch_key("block_count")) return;
  // The mix that the model's own weights are of, and how they are packed.
  if (type_ && (key == kTypeOfFileKey || key == kQuantizationKey)) return;
  if (!is_last() && (key.starts_with("tokenizer.") || key == arch_key("vocab_size"))) return;
  ++n_keys_;
  if (const auto* array = std::get_if<GgufArray>(&value.value)) {
    add_array(key, value, *array);
  } else if (key == arch_key("leading_dense_block_count")) {
    // The first so many layers have no experts: how many of them lie in the range.
    const auto dense = source_.unsigned_of(key).value_or(0);
    const auto end = std::clamp<std::uint64_t>(dense, range_.first, range_.last);
    keys_.key_u32(key, static_cast<std::uint32_t>(end - range_.first));
  } else if (key == arch_key("nextn_predict_layers") && !is_last()) {
    // Layers for multi-token prediction are the model's last ones.
    keys_.key_u32(key, 0);
  } else {
    keys_.key(key, value.type, value.raw);
  }
}

void Slicer::add_own_keys() {
  const auto add = [&](std::string_view key, std::uint32_t value) {
    keys_.key_u32(key, value);
    ++n_keys_;
  };
  add(arch_key("block_count"), range_.size());
  if (!is_last()) {
    const GgufTensor& embedding = *source_.tensor("token_embd.weight");
    const std::uint64_t rows = embedding.shape[embedding.n_dims - 1];
    add(arch_key("vocab_size"), static_cast<std::uint32_t>(std::min(rows, kVocabularyStub)));
    keys_.key_text("tokenizer.ggml.model", "no_vocab");
    ++n_keys_;
  }
  add("gogrid.slice.version", kSliceFormatVersion);
  add("gogrid.slice.first_layer", range_.first);
  add("gogrid.slice.last_layer", range_.last);
  add("gogrid.slice.model_layers", n_layers_);
  if (!type_) return;
  add(kQuantizationKey, GGML_QNT_VERSION);
  keys_.key_text("gogrid.slice.type", type_->name);
  ++n_keys_;
}

// --- the file

std::string Slicer::header(std::uint64_t padding) const {
  GgufEncoder out;
  out.start(tensors_.size(), n_keys_ + 1);
  out.append(keys_);
  const std::vector<std::byte> zeros(padding);
  out.key_array(kPaddingKey, GgufType::kU8, padding, zeros);
  for (const SliceTensor& tensor : tensors_) {
    out.tensor(tensor.name, std::span(tensor.shape).first(tensor.source->n_dims),
               tensor.becomes ? tensor.becomes->type : tensor.source->type, tensor.offset);
  }
  return out.buffer();
}

// The place inside a block where the data section must begin for the most bytes to keep theirs.
Bytes Slicer::wanted_place_in_block() const {
  std::map<Bytes, Bytes> bytes_by_place;
  for (const SliceTensor& tensor : tensors_) {
    if (tensor.becomes) continue;  // other bytes
    bytes_by_place[(tensor.source->offset - tensor.offset) % kBlock] += tensor.size;
  }
  if (bytes_by_place.empty()) return 0;
  return std::ranges::max_element(bytes_by_place, {},
                                  [](const auto& entry) { return entry.second; })
      ->first;
}

// Both offsets are multiples of the alignment, so the wanted place is one too.
std::uint64_t Slicer::padding_for_shared_blocks() const {
  const Bytes least = header(0).size();
  return (wanted_place_in_block() + kBlock - least % kBlock) % kBlock;
}

Status Slicer::copy_tensor(AtomicFile& file, const SliceTensor& tensor, Bytes& done,
                           const Progress& progress) const {
  const auto memory = source_.data(*tensor.source).first(tensor.size);
  for (Bytes at = 0; at < tensor.size;) {
    const Bytes step = std::min(tensor.size - at, kCopyStep);
    GOGRID_RETURN_IF_ERROR(
        source_.descriptor() < 0
            ? file.write(memory.subspan(at, step))
            : file.copy_from(source_.descriptor(), tensor.source->offset + at, step));
    at += step;
    done += step;
    GOGRID_RETURN_IF_ERROR(report(done, progress));
  }
  return {};
}

Status Slicer::report(Bytes done, const Progress& progress) const {
  if (!progress || progress(done, data_size_)) return {};
  return refuse(ErrorCode::kCancelled, format_text("slice {}: cancelled", to_string(range_)));
}

Status Slicer::quantize_tensor(AtomicFile& file, const SliceTensor& tensor, Bytes& done,
                               const Progress& progress) const {
  const std::span<const std::byte> source = source_.data(*tensor.source);
  const std::uint64_t row_length = tensor.shape[0];
  const Bytes row = ggml_row_size(static_cast<ggml_type>(tensor.source->type),
                                  static_cast<std::int64_t>(row_length));
  const Bytes step = std::max<Bytes>(1, kQuantizeStep / row_length) * row;
  for (Bytes at = 0; at < source.size(); at += step) {
    const WeightRows rows{source.subspan(at, std::min(step, source.size() - at)),
                          tensor.source->type, row_length};
    const auto made = quantize_rows(rows, *tensor.becomes, std::thread::hardware_concurrency());
    if (!made) {
      return refuse(made.error().code,
                    format_text("{}: {}", tensor.source->name, made.error().message));
    }
    GOGRID_RETURN_IF_ERROR(file.write(*made));
    done += made->size();
    GOGRID_RETURN_IF_ERROR(report(done, progress));
  }
  return {};
}

Bytes Slicer::file_size() const {
  const Bytes header_size = header(0).size() + padding_for_shared_blocks();
  return *align_up(header_size, source_.alignment()) + data_size_;
}

Status Slicer::write(const std::filesystem::path& target, const Progress& progress) const {
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(target));
  const std::string start = header(padding_for_shared_blocks());
  GOGRID_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(start))));
  const std::vector<std::byte> zeros(source_.alignment());
  const auto fill_to = [&](Bytes place) {
    return file.write(std::span(zeros).first(place - file.size()));
  };
  const Bytes data_offset = *align_up(start.size(), source_.alignment());
  Bytes done = 0;
  for (const SliceTensor& tensor : tensors_) {
    GOGRID_RETURN_IF_ERROR(fill_to(data_offset + tensor.offset));
    GOGRID_RETURN_IF_ERROR(tensor.becomes ? quantize_tensor(file, tensor, done, progress)
                                          : copy_tensor(file, tensor, done, progress));
  }
  GOGRID_RETURN_IF_ERROR(fill_to(data_offset + data_size_));
  GOGRID_RETURN_IF_ERROR(report(data_size_, progress));
  return file.commit();
}

}  // namespace

Status write_slice(const GgufFile& source, LayerRange range, const std::filesystem::path& target,
                   const Progress& progress, const std::optional<WeightType>& type) {
  Slicer slicer(source, range, type);
  GOGRID_RETURN_IF_ERROR(slicer.plan());
  return slicer.write(target, progress);
}

Result<Bytes> slice_size(const GgufFile& source, LayerRange range,
                         const std::optional<WeightType>& type) {
  Slicer slicer(source, range, type);
  GOGRID_RETURN_IF_ERROR(slicer.plan());
  return slicer.file_size();
}

}  // namespace gogrid
