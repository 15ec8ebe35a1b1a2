#include "model/model_description.h"

#include <algorithm>
#include <map>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

class Describer {
 public:
  explicit Describer(const GgufFile& file) : file_(file) {}

  ModelDescription describe();

 private:
  std::string text(std::string_view key) const {
    return shown_text(file_.string_of(key).value_or(""));
  }
  std::string key(std::string_view tail) const {
    return format_text("{}.{}", file_.string_of("general.architecture").value_or(""), tail);
  }
  std::optional<std::uint64_t> number(std::string_view tail) const {
    return file_.unsigned_of(key(tail));
  }
  // One number for all layers, or an array with one for each.
  std::optional<Spread> spread(std::string_view tail) const;
  void add_tensors();
  void add_shape();
  void add_vocabulary();

  const GgufFile& file_;
  ModelDescription out_;
};

std::optional<Spread> Describer::spread(std::string_view tail) const {
  if (const GgufArray* array = file_.array_of(key(tail)); array != nullptr) {
    std::vector<std::int64_t> values = array->integers();
    if (values.empty() || std::ranges::min(values) < 0) return std::nullopt;
    return Spread{static_cast<std::uint64_t>(std::ranges::min(values)),
                  static_cast<std::uint64_t>(std::ranges::max(values))};
  }
  const auto value = number(tail);
  return value ? std::optional(Spread{*value, *value}) : std::nullopt;
}

// No sum wraps: tensors lie apart from each other in one file, at a bit a number or more.
void Describer::add_tensors() {
  std::map<std::string_view, TypeShare> shares;
  for (const GgufTensor& tensor : file_.tensors()) {
    std::uint64_t elements = 1;
    for (const std::uint64_t dimension : tensor.shape) elements *= dimension;
    TypeShare& share = shares[tensor.type_name];
    share.type = tensor.type_name;
    ++share.tensors;
    share.parameters += elements;
    share.bytes += tensor.size;
    out_.parameters += elements;
    out_.tensor_bytes += tensor.size;
  }
  for (auto& [name, share] : shares) out_.types.push_back(std::move(share));
  std::ranges::stable_sort(out_.types, std::ranges::greater{}, &TypeShare::bytes);
  if (out_.parameters == 0) return;
  out_.bits_per_weight =
      8.0 * static_cast<double>(out_.tensor_bytes) / static_cast<double>(out_.parameters);
}

void Describer::add_shape() {
  out_.layers = number("block_count");
  out_.context = number("context_length");
  out_.embedding_length = number("embedding_length");
  out_.heads = spread("attention.head_count");
  out_.kv_heads = spread("attention.head_count_kv");
  if (!out_.kv_heads) out_.kv_heads = out_.heads;  // each head has keys and values of its own
  out_.experts = number("expert_count").value_or(0);
  if (out_.experts > 0) out_.experts_used = spread("expert_used_count");
}

void Describer::add_vocabulary() {
  const GgufArray* tokens = file_.array_of("tokenizer.ggml.tokens");
  if (tokens != nullptr) out_.vocabulary = tokens->count;
  out_.vocabulary_type = text("tokenizer.ggml.model");
  out_.vocabulary_splitter = text("tokenizer.ggml.pre");
  out_.template_bytes = file_.string_of("tokenizer.chat_template").value_or("").size();
}

ModelDescription Describer::describe() {
  out_.name = text("general.name");
  out_.architecture = text("general.architecture");
  out_.license = text("general.license");
  out_.quantization = quantization_of(file_);
  out_.gguf_version = file_.version();
  out_.part = part_of(file_);
  out_.files = std::max<std::size_t>(1, file_.part_paths().size());
  out_.file_bytes = file_.file_size();
  add_tensors();
  add_shape();
  add_vocabulary();
  out_.profile = read_profile(file_);
  return std::move(out_);
}

}  // namespace

ModelDescription describe_model(const GgufFile& file) { return Describer(file).describe(); }

std::string quantization_of(const GgufFile& file) {
  std::map<std::string_view, Bytes> bytes_by_type;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.n_dims > 1) bytes_by_type[tensor.type_name] += tensor.size;
  }
  if (bytes_by_type.empty()) return "unknown";
  return std::string(std::ranges::max_element(bytes_by_type, {}, [](const auto& entry) {
                       return entry.second;
                     })->first);
}

std::string shape_text(const GgufTensor& tensor) {
  std::string text;
  for (std::uint32_t i = 0; i < tensor.n_dims; ++i) {
    text += (i == 0 ? "" : "x") + std::to_string(tensor.shape[i]);
  }
  return text;
}

std::string shown_text(std::string_view text, std::size_t limit) {
  const std::string shown = printable(text, limit);
  // One character more than fits, of four bytes at most.
  const std::string more = printable(text, limit + 4);
  return more.size() > shown.size() ? shown + "..." : shown;
}

}  // namespace gogrid
