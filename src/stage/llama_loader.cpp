#include "stage/llama_loader.h"

#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include "base/format.h"
#include "device/backend_log.h"
#include "device/device_registry.h"
#include "model/gguf_file.h"
#include "obs/log.h"
#include "stage/backend_memory.h"

namespace gogrid {
namespace {

constexpr std::uint32_t kMinOutputs = 16;

// What a GPU's host thread does besides waiting: the token embedding, operations the GPU lacks.
constexpr unsigned kGpuHostThreads = 4;

bool on_cpu(const StageSpec& spec) { return spec.device.kind == DeviceKind::kCpu; }

Status pin(const StageSpec& spec) {
  if (!on_cpu(spec) || spec.device.cores.empty()) return {};
  auto pinned = pin_this_thread(spec.device.cores);
  if (pinned || spec.device.pinned) return pinned;
  log::debug("stage_not_pinned", {{"device", spec.device.id}, {"why", pinned.error().message}});
  return {};
}

// Q4_K repacked for a CPU computes a row differently in batches of different sizes; every other
// type does not.
Result<bool> repacking_is_exact(const std::filesystem::path& path) {
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(path));
  return std::ranges::none_of(
      file.tensors(), [](const GgufTensor& tensor) { return tensor.type == GGML_TYPE_Q4_K; });
}

struct LoadWatch {
  const std::function<void(double)>& progress;
  const std::stop_token& stop;
  static bool on_progress(float done, void* self) {
    const auto& watch = *static_cast<const LoadWatch*>(self);
    if (watch.progress) watch.progress(static_cast<double>(done) * 0.9);  // the rest: the probe
    return !watch.stop.stop_requested();
  }
};

bool speaks_of_memory(std::string_view text) {
  constexpr std::array kSigns = {"alloc", "out of memory", "OutOfDeviceMemory"};
  return std::ranges::any_of(kSigns, [&](const char* sign) { return text.contains(sign); });
}

Result<ModelHandle> load_model(const StageSpec& spec, LoadWatch watch,
                               const BackendLogCapture& said) {
  std::array<ggml_backend_dev_t, 2> devices = {
      on_cpu(spec) ? nullptr : ggml_backend_dev_get(spec.device.ggml_index), nullptr};
  llama_model_params params = llama_model_default_params();
  params.devices = devices.data();  // only this one; none: the CPU
  params.n_gpu_layers = on_cpu(spec) ? 0 : -1;
  params.progress_callback = &LoadWatch::on_progress;
  params.progress_callback_user_data = &watch;
  if (spec.deterministic && on_cpu(spec)) {
    GOGRID_ASSIGN_OR_RETURN(params.use_extra_bufts, repacking_is_exact(spec.path));
  }
  ModelHandle model(llama_model_load_from_file(spec.path.c_str(), params));
  if (model != nullptr) return model;
  if (watch.stop.stop_requested()) {
    return fail(ErrorCode::kCancelled, name_of_stage(spec) + ": loading was cancelled");
  }
  return fail(speaks_of_memory(said.last_error()) ? ErrorCode::kExhausted : ErrorCode::kCorrupt,
              format_text("{}: a file libllama loads: {}: {}", name_of_stage(spec),
                          spec.path.string(), said.last_error()));
}

// A range that is not the whole model must have the shape the others expect of it.
Status check_model(const StageSpec& spec, const llama_model* model) {
  const auto layers = static_cast<std::uint32_t>(llama_model_n_layer(model));
  if (layers != spec.layers.size()) {
    return fail(ErrorCode::kCorrupt,
                format_text("{}: a file of {} layers: {} has {}", name_of_stage(spec),
                            spec.layers.size(), spec.path.string(), layers));
  }
  if (llama_model_has_encoder(model) || !llama_model_has_decoder(model)) {
    return fail(ErrorCode::kUnsupported, name_of_stage(spec) + ": a model that only decodes");
  }
  if (!spec.is_whole() && llama_model_n_embd_inp(model) != llama_model_n_embd(model)) {
    return fail(
        ErrorCode::kUnsupported,
        format_text("{}: a hidden state of {} numbers: its graph takes {}, run the model "
                    "as one stage",
                    name_of_stage(spec), llama_model_n_embd(model), llama_model_n_embd_inp(model)));
  }
  return {};
}

llama_context_params context_params(const StageSpec& spec, Callbacks& callbacks) {
  llama_context_params params = llama_context_default_params();
  params.n_seq_max = spec.parallel;
  params.kv_unified = spec.kv_cells != 0;
  params.n_ctx = spec.kv_cells != 0 ? spec.kv_cells : spec.context * spec.parallel;
  params.n_batch = params.n_ubatch = std::max(spec.max_step_rows, spec.parallel);
  params.n_outputs_max = outputs_per_call(spec);
  const auto threads = on_cpu(spec) && !spec.device.cores.empty()
                           ? static_cast<unsigned>(spec.device.cores.size())
                           : std::clamp(std::thread::hardware_concurrency(), 1U, kGpuHostThreads);
  params.n_threads = params.n_threads_batch = static_cast<std::int32_t>(threads);
  params.flash_attn_type =
      spec.deterministic ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
  params.swa_full = true;  // positions behind the window stay: sequences can be cut back, copied
  params.offload_kqv = params.op_offload = !on_cpu(spec);
  params.no_perf = true;
  params.abort_callback = &StepDeadline::passed;
  params.abort_callback_data = &callbacks.deadline;
  if (callbacks.tap) {
    params.cb_eval = &LayerTap::on_node;
    params.cb_eval_user_data = &*callbacks.tap;
  } else if (callbacks.products) {
    params.cb_eval = &ProductTap::on_node;
    params.cb_eval_user_data = &*callbacks.products;
  }
  return params;
}

// Before the context is made, which has room for the adapter's part of the graph then. It belongs
// to the model.
Result<llama_adapter_lora*> load_adapter(const StageSpec& spec, llama_model* model,
                                         const BackendLogCapture& said) {
  if (!spec.adapter) return nullptr;
  llama_adapter_lora* adapter = llama_adapter_lora_init(model, spec.adapter->path.c_str());
  if (adapter != nullptr) return adapter;
  return fail(speaks_of_memory(said.last_error()) ? ErrorCode::kExhausted : ErrorCode::kCorrupt,
              format_text("{}: an adapter libllama loads: {}: {}", name_of_stage(spec),
                          spec.adapter->path.string(), said.last_error()));
}

Status apply_adapter(const StageSpec& spec, llama_context* context, llama_adapter_lora* adapter) {
  if (adapter == nullptr) return {};
  float scale = spec.adapter->scale;
  if (llama_set_adapters_lora(context, &adapter, 1, &scale) == 0) return {};
  return fail(ErrorCode::kInternal, name_of_stage(spec) + ": an adapter that can be applied");
}

// A hybrid's graph asks for both of its memories, and ends the process where a file has layers of
// one kind only.
Status check_memories(const StageSpec& spec, const llama_model* model,
                      std::span<const std::string> log_lines) {
  if (!llama_model_is_hybrid(model)) return {};
  const bool attention = made_buffer(log_lines, "KV");
  if (attention && made_buffer(log_lines, "RS")) return {};
  return fail(ErrorCode::kUnsupported,
              format_text("{}: layers with attention and layers with recurrent state: only {}, cut "
                          "the model elsewhere or run it as one stage",
                          name_of_stage(spec), attention ? "the former" : "the latter"));
}

}  // namespace

