#include "model/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "base/format.h"
#include "base/text.h"
#include "model/weight_conversion.h"

namespace gogrid {
namespace {

// Wider than any published layer is long, and than any vocabulary: what a row of them takes in
// memory stays small whatever a file says.
constexpr std::uint64_t kMostInputs = 1U << 20;
constexpr std::uint64_t kMostOutputs = 1U << 22;
constexpr std::uint32_t kWordBits = 32;
constexpr std::uint32_t kMostUnitWords = 3;

// Where AWQ keeps each of eight outputs within a word.
constexpr auto kAwqPlace = std::to_array<std::uint32_t>({0, 4, 1, 5, 2, 6, 3, 7});

using Unit = std::array<std::uint32_t, kMostUnitWords>;

// Codes of 2, 4 and 8 bits fill a word; of 3 bits, 32 fill three words.
constexpr std::uint32_t unit_words(std::uint32_t bits) { return bits == 3 ? 3 : 1; }
constexpr std::uint32_t unit_codes(std::uint32_t bits) {
  return unit_words(bits) * kWordBits / bits;
}

std::uint32_t word_at(std::span<const std::byte> data, std::uint64_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, data.data() + index * sizeof word, sizeof word);
  return word;
}

constexpr std::uint32_t code_at(const Unit& unit, std::uint32_t index, std::uint32_t bits) {
  const std::uint32_t bit = index * bits;
  const std::uint32_t shift = bit % kWordBits;
  std::uint32_t code = unit[bit / kWordBits] >> shift;
  if (shift + bits > kWordBits) code |= unit[bit / kWordBits + 1] << (kWordBits - shift);
  return code & ((1U << bits) - 1);
}

// A one for each code of a unit.
constexpr Unit ones(std::uint32_t bits) {
  Unit unit{};
  for (std::uint32_t i = 0; i < unit_codes(bits); ++i) {
    unit[i * bits / kWordBits] |= 1U << (i * bits % kWordBits);
  }
  return unit;
}

// What was subtracted before the zeros were stored, as one number; borrows went the same way.
void add_ones(Unit& unit, std::uint32_t bits) {
  const Unit added = ones(bits);
  std::uint64_t carry = 0;
  for (std::uint32_t word = 0; word < unit_words(bits); ++word) {
    carry += std::uint64_t{unit[word]} + added[word];
    unit[word] = static_cast<std::uint32_t>(carry);
    carry >>= kWordBits;
  }
}

void add_swapped_ones(Unit& unit) {
  const Unit added = ones(3);
  for (std::size_t word = 0; word < unit.size(); ++word) unit[word] += added[2 - word];
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string text;
  for (const std::uint64_t dimension : shape) {
    text += format_text("{}{}", text.empty() ? "" : " x ", dimension);
  }
  return text.empty() ? "one number" : text;
}

std::unexpected<Error> corrupt(std::string_view name, std::string_view part,
                               const std::string& what) {
  return fail(ErrorCode::kCorrupt,
              format_text("[import] tensor {}.{}: {}", excerpt(name), part, what));
}

bool is_scale(SafetensorsType type) {
  return type == SafetensorsType::kF16 || type == SafetensorsType::kBF16 ||
         type == SafetensorsType::kF32;
}

// Unrolled for each width: an import's time is spent here.
template <std::uint32_t kBits>
void unpack_inputs(std::span<const std::byte> qweight, std::uint64_t outputs, std::uint64_t inputs,
                   std::span<const std::uint64_t> rows, std::uint8_t* codes) {
  constexpr std::uint32_t kWords = unit_words(kBits);
  constexpr std::uint32_t kCodes = unit_codes(kBits);
  for (std::uint64_t first = 0, word = 0; first < inputs; first += kCodes, word += kWords) {
    for (std::size_t row = 0; row < rows.size(); ++row) {
      Unit unit{};
      for (std::uint32_t i = 0; i < kWords; ++i) {
        unit[i] = word_at(qweight, (word + i) * outputs + rows[row]);
      }
      std::uint8_t* out = codes + row * inputs + first;
      for (std::uint32_t i = 0; i < kCodes; ++i) {
        out[i] = static_cast<std::uint8_t>(code_at(unit, i, kBits));
      }
    }
  }
}

void unpack_awq(std::span<const std::byte> qweight, std::uint64_t outputs, std::uint64_t inputs,
                std::span<const std::uint64_t> rows, std::uint8_t* codes) {
  for (std::uint64_t input = 0; input < inputs; ++input) {
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const std::uint32_t word = word_at(qweight, (input * outputs + rows[row]) / 8);
      codes[row * inputs + input] =
          static_cast<std::uint8_t>((word >> (4 * kAwqPlace[rows[row] % 8])) & 15U);
    }
  }
}

}  // namespace

