#include "model/packed_format.h"

#include <algorithm>
#include <array>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

constexpr auto kGptqBits = std::to_array<std::uint32_t>({2, 3, 4, 8});

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

// The first of two names of a field that is there; the first when none is.
std::string_view either(const HfConfig& fields, std::string_view name, std::string_view older) {
  return !fields.has(name) && fields.has(older) ? older : name;
}

std::uint32_t group_size_of(const HfConfig& fields, std::string_view key) {
  if (!fields.has(key)) fields.refuse(key, "expected -1 or a size: absent");
  const auto size = fields.maybe_id(key);  // below 0, by which the tools mean a row: none
  if (size == 0U) fields.refuse(key, "expected -1 or a size from 1: 0");
  return size.value_or(0);
}

void refuse_unknown(const HfConfig& fields, std::string_view key, const std::string& expected,
                    const std::string& came) {
  fields.refuse(key, format_text("expected {}: {}", expected, came), ErrorCode::kUnsupported);
}

StoredZeros gptq_zeros(const HfConfig& fields, std::uint32_t bits) {
  const std::string_view key = either(fields, "checkpoint_format", "format");
  const std::string format = lower(fields.text_or(key, "gptq"));
  if (format == "gptq_v2") return StoredZeros::kPlain;
  if (format != "gptq") refuse_unknown(fields, key, "gptq or gptq_v2", excerpt(format));
  if (bits != 3 || !fields.is_object("meta")) return StoredZeros::kLessOne;
  const HfConfig meta = fields.object("meta");
  std::string writer;
  // One name, or several.
  if (meta.is_array("quantizer")) {
    for (const std::string& name : meta.texts("quantizer", 16)) writer += name;
  } else {
    writer = meta.text_or("quantizer", "");
  }
  return lower(writer).contains("gptqmodel") ? StoredZeros::kLessOneSwapped : StoredZeros::kLessOne;
}

std::string stem_of(const HfConfig& fields) {
  std::string stem = fields.text_or("model_file_base_name", "");
  if (stem.find('/') != std::string::npos || stem.starts_with('.')) {
    fields.refuse("model_file_base_name", "expected the name of a file: " + excerpt(stem));
    stem.clear();
  }
  return stem == "model" ? "" : stem;
}

PackedFormat gptq_format(const HfConfig& fields) {
  PackedFormat format;
  format.method = PackingMethod::kGptq;
  format.bits = fields.count("bits");
  if (!std::ranges::contains(kGptqBits, format.bits)) {
    refuse_unknown(fields, "bits", "2, 3, 4 or 8", std::to_string(format.bits));
  }
  if (fields.flag_or("is_marlin_format", false)) {
    refuse_unknown(fields, "is_marlin_format", "false", "true");
  }
  // Other widths and groups for some tensors: `bits` would be wrong of them.
  if (fields.is_object("dynamic") && !fields.object("dynamic").keys().empty()) {
    refuse_unknown(fields, "dynamic", "one way of packing for all tensors", "overrides of it");
  }
  if (const std::string type = fields.text_or("pack_dtype", "int32"); type != "int32") {
    refuse_unknown(fields, "pack_dtype", "int32", excerpt(type));
  }
  format.group_size = group_size_of(fields, "group_size");
  format.symmetric = fields.flag_or("sym", false);
  format.act_order = fields.flag_or("desc_act", false);
  format.zeros = gptq_zeros(fields, format.bits);
  format.stem = stem_of(fields);
  return format;
}

PackedFormat awq_format(const HfConfig& fields) {
  PackedFormat format;
  format.method = PackingMethod::kAwq;
  const std::string_view bits = either(fields, "bits", "w_bit");
  format.bits = fields.count(bits);
  if (format.bits != 4) refuse_unknown(fields, bits, "4", std::to_string(format.bits));
  if (const std::string version = lower(fields.text_or("version", "gemm")); version != "gemm") {
    refuse_unknown(fields, "version", "gemm", excerpt(version));
  }
  if (!fields.flag_or("zero_point", true)) {
    refuse_unknown(fields, "zero_point", "true", "false");
  }
  format.group_size = group_size_of(fields, either(fields, "group_size", "q_group_size"));
  format.zeros = StoredZeros::kPlain;
  return format;
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

}  // namespace

std::string to_string(const PackedFormat& format) {
  const std::string groups =
      format.group_size == 0 ? "a group a row" : format_text("groups of {}", format.group_size);
  return format_text("{} {} bit, {}{}", format.method == PackingMethod::kGptq ? "gptq" : "awq",
                     format.bits, groups, format.act_order ? ", act-order" : "");
}

Result<PackedFormat> packed_format_of(const HfConfig& fields, std::string_view otherwise) {
  const std::string method = lower(fields.text_or("quant_method", otherwise));
  GOGRID_RETURN_IF_ERROR(fields.status());
  if (method != "gptq" && method != "awq") {
    return fail(
        ErrorCode::kUnsupported,
        format_text(
            "[import] expected weights that are not quantized, or by gptq, awq, "
            "fp8 or compressed-tensors: they are by {}; import the original, and quantize that",
            method.empty() ? "an unnamed method" : excerpt(method)));
  }
  PackedFormat format = method == "gptq" ? gptq_format(fields) : awq_format(fields);
  GOGRID_RETURN_IF_ERROR(fields.status());
  return format;
}

Result<std::optional<PackedFormat>> read_packed_format(const fs::path& folder,
                                                       const HfConfig& config) {
  if (config.has("quantization_config")) {
    return packed_format_of(config.object("quantization_config"), "");
  }
  for (const auto& [file, method] :
       {std::pair{"quantize_config.json", "gptq"}, std::pair{"quant_config.json", "awq"}}) {
    if (!is_there(folder / file)) continue;
    GOGRID_ASSIGN_OR_RETURN(const HfConfig fields, HfConfig::read(folder, file));
    return packed_format_of(fields, method);
  }
  return std::nullopt;
}

}  // namespace gogrid
