#include "model/hf_tensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <format>
#include <map>
#include <set>
#include <span>
#include <tuple>

#include "base/text.h"

namespace gogrid {
namespace {

// What is read, converted and written at once.
constexpr Bytes kStep = 4 * kMiB;
// Floats between decoding and encoding: they stay in a core's first cache.
constexpr std::size_t kBlock = 2048;

std::unexpected<Error> refuse(ErrorCode code, std::string_view tensor, const std::string& what) {
  return fail(code, std::format("[import] tensor {}: {}", excerpt(tensor), what));
}

bool is_norm(std::string_view gguf_name) { return gguf_name.ends_with("norm.weight"); }

// libllama wants these unrounded.
bool stays_whole(const GgufTensorSpec& spec) {
  return spec.shape.size() < 2 || spec.name.ends_with("_norm.weight") ||
         spec.name == "position_embd.weight" || spec.name == "token_types.weight";
}

// --- the plan

class Planner {
 public:
  Planner(const HfArchitecture& architecture, const HfConfig& config, FloatType type)
      : architecture_(architecture),
        type_(type),
        layers_(config.count("num_hidden_layers")),
        heads_(config.count_or("num_attention_heads", 1)),
        kv_heads_(config.count_or("num_key_value_heads", heads_)),
        tied_(config.flag_or("tie_word_embeddings", false)) {}

  Status add(const ShardTensor& tensor);
  void add_made(std::string_view name, std::vector<float> values);
  Status check_complete() const;
  std::vector<TensorJob> jobs();

 private:
  // Before, in and behind the layers; then the layer, the rule, and bias behind weight.
  using Order = std::tuple<int, std::uint32_t, const TensorRule*, bool>;

  Order order_of(const TensorPlace& place) const;
  Status set_shape(TensorJob& job) const;
  Status set_edits(TensorJob& job, const TensorPlace& place) const;

  const HfArchitecture& architecture_;
  const FloatType type_;
  const std::uint32_t layers_;
  const std::uint32_t heads_;
  const std::uint32_t kv_heads_;
  const bool tied_;
  std::map<Order, TensorJob> jobs_;
  std::vector<TensorJob> made_;
};

Planner::Order Planner::order_of(const TensorPlace& place) const {
  const auto is_layered = [](const TensorRule& rule) {
    return rule.hf.find("{}") != std::string_view::npos;
  };
  const auto first = std::ranges::find_if(architecture_.rules, is_layered);
  const bool before = place.rule < std::to_address(first);
  const int group = place.has_layer ? 1 : before ? 0 : 2;
  return {group, place.layer, place.rule, place.suffix == ".bias"};
}

Status Planner::add(const ShardTensor& tensor) {
  GOGRID_ASSIGN_OR_RETURN(const auto place, place_of(architecture_, tensor.name()));
  if (!place) return {};
  // A model that says so computes with the embeddings, whatever else its file holds.
  if (tied_ && place->rule->gguf == "output") return {};
  if (place->has_layer && place->layer >= layers_) {
    return refuse(ErrorCode::kCorrupt, tensor.name(),
                  std::format("expected layers below {}", layers_));
  }
  TensorJob job;
  job.source = tensor;
  job.spec.name = place->gguf_name();
  GOGRID_RETURN_IF_ERROR(set_shape(job));
  GOGRID_RETURN_IF_ERROR(set_edits(job, *place));
  const auto [at, added] = jobs_.emplace(order_of(*place), std::move(job));
  if (!added) {
    return refuse(ErrorCode::kCorrupt, tensor.name(),
                  std::format("expected one that becomes {}: there is {} too", at->second.spec.name,
                              excerpt(at->second.source.name())));
  }
  return {};
}

Status Planner::set_shape(TensorJob& job) const {
  const SafetensorsTensor& info = *job.source.info;
  if (!is_weight(info.type)) {
    return refuse(
        ErrorCode::kUnsupported, info.name,
        std::format("expected F32, F16, BF16, F8_E4M3 or F8_E5M2: {}", to_string(info.type)));
  }
  job.spec.shape.assign(info.shape.rbegin(), info.shape.rend());
  job.type = stays_whole(job.spec) ? FloatType::kF32 : type_;
  job.spec.type = ggml_type_of(job.type);
  // What tensor_size() refuses in our words would be a fault of the writer's caller: here it is the
  // file's.
  const auto size = tensor_size(job.spec);
  if (!size) return refuse(ErrorCode::kCorrupt, info.name, size.error().message);
  return {};
}

Status Planner::set_edits(TensorJob& job, const TensorPlace& place) const {
  if (architecture_.shifts_norms && is_norm(job.spec.name)) job.shift = 1;
  if (!architecture_.permutes_heads) return {};
  if (place.rule->gguf == "blk.{}.attn_q") job.permuted_heads = heads_;
  if (place.rule->gguf == "blk.{}.attn_k") job.permuted_heads = kv_heads_;
  const std::uint64_t rows = job.source.info->shape.front();
  if (job.permuted_heads == 0 || rows % (std::uint64_t{job.permuted_heads} * 2) == 0) return {};
  return refuse(
      ErrorCode::kCorrupt, job.source.name(),
      std::format("expected rows of {} heads of even width: {} rows", job.permuted_heads, rows));
}

void Planner::add_made(std::string_view name, std::vector<float> values) {
  if (values.empty()) return;
  TensorJob job;
  job.spec = {std::string(name), {values.size()}, ggml_type_of(FloatType::kF32)};
  job.made = std::move(values);
  made_.push_back(std::move(job));
}

Status Planner::check_complete() const {
  std::set<std::string> names;
  for (const auto& [order, job] : jobs_) names.insert(job.spec.name);
  for (const TensorRule& rule : architecture_.rules) {
    if (!rule.required) continue;
    const bool layered = rule.hf.find("{}") != std::string_view::npos;
    for (std::uint32_t layer = 0; layer < (layered ? layers_ : 1); ++layer) {
      const TensorPlace place{&rule, layer, layered, ".weight"};
      if (names.contains(place.gguf_name())) continue;
      return fail(ErrorCode::kCorrupt, std::format("[import] expected the tensor {} ({}): absent",
                                                   rule.hf, place.gguf_name()));
    }
  }
  return {};
}

std::vector<TensorJob> Planner::jobs() {
  std::vector<TensorJob> all = std::move(made_);
  for (auto& [order, job] : jobs_) all.push_back(std::move(job));
  return all;
}

// --- the writing

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
        copies_(job.shift == 0 && same_as(from_) == job.type) {
    out_.resize(std::min<Bytes>(kStep, total_elements() * element_size(job.type)));
  }

