#include "http/compatibility_json.h"

#include <nlohmann/json.hpp>

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

// What is not known is null, and `why` says so.
Json json_of(const std::optional<Prediction>& predicted) {
  const auto rate = [&](double Prediction::* member) {
    return predicted ? Json((*predicted).*member) : Json();
  };
  return {{"decode_tokens_per_s", rate(&Prediction::decode_tokens_per_s)},
          {"prefill_tokens_per_s", rate(&Prediction::prefill_tokens_per_s)}};
}

Json json_of(const SetVerdict& verdict) {
  return {{"devices", verdict.devices},
          {"fits", verdict.fits},
          {"short_bytes", verdict.short_bytes},
          {"max_context", verdict.max_context},
          {"max_parallel", verdict.max_parallel},
          {"predicted", json_of(verdict.predicted)},
          {"why", verdict.why}};
}

Json json_of(const std::optional<PublishedLoss>& loss) {
  if (!loss) return {};
  return {{"added_perplexity", loss->added_perplexity},
          {"measured_on", loss->model},
          {"source", loss->source}};
}

Json json_of(const FittingType& type) {
  return {{"type", type.type}, {"bytes", type.bytes}, {"loss", json_of(type.loss)}};
}

Json json_of(const SmallerStage& stage) {
  return {{"device", stage.device},
          {"layers", {stage.layers.first, stage.layers.last}},
          {"type", stage.type.name}};
}

}  // namespace

std::string compatibility_json(const CompatibilityReport& report) {
  const bool asked = report.context != 0;  // else it cannot even be asked
  Json json{{"model", report.model},
            {"context", asked ? Json(report.context) : Json()},
            {"parallel", asked ? Json(report.parallel) : Json()},
            {"runs", report.runs()}};
  json["verdicts"] = Json::array();
  for (const SetVerdict& verdict : report.verdicts) json["verdicts"].push_back(json_of(verdict));
  json["would_fit"] = Json::array();
  for (const FittingType& type : report.would_fit) json["would_fit"].push_back(json_of(type));
  json["smaller_stages"] = Json::array();
  for (const SmallerStage& stage : report.smaller_stages)
    json["smaller_stages"].push_back(json_of(stage));
  json["cannot_run_why"] = report.never ? Json(report.never->message) : Json();
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace gogrid
