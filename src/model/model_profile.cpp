#include "model/model_profile.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <ranges>
#include <string_view>

#include "base/format.h"
#include "base/text.h"
#include "model/architectures.h"
#include "model/llama_assumptions.h"
#include "model/lora_adapter.h"
#include "model/split_file.h"

namespace gogrid {
namespace {

constexpr std::uint32_t kMaxLayers = 512;  // LLAMA_MAX_LAYERS: libllama's arrays end there
constexpr std::uint64_t kMaxWidth = 1U << 24;
constexpr std::size_t kMaxArchitecture = 64;  // it is part of every key and message
constexpr std::size_t kMaxText = 256;         // of what a file says of itself
constexpr Bytes kBytesPerKvValue = 2;         // libllama's default cache type, f16

std::unexpected<Error> refuse(ErrorCode code, const std::string& what) {
  return fail(code, "[model_profile] " + what);
}

// The layer of "blk.12.attn_q.weight".
std::optional<std::uint64_t> layer_of(std::string_view tensor_name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!tensor_name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view rest = tensor_name.substr(kPrefix.size());
  std::uint64_t layer = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  if (error != std::errc() || end == rest.data() + rest.size() || *end != '.') return std::nullopt;
  return layer;
}

std::uint32_t bounded(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, UINT32_MAX));
}

class ProfileReader {
 public:
  explicit ProfileReader(const GgufFile& file) : file_(file) {}

  Result<ModelProfile> read();

 private:
  std::string key(std::string_view tail) const {
    return format_text("{}.{}", profile_.architecture, tail);
  }
  std::optional<std::uint64_t> number(std::string_view tail) const {
    return file_.unsigned_of(key(tail));
  }
  Result<std::uint32_t> needed(std::string_view tail, std::uint64_t most) const;
  // A key that is one number for all layers, or an array with one for each.
  Result<std::vector<std::uint64_t>> per_layer(std::string_view tail, std::uint64_t fallback) const;

  Status read_names();
  Status read_shape();
  Status read_vocabulary();
  Status read_weights();
  Status read_kv();
  Status read_feed_forward();
  // What a layer without attention keeps of a sequence: what its convolution remembers, and what a
  // scan over the tokens rewrites.
  struct StateNumbers {
    std::uint64_t convolution = 0;
    std::uint64_t scanned = 0;
  };
  StateNumbers state_numbers() const;
  Result<std::vector<bool>> state_layers() const;
  Status read_state();
  void read_cuts();
  std::vector<std::uint32_t> cuts_between_kinds() const;
  std::uint32_t period() const;
  std::string why_one_stage() const;

  const GgufFile& file_;
  ModelProfile profile_;
  const Architecture* architecture_ = nullptr;  // null: unknown
};

Result<ModelProfile> ProfileReader::read() {
  GOGRID_RETURN_IF_ERROR(read_names());
  GOGRID_RETURN_IF_ERROR(check_assumptions(file_));
  GOGRID_RETURN_IF_ERROR(read_shape());
  GOGRID_RETURN_IF_ERROR(read_vocabulary());
  GOGRID_RETURN_IF_ERROR(read_weights());
  GOGRID_RETURN_IF_ERROR(read_kv());
  GOGRID_RETURN_IF_ERROR(read_feed_forward());
  GOGRID_RETURN_IF_ERROR(read_state());
  read_cuts();
  return std::move(profile_);
}

Status ProfileReader::read_names() {
  // Before anything else: parts but the first have no other metadata.
  GOGRID_RETURN_IF_ERROR(check_is_whole(file_, "model_profile"));
  const auto name = file_.string_of("general.architecture");
  if (!name || name->empty()) {
    return refuse(ErrorCode::kCorrupt, "the key general.architecture: absent");
  }
  if (printable(*name, kMaxArchitecture) != *name) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("the key general.architecture with a printable name of at most {} "
                              "bytes: {}",
                              kMaxArchitecture, excerpt(*name)));
  }
  if (is_adapter(file_)) {
    return refuse(ErrorCode::kUnsupported,
                  "it is an adapter, and runs over its base model: name it BASE+ADAPTER");
  }
  profile_.architecture = *name;
  architecture_ = find_architecture(*name);
  if (architecture_ != nullptr && architecture_->use == ArchitectureUse::kNoText) {
    return refuse(ErrorCode::kUnsupported,
                  format_text("architecture '{}' {}", *name, architecture_->why));
  }
  profile_.name = printable(file_.string_of("general.name").value_or(""), kMaxText);
  if (profile_.name.empty()) profile_.name = file_.path().stem().string();
  profile_.license = printable(file_.string_of("general.license").value_or("unknown"), kMaxText);
  profile_.chat_template = file_.string_of("tokenizer.chat_template").value_or("");
  profile_.file_bytes = file_.file_size();
  return {};
}

