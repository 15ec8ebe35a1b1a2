// A GGUF (a slice, or a whole model) loaded on one device by libllama, ready to compute.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "stage/layer_tap.h"
#include "stage/llama_handles.h"
#include "stage/product_tap.h"
#include "stage/stage.h"

namespace gogrid {

// When a step must be given up. libllama asks between the operations of a graph; a GPU's graph is
// not interrupted.
struct StepDeadline {
  std::chrono::steady_clock::time_point at = std::chrono::steady_clock::time_point::max();
  static bool passed(void* self) noexcept {
    return std::chrono::steady_clock::now() >= static_cast<const StepDeadline*>(self)->at;
  }
};

// What libllama calls back into, by address; outlives the context.
struct Callbacks {
  std::optional<LayerTap> tap;         // not in the last stage
  std::optional<ProductTap> products;  // with StageSpec::activations
  StepDeadline deadline;
};

// Members in order of start.
struct LoadedSlice {
  ModelHandle model;
  std::unique_ptr<Callbacks> callbacks;
  ContextHandle context;
  StageMemory memory;
  Bytes graph = 0;  // of memory.compute: with an adapter it is reserved anew by the first step
};

// "[stage] smollm2-135m layers 0-15 on cpu0": how messages begin.
std::string name_of_stage(const StageSpec& spec);

// Rows whose logits one call of libllama may return. It reserves vocabulary-wide buffers for so
// many, and aborts the process above: a step that wants more is several calls.
std::uint32_t outputs_per_call(const StageSpec& spec);

// What libllama's log calls the stage's device.
std::string_view backend_device(const StageSpec& spec);

// kInvalidArgument when the spec contradicts itself or this machine.
Status check_spec(const StageSpec& spec);

// Pins the calling thread to the device's cores, then loads. Codes as StageFactory::make().
Result<LoadedSlice> load_slice(const StageSpec& spec, const std::function<void(double)>& progress,
                               const std::stop_token& stop);

}  // namespace gogrid
