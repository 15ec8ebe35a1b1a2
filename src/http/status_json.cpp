#include "http/status_json.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "http/loss_json.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Device& device) {
  const auto bytes = [](const std::optional<Bytes>& value) {
    return value ? Json(*value) : Json();
  };
  return {{"id", device.id},
          {"backend", device.backend},
          {"name", device.name},
          {"kind", name_of(device.kind)},
          {"memory_total", bytes(device.memory_total)},
          {"memory_free", bytes(device.memory_free)},
          {"cores", device.cores.empty() ? Json() : Json(device.cores)},
          {"notes", device.notes}};
}

Json json_of(const StageMemory& memory) {
  return {{"weights_bytes", memory.weights},
          {"kv_bytes", memory.kv},
          {"compute_bytes", memory.compute}};
}

// The plan's estimate and what the stage took, side by side.
Json stages_of(const TextEngine& engine) {
  Json stages = Json::array();
  const std::vector<StageStatus> running = engine.stages();
  const auto& planned = engine.plan().stages;
  for (std::size_t i = 0; i < planned.size(); ++i) {
    Json stage{{"device", planned[i].device},
               {"layers", {planned[i].layers.first, planned[i].layers.last}},
               {"type", planned[i].type ? Json(planned[i].type->name) : Json()},
               {"estimated", json_of(planned[i].memory)}};
    if (i < running.size()) {
      stage["actual"] = json_of(running[i].memory);
      stage["steps"] = running[i].steps;
      stage["busy_s"] = std::chrono::duration<double>(running[i].busy).count();
    }
    stages.push_back(std::move(stage));
  }
  return stages;
}

Json json_of(const ModelStatus& model) {
  Json json{{"name", model.name},
            {"state", name_of(model.state)},
            {"progress", model.progress},
            {"why", model.why},
            {"aliases", model.aliases},
            {"pinned", model.pinned},
            {"waiting_for_load", model.waiting}};
  if (model.engine == nullptr) return json;
  const Plan& plan = model.engine->plan();
  json["plan"] = {{"stages", stages_of(*model.engine)},
                  {"groups", plan.groups},
                  {"context", plan.context},
                  {"parallel", plan.parallel},
                  {"predicted",
                   {{"decode_tokens_per_s", plan.predicted.decode_tokens_per_s},
                    {"prefill_tokens_per_s", plan.predicted.prefill_tokens_per_s}}},
                  {"loss", plan.loss ? json_of(*plan.loss) : Json()},
                  {"why", plan.why}};
  const BatcherStatus status = model.engine->status();
  json["streams"] = {
      {"running", status.running}, {"waiting", status.waiting}, {"held", status.held}};
  json["totals"] = {{"steps", status.steps},
                    {"preemptions", status.preemptions},
                    {"prompt_tokens", status.prompt_tokens},
                    {"cached_prompt_tokens", status.cached_prompt_tokens},
                    {"generated_tokens", status.generated_tokens}};
  return json;
}

Json card_of(const ModelStatus& model, const std::string& name) {
  Json card{{"id", name}, {"object", "model"}, {"created", model.created}, {"owned_by", "gogrid"}};
  if (name != model.name) card["alias_of"] = model.name;
  card["state"] = name_of(model.state);
  if (model.engine != nullptr) {
    card["context_length"] = model.engine->plan().context;
    card["license"] = model.engine->profile().license;
  }
  return card;
}

// "2026-11-24T03:00:00Z".
std::string utc_after(Duration left) {
  const auto then = std::chrono::system_clock::now() + left;
  return format_text("{:%FT%TZ}", std::chrono::ceil<std::chrono::seconds>(then));
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string status_json(const StatusReport& report) {
  Json json{{"state", name_of(report.state)}, {"why", report.why}, {"until", nullptr}};
  if (report.resumes_in) json["until"] = utc_after(*report.resumes_in);
  json["devices"] = Json::array();
  for (const Device& device : report.devices) json["devices"].push_back(json_of(device));
  json["models"] = Json::array();
  for (const ModelStatus& model : report.models) json["models"].push_back(json_of(model));
  json["streams"] = report.streams;
  json["waiting"] = report.waiting;
  return dump(json);
}

std::string models_json(const std::vector<ModelStatus>& models) {
  Json data = Json::array();
  for (const ModelStatus& model : models) {
    data.push_back(card_of(model, model.name));
    for (const std::string& alias : model.aliases) data.push_back(card_of(model, alias));
  }
  return dump({{"object", "list"}, {"data", data}});
}

std::string model_json(const ModelStatus& model, const std::string& name) {
  return dump(card_of(model, name));
}

}  // namespace gogrid