Result<std::uint32_t> ProfileReader::needed(std::string_view tail, std::uint64_t most) const {
  const auto value = number(tail);
  if (!value || *value == 0 || *value > most) {
    return refuse(ErrorCode::kCorrupt, format_text("the key {} from 1 to {}: {}", key(tail), most,
                                                   value ? std::to_string(*value) : "absent"));
  }
  return static_cast<std::uint32_t>(*value);
}

Result<std::vector<std::uint64_t>> ProfileReader::per_layer(std::string_view tail,
                                                            std::uint64_t fallback) const {
  std::vector<std::uint64_t> values(profile_.n_layers, fallback);
  if (const GgufArray* array = file_.array_of(key(tail)); array != nullptr) {
    const auto numbers = array->integers();
    if (numbers.size() < profile_.n_layers) {
      return refuse(ErrorCode::kCorrupt,
                    format_text("the key {} with a number for each of {} layers: {}", key(tail),
                                profile_.n_layers, numbers.size()));
    }
    std::ranges::transform(numbers | std::views::take(profile_.n_layers), values.begin(),
                           [](std::int64_t value) { return static_cast<std::uint64_t>(value); });
  } else if (const auto value = number(tail)) {
    std::ranges::fill(values, *value);
  }
  const auto impossible =
      std::ranges::find_if(values, [](std::uint64_t value) { return value > kMaxWidth; });
  if (impossible != values.end()) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("the key {} from 0 to {}: {}", key(tail), kMaxWidth, *impossible));
  }
  return values;
}

Status ProfileReader::read_shape() {
  GOGRID_ASSIGN_OR_RETURN(profile_.n_layers, needed("block_count", kMaxLayers));
  GOGRID_ASSIGN_OR_RETURN(profile_.n_embd, needed("embedding_length", kMaxWidth));
  GOGRID_ASSIGN_OR_RETURN(profile_.context_length, needed("context_length", UINT32_MAX));
  profile_.sliding_window = bounded(number("attention.sliding_window").value_or(0));
  profile_.recurrent = architecture_ != nullptr ? architecture_->recurrent
                                                : number("ssm.state_size").value_or(0) > 0;
  if (architecture_ != nullptr && architecture_->scales_token_rows) {
    profile_.embedding_scale = std::sqrt(static_cast<float>(profile_.n_embd));
  }
  return {};
}

Status ProfileReader::read_vocabulary() {
  const GgufTensor* rows = file_.tensor("token_embd.weight");
  if (rows == nullptr || rows->n_dims != 2 || rows->shape[0] != profile_.n_embd) {
    return refuse(
        ErrorCode::kCorrupt,
        format_text("the tensor token_embd.weight of rows of {} numbers: {}", profile_.n_embd,
                    rows == nullptr ? "absent" : std::to_string(rows->shape[0])));
  }
  if (rows->shape[1] == 0 || rows->shape[1] > kMaxWidth) {
    return refuse(ErrorCode::kCorrupt,
                  format_text("a vocabulary from 1 to {}: {}", kMaxWidth, rows->shape[1]));
  }
  profile_.n_vocab = static_cast<std::uint32_t>(rows->shape[1]);
  profile_.token_embedding_bytes = rows->size;
  const GgufTensor* head = file_.tensor("output.weight");
  profile_.tied_embeddings = head == nullptr;
  profile_.head_bytes = head == nullptr ? rows->size : head->size;
  return {};
}

Status ProfileReader::read_weights() {
  profile_.layer_weights.assign(profile_.n_layers, 0);
  for (const GgufTensor& tensor : file_.tensors()) {
    if (const auto layer = layer_of(tensor.name)) {
      if (*layer >= profile_.n_layers) {
        return refuse(ErrorCode::kCorrupt,
                      format_text("tensors of {} layers: {}", profile_.n_layers, tensor.name));
      }
      profile_.layer_weights[*layer] += tensor.size;
    } else if (tensor.name != "token_embd.weight" && tensor.name != "output.weight") {
      profile_.other_bytes += tensor.size;
    }
  }
  return {};
}

