#include "model/type_candidates.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <exception>
#include <map>
#include <mutex>
#include <regex>
#include <set>
#include <thread>

#include "base/format.h"
#include "model/layer_name.h"
#include "model/tensor_types.h"

namespace gogrid {
namespace {

// Left out: types that some backends do not compute (mxfp4, nvfp4, q1_0, q2_0), and those for
// models whose weights have three values only (tq1_0, tq2_0).
constexpr auto kTypes = std::to_array<std::string_view>(
    {"iq1_s",  "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "q2_k", "iq3_xxs", "iq3_s", "q3_k", "iq4_xs",
     "iq4_nl", "q4_0",  "q4_k",    "q4_1",   "q5_0",  "q5_k", "q5_1",    "q6_k",  "q8_0", "f16"});
// Quantized in no time, so that a whole tensor may be.
constexpr auto kTrialTypes = std::to_array<std::string_view>(
    {"q2_K", "q3_K", "q4_K", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"});
// A model in which one tensor of many is off by so much is off by little, but more than by what its
// numbers are rounded anyway.
constexpr double kTrialError = 0.02;
// Keys that are added to the file: type, version, and where the importance matrix is from.
constexpr Bytes kAddedKeys = 4 * kKiB;
constexpr Bytes kAlignment = 32;
constexpr double kTinyShare = 0.4;
// Enough for an error within a few percent, and for 30 tensors in seconds.
constexpr std::uint64_t kSample = 1U << 16;

Bytes padded(Bytes bytes) { return align_up(bytes, kAlignment).value_or(UINT64_MAX); }

double bits_of(const WeightType& type) {
  return find_tensor_type(type.type).value_or(TensorType{}).bits_per_weight();
}

std::uint64_t rows_of(const GgufTensor& tensor) {
  return tensor.shape[1] * tensor.shape[2] * tensor.shape[3];
}

Bytes bytes_in(const GgufTensor& tensor, const WeightType& type) {
  return padded(rows_of(tensor) * ggml_row_size(static_cast<ggml_type>(type.type),
                                                static_cast<std::int64_t>(tensor.shape[0])));
}

WeightType own_type(const GgufTensor& tensor) {
  const auto type = find_tensor_type(tensor.type).value_or(TensorType{});
  return {type.name, type.number, static_cast<std::uint32_t>(type.block)};
}

// Names of tensors that libllama would make another type of.
Result<std::set<std::string>> quantizable(const GgufFile& model, QuantizeOptions options) {
  std::set<std::string> names;
  options.overrides.clear();
  options.output_type.reset();
  options.token_embedding_type.reset();
  options.pure = true;
  // Of two, since a tensor may be of either already.
  for (const char* mix : {"q8_0", "q4_0"}) {
    GOGRID_ASSIGN_OR_RETURN(options.mix, find_mix(mix));
    GOGRID_ASSIGN_OR_RETURN(const QuantizationPlan plan, plan_quantization(model, options));
    for (const QuantizedTensor& tensor : plan.tensors) {
      if (tensor.changes()) names.insert(tensor.name);
    }
  }
  return names;
}

// What the caller chose, by the tensor's name.
class Pinned {
 public:
  static Result<Pinned> of(const GgufFile& model, QuantizeOptions options) {
    Pinned pinned;
    const bool any = !options.overrides.empty() || options.output_type.has_value() ||
                     options.token_embedding_type.has_value();
    if (!any) return pinned;
    GOGRID_ASSIGN_OR_RETURN(options.mix, find_mix("q8_0"));
    options.pure = true;
    GOGRID_ASSIGN_OR_RETURN(const QuantizationPlan with, plan_quantization(model, options));
    std::vector<std::regex> patterns;
    for (const TensorOverride& entry : options.overrides) patterns.emplace_back(entry.pattern);
    const bool tied = model.tensor("output.weight") == nullptr;
    for (const QuantizedTensor& tensor : with.tensors) {
      const bool is_embedding = tensor.name == "token_embd.weight";
      const bool is_output = tensor.name == "output.weight" || (tied && is_embedding);
      const bool named = (options.token_embedding_type && is_embedding) ||
                         (options.output_type && is_output) ||
                         std::ranges::any_of(patterns, [&](const std::regex& pattern) {
                           return std::regex_search(tensor.name, pattern);
                         });
      if (named) pinned.types_[tensor.name] = tensor.to;
    }
    return pinned;
  }

  const WeightType* find(std::string_view name) const {
    const auto found = types_.find(name);
    return found == types_.end() ? nullptr : &found->second;
  }

 private:
  std::map<std::string, WeightType, std::less<>> types_;
};

std::vector<float> importance_of(const GgufTensor& tensor, const QuantizeOptions& options) {
  if (options.importance == nullptr) return {};
  const auto found = options.importance->entries.find(std::string(tensor.name));
  if (found == options.importance->entries.end()) return {};
  auto means = found->second.means();
  if (means.size() != tensor.shape[0] * tensor.shape[2]) return {};
  return means;
}

std::vector<TypeCandidate> types_of(const CandidateTensor& candidate) {
  const GgufTensor& tensor = *candidate.tensor;
  const WeightType own = own_type(tensor);
  std::vector<TypeCandidate> types{{own, padded(tensor.size)}};
  for (const std::string_view name : kTypes) {
    const auto type = find_weight_type(name);
    if (!type || type->type == own.type || tensor.shape[0] % type->block != 0) continue;
    if (candidate.importance.empty() && needs_importance(tensor.name, *type)) continue;
    const Bytes bytes = bytes_in(tensor, *type);
    if (bytes < types.front().bytes) types.push_back({*type, bytes});
  }
  std::ranges::stable_sort(types, {}, &TypeCandidate::bytes);
  return types;
}

// Numbers the groups: the same part of `band` layers, or one tensor of none.
void number_groups(CandidateModel& model, std::size_t band) {
  std::map<std::pair<std::string_view, std::size_t>, std::size_t> numbers;
  for (CandidateTensor& tensor : model.tensors) {
    const auto layered = parse_layer_name(tensor.tensor->name);
    const auto key = layered ? std::pair(layered->rest, layered->layer / band)
                             : std::pair(tensor.tensor->name, std::size_t{0});
    tensor.group = numbers.try_emplace(key, numbers.size()).first->second;
  }
  model.groups = numbers.size();
}

}  // namespace

Bytes CandidateModel::smallest_file() const {
  Bytes sum = fixed_bytes;
  for (const CandidateTensor& tensor : tensors)
    sum = checked_add(sum, tensor.types.front().bytes).value_or(UINT64_MAX);
  return sum;
}

Result<CandidateModel> type_candidates(const GgufFile& model, const QuantizeOptions& options,
                                       std::size_t most_groups) {
  GOGRID_ASSIGN_OR_RETURN(const auto names, quantizable(model, options));
  GOGRID_ASSIGN_OR_RETURN(const Pinned pinned, Pinned::of(model, options));
  CandidateModel made{.tensors = {}, .groups = 0, .fixed_bytes = model.data_offset() + kAddedKeys};
  for (const GgufTensor& tensor : model.tensors()) {
    CandidateTensor candidate{
        .tensor = &tensor, .importance = importance_of(tensor, options), .types = {}};
    const WeightType* chosen = pinned.find(tensor.name);
    if (chosen != nullptr) {
      made.fixed_bytes += bytes_in(tensor, *chosen);
    } else if (!names.contains(std::string(tensor.name))) {
      made.fixed_bytes += padded(tensor.size);
    } else {
      candidate.types = types_of(candidate);
      made.tensors.push_back(std::move(candidate));
    }
  }
  number_groups(made, 1);
  for (std::size_t band = 2; made.groups > most_groups && band <= made.tensors.size(); ++band)
    number_groups(made, band);
  return made;
}

void drop_tiny_types(CandidateModel& candidates, Bytes file_bytes) {
  std::uint64_t weights = 0;
  for (const CandidateTensor& tensor : candidates.tensors)
    weights += rows_of(*tensor.tensor) * tensor.tensor->shape[0];
  if (weights == 0 || file_bytes < candidates.smallest_file()) return;
  const double share =
      8.0 * static_cast<double>(file_bytes - candidates.fixed_bytes) / static_cast<double>(weights);
  CandidateModel fewer = candidates;
  for (CandidateTensor& tensor : fewer.tensors) {
    const auto tiny = [&](const TypeCandidate& candidate) {
      return candidate.bytes != tensor.types.back().bytes &&
             bits_of(candidate.type) < kTinyShare * share;
    };
    const auto [first, last] = std::ranges::remove_if(tensor.types, tiny);
    tensor.types.erase(first, last);
  }
  if (fewer.smallest_file() <= file_bytes) candidates = std::move(fewer);
}

Status measure_errors(const GgufFile& model, CandidateModel& candidates, unsigned threads,
                      const std::function<bool(double)>& progress) {
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> stopped = false;
  std::atomic<bool> broken = false;
  std::mutex one_at_a_time;
  const auto work = [&] {
    try {
      const std::size_t count = candidates.tensors.size();
      for (std::size_t i = next++; i < count && !stopped && !broken; i = next++) {
        CandidateTensor& tensor = candidates.tensors[i];
        for (TypeCandidate& candidate : tensor.types) {
          if (candidate.type.type == tensor.tensor->type) continue;
          candidate.error =
              rounding_error(model, *tensor.tensor, candidate.type, tensor.importance, kSample);
        }
        const std::scoped_lock lock(one_at_a_time);
        if (!progress(static_cast<double>(i + 1) / static_cast<double>(count))) stopped = true;
      }
    } catch (const std::exception&) {
      broken = true;  // no memory
    }
  };
  {
    std::vector<std::jthread> workers;
    for (unsigned i = 0; i < std::max(1U, threads); ++i) workers.emplace_back(work);
  }
  if (broken) return fail(ErrorCode::kExhausted, "[quantize] no memory to measure errors in");
  if (stopped) return fail(ErrorCode::kCancelled, "[quantize] stopped");
  for (const CandidateTensor& tensor : candidates.tensors) {
    for (const TypeCandidate& candidate : tensor.types) {
      if (std::isfinite(candidate.error)) continue;
      return fail(ErrorCode::kCorrupt,
                  format_text("[quantize] weights that are numbers: {} has others (NaN, infinite)",
                              tensor.tensor->name));
    }
  }
  return {};
}

const TypeCandidate& trial_type(const CandidateTensor& tensor) {
  const TypeCandidate* best = &tensor.types.front();
  double least = std::numeric_limits<double>::infinity();
  for (const TypeCandidate& candidate : tensor.types) {
    if (candidate.error <= 0 || !std::ranges::contains(kTrialTypes, candidate.type.name)) continue;
    const double off = std::abs(std::log(candidate.error / kTrialError));
    if (off >= least) continue;
    least = off;
    best = &candidate;
  }
  return *best;
}

std::vector<TypeOptions> losses_of(const CandidateModel& candidates,
                                   std::span<const double> divergences) {
  std::vector<double> errors(candidates.groups, 0);
  for (const CandidateTensor& tensor : candidates.tensors)
    errors[tensor.group] += trial_type(tensor).error;
  std::vector<TypeOptions> losses;
  for (const CandidateTensor& tensor : candidates.tensors) {
    const double error = errors[tensor.group];
    // Rounding that changes nothing may come out a little below zero.
    const double sensitivity = error > 0 ? std::max(0.0, divergences[tensor.group]) / error : 0;
    TypeOptions options;
    for (const TypeCandidate& candidate : tensor.types)
      options.push_back({candidate.bytes, sensitivity * candidate.error});
    losses.push_back(std::move(options));
  }
  return losses;
}

}  // namespace gogrid