  Status run();

 private:
  std::uint64_t total_elements() const { return job_.source.info->elements; }
  Status copy_whole();
  // Converts elements that lie side by side, there and here.
  Status convert(std::uint64_t first, std::uint64_t count);
  void convert_block(std::uint64_t first, std::size_t count);
  Status flush();
  Status report();

  const TensorJob& job_;
  GgufWriter& writer_;
  const Progress& progress_;
  const SafetensorsType from_;
  const std::byte* in_;
  const bool copies_;  // the bytes stay as they are
  std::vector<std::byte> out_;
  Bytes filled_ = 0;
  bool finite_ = true;
  std::array<float, kBlock> floats_{};
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
    GOGRID_RETURN_IF_ERROR(report());
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
  decode(from_, in, floats);
  if (job_.shift != 0) {
    for (float& value : floats) value += job_.shift;
  }
  finite_ &= encode(job_.type, floats, out);
}

Status Converter::flush() {
  if (!finite_) {
    const bool range = job_.type == FloatType::kF16 && from_ != SafetensorsType::kF16;
    return refuse(range ? ErrorCode::kInvalidArgument : ErrorCode::kCorrupt, job_.source.name(),
                  range ? "expected finite weights within the range of f16: import with --type bf16"
                        : "expected finite weights: one is infinite or no number");
  }
  GOGRID_RETURN_IF_ERROR(writer_.write(std::span(out_).first(filled_)));
  filled_ = 0;
  return report();
}

Status Converter::report() {
  if (!progress_ || progress_(writer_.written(), writer_.data_size())) return {};
  return fail(ErrorCode::kCancelled, "[import] cancelled");
}

}  // namespace

FloatType natural_type(const SafetensorsFolder& weights) {
  std::map<SafetensorsType, std::uint64_t> elements;
  for (const ShardTensor& tensor : weights.tensors()) {
    if (tensor.info->shape.size() >= 2) elements[tensor.info->type] += tensor.info->elements;
  }
  if (elements.empty()) return FloatType::kF16;
  const auto most =
      std::ranges::max_element(elements, {}, [](const auto& one) { return one.second; })->first;
  // Eight bits of E5M2 and E4M3 are all in either.
  return most == SafetensorsType::kBF16 ? FloatType::kBF16 : FloatType::kF16;
}

Result<std::vector<TensorJob>> plan_tensors(const HfArchitecture& architecture,
                                            const HfConfig& config,
                                            const SafetensorsFolder& weights, FloatType type) {
  Planner planner(architecture, config, type);
  RopeFactors factors = rope_factors(architecture, config);
  GOGRID_RETURN_IF_ERROR(config.status());
  planner.add_made("rope_freqs.weight", std::move(factors.all));
  planner.add_made("rope_factors_long.weight", std::move(factors.long_context));
  planner.add_made("rope_factors_short.weight", std::move(factors.short_context));
  for (const ShardTensor& tensor : weights.tensors()) GOGRID_RETURN_IF_ERROR(planner.add(tensor));
  GOGRID_RETURN_IF_ERROR(planner.check_complete());
  return planner.jobs();
}

Status write_tensor(const TensorJob& job, GgufWriter& writer, const Progress& progress) {
  if (job.source.info == nullptr) return writer.write(std::as_bytes(std::span(job.made)));
  return Converter(job, writer, progress).run();
}

}  // namespace gogrid
