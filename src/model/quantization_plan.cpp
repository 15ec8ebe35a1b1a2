#include "model/quantization_plan.h"

#include <ggml.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <set>
#include <thread>

#include "base/format.h"
#include "base/text.h"
#include "device/backend_log.h"
#include "device/device_registry.h"
#include "model/row_quantizer.h"

namespace gogrid {
namespace {

constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kLayerEmbedding = "per_layer_token_embd.weight";
constexpr std::string_view kOutput = "output.weight";
// libllama writes data with this alignment, whatever the key of the source says.
constexpr Bytes kAlignment = 32;
// Keys that are added, and what the writer rounds up.
constexpr Bytes kHeaderSlack = 64 * kKiB;
constexpr std::string_view kFallback = "falling back to";

std::unexpected<Error> refuse(ErrorCode code, const std::string& what, std::string param = {}) {
  return fail(code, "[quantize] " + what, std::move(param));
}

ggml_type type_of(const WeightType& type) { return static_cast<ggml_type>(type.type); }

WeightType weight_type(std::uint32_t type) {
  const auto known = static_cast<ggml_type>(type);
  return {ggml_type_name(known), type, static_cast<std::uint32_t>(ggml_blck_size(known))};
}

// --- what libllama is told

// Arrays that end in an empty entry, and the strings behind them. Address-stable once made.
class Parameters {
 public:
  explicit Parameters(const QuantizeOptions& options)
      : params_(llama_model_quantize_default_params()) {
    params_.ftype = static_cast<llama_ftype>(options.mix.file_type);
    params_.allow_requantize = options.allow_requantize;
    params_.pure = options.pure;
    if (options.output_type) params_.output_tensor_type = type_of(*options.output_type);
    if (options.token_embedding_type)
      params_.token_embedding_type = type_of(*options.token_embedding_type);
    if (!options.overrides.empty()) set_overrides(options);
    if (options.importance != nullptr) set_importance(options);
  }
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  llama_model_quantize_params& get() { return params_; }

 private:
  void set_overrides(const QuantizeOptions& options) {
    for (const TensorOverride& entry : options.overrides)
      overrides_.push_back({entry.pattern.c_str(), type_of(entry.type)});
    overrides_.push_back({nullptr, GGML_TYPE_COUNT});
    params_.tt_overrides = overrides_.data();
  }

  void set_importance(const QuantizeOptions& options) {
    const ImportanceMatrix& matrix = *options.importance;
    for (const auto& [name, entry] : matrix.entries) {
      const auto& values = means_[name] = entry.means();
      importance_.push_back({name.c_str(), values.data(), values.size()});
    }
    importance_.push_back({nullptr, nullptr, 0});
    params_.imatrix = importance_.data();
  }

  llama_model_quantize_params params_;
  std::vector<llama_model_tensor_override> overrides_;
  std::map<std::string_view, std::vector<float>> means_;
  std::vector<llama_model_imatrix_data> importance_;
};

// --- what is checked before libllama sees it

bool is_embedding(const GgufTensor& tensor) {
  return tensor.name == kEmbedding || tensor.name == kLayerEmbedding;
}

bool is_vocabulary_wide(std::string_view name) {
  return name == kOutput || name == kEmbedding || name == kLayerEmbedding;
}

Status check_blocks(const GgufTensor& tensor, const WeightType& type, std::string_view option) {
  if (tensor.shape[0] % type.block == 0) return {};
  return refuse(ErrorCode::kInvalidArgument,
                format_text("{} {}: rows of a multiple of {} weights: {} has {}", option, type.name,
                            type.block, tensor.name, tensor.shape[0]),
                std::string(option));
}

// Types that are given by name are taken as they are, and rows that do not fit end the process.
Status check_named_types(const GgufFile& model, const QuantizeOptions& options) {
  const bool tied = model.tensor(kOutput) == nullptr;
  for (const GgufTensor& tensor : model.tensors()) {
    if (options.token_embedding_type && is_embedding(tensor)) {
      GOGRID_RETURN_IF_ERROR(
          check_blocks(tensor, *options.token_embedding_type, "--token-embedding-type"));
    }
    if (options.output_type && (tensor.name == kOutput || (tied && is_embedding(tensor)))) {
      GOGRID_RETURN_IF_ERROR(check_blocks(tensor, *options.output_type, "--output-type"));
    }
  }
  return {};
}

// A pattern that fits nothing is a slip; libllama would not say so.
Status check_overrides(const GgufFile& model, const QuantizeOptions& options) {
  if (options.overrides.empty()) return {};
  if (options.mix.name == "f16" || options.mix.name == "bf16" || options.mix.name == "f32") {
    return refuse(ErrorCode::kInvalidArgument,
                  format_text("types of single tensors beside a quantized type: --type {} has none "
                              "(libllama would not look at them)",
                              options.mix.name),
                  "--tensor-type");
  }
  for (const TensorOverride& entry : options.overrides) {
    const std::regex pattern(entry.pattern);
    const bool fits = std::ranges::any_of(model.tensors(), [&](const GgufTensor& tensor) {
      return std::regex_search(tensor.name.begin(), tensor.name.end(), pattern);
    });
    if (fits) continue;
    return refuse(ErrorCode::kInvalidArgument,
                  format_text("--tensor-type {}={}: a pattern found in the name of some tensor: in "
                              "none of {}",
                              entry.pattern, entry.type.name, model.tensors().size()),
                  "--tensor-type");
  }
  return {};
}

Status check_file(const GgufFile& model) {
  if (model.unsigned_of("split.count").value_or(1) > 1) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("a whole model: {} is one part of several, merge them first",
                              model.path().string()));
  }
  if (model.alignment() != kAlignment) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("a file with an alignment of {}: {} has {}", kAlignment,
                              model.path().string(), model.alignment()));
  }
  return {};
}

