// Numbers of weights from one type to another, many at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "model/safetensors_file.h"

namespace gogrid {

// What an import writes its matrices as. Vectors and norms are always F32, as libllama wants them.
enum class FloatType : std::uint8_t { kF32, kF16, kBF16 };

std::string_view to_string(FloatType type);  // "f16"
std::optional<FloatType> weight_type_named(std::string_view name);
std::uint32_t ggml_type_of(FloatType type);
// The number of general.file_type.
std::uint32_t file_type_of(FloatType type);
std::size_t element_size(FloatType type);
// The type whose bytes are the same, if one is.
std::optional<FloatType> same_as(SafetensorsType type);

// Whether decode() knows the type: those of numbers with a fraction, of 32 bits and fewer.
bool is_weight(SafetensorsType type);

// out.size() elements, exactly. `in` may begin at any byte. is_weight(type).
void decode(SafetensorsType type, const std::byte* in, std::span<float> out);

// Rounds to the nearest, ties to even. False when a number came out as infinite or as no number:
// either it was, or the type's range does not hold it.
bool encode(FloatType type, std::span<const float> in, std::byte* out);

}  // namespace gogrid
