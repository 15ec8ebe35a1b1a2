// What is measured, for Prometheus. Names start with gogrid_ and are declared here, all in one
// place.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace gogrid {

// Thread-safe; every call is a few atomics. One per process, made by app/ and handed down as a
// pointer that may be null (tests).
class Metrics {
 public:
  Metrics();
  ~Metrics();

  void count_request(std::string_view route,
                     int http_status);            // gogrid_requests_total{route,status}
  void count_throttled(std::string_view reason);  // gogrid_requests_throttled_total{reason}
  void observe_throttle_wait(Duration time);      // gogrid_throttle_wait_seconds
  void count_tokens(std::string_view model, std::uint64_t prompt, std::uint64_t cached,
                    std::uint64_t completion);  // gogrid_tokens_total{model,kind}
  void observe_time_to_first_token(std::string_view model,
                                   Duration time);  // gogrid_time_to_first_token_seconds
  void observe_inter_token(std::string_view model, Duration time);  // gogrid_inter_token_seconds
  void observe_queue_wait(std::string_view model, Duration time);   // gogrid_queue_wait_seconds
  void set_streams(std::string_view model, double running,
                   double waiting);  // gogrid_streams{model,state}
  void set_stage(std::string_view model, std::string_view device, std::string_view layers,
                 double busy_seconds, double estimated_bytes,
                 double actual_bytes);        // gogrid_stage_busy_seconds, gogrid_stage_bytes{kind}
  void count_pause(std::string_view reason);  // gogrid_pauses_total{reason}
  void count_preemption(std::string_view model,
                        std::uint64_t by);  // gogrid_preemptions_total{model}

  // All that is leased now, and all caps: what was shown before and is not among them shows 0.
  // gogrid_memory_leased_bytes{device,model,use}, gogrid_memory_cap_bytes{device}
  struct Leased {
    std::string device;
    std::string model;
    std::string use;
    double bytes = 0.0;
  };
  void set_leased(std::span<const Leased> leases);
  void set_memory_cap(std::string_view device, double bytes);
  // Beside it, what was really measured: gogrid_memory_measured_bytes{kind,device}
  void set_memory_measured(std::string_view kind, std::string_view device, double bytes);
  // A model that was not loaded because of the memory it would take.
  void count_memory_refusal(std::string_view model);  // gogrid_vram_limit_errors_total{model}

  // A model became ready, or gave its memory back: for a "cap", to make "room", or "idle".
  void count_load(std::string_view model);  // gogrid_model_loads_total{model}
  void count_unload(std::string_view model,
                    std::string_view reason);  // gogrid_model_unloads_total{model,reason}

  // Text exposition format 0.0.4.
  std::string expose() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gogrid
