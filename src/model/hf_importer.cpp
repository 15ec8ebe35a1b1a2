#include "model/hf_importer.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/format.h"
#include "base/text.h"
#include "model/hf_architectures.h"
#include "model/hf_config.h"
#include "model/hf_tensor_writer.h"
#include "model/hf_tensors.h"
#include "model/hf_vocabulary.h"
#include "model/packed_format.h"
#include "model/safetensors_folder.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

// GGML_QNT_VERSION of the format as this program writes it.
constexpr std::uint32_t kQuantizationVersion = 2;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// CTranslate2, in which faster-whisper keeps its models: model.bin begins with a version, and the
// name of what is in it.
Status refuse_ctranslate2(const fs::path& folder) {
  const fs::path path = folder / "model.bin";
  if (!is_there(path)) return {};
  constexpr Bytes kHead = 64;
  GOGRID_ASSIGN_OR_RETURN(const std::string head, read_head(path, kHead));
  if (head.find("WhisperSpec") != std::string::npos) {
    return fail(
        ErrorCode::kUnsupported,
        format_text("[import] {}: expected a model of text: this is Whisper as faster-whisper "
                    "keeps it, speech, served by a later version",
                    folder.string()));
  }
  if (head.find("Spec") == std::string::npos) return {};
  return fail(ErrorCode::kUnsupported,
              format_text("[import] {}: expected safetensors: model.bin is CTranslate2's",
                          folder.string()));
}

// "license: apache-2.0" between the first two lines of dashes of README.md.
std::string license_of(const fs::path& folder) {
  constexpr Bytes kHead = 16 * kKiB;
  constexpr std::size_t kLongest = 64;
  const auto head = read_head(folder / "README.md", kHead);
  if (!head || !head->starts_with("---\n")) return {};
  std::string_view rest = std::string_view(*head).substr(4);
  while (!rest.empty()) {
    const std::string_view line = next_line(rest);
    if (line.starts_with("---")) break;
    if (!line.starts_with("license:")) continue;
    const std::string_view value = trimmed(line.substr(8));
    const auto is_plain = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    };
    if (value.size() > kLongest || !std::ranges::all_of(value, is_plain)) break;
    return std::string(value);
  }
  return {};
}

// The rows of the embeddings: as many tokens there are.
Result<std::uint32_t> token_count(const std::vector<TensorJob>& jobs) {
  const auto embeddings = std::ranges::find(jobs, "token_embd.weight", [](const TensorJob& job) {
    return std::string_view(job.spec.name);
  });
  constexpr std::uint64_t kMostTokens = 1U << 22;
  if (embeddings == jobs.end() || embeddings->spec.shape.size() != 2 ||
      embeddings->spec.shape[1] > kMostTokens) {
    return fail(ErrorCode::kCorrupt,
                format_text("[import] expected embeddings of at most {} tokens, "
                            "a row each",
                            kMostTokens));
  }
  return static_cast<std::uint32_t>(embeddings->spec.shape[1]);
}

// What packed weights become when a type is asked for: of --type f16, that too.
std::optional<std::uint32_t> packed_type_of(const HfImportOptions& options) {
  if (options.packed_type || !options.type) return options.packed_type;
  return ggml_type_of(*options.type);
}

Status check_options(const HfImportOptions& options, const std::optional<PackedFormat>& format) {
  if (!options.packed_type || format) return {};
  return fail(ErrorCode::kInvalidArgument,
              "[import] expected --type f16, bf16 or f32, since the weights are not packed by GPTQ "
              "or AWQ: import, and then make it smaller with gogrid quantize",
              "type");
}

Result<WeightFormat> read_format(const fs::path& folder, const HfConfig& config) {
  WeightFormat format;
  GOGRID_ASSIGN_OR_RETURN(format.scaled, read_scaled_format(config));
  if (format.scaled) return format;
  GOGRID_ASSIGN_OR_RETURN(format.packed, read_packed_format(folder, config));
  return format;
}

// The files may be called by another name; then that one counts only where it is there, since
// folders were renamed and their configuration was not.
Result<SafetensorsFolder> open_weights(const fs::path& folder,
                                       const std::optional<PackedFormat>& format) {
  if (format && !format->stem.empty()) {
    const std::string whole = format->stem + ".safetensors";
    if (is_there(folder / whole) || is_there(folder / (whole + ".index.json"))) {
      return SafetensorsFolder::open(folder, format->stem);
    }
  }
  return SafetensorsFolder::open(folder);
}

// The number of general.file_type that says what most of the weights are.
std::uint32_t file_type_of(const std::vector<TensorJob>& jobs, StoredType plain) {
  std::map<std::uint32_t, std::uint64_t> elements;
  for (const TensorJob& job : jobs) {
    if (job.packed) elements[job.spec.type] += job.packed->inputs() * job.packed->outputs();
  }
  if (elements.empty()) return file_type_of(plain);
  const auto most =
      std::ranges::max_element(elements, {}, [](const auto& one) { return one.second; });
  return file_type_of_packed(most->first);
}

void note_mislabelled_zeros(const std::vector<TensorJob>& jobs, std::vector<std::string>& notes) {
  const auto count = std::ranges::count_if(
      jobs, [](const TensorJob& job) { return job.packed && job.packed->zeros_mislabelled(); });
  if (count == 0) return;
  notes.push_back(
      format_text("zeros of {} tensors are not stored as the configuration says: read as it says "
                  "that they are, symmetric",
                  count));
}