std::string_view backend_device(const StageSpec& spec) {
  return on_cpu(spec) ? "CPU" : ggml_backend_dev_name(ggml_backend_dev_get(spec.device.ggml_index));
}

void FreeModel::operator()(llama_model* model) const { llama_model_free(model); }
void FreeContext::operator()(llama_context* context) const { llama_free(context); }

std::string name_of_stage(const StageSpec& spec) {
  return format_text("[stage] {} layers {} on {}", spec.model, to_string(spec.layers),
                     spec.device.id);
}

std::uint32_t outputs_per_call(const StageSpec& spec) {
  // A stage that is not the last has a vocabulary of 32 and wants every row computed to its end.
  if (!spec.is_last()) return std::max(spec.max_step_rows, spec.parallel);
  return std::max({kMinOutputs, spec.parallel, spec.max_outputs});
}

Status check_spec(const StageSpec& spec) {
  const auto refuse = [&](std::string what) {
    return fail(ErrorCode::kInvalidArgument, name_of_stage(spec) + ": " + std::move(what));
  };
  if (spec.layers.first >= spec.layers.last || spec.layers.last > spec.n_layers) {
    return refuse(format_text("layers within 0-{}", spec.n_layers));
  }
  const auto max_parallel = static_cast<std::uint32_t>(llama_max_parallel_sequences());
  if (spec.parallel == 0 || spec.parallel > max_parallel) {
    return refuse(format_text("1 to {} sequences: {}", max_parallel, spec.parallel));
  }
  if (spec.context == 0 || spec.max_step_rows == 0) {
    return refuse("a context and a step of at least one row: 0");
  }
  const std::uint64_t cells =
      spec.kv_cells != 0 ? spec.kv_cells : std::uint64_t{spec.context} * spec.parallel;
  if (cells > std::numeric_limits<std::int32_t>::max()) {
    return refuse(
        format_text("at most {} KV cells: {}", std::numeric_limits<std::int32_t>::max(), cells));
  }
  if (spec.device.ggml_index >= ggml_backend_dev_count()) {
    return refuse(
        format_text("one of {} devices: {}", ggml_backend_dev_count(), spec.device.ggml_index));
  }
  if (spec.activations != nullptr && !spec.is_whole()) {
    return refuse("the whole model, where what goes into weights is looked at: a part");
  }
  if (spec.is_first() && !spec.is_whole() && spec.embedding_source.empty()) {
    return refuse("the whole model's path for its token embedding: none");
  }
  return {};
}

