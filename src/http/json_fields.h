// Fields of a JSON object with a type and a range; errors name the field. For .cpp files of http/
// only.
#pragma once

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/result.h"

namespace gogrid {

inline std::unexpected<Error> bad_field(std::string_view name, const std::string& expected,
                                        const std::string& came) {
  return fail(ErrorCode::kInvalidArgument,
              std::string(name) + ": expected " + expected + ", got " + came, std::string(name));
}

// A value as an error message shows it: short, and in ASCII.
inline std::string brief(const nlohmann::json& value) {
  constexpr std::size_t kMost = 60;
  constexpr std::size_t kFew = 8;
  if (value.is_structured() && value.size() > kFew) {
    return (value.is_array() ? "an array of " : "an object of ") + std::to_string(value.size());
  }
  const auto dump = [](const nlohmann::json& json) {
    return json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  };
  const bool long_string = value.is_string() && value.get_ref<const std::string&>().size() > kMost;
  std::string text =
      long_string ? dump(value.get_ref<const std::string&>().substr(0, kMost)) : dump(value);
  return text.size() <= kMost ? text : text.substr(0, kMost - 3) + "...";
}

// Absent and null are the same: not given.
inline const nlohmann::json* given(const nlohmann::json& object, const char* name) {
  const auto field = object.find(name);
  return field == object.end() || field->is_null() ? nullptr : &*field;
}

template <class Number>
Result<std::optional<Number>> number_field(const nlohmann::json& object, const char* name,
                                           double low, double high) {
  const nlohmann::json* field = given(object, name);
  if (field == nullptr) return std::optional<Number>();
  // Limits of whole numbers print as such: 1, not 1.0.
  using Printed = std::conditional_t<std::is_integral_v<Number>, std::int64_t, double>;
  const auto range = (std::is_integral_v<Number> ? "a whole number " : "a number ") +
                     brief(static_cast<Printed>(low)) + ".." + brief(static_cast<Printed>(high));
  const bool right_type =
      std::is_integral_v<Number> ? field->is_number_integer() : field->is_number();
  if (!right_type) return bad_field(name, range, brief(*field));
  const double value = field->get<double>();
  if (!std::isfinite(value) || value < low || value > high)
    return bad_field(name, range, brief(*field));
  return std::optional<Number>(field->get<Number>());
}

inline Result<bool> bool_field(const nlohmann::json& object, const char* name, bool otherwise) {
  const nlohmann::json* field = given(object, name);
  if (field == nullptr) return otherwise;
  if (!field->is_boolean()) return bad_field(name, "true or false", brief(*field));
  return field->get<bool>();
}

}  // namespace gogrid
