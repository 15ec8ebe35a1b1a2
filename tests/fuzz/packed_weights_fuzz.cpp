// A line of JSON, what a folder says of how its weights are packed or scaled, and then a
// safetensors file with the parts of a matrix "w". What is accepted must be safe to read, and adds
// up.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "model/bounded_json.h"
#include "model/packed_conversion.h"
#include "model/packed_format.h"
#include "model/packed_matrix.h"
#include "model/safetensors_file.h"
#include "model/scaled_format.h"
#include "model/scaled_matrix.h"

namespace {

using namespace gogrid;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "packed_weights_fuzz: %s\n", what);
  std::abort();
}

// More weights than this tell nothing new, and take time.
constexpr std::uint64_t kMostWeights = 1U << 16;

void pack_all(const PackedMatrix& matrix) {
  const std::uint32_t type = natural_type(matrix);
  RowPacker packer(matrix, type);
  std::vector<std::uint64_t> rows(matrix.outputs());
  std::iota(rows.begin(), rows.end(), 0U);
  std::vector<std::byte> out(rows.size() * packer.row_bytes());
  const auto error = packer.pack(rows, out);
  if (error) {
    require(std::isfinite(error->relative()) && error->relative() >= 0, "an error is a number");
  } else {
    require(error.error().message.find("--type bf16") != std::string::npos, "a refusal helps");
  }
}

void check(const PackedMatrix& matrix) {
  require(matrix.groups() >= 1, "there are groups");
  require(matrix.most_zero() <= matrix.format().highest_code(), "zeros are codes");
  require(matrix.least_zero() <= matrix.most_zero(), "there are zeros");
  for (std::uint64_t input = 0; input < matrix.inputs(); ++input) {
    require(matrix.group_of(input) < matrix.groups(), "every input is of a group");
  }
  if (matrix.inputs() * matrix.outputs() <= kMostWeights) pack_all(matrix);
}

TensorView view_of(const SafetensorsFile& file, const char* name) {
  const SafetensorsTensor* tensor = file.tensor(name);
  return tensor == nullptr ? TensorView{} : TensorView{tensor, file.data(*tensor)};
}

void check_packed(const PackedFormat& format, const SafetensorsFile& file) {
  const auto matrix = PackedMatrix::open(format, "w",
                                         {view_of(file, "w.qweight"), view_of(file, "w.qzeros"),
                                          view_of(file, "w.scales"), view_of(file, "w.g_idx")});
  if (matrix) {
    check(*matrix);
  } else {
    require(matrix.error().message.starts_with("[import] tensor \"w\"."), "a refusal says where");
  }
}

// Read at once and one by one, weights are the same.
void check(const ScaledMatrix& matrix) {
  const std::uint64_t count = matrix.rows() * matrix.columns();
  require(count > 0, "there are weights");
  if (count > kMostWeights) return;
  std::vector<float> whole(count);
  matrix.read(0, whole);
  for (std::uint64_t i = 0; i < count; ++i) {
    float one = 0;
    matrix.read(i, std::span(&one, 1));
    require(one == whole[i] || (std::isnan(one) && std::isnan(whole[i])), "weights are the same");
  }
}

void check_scaled(const ScaledFormat& format, const SafetensorsFile& file) {
  require(!format.block || (format.block->rows >= 1 && format.block->columns >= 1),
          "blocks have weights");
  const ScaledTensors tensors{view_of(file, "w.weight"), view_of(file, "w.weight_scale"),
                              view_of(file, "w.weight_scale_inv")};
  if (tensors.weight.info == nullptr) return;
  const auto matrix = ScaledMatrix::open(format, "w", tensors);
  if (matrix) {
    check(*matrix);
  } else {
    require(matrix.error().message.starts_with("[import] tensor \"w\".weight"),
            "a refusal says where");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view whole(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(whole.find('\n'), size);
  auto json = parse_json(whole.substr(0, end), "fuzz", {.size = 4096, .depth = 8, .values = 256});
  if (!json || !json->is_object()) return 0;
  const auto fields = HfConfig::of(*std::move(json), "fuzz");
  const auto scaled = scaled_format_of(*fields);
  const auto packed = packed_format_of(*fields, "gptq");
  if (!scaled || (!*scaled && !packed)) {
    const Error& error = scaled ? packed.error() : scaled.error();
    require(error.message.starts_with("[import] "), "a refusal says where");
    return 0;
  }
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(std::min(end + 1, size));
  const auto file = SafetensorsFile::parse(bytes, "fuzz");
  if (!file) return 0;
  if (*scaled) {
    check_scaled(**scaled, *file);
  } else {
    check_packed(*packed, *file);
  }
  return 0;
}