Result<PackedMatrix> PackedMatrix::open(const PackedFormat& format, std::string_view name,
                                        const PackedTensors& tensors) {
  PackedMatrix matrix(format, name, tensors);
  GOGRID_RETURN_IF_ERROR(matrix.read_size());
  GOGRID_RETURN_IF_ERROR(matrix.check_shapes());
  GOGRID_RETURN_IF_ERROR(matrix.read_group_index());
  GOGRID_RETURN_IF_ERROR(matrix.check_scales());
  matrix.read_zero_range();
  matrix.name_ = {};
  return matrix;
}

// Inputs by qweight, outputs by scales: of both, whole words are packed.
Status PackedMatrix::read_size() {
  for (const auto& [part, tensor] : {std::pair{"qweight", &tensors_.qweight},
                                     {"scales", &tensors_.scales},
                                     {"qzeros", &tensors_.qzeros}}) {
    if (tensor->info == nullptr) return corrupt(name_, part, "expected it beside qweight: absent");
    if (tensor->info->shape.size() != 2) {
      return corrupt(name_, part, "expected two dimensions: " + shape_text(tensor->info->shape));
    }
  }
  const SafetensorsTensor& qweight = *tensors_.qweight.info;
  const std::uint64_t rows = qweight.shape[0];
  outputs_ = tensors_.scales.info->shape[1];
  const bool awq = format_.method == PackingMethod::kAwq;
  const std::uint32_t words = unit_words(format_.bits);
  const std::uint32_t codes = unit_codes(format_.bits);
  if (rows == 0 || rows > kMostInputs || (!awq && rows % words != 0)) {
    return corrupt(name_, "qweight",
                   format_text("expected 1 to {} rows{}: {}", kMostInputs,
                               words == 1 ? "" : ", three for 32 codes", rows));
  }
  inputs_ = awq ? rows : rows / words * codes;
  if (inputs_ > kMostInputs) {
    return corrupt(name_, "qweight",
                   format_text("expected at most {} inputs: {}", kMostInputs, inputs_));
  }
  if (outputs_ == 0 || outputs_ > kMostOutputs || outputs_ % codes != 0) {
    return corrupt(name_, "scales",
                   format_text("expected a multiple of {} outputs, up to {}: {}", codes,
                               kMostOutputs, outputs_));
  }
  const std::uint64_t size = format_.group_size == 0 ? inputs_ : format_.group_size;
  groups_ = (inputs_ + size - 1) / size;
  return {};
}

Status PackedMatrix::check_shape(std::string_view part, const TensorView& tensor,
                                 std::initializer_list<std::uint64_t> shape) const {
  const bool scales = part == "scales";
  const bool typed =
      scales ? is_scale(tensor.info->type) : tensor.info->type == SafetensorsType::kI32;
  if (typed && std::ranges::equal(tensor.info->shape, shape)) return {};
  return corrupt(name_, part,
                 format_text("expected {} of {} for {}: {} of {}",
                             shape_text(std::span(shape.begin(), shape.size())),
                             scales ? "F16" : "I32", to_string(format_),
                             shape_text(tensor.info->shape), to_string(tensor.info->type)));
}

Status PackedMatrix::check_shapes() const {
  const std::uint64_t packed_outputs =
      outputs_ / unit_codes(format_.bits) * unit_words(format_.bits);
  const std::uint64_t packed_inputs = inputs_ / unit_codes(format_.bits) * unit_words(format_.bits);
  if (format_.method == PackingMethod::kAwq) {
    GOGRID_RETURN_IF_ERROR(check_shape("qweight", tensors_.qweight, {inputs_, packed_outputs}));
  } else {
    GOGRID_RETURN_IF_ERROR(check_shape("qweight", tensors_.qweight, {packed_inputs, outputs_}));
  }
  GOGRID_RETURN_IF_ERROR(check_shape("qzeros", tensors_.qzeros, {groups_, packed_outputs}));
  GOGRID_RETURN_IF_ERROR(check_shape("scales", tensors_.scales, {groups_, outputs_}));
  if (tensors_.g_idx.info != nullptr) {
    GOGRID_RETURN_IF_ERROR(check_shape("g_idx", tensors_.g_idx, {inputs_}));
  }
  return {};
}

Status PackedMatrix::read_group_index() {
  run_ = format_.group_size == 0 ? inputs_ : format_.group_size;
  if (tensors_.g_idx.info == nullptr) {
    if (!format_.act_order) return {};
    return corrupt(name_, "g_idx", "expected it, since the order is act-order: absent");
  }
  std::vector<std::uint32_t> index(inputs_);
  bool in_order = true;
  for (std::uint64_t input = 0; input < inputs_; ++input) {
    index[input] = word_at(tensors_.g_idx.data, input);
    if (index[input] >= groups_) {
      return corrupt(name_, "g_idx",
                     format_text("expected groups 0 to {}: {} at {}", groups_ - 1,
                                 static_cast<std::int32_t>(index[input]), input));
    }
    in_order = in_order && index[input] == input / run_;
  }
  if (in_order) return {};
  run_ = 0;
  group_of_ = std::move(index);
  return {};
}

