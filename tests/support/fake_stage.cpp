#include "support/fake_stage.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <thread>

#include "base/format.h"

namespace gogrid::testing {
namespace {

constexpr std::uint64_t kHiddenRange = 1U << 20U;  // exact in a float
constexpr std::size_t kWidth = 3;                  // n_embd of the fake model

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9e3779b97f4a7c15ULL + b + 0x632be59bd9b4e019ULL;
  x ^= x >> 31U;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 29U;
  return x;
}

// What a layer range hands on for a row: a function of all its slot has seen so far.
std::uint64_t hidden_of(std::uint64_t prefix_hash) { return prefix_hash % kHiddenRange; }
Token token_of(std::uint64_t prefix_hash, std::uint32_t vocabulary) {
  return static_cast<Token>((prefix_hash >> 21U) % vocabulary);
}

class FakeStage final : public Stage {
 public:
  FakeStage(const StageSpec& spec, const FakeOptions& options,
            std::shared_ptr<FakeCounters> counters)
      : spec_(spec), options_(options), counters_(std::move(counters)), slots_(spec.parallel) {
    ++counters_->alive;
    ++counters_->made;
  }
  ~FakeStage() override {
    check_thread();
    --counters_->alive;
  }

  Result<StageOutput> forward(StageInput& input, std::stop_token stop) override {
    check_thread();
    ++counters_->calls;
    FakeCall call;
    call.stage = spec_.layers.first;
    call.call = ++calls_;
    call.input = &input;
    if (options_.script) options_.script(call);
    if (call.hang) call.hang->wait();
    if (call.delay > Duration{}) std::this_thread::sleep_for(call.delay);
    if (call.throws) throw std::runtime_error("the backend threw");
    if (stop.stop_requested()) return fail(ErrorCode::kCancelled, "stopped");
    if (call.error) return std::unexpected(*call.error);
    auto output = run(input);
    if (output) spoil(call, *output);
    return output;
  }

  StageMemory memory() const override { return {.weights = 1000, .kv = 100, .compute = 10}; }

 private:
  // cumulative hashes: slots_[s][p] stands for everything at positions 0..p
  using Slot = std::vector<std::uint64_t>;

  void check_thread() {
    if (std::this_thread::get_id() != thread_) ++counters_->wrong_thread;
  }

  Result<StageOutput> run(StageInput& input) {
    if (input.step <= last_step_) return broken("steps out of order");
    last_step_ = input.step;
    for (const KvOp& op : input.kv_ops) {
      if (auto done = apply(op); !done) return std::unexpected(done.error());
    }
    if (input.rows.size() > spec_.max_step_rows) return broken("too many rows");
    if (spec_.kv_cells > 0 && cells() + input.rows.size() > spec_.kv_cells) {
      return fail(ErrorCode::kExhausted, "no cells");
    }
    StageOutput output;
    std::size_t next_output = 0;
    for (std::size_t i = 0; i < input.rows.size(); ++i) {
      auto hash = append(input, i);
      if (!hash) return std::unexpected(hash.error());
      if (!spec_.is_last()) {
        output.hidden.insert(output.hidden.end(), kWidth, static_cast<float>(hidden_of(*hash)));
      } else if (input.rows[i].wants_output) {
        output.sampled.push_back(sample(*hash, input.outputs.at(next_output++)));
      }
    }
    counters_->rows += input.rows.size();
    return output;
  }

  Status apply(const KvOp& op) {
    if (!valid(op.slot)) return broken("no such slot");
    Slot& slot = slots_[static_cast<std::size_t>(op.slot)];
    if (op.kind == KvOp::Kind::kTruncate) {
      if (op.length < 0) return broken("negative length");
      slot.resize(std::min(slot.size(), static_cast<std::size_t>(op.length)));
      return {};
    }
    ++counters_->copies;
    if (!valid(op.from) || op.from == op.slot) return broken("no such source");
    const Slot& from = slots_[static_cast<std::size_t>(op.from)];
    if (static_cast<std::size_t>(op.length) > from.size())
      return broken("copies what is not there");
    slot.assign(from.begin(), from.begin() + op.length);
    return {};
  }

  Result<std::uint64_t> append(const StageInput& input, std::size_t i) {
    const StepRow& row = input.rows[i];
    if (!valid(row.slot)) return broken("no such slot");
    Slot& slot = slots_[static_cast<std::size_t>(row.slot)];
    if (static_cast<std::size_t>(row.position) != slot.size()) {
      return broken(
          format_text("slot {} is at {}, the row at {}", row.slot, slot.size(), row.position));
    }
    if (static_cast<std::uint32_t>(row.position) >= spec_.context)
      return broken("past the context");
    if (!spec_.is_first() && input.hidden.size() != input.rows.size() * kWidth) {
      return broken("hidden state of another size");
    }
    const auto seen = spec_.is_first() ? static_cast<std::uint64_t>(row.token)
                                       : static_cast<std::uint64_t>(input.hidden[i * kWidth]);
    slot.push_back(mix(slot.empty() ? 0 : slot.back(), seen));
    return slot.back();
  }

