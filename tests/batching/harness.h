// A scheduler over fake stages without threads: what happens is decided by the test, step by step.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "batching/scheduler.h"
#include "pipeline/hidden_check.h"
#include "support/fake_stage.h"
#include "support/manual_clock.h"
#include "support/recording_sink.h"

namespace gogrid::testing {

inline GenerationRequest make_request(std::vector<Token> prompt, std::uint32_t max_tokens = 20) {
  GenerationRequest request;
  request.id = "r";
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

// `length` tokens; prompts with the same salt begin alike.
inline std::vector<Token> make_prompt(std::size_t length, Token salt = 0) {
  std::vector<Token> tokens(length);
  for (std::size_t i = 0; i < length; ++i) {
    tokens[i] = static_cast<Token>((i * 7 + static_cast<std::size_t>(salt) * 31 + i * i) % 90 + 1);
  }
  return tokens;
}

// What `n_stages` fake stages make of `tokens`, up to the end token, `max_tokens` or the context.
inline std::vector<Token> fake_generation(std::vector<Token> tokens, std::uint32_t max_tokens,
                                          std::size_t n_stages, std::uint32_t vocabulary,
                                          std::uint32_t context, Token end = 0) {
  std::vector<Token> made;
  while (made.size() < max_tokens && tokens.size() < context) {
    const Token next = fake_next_token(tokens, n_stages, vocabulary);
    if (next == end) break;
    made.push_back(next);
    tokens.push_back(next);
  }
  return made;
}

struct HarnessSetup {
  std::size_t n_stages = 1;
  BatcherOptions options = {
      .context = 512, .parallel = 4, .max_step_rows = 64, .prefill_chunk = 16};
  FakeOptions fake = {};
};

class Harness {
 public:
  explicit Harness(const HarnessSetup& setup)
      : n_stages(setup.n_stages),
        options(setup.options),
        vocabulary_size(setup.fake.vocabulary),
        factory(setup.fake),
        scheduler(setup.options, vocabulary) {
    const auto specs = fake_specs(n_stages, options.parallel, options.context,
                                  options.max_step_rows, options.kv_cells);
    for (const StageSpec& spec : specs) {
      stages_.push_back(*factory.make(spec, [](double) {}, {}));
    }
  }

  std::shared_ptr<RecordingSink> send(GenerationRequest request) {
    auto sink = std::make_shared<RecordingSink>();
    waiting.push_back({{std::move(request), sink}, clock.now()});
    return sink;
  }

  void admit() {
    if (!waiting.empty()) scheduler.make_room();
    while (!waiting.empty() &&
           scheduler.can_admit(waiting.front().submission.request.prompt.size())) {
      scheduler.admit(std::move(waiting.front()));
      waiting.pop_front();
    }
  }

  // Plans and submits one step. False when there is none.
  bool submit() {
    if (in_flight.size() >= options.groups) return false;
    auto input = scheduler.plan(clock.now());
    if (!input) return false;
    input->step = ++last_step;
    check(*input);
    history.push_back(*input);
    in_flight.push_back(*std::move(input));
    scheduler.began(last_step);
    return true;
  }

  // The oldest step in flight goes through all stages.
  Status complete() {
    StageInput input = std::move(in_flight.front());
    in_flight.pop_front();
    const auto doomed = doomed_.find(input.step);
    StepResult result{
        .step = input.step,
        .output = doomed == doomed_.end() ? run(input) : std::unexpected(doomed->second),
        .failed_stage = {}};
    if (!result.output) doom_later_steps(input, result.output.error());
    return scheduler.on_result(std::move(result), clock.now());
  }

  void look() {
    scheduler.sweep(clock.now());
    write();
    scheduler.remove_ended();
  }

  void write() {
    for (auto& job : scheduler.take_news()) {
      const auto outcome = job.sequence->writer().write(std::move(job.news), nullptr, {});
      scheduler.on_written(*job.sequence, outcome, clock.now());
    }
  }

  // One round as the batcher's thread does it.
  void round() {
    if (!in_flight.empty()) (void)complete();
    admit();
    while (submit()) {
    }
    look();
  }

  // Rounds until all are ended; false when that takes too many.
  bool run_all(int limit = 100'000) {
    for (int i = 0; i < limit; ++i) {
      if (waiting.empty() && scheduler.open_sequences() == 0 && in_flight.empty()) return true;
      round();
    }
    return false;
  }

  std::vector<Token> expected(const std::vector<Token>& prompt, std::uint32_t max_tokens) const {
    return fake_generation(prompt, max_tokens, n_stages, vocabulary_size, scheduler.context());
  }

  const std::size_t n_stages;
  const BatcherOptions options;
  const std::uint32_t vocabulary_size;
  ManualClock clock;
  FakeVocabulary vocabulary;
  FakeStageFactory factory;
  Scheduler scheduler;
  std::deque<QueuedRequest> waiting;
  std::deque<StageInput> in_flight;
  std::vector<StageInput> history;  // of submitted steps
  std::uint64_t last_step = 0;
  std::vector<std::string> violations;  // of what holds for every step; must stay empty

 private:
  void check(const StageInput& step) {
    const auto expect = [&](bool holds, const char* what) {
      if (!holds) violations.push_back("step " + std::to_string(step.step) + ": " + what);
    };
    expect(!step.rows.empty(), "no rows");
    expect(step.rows.size() <= options.max_step_rows, "too many rows");
    std::set<SlotId> slots;
    for (std::size_t i = 0; i < step.rows.size(); ++i) {
      const StepRow& row = step.rows[i];
      if (slots.insert(row.slot).second) {
        expect(i == 0 || row.slot > step.rows[i - 1].slot, "slots out of order");
        continue;
      }
      expect(row.slot == step.rows[i - 1].slot, "the rows of a slot are torn apart");
      expect(row.position == step.rows[i - 1].position + 1, "a gap between positions");
      expect(!step.rows[i - 1].wants_output, "output of a row that is not the last");
    }
    const auto wanted = std::ranges::count_if(step.rows, &StepRow::wants_output);
    expect(static_cast<std::size_t>(wanted) == step.outputs.size(), "outputs");
    expect(!options.max_batch || slots.size() <= options.max_batch(), "too many sequences");
    for (const StageInput& other : in_flight) check_overlap(other, step);
  }

  // A slot may be in two steps at once only with rows of its prompt, one after the other.
  void check_overlap(const StageInput& before, const StageInput& after) {
    for (const StepRow& a : before.rows) {
      for (const StepRow& b : after.rows) {
        if (a.slot != b.slot) continue;
        if (a.wants_output || a.position >= b.position) {
          violations.push_back("a slot in two steps at once: " + std::to_string(after.step));
        }
      }
    }
  }

  // As the pipeline does.
  void doom_later_steps(const StageInput& failed, const Error& error) {
    for (const StageInput& later : in_flight) {
      const auto shares = [&](const StepRow& row) {
        return std::ranges::contains(failed.rows, row.slot, &StepRow::slot);
      };
      if (std::ranges::any_of(later.rows, shares)) doomed_.try_emplace(later.step, error);
    }
  }

  Result<StageOutput> run(StageInput& input) {
    std::vector<RowFault> faults;
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      auto output = stages_[i]->forward(input, {});
      if (!output) return output;
      if (i + 1 == stages_.size()) {
        output->faults = std::move(faults);
        return output;
      }
      if (!input.rows.empty()) {
        for (const auto row : zero_nonfinite_rows(output->hidden, input.rows.size())) {
          faults.push_back({row, "NaN in stage " + std::to_string(i)});
        }
      }
      input.hidden = std::move(output->hidden);
    }
    return fail(ErrorCode::kInternal, "no stages");
  }

  std::vector<std::unique_ptr<Stage>> stages_;
  std::map<std::uint64_t, Error> doomed_;
};

}  // namespace gogrid::testing