Status PackedMatrix::check_scales() const {
  constexpr std::size_t kStep = 1024;
  std::array<float, kStep> values{};
  const SafetensorsType type = tensors_.scales.info->type;
  const std::uint64_t count = groups_ * outputs_;
  for (std::uint64_t at = 0; at < count; at += kStep) {
    const auto part = std::span(values).first(std::min<std::uint64_t>(kStep, count - at));
    decode(type, tensors_.scales.data.data() + at * element_size(type), part);
    if (!std::ranges::all_of(part, [](float value) { return std::isfinite(value); })) {
      return corrupt(name_, "scales", "expected finite scales: one is infinite or no number");
    }
  }
  return {};
}

bool PackedMatrix::all_zeros_are(std::uint32_t zero, StoredZeros stored) const {
  for (std::uint64_t group = 0; group < groups_; ++group) {
    for (std::uint64_t output = 0; output < outputs_; ++output) {
      if (zero_at(group, output, stored) != zero) return false;
    }
  }
  return true;
}

// Some files say "gptq" and store plain zeros, and of 3 bits there are two ways of "gptq". What is
// symmetric gives itself away: its zeros are the middle code, read in one of the ways.
void PackedMatrix::read_zero_range() {
  const std::uint32_t middle = (format_.highest_code() + 1) / 2;
  zeros_ = format_.zeros;
  if (format_.symmetric) {
    for (const StoredZeros stored : {format_.zeros, StoredZeros::kLessOne, StoredZeros::kPlain,
                                     StoredZeros::kLessOneSwapped}) {
      if (stored == StoredZeros::kLessOneSwapped && format_.bits != 3) continue;
      if (!all_zeros_are(middle, stored)) continue;
      zeros_ = stored;
      least_zero_ = most_zero_ = middle;
      return;
    }
  }
  least_zero_ = format_.highest_code();
  for (std::uint64_t group = 0; group < groups_; ++group) {
    for (std::uint64_t output = 0; output < outputs_; ++output) {
      const std::uint32_t zero = zero_at(group, output, zeros_);
      least_zero_ = std::min(least_zero_, zero);
      most_zero_ = std::max(most_zero_, zero);
    }
  }
}

std::uint32_t PackedMatrix::zero_at(std::uint64_t group, std::uint64_t output,
                                    StoredZeros stored) const {
  const std::uint32_t bits = format_.bits;
  const std::uint32_t words = unit_words(bits);
  const std::uint32_t codes = unit_codes(bits);
  const std::uint64_t first = (group * (outputs_ / codes) + output / codes) * words;
  Unit unit{};
  for (std::uint32_t i = 0; i < words; ++i) unit[i] = word_at(tensors_.qzeros.data, first + i);
  if (stored == StoredZeros::kLessOne) add_ones(unit, bits);
  if (stored == StoredZeros::kLessOneSwapped) add_swapped_ones(unit);
  const auto place = static_cast<std::uint32_t>(output % codes);
  return code_at(unit, format_.method == PackingMethod::kAwq ? kAwqPlace[place] : place, bits);
}

float PackedMatrix::scale_at(std::uint64_t group, std::uint64_t output) const {
  const SafetensorsType type = tensors_.scales.info->type;
  float scale = 0;
  decode(type, tensors_.scales.data.data() + (group * outputs_ + output) * element_size(type),
         std::span(&scale, 1));
  return scale;
}

void PackedMatrix::unpack(std::span<const std::uint64_t> rows,
                          std::span<std::uint8_t> codes) const {
  const std::span<const std::byte> qweight = tensors_.qweight.data;
  if (format_.method == PackingMethod::kAwq) {
    return unpack_awq(qweight, outputs_, inputs_, rows, codes.data());
  }
  switch (format_.bits) {
    case 2:
      return unpack_inputs<2>(qweight, outputs_, inputs_, rows, codes.data());
    case 3:
      return unpack_inputs<3>(qweight, outputs_, inputs_, rows, codes.data());
    case 4:
      return unpack_inputs<4>(qweight, outputs_, inputs_, rows, codes.data());
    default:
      return unpack_inputs<8>(qweight, outputs_, inputs_, rows, codes.data());
  }
}

void PackedMatrix::read_groups(std::uint64_t row, RowGroups& groups) const {
  groups.scales.resize(groups_);
  groups.zeros.resize(groups_);
  for (std::uint64_t group = 0; group < groups_; ++group) {
    groups.scales[group] = scale_at(group, row);
    groups.zeros[group] = static_cast<float>(zero_at(group, row, zeros_));
  }
}

}  // namespace gogrid
