#include "service/doctor.h"

#include <algorithm>
#include <array>

#include "resource/io_scheduler.h"
#include "resource/memory_caps.h"
#include "resource/watch_decisions.h"

namespace gogrid {
namespace {

constexpr std::string_view kServiceAdvice =
    "run it as the systemd service of deploy/systemd (CPUWeight=idle counts across sessions), or "
    "switch the groups off: sysctl kernel.sched_autogroup_enabled=0";

// "70 %", "0.5 %".
std::string percent(Share share) {
  std::string text = std::to_string(share.millionths() / 10'000);
  const std::uint32_t rest = share.millionths() % 10'000;
  if (rest != 0) {
    std::string digits = std::to_string(10'000 + rest).substr(1);
    digits.erase(digits.find_last_not_of('0') + 1);
    text += '.' + digits;
  }
  return text + " %";
}

class Doctor {
 public:
  Doctor(const ResourcePolicy& policy, const MachineFacts& facts)
      : policy_(policy), facts_(facts) {}

  std::vector<Finding> run() {
    memory();
    compute();
    priority();
    requests();
    pauses();
    presence();
    return std::move(findings_);
  }

 private:
  void add(Finding finding) { findings_.push_back(std::move(finding)); }

  void memory() {
    const auto caps = memory_caps(facts_.devices, policy_);
    for (std::size_t i = 0; i < caps.size(); ++i) {
      const Device& device = facts_.devices[i];
      Finding finding{.name = "max_device_memory", .of = device.id};
      if (!device.memory_total && !device.memory_budget) {
        finding.holds = Holds::kNo;
        finding.what =
            "its driver does not tell how much memory it has: there is nothing to take a "
            "share of";
        finding.advice = "bound it: --device " + device.id + ":memory=8GiB";
      } else {
        finding.what = "at most " + format_bytes(caps[i].bytes) + " (" +
                       percent(policy_.memory_of(device.id)) +
                       " of what it may give), leased before anything is allocated";
      }
      add(std::move(finding));
    }
  }

  void compute() {
    for (const Device& device : facts_.devices) {
      const Share share = policy_.compute_of(device.id);
      Finding finding{.name = "max_compute", .of = device.id};
      if (share.millionths() == Share::kWhole) {
        finding.holds = Holds::kUnused;
        finding.what = "all of its time may be used";
      } else {
        finding.what = "rests between steps, so that it computes for " + percent(share) +
                       " of the time; a step that has begun is finished";
      }
      add(std::move(finding));
    }
  }

  void priority() {
    if (!facts_.lowered) {
      add({.name = "nice", .holds = Holds::kNo, .what = facts_.lowered.error()});
      return;
    }
    for (const PriorityItem& item : facts_.lowered->items) add(of_item(item));
    if (!facts_.lowered->warning.empty())
      add({.name = "nice", .holds = Holds::kPartly, .what = facts_.lowered->warning});
    raising();
  }

  Finding of_item(const PriorityItem& item) const {
    Finding finding{.name = item.name == "nice" ? "nice"
                            : item.name == "io" ? "io_class"
                                                : "priority." + std::string(item.name)};
    if (item.wanted.empty()) {
      finding.holds = Holds::kUnused;
      finding.what = "the " + std::string(name_of(policy_.mode)) + " mode leaves it as it is";
      return finding;
    }
    finding.what = item.wanted + ", read back from every thread";
    if (!item.as_wanted) {
      finding.holds = Holds::kNo;
      finding.what = item.warning;
      finding.advice = "give it the privilege that is named, or ask for less of a priority";
      return finding;
    }
    if (item.name == "nice" || item.name == "policy") weaken_by_session(finding);
    if (item.name == "io") weaken_by_scheduler(finding);
    return finding;
  }

  void weaken_by_session(Finding& finding) const {
    const auto& within = facts_.nice_in_session_only;
    if (within && !*within) return;
    finding.holds = Holds::kPartly;
    finding.what += within
                        ? "; but it counts among the programs of one session only, since this "
                          "kernel puts every session into a group of its own (autogroup)"
                        : "; whether it counts beyond this session is not known: " + within.error();
    finding.advice = kServiceAdvice;
  }

  void weaken_by_scheduler(Finding& finding) const {
    if (policy_.io_class == 0) return;
    const auto& scheduler = facts_.io_scheduler;
    if (scheduler && heeds_io_class(*scheduler)) return;
    finding.holds = Holds::kPartly;
    finding.what +=
        scheduler ? "; but the data folder's disk is scheduled by '" + *scheduler +
                        "', which serves all classes alike"
                  : "; whether the data folder's disk heeds it is not known: " + scheduler.error();
    if (scheduler)
      finding.advice = "echo bfq > /sys/block/DISK/queue/scheduler (or a udev rule that does so)";
  }

  // Whether a change to a more urgent mode would be in force without a restart.
  void raising() {
    Finding finding{.name = "priority.back_up"};
    const auto& restored = facts_.restored;
    std::string refused;
    if (restored) {
      for (const PriorityItem& item : restored->items) {
        if (!item.as_wanted) refused += (refused.empty() ? "" : "; ") + item.warning;
      }
    }
    if (refused.empty()) {
      finding.what =
          "a lowered priority can be raised again: each change of mode is in force at once";
    } else {
      finding.holds = Holds::kPartly;
      finding.what = "what is lowered stays so until a restart: " + refused;
      finding.advice =
          "restart after a change to a more urgent mode, or start it with LimitNICE=20 "
          "(systemd) or CAP_SYS_NICE";
    }
    add(std::move(finding));
  }

  void requests() {
    Finding interval{.name = "min_request_interval_ms"};
    if (policy_.min_request_interval.count() == 0) {
      interval.holds = Holds::kUnused;
      interval.what = "requests are let in as they come";
    } else {
      interval.what = "one request in each " +
                      std::to_string(policy_.min_request_interval.count()) +
                      " ms, in the order of their arrival";
    }
    add(std::move(interval));
    add({.name = "max_batch",
         .what = "at most " + std::to_string(policy_.max_batch) + " sequences in a step"});
  }

  // A pause needs a figure to act on.
  void watched(std::string name, std::string of, const std::string& unknown, std::string known) {
    Finding finding{.name = std::move(name), .of = std::move(of), .kind = LimitKind::kMeasured};
    if (!policy_.pause.enabled) {
      finding.holds = Holds::kUnused;
      finding.what = "pauses are switched off (pause.enabled)";
    } else if (!unknown.empty()) {
      finding.holds = Holds::kNo;
      finding.what = unknown;
    } else {
      finding.what = std::move(known);
    }
    add(std::move(finding));
  }

  template <class T>
  static std::string fault_of(const Reading<T>& reading) {
    return reading ? std::string() : reading.error();
  }

  void pauses() {
    const PausePolicy& pause = policy_.pause;
    const HostLoad& host = facts_.host;
    watched("pause.cpu", "", fault_of(host.cpu),
            "pauses above " + percent(pause.cpu) + "; others use " +
                (host.cpu ? percent(host.cpu->others) : "") + " now");
    gpus();
    watched("pause.memory", "", fault_of(host.memory_of_others),
            "pauses above " + percent(pause.memory) + "; others use " +
                (host.memory_of_others ? percent(*host.memory_of_others) : "") + " now");
    pressure();
    watched("pause.power", "", fault_of(host.power),
            host.power && host.power->on_battery ? "on battery now: paused" : "on mains now");
    watched("pause.heat", "", fault_of(host.heat),
            host.heat ? host.heat->zone + ": " + std::to_string(host.heat->now / 1000) +
                            " °C of at most " + std::to_string(host.heat->limit / 1000) + " °C"
                      : "");
  }

  void gpus() {
    for (const GpuReading& gpu : facts_.gpus.gpus) {
      std::string why;
      for (const std::string& note : gpu.notes) why += (why.empty() ? "" : "; ") + note;
      if (why.empty()) why = "its driver does not tell how busy others keep it";
      watched("pause.gpu", gpu.id, gpu.busy_by_others ? std::string() : why,
              gpu.name + ": pauses above " + percent(policy_.pause.gpu) + "; others use " +
                  (gpu.busy_by_others ? percent(*gpu.busy_by_others) : "") + " now");
    }
    const bool computes = std::ranges::any_of(
        facts_.devices, [](const Device& device) { return device.kind != DeviceKind::kCpu; });
    if (!facts_.gpus.gpus.empty()) return;
    std::string why = "no GPU tells what it does";
    for (const Error& fault : facts_.gpus.faults) why += "; " + fault.message;
    if (computes) return watched("pause.gpu", "", why, "");
    add({.name = "pause.gpu", .kind = LimitKind::kMeasured, .holds = Holds::kUnused, .what = why});
  }

  // Shown beside the rest; nothing is decided by it.
  void pressure() {
    Finding finding{.name = "pressure", .kind = LimitKind::kMeasured};
    for (std::size_t i = 0; i < kPressures.size(); ++i) {
      const auto& reading = facts_.host.pressure[i];
      if (!finding.what.empty()) finding.what += "; ";
      finding.what += std::string(name_of(kPressures[i])) + ": ";
      if (reading) {
        finding.what += percent(reading->some.avg10);
      } else {
        finding.what += reading.error();
        finding.holds = Holds::kUnused;
      }
    }
    finding.what += " (told, and decides nothing)";
    add(std::move(finding));
  }

  void presence() {
    Finding owner{.name = "presence",
                  .kind = LimitKind::kMeasured,
                  .what = "at this machine: " + std::string(name_of(facts_.presence.state))};
    if (facts_.presence.state == PresenceState::kUnknown) {
      owner.holds = Holds::kNo;
      owner.what = facts_.presence.why;
      owner.advice =
          "on a desktop, systemd-logind or elogind tells whether somebody is there; on a "
          "server nothing is missing";
    }
    add(std::move(owner));
    Finding hours{.name = "quiet_hours"};
    if (facts_.time_zone) {
      hours.what = "by the clock of " + *facts_.time_zone;
    } else {
      hours.holds = Holds::kNo;
      hours.what = facts_.time_zone.error();
      hours.advice = "install the time zone data (Debian: tzdata), or set TZ to a zone's name";
    }
    add(std::move(hours));
  }

  const ResourcePolicy& policy_;
  const MachineFacts& facts_;
  std::vector<Finding> findings_;
};

}  // namespace

std::string_view name_of(LimitKind kind) {
  return kind == LimitKind::kEnforced ? "enforced" : "measured";
}

std::string_view name_of(Holds holds) {
  switch (holds) {
    case Holds::kYes:
      return "yes";
    case Holds::kPartly:
      return "partly";
    case Holds::kNo:
      return "no";
    case Holds::kUnused:
      return "unused";
  }
  return "no";
}

std::vector<Finding> diagnose(const ResourcePolicy& policy, const MachineFacts& facts) {
  return Doctor(policy, facts).run();
}

bool all_hold(const std::vector<Finding>& findings) {
  return std::ranges::none_of(findings, [](const Finding& finding) {
    return finding.holds == Holds::kNo || finding.holds == Holds::kPartly;
  });
}

}  // namespace gogrid
