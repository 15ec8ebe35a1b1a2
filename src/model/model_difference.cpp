#include "model/model_difference.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/format.h"
#include "model/gguf_parser.h"
#include "model/model_description.h"

namespace gogrid {
namespace {

constexpr const char* kAbsent = "absent";

constexpr std::array<std::string_view, 13> kElementNames{
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

// The first place at which two arrays of one type differ; empty: one is the beginning of the other.
std::optional<std::size_t> first_difference(const GgufArray& a, const GgufArray& b) {
  if (a.type == GgufType::kString) {
    const auto ours = a.strings();
    const auto theirs = b.strings();
    const auto [at, other] = std::ranges::mismatch(ours, theirs);
    if (at == ours.end() || other == theirs.end()) return std::nullopt;
    return static_cast<std::size_t>(at - ours.begin());
  }
  const auto [at, other] = std::ranges::mismatch(a.bytes, b.bytes);
  if (at == a.bytes.end() || other == b.bytes.end()) return std::nullopt;
  return static_cast<std::size_t>(at - a.bytes.begin()) / stored_size(a.type);
}

std::string element_text(const GgufArray& array, std::size_t at) {
  if (array.type == GgufType::kString) return shown_text(array.strings()[at], 24);
  const auto floats = array.floats();
  return floats.empty() ? std::to_string(array.integers()[at]) : format_text("{}", floats[at]);
}

std::string array_text(const GgufArray& array, std::optional<std::size_t> at = std::nullopt) {
  std::string text =
      format_text("{} {}{}", array.count, kElementNames[static_cast<std::size_t>(array.type)],
                  array.count == 1 ? "" : "s");
  if (at) text += format_text(", [{}] {}", *at, element_text(array, *at));
  return text;
}

std::string scalar_text(const GgufValue& value) {
  return std::visit(
      [](const auto& held) -> std::string {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, std::string_view>) {
          return format_text("\"{}\"", shown_text(held));
        } else if constexpr (std::is_same_v<Held, GgufArray>) {
          return array_text(held);
        } else {
          return format_text("{}", held);
        }
      },
      value.value);
}

// Two numbers that read the same may have been stored in different types.
std::string with_type(const GgufValue& value, std::string text) {
  return format_text("{} ({})", text, kElementNames[static_cast<std::size_t>(value.type)]);
}

Difference compare(std::string_view key, const GgufValue& left, const GgufValue& right) {
  Difference difference{
      .name = std::string(key), .left = scalar_text(left), .right = scalar_text(right)};
  const auto* a = std::get_if<GgufArray>(&left.value);
  const auto* b = std::get_if<GgufArray>(&right.value);
  if (a != nullptr && b != nullptr && a->type == b->type) {
    const auto at = first_difference(*a, *b);
    difference.left = array_text(*a, at);
    difference.right = array_text(*b, at);
  } else if (left.type != right.type) {
    difference.left = with_type(left, std::move(difference.left));
    difference.right = with_type(right, std::move(difference.right));
  }
  return difference;
}

bool same(const GgufValue& a, const GgufValue& b) {
  return a.type == b.type && std::ranges::equal(a.raw, b.raw);
}

std::string tensor_text(const GgufTensor& tensor) {
  return format_text("{} {}, {} bytes", tensor.type_name, shape_text(tensor), tensor.size);
}

bool same(const GgufTensor& a, const GgufTensor& b) {
  return a.type == b.type && a.n_dims == b.n_dims && a.shape == b.shape && a.size == b.size;
}

void compare_metadata(const GgufFile& left, const GgufFile& right, ModelDifference& out) {
  for (const auto& [key, value] : left.metadata()) {
    const GgufValue* other = right.find(key);
    if (other == nullptr) {
      out.metadata.push_back({std::string(key), scalar_text(value), kAbsent});
    } else if (!same(value, *other)) {
      out.metadata.push_back(compare(key, value, *other));
    }
  }
  for (const auto& [key, value] : right.metadata()) {
    if (left.find(key) == nullptr) {
      out.metadata.push_back({std::string(key), kAbsent, scalar_text(value)});
    }
  }
}

void compare_tensors(const GgufFile& left, const GgufFile& right, ModelDifference& out) {
  for (const GgufTensor& tensor : left.tensors()) {
    const GgufTensor* other = right.tensor(tensor.name);
    if (other != nullptr && same(tensor, *other)) continue;
    out.tensors.push_back({std::string(tensor.name), tensor_text(tensor),
                           other == nullptr ? kAbsent : tensor_text(*other)});
  }
  for (const GgufTensor& tensor : right.tensors()) {
    if (left.tensor(tensor.name) == nullptr) {
      out.tensors.push_back({std::string(tensor.name), kAbsent, tensor_text(tensor)});
    }
  }
}

}  // namespace

ModelDifference compare_models(const GgufFile& left, const GgufFile& right) {
  ModelDifference difference;
  compare_metadata(left, right, difference);
  compare_tensors(left, right, difference);
  return difference;
}

}  // namespace gogrid
