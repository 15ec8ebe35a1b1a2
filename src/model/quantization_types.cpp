#include "model/quantization_types.h"

#include <ggml.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/format.h"
#include "base/nearest.h"
#include "base/text.h"

namespace gogrid {
namespace {

constexpr std::array kMixes{
    QuantizationMix{"q1_0", LLAMA_FTYPE_MOSTLY_Q1_0},
    QuantizationMix{"iq1_s", LLAMA_FTYPE_MOSTLY_IQ1_S},
    QuantizationMix{"tq1_0", LLAMA_FTYPE_MOSTLY_TQ1_0},
    QuantizationMix{"iq1_m", LLAMA_FTYPE_MOSTLY_IQ1_M},
    QuantizationMix{"iq2_xxs", LLAMA_FTYPE_MOSTLY_IQ2_XXS},
    QuantizationMix{"tq2_0", LLAMA_FTYPE_MOSTLY_TQ2_0},
    QuantizationMix{"q2_0", LLAMA_FTYPE_MOSTLY_Q2_0},
    QuantizationMix{"iq2_xs", LLAMA_FTYPE_MOSTLY_IQ2_XS},
    QuantizationMix{"iq2_s", LLAMA_FTYPE_MOSTLY_IQ2_S},
    QuantizationMix{"iq2_m", LLAMA_FTYPE_MOSTLY_IQ2_M},
    QuantizationMix{"q2_k_s", LLAMA_FTYPE_MOSTLY_Q2_K_S},
    QuantizationMix{"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K},
    QuantizationMix{"iq3_xxs", LLAMA_FTYPE_MOSTLY_IQ3_XXS},
    QuantizationMix{"iq3_xs", LLAMA_FTYPE_MOSTLY_IQ3_XS},
    QuantizationMix{"iq3_s", LLAMA_FTYPE_MOSTLY_IQ3_S},
    QuantizationMix{"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S},
    QuantizationMix{"iq3_m", LLAMA_FTYPE_MOSTLY_IQ3_M},
    QuantizationMix{"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M},
    QuantizationMix{"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L},
    QuantizationMix{"mxfp4_moe", LLAMA_FTYPE_MOSTLY_MXFP4_MOE},
    QuantizationMix{"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS},
    QuantizationMix{"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL},
    QuantizationMix{"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
    QuantizationMix{"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S},
    QuantizationMix{"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M},
    QuantizationMix{"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
    QuantizationMix{"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
    QuantizationMix{"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S},
    QuantizationMix{"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M},
    QuantizationMix{"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},
    QuantizationMix{"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K},
    QuantizationMix{"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
    QuantizationMix{"f16", LLAMA_FTYPE_MOSTLY_F16},
    QuantizationMix{"bf16", LLAMA_FTYPE_MOSTLY_BF16},
    QuantizationMix{"f32", LLAMA_FTYPE_ALL_F32},
};

struct Alias {
  std::string_view name;
  std::string_view mix;
};
constexpr std::array kAliases{Alias{"q3_k", "q3_k_m"}, Alias{"q4_k", "q4_k_m"},
                              Alias{"q5_k", "q5_k_m"}};

// Others of ggml's are made while computing only, and quantizing to them ends the process.
constexpr std::array kWeightTypes{
    GGML_TYPE_Q1_0,    GGML_TYPE_IQ1_S, GGML_TYPE_TQ1_0,  GGML_TYPE_IQ1_M, GGML_TYPE_IQ2_XXS,
    GGML_TYPE_TQ2_0,   GGML_TYPE_Q2_0,  GGML_TYPE_IQ2_XS, GGML_TYPE_IQ2_S, GGML_TYPE_Q2_K,
    GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ3_S, GGML_TYPE_Q3_K,   GGML_TYPE_MXFP4, GGML_TYPE_IQ4_XS,
    GGML_TYPE_IQ4_NL,  GGML_TYPE_Q4_0,  GGML_TYPE_Q4_K,   GGML_TYPE_NVFP4, GGML_TYPE_Q4_1,
    GGML_TYPE_Q5_0,    GGML_TYPE_Q5_K,  GGML_TYPE_Q5_1,   GGML_TYPE_Q6_K,  GGML_TYPE_Q8_0,
    GGML_TYPE_F16,     GGML_TYPE_BF16,  GGML_TYPE_F32};

std::string lower(std::string_view text) {
  std::string made(text);
  std::ranges::transform(made, made.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return made;
}

std::unexpected<Error> unknown(std::string_view what, std::string_view name,
                               std::span<const std::string> known) {
  return fail(ErrorCode::kInvalidArgument,
              format_text("expected {}: {}{}", what, excerpt(name), suggestion(name, known)));
}

}  // namespace

Result<QuantizationMix> find_mix(std::string_view name) {
  std::string wanted = lower(name);
  const auto* alias = std::ranges::find(kAliases, wanted, &Alias::name);
  if (alias != kAliases.end()) wanted = alias->mix;
  const auto* found = std::ranges::find(kMixes, wanted, &QuantizationMix::name);
  if (found != kMixes.end()) return *found;
  return unknown("a quantization", name, mix_names());
}

Result<WeightType> find_weight_type(std::string_view name) {
  const std::string wanted = lower(name);
  for (const ggml_type type : kWeightTypes) {
    const std::string_view known = ggml_type_name(type);
    if (lower(known) != wanted) continue;
    return WeightType{known, static_cast<std::uint32_t>(type),
                      static_cast<std::uint32_t>(ggml_blck_size(type))};
  }
  return unknown("a type of weights", name, weight_type_names());
}

std::vector<std::string> mix_names() {
  std::vector<std::string> names;
  for (const QuantizationMix& mix : kMixes) names.emplace_back(mix.name);
  return names;
}

std::vector<std::string> weight_type_names() {
  std::vector<std::string> names;
  for (const ggml_type type : kWeightTypes) names.push_back(lower(ggml_type_name(type)));
  return names;
}

}  // namespace gogrid