  SampledRow sample(std::uint64_t hash, const OutputSpec& spec) const {
    SampledRow row;
    row.event.chosen.token = token_of(hash, options_.vocabulary);
    if (spec.sampling == nullptr) return row;
    for (std::int32_t k = 0; k < spec.sampling->top_logprobs; ++k) {
      row.event.top.push_back({k, -1.0F - static_cast<float>(k), {}});
    }
    if (spec.sampling->top_logprobs >= 0) row.event.chosen.logprob = -0.5F;
    return row;
  }

  void spoil(const FakeCall& call, StageOutput& output) const {
    for (const std::size_t row : call.nan_rows) {
      if (spec_.is_last()) {
        output.sampled.at(row).error = "NaN in the logits";
      } else {
        output.hidden.at(row * kWidth + 1) = std::numeric_limits<float>::quiet_NaN();
      }
    }
    if (!call.short_output) return;
    if (spec_.is_last()) {
      output.sampled.pop_back();
    } else {
      output.hidden.pop_back();
    }
  }

  std::size_t cells() const {
    std::size_t sum = 0;
    for (const Slot& slot : slots_) sum += slot.size();
    return sum;
  }
  bool valid(SlotId slot) const {
    return slot >= 0 && static_cast<std::uint32_t>(slot) < spec_.parallel;
  }
  static std::unexpected<Error> broken(std::string what) {
    return fail(ErrorCode::kInternal, "[fake_stage] " + std::move(what));
  }

  const StageSpec spec_;
  const FakeOptions options_;
  const std::shared_ptr<FakeCounters> counters_;
  const std::thread::id thread_ = std::this_thread::get_id();
  std::vector<Slot> slots_;
  std::uint64_t calls_ = 0;
  std::uint64_t last_step_ = 0;
};

}  // namespace

Token fake_next_token(std::span<const Token> tokens, std::size_t n_stages,
                      std::uint32_t vocabulary) {
  std::vector<std::uint64_t> values(tokens.begin(), tokens.end());
  for (std::size_t stage = 0; stage < n_stages; ++stage) {
    std::uint64_t hash = 0;
    for (std::uint64_t& value : values) {
      hash = mix(hash, value);
      value = stage + 1 < n_stages ? hidden_of(hash) : hash;
    }
  }
  return token_of(values.back(), vocabulary);
}

void Latch::open() {
  const std::lock_guard lock(mu_);
  open_ = true;
  changed_.notify_all();
}
void Latch::wait() {
  std::unique_lock lock(mu_);
  changed_.wait(lock, [this] { return open_; });
}
bool Latch::is_open() const {
  const std::lock_guard lock(mu_);
  return open_;
}

FakeStageFactory::FakeStageFactory(FakeOptions options) : options_(std::move(options)) {}

Result<std::unique_ptr<Stage>> FakeStageFactory::make(const StageSpec& spec,
                                                      const std::function<void(double)>& progress,
                                                      std::stop_token stop) {
  // Copies: the factory of a test may be gone when a load that hung comes back.
  const FakeOptions options = options_;
  const auto counters = counters_;
  if (options.load) GOGRID_RETURN_IF_ERROR(options.load(spec, progress, stop));
  progress(1.0);
  return std::make_unique<FakeStage>(spec, options, counters);
}

std::vector<StageSpec> fake_specs(std::size_t n_stages, std::uint32_t parallel,
                                  std::uint32_t context, std::uint32_t max_step_rows,
                                  std::uint32_t kv_cells) {
  std::vector<StageSpec> specs(n_stages);
  for (std::uint32_t i = 0; i < n_stages; ++i) {
    specs[i].model = "fake";
    specs[i].layers = {i, i + 1};
    specs[i].n_layers = static_cast<std::uint32_t>(n_stages);
    specs[i].device.id = format_text("fake{}", i);
    specs[i].context = context;
    specs[i].parallel = parallel;
    specs[i].kv_cells = kv_cells;
    specs[i].max_step_rows = max_step_rows;
  }
  return specs;
}

std::string FakeVocabulary::piece(Token token, bool /*special*/) const {
  if (const auto found = pieces_.find(token); found != pieces_.end()) return found->second;
  if (token == end_) return {};
  return {static_cast<char>('a' + token % 26)};
}

}  // namespace gogrid::testing
