#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/json_output.h"
#include "app/loss_json.h"
#include "app/plan_json.h"
#include "app/prepare.h"
#include "base/format.h"
#include "stage/llama_stage.h"

namespace gogrid {

using Json = nlohmann::ordered_json;

Json json_of_stages(const Plan& plan) {
  Json stages = Json::array();
  for (const PlannedStage& stage : plan.stages) {
    stages.push_back({{"device", stage.device},
                      {"layers", {stage.layers.first, stage.layers.last}},
                      {"type", stage.type ? Json(stage.type->name) : Json()},
                      {"weights_bytes", stage.memory.weights},
                      {"kv_bytes", stage.memory.kv},
                      {"compute_bytes", stage.memory.compute},
                      {"step_ms", stage.step_ms}});
  }
  return stages;
}

Json json_of(const Plan& plan) {
  return {{"model", plan.model},
          {"stages", json_of_stages(plan)},
          {"groups", plan.groups},
          {"context", plan.context},
          {"parallel", plan.parallel},
          {"predicted",
           {{"decode_tokens_per_s", plan.predicted.decode_tokens_per_s},
            {"prefill_tokens_per_s", plan.predicted.prefill_tokens_per_s}}},
          {"loss", plan.loss ? json_of(*plan.loss) : Json()},
          {"why", plan.why}};
}

void print_plan(const Plan& plan) {
  std::printf("%s: %zu stage%s, %u group%s in flight, %u sequences of %u tokens\n",
              plan.model.c_str(), plan.stages.size(), plan.stages.size() == 1 ? "" : "s",
              plan.groups, plan.groups == 1 ? "" : "s", plan.parallel, plan.context);
  for (const PlannedStage& stage : plan.stages) {
    const std::string as = stage.type ? format_text(", as {}", stage.type->name) : "";
    std::printf("  layers %3u-%-3u on %-10s %10s weights %10s KV %10s compute %8.2f ms a step%s\n",
                stage.layers.first, stage.layers.last, stage.device.c_str(),
                format_bytes(stage.memory.weights).c_str(), format_bytes(stage.memory.kv).c_str(),
                format_bytes(stage.memory.compute).c_str(), stage.step_ms, as.c_str());
  }
  std::printf("  predicted: %.1f tokens/s decode (all sequences), %.0f tokens/s prefill\n",
              plan.predicted.decode_tokens_per_s, plan.predicted.prefill_tokens_per_s);
  for (const std::string& reason : plan.why) std::printf("  - %s\n", reason.c_str());
}

Status plan_command(const PlanCommand& command, const CommonOptions& common) {
  const SteadyClock clock;
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  GOGRID_ASSIGN_OR_RETURN(const DeviceRegistry registry,
                          DeviceRegistry::detect(command.placement.devices, clock));
  const auto factory = make_llama_stage_factory();
  GOGRID_ASSIGN_OR_RETURN(
      const PreparedModel prepared,
      prepare_model(workspace, registry, *factory, command.placement, command.model));
  if (common.json) {
    Json json = json_of(prepared.plan);
    json["notes"] = prepared.notes;
    print_json(json);
    return {};
  }
  print_plan(prepared.plan);
  for (const std::string& note : prepared.notes) std::printf("  %s\n", note.c_str());
  return {};
}

}  // namespace gogrid
