// What every GPU of this machine is doing, asked as often as anybody likes.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "device/gpu_reading.h"

namespace gogrid {

struct GpuReadings {
  TimePoint taken;               // no figure in here is older
  std::vector<GpuReading> gpus;  // source by source
  std::vector<Error> faults;     // "libnvidia-ml.so.1 not found: ...": at most one for each source
};

struct TelemetryOptions {
  // How old a figure may be when it is served. A longer time asks the drivers less often; a driver
  // that takes longer than this to answer is never heard.
  Duration max_age = std::chrono::milliseconds(250);
  // How long read() waits for drivers that are asked anew, in real time. 0: what is too old is
  // unknown at once, and new for a later caller.
  Duration max_wait = std::chrono::milliseconds(100);
};

// Keeps each source's last reading, and renews it when somebody asks after it got too old: idle, it
// asks no driver anything. Every source has a thread of its own, for a driver may take seconds; no
// caller ever enters a driver, and none waits longer than told, nor for a driver that others waited
// for in vain already.
//
// Thread-safe; a reading that is new enough costs a short lock. `clock` must outlive it. The
// destructor waits for drivers that are being asked.
class Telemetry {
 public:
  using Readings = std::shared_ptr<const GpuReadings>;

  Telemetry(std::vector<std::unique_ptr<GpuSource>> sources, const Clock& clock,
            TelemetryOptions options = {});
  ~Telemetry();
  Telemetry(const Telemetry&) = delete;
  Telemetry& operator=(const Telemetry&) = delete;

  // Never null. A GPU whose figures are older than `max_age` is listed with none, and a note that
  // says why.
  Readings read() { return read(options_.max_age, options_.max_wait); }
  Readings read(Duration max_age, Duration max_wait) EXCLUDES(mu_);

 private:
  // One source and its thread. What follows `source` is guarded by mu_.
  struct Desk;

  Readings read_anew(Duration max_age, Duration max_wait) REQUIRES(mu_);
  bool any_worth_waiting(Duration max_age, Duration max_wait) const REQUIRES(mu_);
  bool worth_waiting(const Desk& desk, Duration max_age, Duration max_wait) const REQUIRES(mu_);
  bool is_new_enough(const Desk& desk, Duration max_age) const REQUIRES(mu_);
  Readings merge(Duration max_age) REQUIRES(mu_);
  std::string why_unknown(const Desk& desk) const REQUIRES(mu_);

  void serve(Desk& desk);
  bool await_question(Desk& desk) EXCLUDES(mu_);
  void publish(Desk& desk, SourceReading reading) EXCLUDES(mu_);

  const TelemetryOptions options_;
  const Clock& clock_;
  Mutex mu_;
  CondVar questions_;
  CondVar answers_;
  bool stopping_ GUARDED_BY(mu_) = false;
  Readings merged_ GUARDED_BY(mu_);  // when all sources were new enough
  std::vector<std::unique_ptr<Desk>> desks_;
};

// Who it is, without what it does.
GpuReading without_figures(const GpuReading& gpu);

}  // namespace gogrid
