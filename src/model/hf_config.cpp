#include "model/hf_config.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/text.h"
#include "base/units.h"
#include "model/bounded_json.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

constexpr JsonLimits kLimits{.size = 4 * kMiB, .depth = 32, .values = 200'000};
constexpr std::uint64_t kMostCount = std::numeric_limits<std::int32_t>::max();

bool is_finite_number(const Json& value) {
  return value.is_number() && std::isfinite(static_cast<float>(value.get<double>()));
}

}  // namespace

struct HfConfig::Shared {
  std::string where;
  std::optional<Error> fault;
};

Result<HfConfig> HfConfig::read(const std::filesystem::path& folder, std::string_view file) {
  const std::filesystem::path path = folder / file;
  GOGRID_ASSIGN_OR_RETURN(Json json, read_json(path, kLimits));
  return of(std::move(json), path.string());
}

Result<HfConfig> HfConfig::of(Json json, std::string where) {
  if (!json.is_object()) {
    return fail(ErrorCode::kCorrupt,
                format_text("[import] {}: expected an object: {}", where, json.type_name()));
  }
  return HfConfig(std::make_shared<const Json>(std::move(json)),
                  std::make_shared<Shared>(Shared{std::move(where), std::nullopt}));
}

const Json* HfConfig::find(std::string_view key) const {
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

void HfConfig::refuse(std::string_view key, std::string_view what, ErrorCode code) const {
  if (shared_->fault) return;
  shared_->fault =
      Error{code, format_text("[import] {}: {}: {}", shared_->where, key, what), {}, {}};
}

void HfConfig::expected(std::string_view key, std::string_view what) const {
  const Json* value = find(key);
  refuse(key, format_text("expected {}: {}", what,
                          value == nullptr ? "absent" : excerpt(value->dump())));
}

Status HfConfig::status() const {
  if (shared_->fault) return std::unexpected(*shared_->fault);
  return {};
}

std::string HfConfig::architecture() const {
  // A model with several towers names the one that writes text in its own object.
  const HfConfig text = object("text_config");
  for (const HfConfig* config : {&text, this}) {
    const std::vector<std::string> names = config->texts("architectures", 16);
    if (!names.empty()) return names.front();
  }
  return {};
}

bool HfConfig::has(std::string_view key) const { return find(key) != nullptr; }

bool HfConfig::is_object(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr && value->is_object();
}

bool HfConfig::is_array(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr && value->is_array();
}

std::vector<std::string> HfConfig::keys() const {
  std::vector<std::string> all;
  for (const auto& [key, value] : json_->items()) all.push_back(key);
  return all;
}

std::optional<std::uint32_t> HfConfig::maybe_id(std::string_view key) const {
  const Json* value = find(key);
  if (value != nullptr && value->is_number_integer() && value->get<std::int64_t>() < 0) {
    return std::nullopt;
  }
  return maybe_count(key);
}

std::optional<std::uint32_t> HfConfig::maybe_count(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_unsigned() || value->get<std::uint64_t>() > kMostCount) {
    expected(key, format_text("a whole number up to {}", kMostCount));
    return std::nullopt;
  }
  return value->get<std::uint32_t>();
}

std::uint32_t HfConfig::count(std::string_view key) const {
  const auto value = maybe_count(key);
  if (value && *value > 0) return *value;
  expected(key, format_text("a whole number from 1 to {}", kMostCount));
  return 1;
}

std::uint32_t HfConfig::count_or(std::string_view key, std::uint32_t otherwise) const {
  return has(key) ? count(key) : otherwise;
}

std::optional<float> HfConfig::maybe_number(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (is_finite_number(*value)) return static_cast<float>(value->get<double>());
  expected(key, "a number");
  return std::nullopt;
}

float HfConfig::number(std::string_view key) const {
  const auto value = maybe_number(key);
  if (value) return *value;
  expected(key, "a number");
  return 1;
}

bool HfConfig::flag_or(std::string_view key, bool otherwise) const {
  const Json* value = find(key);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  expected(key, "true or false");
  return otherwise;
}

std::string HfConfig::text_or(std::string_view key, std::string_view otherwise) const {
  const Json* value = find(key);
  if (value == nullptr) return std::string(otherwise);
  if (value->is_string()) return value->get<std::string>();
  expected(key, "a text");
  return std::string(otherwise);
}

std::vector<float> HfConfig::numbers(std::string_view key, std::size_t most) const {
  const Json* value = find(key);
  std::vector<float> all;
  if (value == nullptr) return all;
  if (!value->is_array() || value->size() > most) {
    expected(key, format_text("at most {} numbers", most));
    return all;
  }
  for (const Json& one : *value) {
    if (is_finite_number(one)) {
      all.push_back(static_cast<float>(one.get<double>()));
    } else {
      expected(key, "numbers");
    }
  }
  return all;
}

std::vector<std::string> HfConfig::texts(std::string_view key, std::size_t most) const {
  const Json* value = find(key);
  std::vector<std::string> all;
  if (value == nullptr) return all;
  if (!value->is_array() || value->size() > most) {
    expected(key, format_text("at most {} texts", most));
    return all;
  }
  for (const Json& one : *value) {
    if (one.is_string()) {
      all.push_back(one.get<std::string>());
    } else {
      expected(key, "texts");
    }
  }
  return all;
}

std::vector<HfConfig> HfConfig::objects(std::string_view key, std::size_t most) const {
  const Json* value = find(key);
  std::vector<HfConfig> all;
  if (value == nullptr) return all;
  if (!value->is_array() || value->size() > most) {
    expected(key, format_text("at most {} objects", most));
    return all;
  }
  for (const Json& one : *value) {
    if (one.is_object()) {
      all.push_back(HfConfig(std::make_shared<const Json>(one), shared_));
    } else {
      expected(key, "objects");
    }
  }
  return all;
}

HfConfig HfConfig::object(std::string_view key) const {
  const Json* value = find(key);
  if (value != nullptr && !value->is_object()) expected(key, "an object");
  const bool usable = value != nullptr && value->is_object();
  return {std::make_shared<const Json>(usable ? *value : Json::object()), shared_};
}

HfConfig HfConfig::with_object(std::string_view key) const {
  const HfConfig inner = object(key);
  Json merged = *json_;
  merged.update(*inner.json_);
  return {std::make_shared<const Json>(std::move(merged)), shared_};
}

}  // namespace gogrid
