#include "support/stage_harness.h"

#include <ggml-backend.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>

#include "device/device_registry.h"
#include "model/gguf_file.h"
#include "model/gguf_slicer.h"
#include "stage/llama_stage.h"

namespace gogrid::testing {
namespace {

template <class T>
T or_throw(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return *std::move(result);
}

std::size_t index_of_backend(ggml_backend_dev_t device) {
  std::size_t index = 0;
  while (index < ggml_backend_dev_count() && ggml_backend_dev_get(index) != device) ++index;
  return index;
}

}  // namespace

Device cpu_device() {
  initialize_backends();
  Device device;
  device.id = "cpu0";
  device.backend = "CPU";
  device.kind = DeviceKind::kCpu;
  device.cores.resize(std::min(2U, std::max(1U, std::thread::hardware_concurrency())));
  std::iota(device.cores.begin(), device.cores.end(), 0);
  device.ggml_index = index_of_backend(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
  return device;
}

std::optional<Device> vulkan_device() {
  initialize_backends();
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    const std::string name = ggml_backend_dev_name(ggml_backend_dev_get(i));
    if (!name.starts_with("Vulkan")) continue;
    Device device;
    device.id = "vulkan0";
    device.backend = "Vulkan";
    device.kind = DeviceKind::kGpu;
    device.ggml_index = i;
    return device;
  }
  return std::nullopt;
}

std::filesystem::path real_model() {
  const char* path = std::getenv("GOGRID_TEST_MODEL");
  return path == nullptr ? std::filesystem::path() : std::filesystem::path(path);
}

WholeModel::WholeModel(const std::filesystem::path& path, const Options& options) {
  initialize_backends();
  llama_model_params params = llama_model_default_params();
  ggml_backend_dev_t no_gpu = nullptr;
  params.devices = &no_gpu;
  params.use_extra_bufts = options.repack;
  model_.reset(llama_model_load_from_file(path.c_str(), params));
  if (model_ == nullptr) throw std::runtime_error("libllama refuses " + path.string());
  llama_context_params context = llama_context_default_params();
  context.n_ctx = options.context;
  context.n_batch = context.n_ubatch = options.max_step_rows;
  context.n_threads = context.n_threads_batch =
      static_cast<std::int32_t>(cpu_device().cores.size());
  context.flash_attn_type =
      options.flash_attention ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  context_.reset(llama_init_from_model(model_.get(), context));
  if (context_ == nullptr) throw std::runtime_error("libllama makes no context");
}

std::vector<float> WholeModel::logits_after(const std::vector<Token>& tokens) {
  const auto count = static_cast<std::int32_t>(tokens.size());
  llama_batch batch = llama_batch_init(count, 0, 1);
  for (std::int32_t i = 0; i < count; ++i) {
    batch.token[i] = tokens[static_cast<std::size_t>(i)];
    batch.pos[i] = length_ + i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = i + 1 == count ? 1 : 0;
  }
  batch.n_tokens = count;
  const std::int32_t code = llama_decode(context_.get(), batch);
  llama_batch_free(batch);
  if (code != 0) throw std::runtime_error("llama_decode: " + std::to_string(code));
  length_ += count;
  const float* logits = llama_get_logits_ith(context_.get(), -1);
  return {logits, logits + llama_vocab_n_tokens(llama_model_get_vocab(model_.get()))};
}

Result<Chain> Chain::make(const std::filesystem::path& model, const TemporaryFolder& scratch,
                          const Options& options) {
  const GgufFile file = or_throw(GgufFile::open(model));
  const std::uint32_t n_layers = layers_of(model);
  std::vector<std::uint32_t> bounds = {0};
  bounds.insert(bounds.end(), options.cuts.begin(), options.cuts.end());
  bounds.push_back(n_layers);
  const auto factory = make_llama_stage_factory();
  Chain chain;
  for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
    StageSpec spec;
    spec.model = model.stem().string();
    spec.layers = {bounds[i], bounds[i + 1]};
    spec.n_layers = n_layers;
    spec.device = options.devices.empty()
                      ? cpu_device()
                      : options.devices[std::min(i, options.devices.size() - 1)];
    spec.context = options.context;
    spec.parallel = options.parallel;
    spec.kv_cells = options.kv_cells;
    spec.max_step_rows = options.max_step_rows;
    spec.deterministic = options.deterministic;
    spec.step_deadline = options.step_deadline;
    spec.embedding_scale = options.embedding_scale;
    spec.embedding_source = model;
    spec.end_tokens = options.end_tokens;
    spec.path = model;
    if (!spec.is_whole()) {
      spec.path = scratch.path() / (spec.model + "." + to_string(spec.layers) + ".gguf");
      if (auto written = write_slice(file, spec.layers, spec.path); !written) {
        return std::unexpected(written.error());
      }
    }
    auto stage = factory->make(spec, {}, {});
    if (!stage) return std::unexpected(stage.error());
    chain.stages_.push_back(*std::move(stage));
  }
  return chain;
}

Result<StageOutput> Chain::forward(StageInput input) {
  StageOutput output;
  for (const auto& stage : stages_) {
    auto step = stage->forward(input, {});
    if (!step) return step;
    output = *std::move(step);
    input.hidden = output.hidden;
  }
  return output;
}

Result<std::vector<float>> Chain::logits_after(SlotId slot, std::int32_t position,
                                               const std::vector<Token>& tokens) {
  StageInput input;
  input.rows = rows_of(slot, position, tokens);
  input.outputs = {raw_logits()};
  auto output = forward(std::move(input));
  if (!output) return std::unexpected(output.error());
  return std::move(output->sampled.at(0).logits);
}

std::vector<StepRow> rows_of(SlotId slot, std::int32_t position, const std::vector<Token>& tokens) {
  std::vector<StepRow> rows;
  for (const Token token : tokens) rows.push_back({slot, position++, token, false});
  if (!rows.empty()) rows.back().wants_output = true;
  return rows;
}

OutputSpec raw_logits() {
  OutputSpec spec;
  spec.raw_logits = true;
  return spec;
}

std::vector<Token> some_tokens(std::size_t count, std::uint32_t n_vocab, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random() % n_vocab);
  return tokens;
}

Token most_likely(const std::vector<float>& logits) {
  return static_cast<Token>(std::ranges::max_element(logits) - logits.begin());
}

std::uint32_t layers_of(const std::filesystem::path& model) {
  const GgufFile file = or_throw(GgufFile::open(model));
  const std::string architecture(file.string_of("general.architecture").value_or(""));
  return static_cast<std::uint32_t>(file.unsigned_of(architecture + ".block_count").value_or(0));
}

}  // namespace gogrid::testing