// --- libllama's plan

Result<QuantizedTensor> planned_tensor(const GgufFile& model, std::string_view line) {
  const auto odd = [&] {
    return refuse(ErrorCode::kInternal, "a line of libllama's about a tensor: " + excerpt(line));
  };
  const auto name = tensor_of_line(line);
  const GgufTensor* tensor = name ? model.tensor(*name) : nullptr;
  if (tensor == nullptr) return odd();
  QuantizedTensor planned{.name = std::string(*name),
                          .from = weight_type(tensor->type),
                          .to = weight_type(tensor->type),
                          .before = tensor->size,
                          .after = tensor->size,
                          .elements = 1};
  for (const std::uint64_t dimension : tensor->shape) planned.elements *= dimension;
  // "... size = 0.07 MiB -> 0.11 MiB (q8_0)": only where it changes.
  const auto arrow = line.rfind(" -> ");
  const auto open = line.rfind('(');
  if (arrow == line.npos) return planned;
  if (open == line.npos || open < arrow || !line.ends_with(')')) return odd();
  const auto to = find_weight_type(line.substr(open + 1, line.size() - open - 2));
  if (!to || tensor->shape[0] % to->block != 0) return odd();
  planned.to = *to;
  planned.after = planned.elements / tensor->shape[0] *
                  ggml_row_size(type_of(*to), static_cast<std::int64_t>(tensor->shape[0]));
  return planned;
}

Result<QuantizationPlan> ask_for_plan(const GgufFile& model, const QuantizeOptions& options) {
  Parameters parameters(options);
  parameters.get().dry_run = true;
  QuantizationPlan plan;
  std::optional<Error> first_error;
  const BackendLogCapture said([&](std::string_view line) {
    if (line.contains(kFallback)) ++plan.fallbacks;
    if (!tensor_of_line(line)) return;
    auto planned = planned_tensor(model, line);
    if (planned)
      plan.tensors.push_back(*std::move(planned));
    else if (!first_error)
      first_error = std::move(planned).error();
  });
  if (llama_model_quantize(model.path().c_str(), "", &parameters.get()) != 0) {
    return refuse(ErrorCode::kUnsupported, format_text("{} as {}: {}", model.path().string(),
                                                       options.mix.name, said.last_error()));
  }
  if (first_error) return std::unexpected(*std::move(first_error));
  std::set<std::string_view> names;
  for (const QuantizedTensor& tensor : plan.tensors) names.insert(tensor.name);
  if (names.size() != model.tensors().size() || names.size() != plan.tensors.size()) {
    return refuse(ErrorCode::kInternal, format_text("libllama's plan for {} tensors: for {}",
                                                    model.tensors().size(), names.size()));
  }
  return plan;
}

Bytes padded(Bytes size) { return align_up(size, kAlignment).value_or(size); }

void add_sizes(const GgufFile& model, const QuantizeOptions& options, QuantizationPlan& plan) {
  plan.file_bytes = model.data_offset() + kHeaderSlack;
  plan.threads =
      options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency());
  for (const QuantizedTensor& tensor : plan.tensors) {
    plan.file_bytes += padded(tensor.after);
    if (!tensor.changes()) continue;
    const std::uint64_t row = model.tensor(tensor.name)->shape[0];
    plan.buffer_bytes = std::max(plan.buffer_bytes, plan.threads * quantizing_memory(row));
  }
}

// --- what is checked of the plan

// Whole numbers and doubles, which no model has for weights, but files may.
Status check_readable(const QuantizedTensor& tensor) {
  if (tensor.from.type == GGML_TYPE_F32 ||
      ggml_get_type_traits(type_of(tensor.from))->to_float != nullptr)
    return {};
  return refuse(ErrorCode::kUnsupported,
                format_text("weights in a type that can be read as floats: {} is {}", tensor.name,
                            tensor.from.name));
}

