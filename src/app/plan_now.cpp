#include "app/plan_now.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "engine/calibration.h"
#include "placement/compatibility.h"
#include "stage/stage_leases.h"

namespace gogrid {
namespace {

// What the ledger would give of a device, ever and now.
struct Account {
  Bytes cap = 0;
  Bytes room = 0;
};

Account account_of(std::span<const DeviceMemory> ledger, const std::string& device) {
  const auto found = std::ranges::find(ledger, device, &DeviceMemory::device);
  if (found == ledger.end()) return {};
  return {found->cap, found->cap - std::min(found->cap, found->held)};
}

PhysicalMemory room_of(std::span<const PhysicalMemory> rooms, const std::string& device) {
  const auto found = std::ranges::find(rooms, device, &PhysicalMemory::device);
  return found != rooms.end() ? *found : PhysicalMemory{device, 0, 0};
}

bool is_measured(const PreparedModel& prepared, const std::string& device) {
  return std::ranges::contains(prepared.budgets, device, &DeviceBudget::id);
}

// Its speeds say nothing: to see whether the model fits, and not to place it.
DeviceBudget unmeasured(const std::string& device) {
  DeviceBudget budget;
  budget.id = device;
  budget.call_ms = budget.layer_read_ms = budget.layer_row_ms = 1.0;
  budget.head_read_ms = budget.head_row_ms = budget.prefill_row_ms = 1.0;
  return budget;
}

// In the order of the devices, whenever each was measured.
std::vector<DeviceBudget> all_budgets(const PreparedModel& prepared) {
  std::vector<DeviceBudget> budgets;
  for (const Device& device : prepared.devices) {
    const auto found = std::ranges::find(prepared.budgets, device.id, &DeviceBudget::id);
    if (found != prepared.budgets.end()) {
      budgets.push_back(*found);
    } else if (prepared.unmeasured.contains(device.id)) {
      budgets.push_back(unmeasured(device.id));
    }
  }
  return budgets;
}

Result<Plan> plan_over(const PreparedModel& prepared, std::span<const DeviceBudget> budgets,
                       bool allow_smaller) {
  PlanQuestion question = prepared.question;
  question.quantize.allow = allow_smaller;
  return prepared.split.empty() ? plan_stages(prepared.profile, budgets, question)
                                : plan_by_hand(prepared.profile, budgets, question, prepared.split);
}

// What each device has for the model.
struct Budgets {
  std::vector<DeviceBudget> now;
  std::vector<DeviceBudget> soon;  // were no other model of ours here, and all measured that can be
  std::vector<DeviceBudget> alone;  // were nobody else here
};

// A device that had no memory to be measured may have it another time, unless it never will.
bool may_be_measured(const PreparedModel& prepared, const std::string& device) {
  const auto found = prepared.unmeasured.find(device);
  return found == prepared.unmeasured.end() || found->second.code != ErrorCode::kDoesNotFit;
}

Budgets budgets_of(const PreparedModel& prepared, std::span<const PhysicalMemory> rooms,
                   std::span<const DeviceMemory> accounts) {
  Budgets budgets;
  budgets.now = budgets.soon = budgets.alone = all_budgets(prepared);
  for (std::size_t i = 0; i < budgets.now.size(); ++i) {
    const std::string& id = budgets.now[i].id;
    const Account account = account_of(accounts, id);
    const PhysicalMemory room = room_of(rooms, id);
    const Bytes ours = account.cap - account.room;
    const Bytes without_ours = checked_add(room.free, ours).value_or(UINT64_MAX);
    budgets.now[i].memory =
        is_measured(prepared, id) ? std::min(room.free, account.room) : Bytes{0};
    budgets.soon[i].memory =
        may_be_measured(prepared, id) ? std::min(without_ours, account.cap) : Bytes{0};
    budgets.alone[i].memory = std::min(room.total, account.cap);
  }
  return budgets;
}

// With smaller stages, unless it would lose less were other models of ours gone: then they are to
// make room. What other programs hold is no memory to wait for.
std::optional<Plan> plan_smaller(const PreparedModel& prepared, const Budgets& budgets) {
  constexpr double kSame = 1e-9;
  auto now = plan_over(prepared, budgets.now, true);
  if (!now) return std::nullopt;
  const auto soon = plan_over(prepared, budgets.soon, true);
  if (soon && soon->expected_loss + kSame < now->expected_loss) return std::nullopt;
  return *std::move(now);
}

// "; caps (max_device_memory): cpu0 5.6 GiB (2.0 GiB held)".
std::string caps_text(std::span<const DeviceMemory> ledger) {
  std::string text;
  for (const DeviceMemory& memory : ledger) {
    text += (text.empty() ? "; caps (max_device_memory): " : ", ") + memory.device + ' ' +
            format_bytes(memory.cap) + " (" + format_bytes(memory.held) + " held)";
  }
  return text;
}

// Of a plan that was refused for want of memory: smaller types, of the model or of stages, with
// which it would fit.
std::string what_would_fit(const PreparedModel& prepared, std::span<const DeviceBudget> budgets) {
  std::string text;
  if (prepared.split.empty())
    text = would_fit_text(fitting_types(prepared.smaller, budgets, prepared.question));
  if (prepared.question.quantize.allow) return text;
  auto smaller = plan_over(prepared, budgets, true);
  if (smaller && has_smaller_stages(*smaller)) text += smaller_stages_hint(*std::move(smaller));
  return text;
}

// "; not measured: [memory_ledger] cpu0: …".
std::string unmeasured_text(const PreparedModel& prepared) {
  std::string text;
  for (const auto& [device, why] : prepared.unmeasured) {
    text += (text.empty() ? "; not measured: " : "; ") + why.message;
  }
  return text;
}

std::vector<MemoryRequest> requests_of(const Plan& plan) {
  std::vector<StageNeed> needs;
  for (const PlannedStage& stage : plan.stages) needs.push_back({stage.device, stage.memory});
  return memory_requests(plan.model, needs);
}

}  // namespace

Result<Plan> plan_within(const PreparedModel& prepared, std::span<const PhysicalMemory> rooms,
                         const MemoryLedger& ledger) {
  const std::vector<DeviceMemory> accounts = ledger.list();
  const Budgets budgets = budgets_of(prepared, rooms, accounts);
  auto plan = plan_over(prepared, budgets.now, false);
  if (plan || plan.error().code != ErrorCode::kDoesNotFit) return plan;
  auto plan_alone = plan_over(prepared, budgets.alone, false);
  if (prepared.question.quantize.allow) {
    if (auto smaller = plan_smaller(prepared, budgets)) return *std::move(smaller);
    if (!plan_alone) plan_alone = plan_over(prepared, budgets.alone, true);
  }
  if (!plan_alone) {
    plan_alone.error().message +=
        caps_text(accounts) + unmeasured_text(prepared) + what_would_fit(prepared, budgets.alone);
    return plan_alone;
  }
  GOGRID_RETURN_IF_ERROR(ledger.check(requests_of(*plan_alone)));
  const char* const why = prepared.unmeasured.empty()
                              ? "memory that the caps allow, but that others than GoGrid hold now: "
                              : "it would fit, but not all devices could be measured for it yet: ";
  return fail(ErrorCode::kExhausted,
              "[plan_now] " + std::string(why) + plan.error().message + unmeasured_text(prepared));
}

Result<Plan> plan_now(const PreparedModel& prepared, const DeviceRegistry& registry,
                      const MemoryLedger& ledger) {
  std::vector<Device> devices;
  for (const Device& device : prepared.devices) {
    if (auto found = registry.find(device.id)) devices.push_back(*std::move(found));
  }
  const std::vector<Bytes> free = plannable_memory(devices);
  const std::vector<Bytes> total = whole_memory(devices);
  std::vector<PhysicalMemory> rooms;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    rooms.push_back({devices[i].id, free[i], total[i]});
  }
  return plan_within(prepared, rooms, ledger);
}

Result<Plan> plan_without_caps(const PreparedModel& prepared) {
  std::vector<DeviceBudget> budgets = all_budgets(prepared);
  const std::vector<Bytes> whole = whole_memory(prepared.devices);
  for (DeviceBudget& budget : budgets) {
    const auto device = std::ranges::find(prepared.devices, budget.id, &Device::id);
    budget.memory = whole[static_cast<std::size_t>(device - prepared.devices.begin())];
  }
  auto plan = plan_over(prepared, budgets, prepared.question.quantize.allow);
  if (!plan && plan.error().code == ErrorCode::kDoesNotFit) {
    plan.error().message += what_would_fit(prepared, budgets);
  }
  return plan;
}

}  // namespace gogrid
