#include "device/telemetry.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <utility>

namespace gogrid {
namespace {

std::string in_milliseconds(Duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) +
         " ms";
}

SourceReading ask(GpuSource& source) {
  std::string what = "an exception";
  try {
    return source.read();
  } catch (const std::exception& exception) {
    what = exception.what();
  } catch (...) {
  }
  return {.gpus = {},
          .fault = Error{ErrorCode::kInternal,
                         "[telemetry] expected a reading of " + source.name() + ": " + what}};
}

}  // namespace

struct Telemetry::Desk {
  std::unique_ptr<GpuSource> source;  // used by `thread` only
  std::string name;                   // constant
  bool wanted = false;                // somebody asked, the thread has not begun yet
  std::optional<TimePoint> begun;     // the thread is asking the driver since then
  std::optional<TimePoint> taken;     // when the thread began to get `last`
  Duration took{};                    // and how long the driver needed for it
  SourceReading last;
  std::thread thread;
};

GpuReading without_figures(const GpuReading& gpu) {
  GpuReading unknown;
  unknown.id = gpu.id;
  unknown.vendor = gpu.vendor;
  unknown.name = gpu.name;
  unknown.uuid = gpu.uuid;
  return unknown;
}

Telemetry::Telemetry(std::vector<std::unique_ptr<GpuSource>> sources, const Clock& clock,
                     TelemetryOptions options)
    : options_(options), clock_(clock) {
  for (auto& source : sources) {
    auto desk = std::make_unique<Desk>();
    desk->name = source->name();
    desk->source = std::move(source);
    desks_.push_back(std::move(desk));
  }
  for (const auto& desk : desks_) {
    desk->thread = std::thread([this, &desk = *desk] { serve(desk); });
  }
}

Telemetry::~Telemetry() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  questions_.notify_all();
  for (const auto& desk : desks_) desk->thread.join();
}

Telemetry::Readings Telemetry::read(Duration max_age, Duration max_wait) {
  MutexLock lock(mu_);
  if (merged_ && clock_.now() - merged_->taken <= max_age) return merged_;
  return read_anew(max_age, max_wait);
}

Telemetry::Readings Telemetry::read_anew(Duration max_age, Duration max_wait) {
  for (const auto& desk : desks_) {
    if (!is_new_enough(*desk, max_age) && !desk->begun) desk->wanted = true;
  }
  questions_.notify_all();
  const auto deadline = std::chrono::steady_clock::now() + max_wait;
  while (any_worth_waiting(max_age, max_wait) && answers_.wait_until(mu_, deadline)) {
  }
  return merge(max_age);
}

bool Telemetry::any_worth_waiting(Duration max_age, Duration max_wait) const {
  for (const auto& desk : desks_) {
    if (worth_waiting(*desk, max_age, max_wait)) return true;
  }
  return false;
}

// Not for a driver that has been silent for as long as one waits for it: else every caller would
// wait in turn for one that hangs.
bool Telemetry::worth_waiting(const Desk& desk, Duration max_age, Duration max_wait) const {
  if (is_new_enough(desk, max_age)) return false;
  if (desk.begun) return clock_.now() - *desk.begun < max_wait;
  return desk.wanted;
}

bool Telemetry::is_new_enough(const Desk& desk, Duration max_age) const {
  return desk.taken && clock_.now() - *desk.taken <= max_age;
}

Telemetry::Readings Telemetry::merge(Duration max_age) {
  auto merged = std::make_shared<GpuReadings>();
  merged->taken = clock_.now();
  bool all = true;
  for (const auto& desk : desks_) {
    if (is_new_enough(*desk, max_age)) {
      merged->taken = std::min(merged->taken, *desk->taken);
      std::ranges::copy(desk->last.gpus, std::back_inserter(merged->gpus));
      if (desk->last.fault) merged->faults.push_back(*desk->last.fault);
      continue;
    }
    all = false;
    const std::string why = why_unknown(*desk);
    for (const GpuReading& gpu : desk->last.gpus) {
      merged->gpus.push_back(without_figures(gpu));
      merged->gpus.back().notes.push_back(why);
    }
    merged->faults.push_back({ErrorCode::kUnavailable, why});
  }
  if (all) merged_ = merged;
  return merged;
}

std::string Telemetry::why_unknown(const Desk& desk) const {
  const std::string where = "[telemetry] expected an answer of " + desk.name + ": ";
  if (desk.begun) return where + "none for " + in_milliseconds(clock_.now() - *desk.begun);
  if (desk.wanted || !desk.taken) return where + "it was only just asked";
  return where + "it came after " + in_milliseconds(desk.took) + ", and is " +
         in_milliseconds(clock_.now() - *desk.taken) + " old";
}

void Telemetry::serve(Desk& desk) {
  while (await_question(desk)) publish(desk, ask(*desk.source));
}

// False: the end.
bool Telemetry::await_question(Desk& desk) {
  MutexLock lock(mu_);
  while (!desk.wanted && !stopping_) questions_.wait(mu_);
  desk.wanted = false;
  desk.begun = clock_.now();
  return !stopping_;
}

void Telemetry::publish(Desk& desk, SourceReading reading) {
  {
    MutexLock lock(mu_);
    if (reading.fault && reading.gpus.empty()) {
      // The source tells nothing at all: its GPUs stay listed.
      for (const GpuReading& gpu : desk.last.gpus) {
        reading.gpus.push_back(without_figures(gpu));
        reading.gpus.back().notes.push_back(reading.fault->message);
      }
    }
    desk.last = std::move(reading);
    // A figure may have been taken at any moment since the driver was asked: the first is what
    // counts.
    desk.taken = desk.begun;
    desk.took = clock_.now() - *desk.begun;
    desk.begun.reset();
  }
  answers_.notify_all();
}

}  // namespace gogrid
