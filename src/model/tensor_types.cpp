#include "model/tensor_types.h"

#include <ggml.h>

#include <algorithm>
#include <array>

#include "base/format.h"

namespace gogrid {
namespace {

// Numbers that were given to a type once: files of that time are still about.
struct FormerType {
  std::uint32_t number;
  std::string_view name;
};
constexpr auto kFormer = std::to_array<FormerType>({{4, "q4_2"},
                                                    {5, "q4_3"},
                                                    {31, "q4_0_4_4"},
                                                    {32, "q4_0_4_8"},
                                                    {33, "q4_0_8_8"},
                                                    {36, "iq4_nl_4_4"},
                                                    {37, "iq4_nl_4_8"},
                                                    {38, "iq4_nl_8_8"}});

}  // namespace

std::optional<TensorType> find_tensor_type(std::uint32_t number) {
  // Only then may ggml be asked: it indexes a table with the number.
  if (number >= GGML_TYPE_COUNT) return std::nullopt;
  const ggml_type_traits* traits = ggml_get_type_traits(static_cast<ggml_type>(number));
  if (traits == nullptr || traits->blck_size <= 0 || traits->type_size == 0) return std::nullopt;
  return TensorType{.number = number,
                    .name = traits->type_name,
                    .block = static_cast<std::uint64_t>(traits->blck_size),
                    .block_bytes = traits->type_size,
                    .intermediate = number == GGML_TYPE_Q8_1 || number == GGML_TYPE_Q8_K};
}

std::optional<TensorType> find_tensor_type(std::string_view name) {
  for (std::uint32_t number = 0; number < GGML_TYPE_COUNT; ++number) {
    const auto type = find_tensor_type(number);
    if (type && type->name == name) return type;
  }
  return std::nullopt;
}

std::string why_no_type(std::uint32_t number) {
  const auto* former = std::ranges::find(kFormer, number, &FormerType::number);
  if (former != kFormer.end()) {
    return format_text("{} ({}, which ggml reads no longer)", number, former->name);
  }
  return format_text("{} (ggml {} knows types up to {})", number, ggml_version(),
                     GGML_TYPE_COUNT - 1);
}

}  // namespace gogrid
