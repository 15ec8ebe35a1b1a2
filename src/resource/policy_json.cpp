#include "resource/policy_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

// "devices", an id, a name.
constexpr int kMaxDepth = 3;

Status bad(const std::string& name, const std::string& came) {
  const std::string shown = name.substr(0, 80);
  return fail(ErrorCode::kInvalidArgument,
              "[policy_json] " + (shown.empty() ? "the policy" : shown) +
                  ": expected a number, a text, true, false, null or an object of them, got " +
                  came,
              shown);
}

Result<PolicyValue> value_of(const Json& json, const std::string& name) {
  switch (json.type()) {
    case Json::value_t::null:
      return PolicyValue(std::monostate{});
    case Json::value_t::boolean:
      return PolicyValue(json.get<bool>());
    case Json::value_t::number_integer:
      return PolicyValue(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      constexpr auto kMost = std::uint64_t{1} << 62;
      return PolicyValue(static_cast<std::int64_t>(std::min(number, kMost)));
    }
    case Json::value_t::number_float:
      return PolicyValue(json.get<double>());
    case Json::value_t::string:
      return PolicyValue(json.get<std::string>());
    default:
      return std::unexpected(bad(name, json.is_array() ? "an array" : "nothing of these").error());
  }
}

Status flatten(const Json& object, const std::string& prefix, int depth,
               std::vector<PolicySetting>& settings) {
  for (const auto& [key, json] : object.items()) {
    const std::string name = prefix + key;
    if (json.is_object()) {
      if (depth == kMaxDepth) return bad(name, "an object within objects");
      GOGRID_RETURN_IF_ERROR(flatten(json, name + '.', depth + 1, settings));
      continue;
    }
    GOGRID_ASSIGN_OR_RETURN(PolicyValue value, value_of(json, name));
    settings.push_back({name, std::move(value)});
  }
  return {};
}

Json json_of(const PolicyValue& value) {
  struct Visitor {
    Json operator()(std::monostate) const { return nullptr; }
    Json operator()(bool flag) const { return flag; }
    Json operator()(std::int64_t number) const { return number; }
    Json operator()(double number) const { return number; }
    Json operator()(const std::string& text) const { return text; }
  };
  return std::visit(Visitor{}, value);
}

// Where "pause.cpu" stands, and "devices.ID.max_compute", whose id may have dots.
Json& place_of(Json& root, const std::string& name) {
  const std::size_t first = name.find('.');
  const std::size_t last = name.rfind('.');
  if (first == std::string::npos) return root[name];
  Json& outer = root[name.substr(0, first)];
  if (!outer.is_object()) outer = Json::object();
  if (first == last) return outer[name.substr(first + 1)];
  return outer[name.substr(first + 1, last - first - 1)][name.substr(last + 1)];
}

}  // namespace

Result<std::vector<PolicySetting>> parse_policy_json(std::string_view text) {
  if (text.size() > kMaxPolicyText) {
    return fail(ErrorCode::kTooLarge, "[policy_json] at most " + std::to_string(kMaxPolicyText) +
                                          " bytes expected: " + std::to_string(text.size()));
  }
  const Json root = Json::parse(text, nullptr, false);
  if (root.is_discarded()) {
    return fail(ErrorCode::kInvalidArgument, "[policy_json] JSON expected: it is malformed");
  }
  if (!root.is_object()) {
    return fail(ErrorCode::kInvalidArgument,
                R"([policy_json] an object expected, as {"max_compute": 0.5})");
  }
  std::vector<PolicySetting> settings;
  GOGRID_RETURN_IF_ERROR(flatten(root, "", 1, settings));
  return settings;
}

std::string policy_json(std::span<const PolicySetting> settings) {
  Json root = Json::object();
  for (const auto& [name, value] : settings) place_of(root, name) = json_of(value);
  return root.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace gogrid
