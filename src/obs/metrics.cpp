#include "obs/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>

#include "base/mutex.h"

namespace gogrid {
namespace {

using prometheus::Histogram;
using Labels = prometheus::Labels;

double seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

const Histogram::BucketBoundaries kTimes{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                         0.5,   1.0,    2.5,   5.0,  10.0,  30.0, 60.0};

}  // namespace

struct Metrics::State {
  prometheus::Registry registry;

  prometheus::Family<prometheus::Counter>& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  prometheus::Family<prometheus::Gauge>& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  prometheus::Family<Histogram>& histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }

  prometheus::Family<prometheus::Counter>& requests =
      counter("gogrid_requests_total", "Requests by route and HTTP status");
  prometheus::Family<prometheus::Counter>& throttled =
      counter("gogrid_requests_throttled_total", "Requests refused or delayed, by reason");
  prometheus::Family<prometheus::Counter>& tokens = counter(
      "gogrid_tokens_total", "Tokens by model and kind: prompt, cached (of prompt), completion");
  prometheus::Family<prometheus::Counter>& preemptions =
      counter("gogrid_preemptions_total", "Sequences that gave up their KV space and began again");
  prometheus::Family<prometheus::Counter>& pauses =
      counter("gogrid_pauses_total", "Times that work was paused, by reason");
  prometheus::Family<prometheus::Counter>& memory_refusals =
      counter("gogrid_vram_limit_errors_total", "Loads refused for the memory they would take");
  prometheus::Family<prometheus::Counter>& loads =
      counter("gogrid_model_loads_total", "Times that a model became ready");
  prometheus::Family<prometheus::Counter>& unloads =
      counter("gogrid_model_unloads_total", "Times that a model gave its memory back, by reason");
  prometheus::Family<prometheus::Gauge>& streams =
      gauge("gogrid_streams", "Sequences running and waiting");
  prometheus::Family<prometheus::Gauge>& stage_busy =
      gauge("gogrid_stage_busy_seconds", "Time a stage has computed since it was loaded");
  prometheus::Family<prometheus::Gauge>& stage_bytes = gauge(
      "gogrid_stage_bytes", "Memory of a stage: estimated before the load, and actually taken");
  prometheus::Family<prometheus::Gauge>& leased =
      gauge("gogrid_memory_leased_bytes", "Memory that the ledger has granted");
  prometheus::Family<prometheus::Gauge>& memory_caps =
      gauge("gogrid_memory_cap_bytes", "What a device may give under the policy in force");
  prometheus::Family<prometheus::Gauge>& measured = gauge(
      "gogrid_memory_measured_bytes", "Memory in use: resident of this process, used of a device");
  Mutex mu;
  std::map<Labels, prometheus::Gauge*> shown_leases GUARDED_BY(mu);
  prometheus::Family<Histogram>& first_token =
      histogram("gogrid_time_to_first_token_seconds", "From submission to the first token");
  prometheus::Family<Histogram>& inter_token =
      histogram("gogrid_inter_token_seconds", "Between two tokens of a stream");
  prometheus::Family<Histogram>& throttle_wait =
      histogram("gogrid_throttle_wait_seconds", "From arrival to the turn at the request interval");
  prometheus::Family<Histogram>& queue_wait =
      histogram("gogrid_queue_wait_seconds", "From submission to the first step");
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

void Metrics::count_request(std::string_view route, int http_status) {
  state_->requests.Add({{"route", std::string(route)}, {"status", std::to_string(http_status)}})
      .Increment();
}
void Metrics::count_throttled(std::string_view reason) {
  state_->throttled.Add({{"reason", std::string(reason)}}).Increment();
}
void Metrics::observe_throttle_wait(Duration time) {
  state_->throttle_wait.Add({}, kTimes).Observe(seconds(time));
}
void Metrics::count_pause(std::string_view reason) {
  state_->pauses.Add({{"reason", std::string(reason)}}).Increment();
}
void Metrics::count_tokens(std::string_view model, std::uint64_t prompt, std::uint64_t cached,
                           std::uint64_t completion) {
  const auto add = [&](const char* kind, std::uint64_t count) {
    state_->tokens.Add({{"model", std::string(model)}, {"kind", kind}})
        .Increment(static_cast<double>(count));
  };
  add("prompt", prompt);
  add("cached", cached);
  add("completion", completion);
}
void Metrics::observe_time_to_first_token(std::string_view model, Duration time) {
  state_->first_token.Add({{"model", std::string(model)}}, kTimes).Observe(seconds(time));
}
void Metrics::observe_inter_token(std::string_view model, Duration time) {
  state_->inter_token.Add({{"model", std::string(model)}}, kTimes).Observe(seconds(time));
}
void Metrics::observe_queue_wait(std::string_view model, Duration time) {
  state_->queue_wait.Add({{"model", std::string(model)}}, kTimes).Observe(seconds(time));
}
void Metrics::set_streams(std::string_view model, double running, double waiting) {
  state_->streams.Add({{"model", std::string(model)}, {"state", "running"}}).Set(running);
  state_->streams.Add({{"model", std::string(model)}, {"state", "waiting"}}).Set(waiting);
}
void Metrics::set_stage(std::string_view model, std::string_view device, std::string_view layers,
                        double busy_seconds, double estimated_bytes, double actual_bytes) {
  Labels labels{{"model", std::string(model)},
                {"device", std::string(device)},
                {"layers", std::string(layers)}};
  state_->stage_busy.Add(labels).Set(busy_seconds);
  labels["kind"] = "estimated";
  state_->stage_bytes.Add(labels).Set(estimated_bytes);
  labels["kind"] = "actual";
  state_->stage_bytes.Add(labels).Set(actual_bytes);
}
void Metrics::count_preemption(std::string_view model, std::uint64_t by) {
  state_->preemptions.Add({{"model", std::string(model)}}).Increment(static_cast<double>(by));
}

void Metrics::set_leased(std::span<const Leased> leases) {
  std::map<Labels, double> sums;
  for (const auto& [device, model, use, bytes] : leases) {
    sums[{{"device", device}, {"model", model}, {"use", use}}] += bytes;
  }
  MutexLock lock(state_->mu);
  for (const auto& [labels, bytes] : sums) {
    state_->shown_leases.try_emplace(labels, &state_->leased.Add(labels));
  }
  for (const auto& [labels, gauge] : state_->shown_leases) {
    const auto found = sums.find(labels);
    gauge->Set(found != sums.end() ? found->second : 0.0);
  }
}

void Metrics::set_memory_cap(std::string_view device, double bytes) {
  state_->memory_caps.Add({{"device", std::string(device)}}).Set(bytes);
}

void Metrics::set_memory_measured(std::string_view kind, std::string_view device, double bytes) {
  state_->measured.Add({{"kind", std::string(kind)}, {"device", std::string(device)}}).Set(bytes);
}

void Metrics::count_memory_refusal(std::string_view model) {
  state_->memory_refusals.Add({{"model", std::string(model)}}).Increment();
}

void Metrics::count_load(std::string_view model) {
  state_->loads.Add({{"model", std::string(model)}}).Increment();
}
void Metrics::count_unload(std::string_view model, std::string_view reason) {
  state_->unloads.Add({{"model", std::string(model)}, {"reason", std::string(reason)}}).Increment();
}

std::string Metrics::expose() const {
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace gogrid