// What packed or scaled tensors lost, one after the other.
class RepackTally {
 public:
  void add(const std::string& tensor, double error) {
    if (record_.tensors == 0 || error > record_.worst) {
      record_.worst = error;
      record_.worst_tensor = tensor;
    }
    ++record_.tensors;
    sum_ += error;
  }
  // Empty when there was none.
  std::optional<RepackRecord> record(const WeightFormat& format) {
    if (record_.tensors == 0) return std::nullopt;
    if (format.packed) record_.from = to_string(*format.packed);
    if (format.scaled) record_.from = to_string(*format.scaled);
    record_.mean = sum_ / static_cast<double>(record_.tensors);
    return record_;
  }

 private:
  RepackRecord record_;
  double sum_ = 0;
};

// What a sentence-transformers folder says of how token rows become one.
Status describe_pooling(const fs::path& folder, std::string_view gguf, GgufKeys& keys) {
  const fs::path path = folder / "1_Pooling" / "config.json";
  if (!is_there(path)) return {};
  GOGRID_ASSIGN_OR_RETURN(const HfConfig pooling, HfConfig::read(path.parent_path()));
  constexpr auto kModes =
      std::to_array<std::pair<const char*, std::uint32_t>>({{"pooling_mode_mean_tokens", 1},
                                                            {"pooling_mode_cls_token", 2},
                                                            {"pooling_mode_lasttoken", 3}});
  for (const auto& [mode, number] : kModes) {
    if (!pooling.flag_or(mode, false)) continue;
    keys.u32(format_text("{}.pooling_type", gguf), number);
    return pooling.status();
  }
  GOGRID_RETURN_IF_ERROR(pooling.status());
  return fail(ErrorCode::kUnsupported,
              format_text("[import] {}: expected pooling by mean, first or last token: another",
                          path.string()));
}

}  // namespace

struct HfImporter::State {
  SafetensorsFolder weights;
  WeightFormat format;
  std::vector<TensorJob> jobs;
  HfDescription description;
  StoredType type = StoredType::kF16;
};

HfImporter::HfImporter(std::unique_ptr<State> state) : state_(std::move(state)) {}
HfImporter::HfImporter(HfImporter&&) noexcept = default;
HfImporter::~HfImporter() = default;

Result<HfImporter> HfImporter::open(const fs::path& folder, const HfImportOptions& options) {
  GOGRID_RETURN_IF_ERROR(refuse_ctranslate2(folder));
  GOGRID_ASSIGN_OR_RETURN(const HfConfig root, HfConfig::read(folder));
  GOGRID_ASSIGN_OR_RETURN(const HfArchitecture* architecture,
                          architecture_named(root.architecture()));
  const HfConfig config = root.with_object("text_config");
  GOGRID_ASSIGN_OR_RETURN(const WeightFormat format, read_format(folder, config));
  GOGRID_RETURN_IF_ERROR(check_options(options, format.packed));
  GOGRID_ASSIGN_OR_RETURN(SafetensorsFolder weights, open_weights(folder, format.packed));

  auto state = std::make_unique<State>(std::move(weights), format);
  state->type = options.type.value_or(natural_type(state->weights));
  GgufKeys& keys = state->description.keys;
  keys.text("general.architecture", architecture->gguf);
  keys.text("general.type", "model");
  keys.text("general.name", options.name);
  if (const std::string license = license_of(folder); !license.empty()) {
    keys.text("general.license", license);
  }
  architecture->describe(config, architecture->gguf, state->description);
  GOGRID_RETURN_IF_ERROR(config.status());
  GOGRID_RETURN_IF_ERROR(describe_pooling(folder, architecture->gguf, keys));
  GOGRID_ASSIGN_OR_RETURN(state->jobs, plan_tensors(*architecture, config, format, state->weights,
                                                    {state->type, packed_type_of(options)}));
  keys.u32("general.file_type", file_type_of(state->jobs, state->type));
  keys.u32("general.quantization_version", kQuantizationVersion);
  note_mislabelled_zeros(state->jobs, state->description.notes);
  GOGRID_ASSIGN_OR_RETURN(const std::uint32_t n_tokens, token_count(state->jobs));
  GOGRID_ASSIGN_OR_RETURN(
      const HfVocabulary vocabulary,
      read_vocabulary(folder, *architecture, config, n_tokens, state->description.notes));
  add_vocabulary_keys(vocabulary, keys);
  return HfImporter(std::move(state));
}

const std::vector<std::string>& HfImporter::notes() const { return state_->description.notes; }
StoredType HfImporter::type() const { return state_->type; }

Result<HfImported> HfImporter::write(AtomicFile file, const Progress& progress) const {
  std::vector<GgufTensorSpec> specs;
  for (const TensorJob& job : state_->jobs) specs.push_back(job.spec);
  GOGRID_ASSIGN_OR_RETURN(
      GgufWriter writer,
      GgufWriter::begin(std::move(file), state_->description.keys, std::move(specs)));
  RepackTally tally;
  for (const TensorJob& job : state_->jobs) {
    GOGRID_ASSIGN_OR_RETURN(const SquaredError error, write_tensor(job, writer, progress));
    if (job.packed || job.scaled) tally.add(job.spec.name, error.relative());
  }
  GOGRID_ASSIGN_OR_RETURN(AtomicFile written, writer.finish());
  return HfImported{std::move(written), tally.record(state_->format)};
}

}  // namespace gogrid