Status ProfileReader::read_kv() {
  GOGRID_ASSIGN_OR_RETURN(const auto heads, per_layer("attention.head_count", 0));
  const std::uint64_t all_heads = std::ranges::max(heads);
  const std::uint64_t width = all_heads == 0 ? 0 : profile_.n_embd / all_heads;
  GOGRID_ASSIGN_OR_RETURN(auto kv_heads, per_layer("attention.head_count_kv", all_heads));
  GOGRID_ASSIGN_OR_RETURN(const auto key_width, per_layer("attention.key_length", width));
  GOGRID_ASSIGN_OR_RETURN(const auto value_width, per_layer("attention.value_length", width));
  // Latent attention caches one compressed row for K, and reads V out of it.
  const bool latent = number("attention.key_length_mla").value_or(0) > 0;
  for (std::uint32_t layer = 0; layer < profile_.n_layers; ++layer) {
    const std::uint64_t values = key_width[layer] + (latent ? 0 : value_width[layer]);
    const auto bytes = checked_mul(kv_heads[layer], values * kBytesPerKvValue);
    profile_.kv_bytes_per_token.push_back(bytes.value_or(UINT64_MAX));
    const std::uint64_t widest = kv_heads[layer] * std::max(key_width[layer], value_width[layer]);
    profile_.kv_width = std::max(profile_.kv_width, bounded(widest));
  }
  profile_.n_heads = bounded(all_heads);
  return {};
}

Status ProfileReader::read_feed_forward() {
  GOGRID_ASSIGN_OR_RETURN(const auto dense, per_layer("feed_forward_length", 0));
  const std::uint64_t expert = number("expert_feed_forward_length").value_or(0);
  const std::uint64_t used = std::min<std::uint64_t>(number("expert_used_count").value_or(0), 1024);
  const std::uint64_t widest = std::ranges::max(dense);
  const std::uint64_t experts = used * std::min(expert == 0 ? widest : expert, kMaxWidth);
  profile_.ffn_width = bounded(std::max(used > 0 && expert == 0 ? 0 : widest, experts));
  // A gate of its own, or one that shares a tensor with the other half (phi3).
  for (const GgufTensor& tensor : file_.tensors()) {
    const bool fused = tensor.name.contains(".ffn_up.weight") && tensor.shape[1] == 2 * widest;
    if (fused || tensor.name.contains(".ffn_gate")) profile_.gated_ffn = true;
  }
  return {};
}

// As libllama sizes them (llama_hparams::n_embd_r and n_embd_s).
ProfileReader::StateNumbers ProfileReader::state_numbers() const {
  const auto at_most = [&](std::string_view tail, std::uint64_t most) {
    return std::min(number(tail).value_or(0), most);
  };
  constexpr std::uint64_t kMaxSmall = 1024;
  const auto less_one = [](std::uint64_t length) { return length == 0 ? 0 : length - 1; };
  if (const auto head = at_most("wkv.head_size", kMaxWidth); head > 0) {
    return {at_most("token_shift_count", kMaxSmall) * profile_.n_embd, head * profile_.n_embd};
  }
  if (const auto length = at_most("shortconv.l_cache", kMaxSmall); length > 0) {
    return {less_one(length) * profile_.n_embd, 0};
  }
  const std::uint64_t columns = less_one(at_most("ssm.conv_kernel", kMaxSmall));
  if (const auto head = at_most("kda.head_dim", kMaxSmall); head > 0) {
    const std::uint64_t inner = head * profile_.n_heads;
    return {3 * columns * inner, head * inner};
  }
  const std::uint64_t inner = at_most("ssm.inner_size", kMaxWidth);
  const std::uint64_t state = at_most("ssm.state_size", kMaxWidth);
  const std::uint64_t groups = at_most("ssm.group_count", kMaxSmall);
  return {columns * (inner + 2 * groups * state), inner * state};
}

// Whether a layer has a state instead of a KV cache.
Result<std::vector<bool>> ProfileReader::state_layers() const {
  std::vector<bool> layers(profile_.n_layers, false);
  GOGRID_ASSIGN_OR_RETURN(const auto marked, per_layer("attention.recurrent_layers", 0));
  const std::uint32_t by_name = architecture_ == nullptr ? 0 : architecture_->attention_every;
  const std::uint64_t interval = number("full_attention_interval").value_or(by_name);
  const bool listed = std::ranges::any_of(marked, [](std::uint64_t mark) { return mark != 0; });
  for (std::uint32_t layer = 0; layer < profile_.n_layers; ++layer) {
    const bool by_interval = interval > 1 && (layer + 1) % interval != 0;
    layers[layer] = (listed ? marked[layer] != 0 : by_interval) ||  //
                    profile_.kv_bytes_per_token[layer] == 0;
  }
  return layers;
}

Status ProfileReader::read_state() {
  if (!profile_.recurrent) return {};
  profile_.state_bytes.assign(profile_.n_layers, 0);
  GOGRID_ASSIGN_OR_RETURN(const auto layers, state_layers());
  const bool beside = architecture_ != nullptr && architecture_->state_beside_attention;
  const StateNumbers numbers = state_numbers();  // bounded: far below 2^62
  const Bytes bytes = sizeof(float) * (numbers.convolution + numbers.scanned);
  profile_.scanned_bytes = sizeof(float) * numbers.scanned;
  for (std::uint32_t layer = 0; layer < profile_.n_layers; ++layer) {
    if (layers[layer]) profile_.kv_bytes_per_token[layer] = 0;
    if (layers[layer] || beside) profile_.state_bytes[layer] = bytes;
  }
  return {};
}

