#include "engine/stage_loss_cache.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/files.h"
#include "base/format.h"
#include "base/sha256.h"
#include "model/gguf_slicer.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;  // of the file, and of how a loss is measured
constexpr Bytes kMaxFile = kMiB;
constexpr std::size_t kMaxRecords = 32;
constexpr std::size_t kMaxStages = 256;
constexpr std::size_t kMaxText = 256;

struct Field {
  const char* name;
  double ModelLoss::* member;
};
constexpr std::array kFields = {
    Field{"base_perplexity", &ModelLoss::base_perplexity},
    Field{"perplexity", &ModelLoss::perplexity}, Field{"mean_kl", &ModelLoss::mean_kl},
    Field{"p99_kl", &ModelLoss::p99_kl}, Field{"same_top", &ModelLoss::same_top}};

// Of a file that anybody may have changed: throws for what is not as it was written.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  std::string text(const char* name) const {
    auto value = json_.at(name).get<std::string>();
    if (value.empty() || value.size() > kMaxText) throw std::out_of_range(name);
    return value;
  }
  template <class T>
  T whole(const char* name) const {
    if (!json_.at(name).is_number_unsigned()) throw std::out_of_range(name);
    const auto value = json_.at(name).get<std::uint64_t>();
    if (value > std::numeric_limits<T>::max()) throw std::out_of_range(name);
    return static_cast<T>(value);
  }
  double real(const char* name) const {
    const auto value = json_.at(name).get<double>();
    if (!std::isfinite(value)) throw std::out_of_range(name);
    return value;
  }

 private:
  const Json& json_;
};

StageLossRecord record_of(const Json& json) {
  StageLossRecord record;
  const Json& stages = json.at("stages");
  if (!stages.is_array() || stages.empty() || stages.size() > kMaxStages)
    throw std::out_of_range("stages");
  for (const Json& stage : stages) {
    const Reader reader(stage);
    record.stages.push_back(
        {{reader.whole<std::uint32_t>("first"), reader.whole<std::uint32_t>("last")},
         reader.text("type")});
  }
  const Reader reader(json);
  ModelLoss& loss = record.loss;
  loss.base = reader.text("base");
  loss.base_digest = reader.text("base_digest");
  loss.text_digest = reader.text("text_digest");
  loss.context = reader.whole<std::uint32_t>("context");
  loss.positions = reader.whole<std::uint64_t>("positions");
  for (const Field& field : kFields) loss.*field.member = reader.real(field.name);
  return record;
}

Json json_of(const StageLossRecord& record) {
  const ModelLoss& loss = record.loss;
  Json json{{"base", loss.base},
            {"base_digest", loss.base_digest},
            {"text_digest", loss.text_digest},
            {"context", loss.context},
            {"positions", loss.positions},
            {"stages", Json::array()}};
  for (const Field& field : kFields) json[field.name] = loss.*field.member;
  for (const SmallerRange& stage : record.stages) {
    json["stages"].push_back(
        {{"first", stage.layers.first}, {"last", stage.layers.last}, {"type", stage.type}});
  }
  return json;
}

// Slices of another version, or another way to measure, have other losses.
std::string key_of(std::string_view digest) {
  return format_text("stage loss {} of slices {} of {}", kVersion, kSliceFormatVersion, digest);
}

}  // namespace

std::vector<SmallerRange> smaller_ranges(const Plan& plan) {
  std::vector<SmallerRange> ranges;
  for (const PlannedStage& stage : plan.stages) {
    if (stage.type) ranges.push_back({stage.layers, std::string(stage.type->name)});
  }
  return ranges;
}

std::string to_string(std::span<const SmallerRange> ranges) {
  std::string text;
  for (const SmallerRange& range : ranges) {
    text += format_text("{}{} as {}", text.empty() ? "layers " : ", ", to_string(range.layers),
                        range.type);
  }
  return text;
}

std::filesystem::path StageLossCache::path_of(std::string_view digest) const {
  Sha256 hash;
  hash.update(key_of(digest));
  return folder_ / (hash.finish() + ".json");
}

std::vector<StageLossRecord> StageLossCache::list(std::string_view digest) const {
  const auto text = read_file(path_of(digest), kMaxFile);
  if (!text) return {};
  const Json json = Json::parse(*text, nullptr, false);
  try {
    if (json.at("key") != Json(key_of(digest))) return {};
    const Json& losses = json.at("losses");
    if (!losses.is_array() || losses.size() > kMaxRecords) return {};
    std::vector<StageLossRecord> records;
    for (const Json& loss : losses) records.push_back(record_of(loss));
    return records;
  } catch (const std::exception&) {
    return {};  // measured again
  }
}

std::optional<ModelLoss> StageLossCache::find(std::string_view digest,
                                              std::span<const SmallerRange> stages,
                                              std::string_view text_digest) const {
  for (StageLossRecord& record : list(digest)) {
    if (std::ranges::equal(record.stages, stages) && record.loss.text_digest == text_digest)
      return std::move(record.loss);
  }
  return std::nullopt;
}

Status StageLossCache::keep(const StageLossRecord& record) const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return file_error("create", folder_, error.value());
  const std::string& digest = record.loss.base_digest;
  std::vector<StageLossRecord> records = list(digest);
  std::erase_if(records,
                [&](const StageLossRecord& other) { return other.stages == record.stages; });
  records.insert(records.begin(), record);
  records.resize(std::min(records.size(), kMaxRecords));
  Json json{{"key", key_of(digest)}, {"losses", Json::array()}};
  for (const StageLossRecord& one : records) json["losses"].push_back(json_of(one));
  return write_file(path_of(digest),
                    json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n");
}

}  // namespace gogrid
