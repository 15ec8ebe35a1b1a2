// A stage without a model: its "logits" are a hash of what its KV slots hold, so that a token comes
// out right only when every stage has seen exactly the right rows in the right order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/vocabulary.h"
#include "stage/stage.h"

namespace gogrid::testing {

// The token that `n_stages` fake stages choose after `tokens`.
Token fake_next_token(std::span<const Token> tokens, std::size_t n_stages,
                      std::uint32_t vocabulary);

// A latch that a test opens; stages hang in it.
class Latch {
 public:
  void open();
  void wait();
  bool is_open() const;

 private:
  mutable std::mutex mu_;
  std::condition_variable changed_;
  bool open_ = false;
};

// What a fake stage is about to do; a test may make it go wrong.
struct FakeCall {
  std::size_t stage = 0;   // index of the layer range in the plan: layers.first
  std::uint64_t call = 0;  // of this stage, from 1
  const StageInput* input = nullptr;
  // To set:
  std::optional<Error> error;   // answered before anything is changed
  bool throws = false;          // an exception leaves forward()
  Duration delay{};             // slept before
  std::shared_ptr<Latch> hang;  // waited for before
  std::vector<std::size_t>
      nan_rows;               // hidden rows (not of the last stage), or sampled rows, spoilt
  bool short_output = false;  // one row too few comes out
};
using FakeScript = std::function<void(FakeCall&)>;

struct FakeOptions {
  std::uint32_t vocabulary = 97;
  FakeScript script = {};  // called on the stage's thread before each forward()
  // Called in make(); an error is make()'s answer.
  std::function<Status(const StageSpec&, const std::function<void(double)>&, std::stop_token)>
      load = {};
};

// Thread-safe. Counts what the stages did, over all stages made.
struct FakeCounters {
  std::atomic<int> alive{0};
  std::atomic<int> made{0};
  std::atomic<int> wrong_thread{0};  // calls or destructions on another thread than make()
  std::atomic<std::uint64_t> rows{0};
  std::atomic<std::uint64_t> copies{0};
  std::atomic<std::uint64_t> calls{0};
};

// spec.kv_cells > 0: all slots together hold at most so many positions, else kExhausted.
class FakeStageFactory final : public StageFactory {
 public:
  explicit FakeStageFactory(FakeOptions options = {});
  Result<std::unique_ptr<Stage>> make(const StageSpec& spec,
                                      const std::function<void(double)>& progress,
                                      std::stop_token stop) override;
  FakeCounters& counters() { return *counters_; }

 private:
  const FakeOptions options_;
  const std::shared_ptr<FakeCounters> counters_ = std::make_shared<FakeCounters>();
};

// `n_stages` stages of one layer each.
std::vector<StageSpec> fake_specs(std::size_t n_stages, std::uint32_t parallel = 4,
                                  std::uint32_t context = 512, std::uint32_t max_step_rows = 64,
                                  std::uint32_t kv_cells = 0);

// Token t is a letter 'a' + t % 26 (or what `pieces` says); `end` ends generation.
class FakeVocabulary final : public Vocabulary {
 public:
  explicit FakeVocabulary(std::map<Token, std::string> pieces = {}, Token end = 0)
      : pieces_(std::move(pieces)), end_(end) {}
  std::string piece(Token token, bool special) const override;
  bool ends_generation(Token token) const override { return token == end_; }

 private:
  const std::map<Token, std::string> pieces_;
  const Token end_;
};

}  // namespace gogrid::testing