// How many layers the pattern takes before it repeats.
std::uint32_t ProfileReader::period() const {
  std::uint64_t period = architecture_->period;
  if (architecture_->windowed) {
    if (profile_.sliding_window == 0) period = 1;
    // The file's own pattern: a period, or an array that is cut with the layers.
    if (const auto given = number("attention.sliding_window_pattern")) {
      period = std::clamp<std::uint64_t>(*given, 1, kMaxLayers);
    }
    if (file_.array_of(key("attention.sliding_window_pattern")) != nullptr) period = 1;
  }
  const auto experts_every = number("interleave_moe_layer_step").value_or(1);
  period = std::lcm(period, std::clamp<std::uint64_t>(experts_every, 1, kMaxLayers));
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(period, kMaxLayers));
}

// Empty when it may be cut.
std::string ProfileReader::why_one_stage() const {
  if (architecture_ == nullptr) {
    return format_text("architecture '{}' is not known here well enough to cut it",
                       profile_.architecture);
  }
  if (architecture_->use == ArchitectureUse::kOneStage) {
    return format_text("architecture '{}': {}", profile_.architecture, architecture_->why);
  }
  if (profile_.n_layers == architecture_->layers_to_keep) {
    return format_text(
        "architecture '{}' with {} layers: what they compute depends on how many "
        "there are",
        profile_.architecture, profile_.n_layers);
  }
  if (file_.array_of(key("rope.dimension_sections")) != nullptr) {
    return "its positions have more than one axis";
  }
  if (number("nextn_predict_layers").value_or(0) > 0) {
    return "its last layers predict further tokens out of the others";
  }
  if (file_.float_of(key("embedding_scale")).value_or(1.0) != 1.0) {
    return "its graph scales hidden rows that come in as if they were token embeddings";
  }
  return {};
}

// The earliest cuts that leave layers with attention and layers with state on both sides of each.
std::vector<std::uint32_t> ProfileReader::cuts_between_kinds() const {
  std::vector<std::uint32_t> cuts;
  bool attention = false;
  bool state = false;
  for (std::uint32_t layer = 0; layer < profile_.n_layers; ++layer) {
    (profile_.kv_bytes_per_token[layer] == 0 ? state : attention) = true;
    if (!attention || !state) continue;
    cuts.push_back(layer + 1);
    attention = state = false;
  }
  // What is left of an unfinished piece belongs to the one before.
  if (!cuts.empty()) cuts.pop_back();
  return cuts;
}

void ProfileReader::read_cuts() {
  profile_.one_stage_why = why_one_stage();
  if (!profile_.one_stage_why.empty()) return;
  if (architecture_->recurrent) {
    profile_.allowed_cuts = cuts_between_kinds();
    if (!profile_.allowed_cuts.empty()) return;
    profile_.one_stage_why = "it has too few layers with attention to give each stage one";
    return;
  }
  const std::uint32_t step = period();
  for (std::uint32_t cut = step; cut < profile_.n_layers; cut += step) {
    profile_.allowed_cuts.push_back(cut);
  }
  if (profile_.allowed_cuts.empty()) {
    profile_.one_stage_why =
        format_text("its layers are alike every {}, and it has {}", step, profile_.n_layers);
  }
}

std::string list(std::span<const std::uint32_t> cuts) {
  std::string text;
  for (const std::uint32_t cut : cuts) {
    text += (text.empty() ? "" : ", ") + std::to_string(cut);
  }
  return text;
}

}  // namespace

Result<ModelProfile> read_profile(const GgufFile& file) { return ProfileReader(file).read(); }

Status check_cut(const ModelProfile& profile, LayerRange range) {
  if (range.first >= range.last || range.last > profile.n_layers) {
    return refuse(ErrorCode::kInvalidArgument, format_text("layers {}: model has {} layers",
                                                           to_string(range), profile.n_layers));
  }
  for (const std::uint32_t bound : {range.first, range.last}) {
    if (bound == 0 || bound == profile.n_layers) continue;
    if (profile.allowed_cuts.empty()) {
      return refuse(ErrorCode::kUnsupported,
                    format_text("{} runs as one stage: {}", profile.name, profile.one_stage_why));
    }
    if (!std::ranges::binary_search(profile.allowed_cuts, bound)) {
      return refuse(ErrorCode::kInvalidArgument, format_text("a cut of {} at {}: {}", profile.name,
                                                             list(profile.allowed_cuts), bound));
    }
  }
  return {};
}

}  // namespace gogrid