Status check_requantized(const QuantizedTensor& tensor, const QuantizeOptions& options) {
  if (options.allow_requantize || !ggml_is_quantized(type_of(tensor.from))) return {};
  return refuse(ErrorCode::kInvalidArgument,
                format_text("weights in f32, f16 or bf16: {} is {} already; --allow-requantize "
                            "makes {} of it, and adds to what was lost",
                            tensor.name, tensor.from.name, tensor.to.name),
                "--allow-requantize");
}

Status check_importance(const GgufTensor& source, const QuantizedTensor& tensor,
                        const QuantizeOptions& options) {
  const ImportanceEntry* entry = nullptr;
  if (options.importance != nullptr) {
    const auto found = options.importance->entries.find(tensor.name);
    if (found != options.importance->entries.end()) entry = &found->second;
  }
  const bool fits = entry != nullptr && entry->sums.size() == source.shape[0] * source.shape[2];
  if (entry != nullptr && !fits && !is_embedding(source)) {
    return refuse(ErrorCode::kInvalidArgument,
                  format_text("an importance matrix of this model: {} has {} columns, there {}",
                              tensor.name, source.shape[0] * source.shape[2], entry->sums.size()),
                  "--imatrix");
  }
  const bool needed = needs_importance(tensor.name, tensor.to) ||
                      (tensor.to.type == GGML_TYPE_Q2_K && options.mix.name == "q2_k_s" &&
                       !is_vocabulary_wide(tensor.name));
  if (fits || !needed) return {};
  return refuse(
      ErrorCode::kInvalidArgument,
      format_text("an importance matrix for {} as {}: {} (gogrid imatrix makes one)", tensor.name,
                  tensor.to.name,
                  options.importance == nullptr ? "none, see --imatrix" : "it has nothing on it"),
      "--imatrix");
}

Status check_plan(const GgufFile& model, const QuantizeOptions& options,
                  const QuantizationPlan& plan) {
  for (const QuantizedTensor& tensor : plan.tensors) {
    if (!tensor.changes()) continue;
    const GgufTensor& source = *model.tensor(tensor.name);
    if (source.shape[3] != 1) {
      return refuse(ErrorCode::kUnsupported,
                    format_text("weights of at most three dimensions: {} has four", tensor.name));
    }
    GOGRID_RETURN_IF_ERROR(check_readable(tensor));
    GOGRID_RETURN_IF_ERROR(check_requantized(tensor, options));
    GOGRID_RETURN_IF_ERROR(check_importance(source, tensor, options));
  }
  return {};
}

}  // namespace

bool needs_importance(std::string_view tensor, const WeightType& type) {
  if (ggml_quantize_requires_imatrix(type_of(type))) return true;
  constexpr std::array kVerySmall{GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ2_XXS, GGML_TYPE_IQ2_XS,
                                  GGML_TYPE_IQ2_S,   GGML_TYPE_IQ1_M,   GGML_TYPE_IQ1_S};
  return !is_vocabulary_wide(tensor) && std::ranges::contains(kVerySmall, type_of(type));
}

std::optional<std::string_view> tensor_of_line(std::string_view line) {
  const auto count = line.find("] ");
  const auto end = line.find(" - [");
  if (!line.starts_with('[') || count == line.npos || end == line.npos || end < count + 2)
    return std::nullopt;
  return trimmed(line.substr(count + 2, end - count - 2));
}

Bytes QuantizationPlan::before() const {
  Bytes sum = 0;
  for (const QuantizedTensor& tensor : tensors) sum += tensor.before;
  return sum;
}

Bytes QuantizationPlan::after() const {
  Bytes sum = 0;
  for (const QuantizedTensor& tensor : tensors) sum += tensor.after;
  return sum;
}

double QuantizationPlan::bits_per_weight() const {
  std::uint64_t weights = 0;
  for (const QuantizedTensor& tensor : tensors) weights += tensor.elements;
  return weights == 0 ? 0 : 8.0 * static_cast<double>(after()) / static_cast<double>(weights);
}

Result<QuantizationPlan> plan_quantization(const GgufFile& model, const QuantizeOptions& options) {
  initialize_backends();
  GOGRID_RETURN_IF_ERROR(check_file(model));
  GOGRID_RETURN_IF_ERROR(check_overrides(model, options));
  GOGRID_RETURN_IF_ERROR(check_named_types(model, options));
  GOGRID_ASSIGN_OR_RETURN(QuantizationPlan plan, ask_for_plan(model, options));
  GOGRID_RETURN_IF_ERROR(check_plan(model, options, plan));
  add_sizes(model, options, plan);
  return plan;
}

}  // namespace gogrid