Result<LoadedSlice> load_slice(const StageSpec& spec, const std::function<void(double)>& progress,
                               const std::stop_token& stop) {
  GOGRID_RETURN_IF_ERROR(pin(spec));
  BackendLogCapture said;
  GOGRID_ASSIGN_OR_RETURN(ModelHandle model, load_model(spec, {progress, stop}, said));
  GOGRID_RETURN_IF_ERROR(check_model(spec, model.get()));
  GOGRID_ASSIGN_OR_RETURN(llama_adapter_lora * adapter, load_adapter(spec, model.get(), said));
  auto callbacks = std::make_unique<Callbacks>();
  if (!spec.is_last()) callbacks->tap.emplace(spec.layers.size() - 1);
  if (spec.activations != nullptr) callbacks->products.emplace(*spec.activations);
  ContextHandle context(llama_init_from_model(model.get(), context_params(spec, *callbacks)));
  if (context == nullptr) {
    return fail(ErrorCode::kExhausted,
                format_text("{}: KV cache and compute buffers for {} sequences of {} tokens: {}",
                            name_of_stage(spec), spec.parallel, spec.context, said.last_error()));
  }
  GOGRID_RETURN_IF_ERROR(apply_adapter(spec, context.get(), adapter));
  GOGRID_RETURN_IF_ERROR(check_memories(spec, model.get(), said.lines()));
  const std::string_view device = backend_device(spec);
  return LoadedSlice{std::move(model), std::move(callbacks), std::move(context),
                     measured_memory(said.lines(), device),
                     graph_memory(said.lines(), device).value_or(0)};
}

}  // namespace gogrid
