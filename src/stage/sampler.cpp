#include "stage/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <vector>

namespace gogrid {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();
// OpenAI's scale: a bias this low means "never", not merely "unlikely".
constexpr float kBanBias = -100.0F;

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9U;  // golden ratio
    key[1] += 0xBB67AE85U;  // sqrt(3) - 1
  }
  return counter;
}

struct Peak {
  std::size_t index = 0;  // the first of equals
  float value = kBanned;
  bool damaged = false;  // NaN or +infinity was seen
};

// One pass in blocks whose inner loop has neither a branch nor an index, so that it runs in vector
// registers; only a block that raises the maximum is looked at again.
Peak find_peak(std::span<const float> logits) {
  constexpr std::size_t kLanes = 16;
  constexpr std::size_t kBlock = 64 * kLanes;
  Peak peak;
  for (std::size_t start = 0; start < logits.size(); start += kBlock) {
    const auto block = logits.subspan(start, std::min(kBlock, logits.size() - start));
    std::array<float, kLanes> highest;
    std::array<std::uint32_t, kLanes> unordered{};
    highest.fill(kBanned);
    std::size_t i = 0;
    for (; i + kLanes <= block.size(); i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const float x = block.data()[i + lane];
        highest[lane] = x > highest[lane] ? x : highest[lane];
        unordered[lane] |= static_cast<std::uint32_t>(x != x);
      }
    }
    for (; i < block.size(); ++i) {
      const float x = block[i];
      highest[0] = x > highest[0] ? x : highest[0];
      unordered[0] |= static_cast<std::uint32_t>(x != x);
    }
    const float top = *std::ranges::max_element(highest);
    for (const std::uint32_t flag : unordered) peak.damaged |= flag != 0;
    if (top > peak.value) {
      peak.value = top;
      peak.index = start + static_cast<std::size_t>(std::ranges::find(block, top) - block.begin());
    }
  }
  peak.damaged |= std::isinf(peak.value) && peak.value > 0;
  return peak;
}

bool in_vocabulary(Token token, std::span<const float> logits) {
  return token >= 0 && static_cast<std::size_t>(token) < logits.size();
}

void apply_bias(std::span<float> logits, const SamplingSpec& spec,
                std::span<const Token> end_tokens) {
  for (const LogitBias& entry : spec.logit_bias) {
    if (!in_vocabulary(entry.token, logits)) continue;
    float& logit = logits[static_cast<std::size_t>(entry.token)];
    logit = entry.bias <= kBanBias ? kBanned : logit + entry.bias;
  }
  if (!spec.ban_end_of_text) return;
  for (const Token token : end_tokens) {
    if (in_vocabulary(token, logits)) logits[static_cast<std::size_t>(token)] = kBanned;
  }
}

// Keskar et al. (CTRL, 2019): recent tokens lose, whatever the sign of their logit.
void apply_repeat_penalty(std::span<float> logits, const SamplingSpec& spec,
                          std::span<const Token> history) {
  const auto window = std::min(history.size(), static_cast<std::size_t>(spec.repeat_window));
  std::vector<Token> recent(history.end() - static_cast<std::ptrdiff_t>(window), history.end());
  std::ranges::sort(recent);
  recent.erase(std::ranges::unique(recent).begin(), recent.end());
  for (const Token token : recent) {
    if (!in_vocabulary(token, logits)) continue;
    float& logit = logits[static_cast<std::size_t>(token)];
    logit = logit > 0 ? logit / spec.repeat_penalty : logit * spec.repeat_penalty;
  }
}

// The OpenAI reference: logit -= count * frequency + (count > 0) * presence, of generated tokens.
void apply_count_penalties(std::span<float> logits, const SamplingSpec& spec,
                           std::span<const Token> generated) {
  std::map<Token, int> counts;
  for (const Token token : generated) ++counts[token];
  for (const auto& [token, count] : counts) {
    if (!in_vocabulary(token, logits)) continue;
    logits[static_cast<std::size_t>(token)] -=
        static_cast<float>(count) * spec.frequency_penalty + spec.presence_penalty;
  }
}

void apply_penalties(std::span<float> logits, const OutputSpec& output) {
  const SamplingSpec& spec = *output.sampling;
  if (!spec.penalizes()) return;
  const std::span<const Token> history = output.history;
  if (spec.repeats_penalized()) apply_repeat_penalty(logits, spec, history);
  if (spec.frequency_penalty != 0.0F || spec.presence_penalty != 0.0F) {
    const auto prompt = std::min<std::size_t>(output.prompt_length, history.size());
    apply_count_penalties(logits, spec, history.subspan(prompt));
  }
}

// Most likely first; ties to the lower id.
struct MoreLikely {
  std::span<const float> logits;
  bool operator()(Token a, Token b) const {
    const float left = logits[static_cast<std::size_t>(a)];
    const float right = logits[static_cast<std::size_t>(b)];
    return left != right ? left > right : a < b;
  }
};

// Tokens whose logit is at least `floor`, by id; banned ones never.
std::vector<Token> tokens_from(std::span<const float> logits, float floor) {
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= floor && logits[i] != kBanned) tokens.push_back(static_cast<Token>(i));
  }
  return tokens;
}

// The `count` most likely, most likely first, without sorting the vocabulary: a heap of the best so
// far, its worst on top, which almost every token fails to beat.
std::vector<Token> most_likely(std::span<const float> logits, std::size_t count) {
  const MoreLikely order{logits};
  std::vector<Token> heap;
  if (count == 0) return heap;
  if (count >= logits.size()) {
    heap = tokens_from(logits, kBanned);
    std::ranges::sort(heap, order);
    return heap;
  }
  heap.reserve(count);
  float worst = kBanned;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > worst)) continue;  // ids ascend: an equal later one loses
    if (heap.size() == count) {
      std::ranges::pop_heap(heap, order);
      heap.pop_back();
    }
    heap.push_back(static_cast<Token>(i));
    std::ranges::push_heap(heap, order);
    if (heap.size() == count) worst = logits[static_cast<std::size_t>(heap.front())];
  }
  std::ranges::sort_heap(heap, order);
  return heap;
}

// Relative to the most likely token, so that nothing overflows.
double weight(float logit, float peak) { return std::exp(static_cast<double>(logit) - peak); }

double total_weight(std::span<const float> logits, float peak) {
  double sum = 0;
  for (const float logit : logits) sum += weight(logit, peak);
  return sum;
}

// The smallest prefix of `sorted` that holds `share` of `mass` (at least one token).
void keep_nucleus(std::vector<Token>& sorted, std::span<const float> logits, float peak,
                  double mass, float share) {
  double sum = 0;
  std::size_t kept = 0;
  while (kept < sorted.size()) {
    sum += weight(logits[static_cast<std::size_t>(sorted[kept++])], peak);
    if (sum >= static_cast<double>(share) * mass) break;
  }
  sorted.resize(kept);
}

// Tokens from `floor` up that surely hold `share` of `mass`, if all of them do: those within e^10
// of the best mostly do, and spare the sorting of a vocabulary.
std::vector<Token> enough_tokens(std::span<const float> logits, float floor, float peak,
                                 double mass, float share) {
  constexpr float kNear = 10.0F;
  if (floor >= peak - kNear) return tokens_from(logits, floor);
  std::vector<Token> near = tokens_from(logits, peak - kNear);
  double held = 0;
  for (const Token token : near) held += weight(logits[static_cast<std::size_t>(token)], peak);
  // A hair more, since the same weights summed in another order are not the same sum.
  if (held > static_cast<double>(share) * mass * (1 + 1e-9)) return near;
  return tokens_from(logits, floor);
}

// What top_k, top_p and min_p leave, by id. All three keep a prefix of the tokens in order of
// likelihood, so the floor that min_p sets may be applied first; only the mass that top_p is a
// share of must be counted over what top_k leaves.
std::vector<Token> candidates(std::span<const float> logits, const SamplingSpec& spec, float peak) {
  const float floor = spec.min_p > 0
                          ? peak + static_cast<float>(std::log(static_cast<double>(spec.min_p)))
                          : kBanned;
  const bool nucleus = spec.top_p < 1.0F;
  std::vector<Token> tokens;
  double mass = 0;
  if (spec.top_k > 0) {
    tokens = most_likely(logits, static_cast<std::size_t>(spec.top_k));
    for (const Token token : tokens) mass += weight(logits[static_cast<std::size_t>(token)], peak);
    std::erase_if(tokens, [&](Token t) { return logits[static_cast<std::size_t>(t)] < floor; });
  } else if (nucleus) {
    mass = total_weight(logits, peak);
    tokens = enough_tokens(logits, floor, peak, mass, spec.top_p);
    std::ranges::sort(tokens, MoreLikely{logits});
  } else {
    tokens = tokens_from(logits, floor);
  }
  if (nucleus) keep_nucleus(tokens, logits, peak, mass, spec.top_p);
  std::ranges::sort(tokens);
  return tokens;
}

// Walks the candidates by id until their share of the weight passes `uniform`.
Token draw(std::span<const Token> tokens, std::span<const float> logits, float peak,
           float temperature, double uniform) {
  std::vector<double> weights;
  weights.reserve(tokens.size());
  double total = 0;
  for (const Token token : tokens) {
    const double scaled =
        (static_cast<double>(logits[static_cast<std::size_t>(token)]) - peak) / temperature;
    weights.push_back(std::exp(scaled));
    total += weights.back();
  }
  double left = uniform * total;
  Token last = tokens.front();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (weights[i] <= 0) continue;
    last = tokens[i];
    left -= weights[i];
    if (left < 0) break;
  }
  return last;  // rounding may leave a crumb: the last possible token has it
}

void add_probabilities(TokenEvent& event, std::span<const float> logits, float peak,
                       std::int32_t alternatives) {
  const double log_total = peak + std::log(total_weight(logits, peak));
  const auto probability = [&](Token token) {
    const double logit = logits[static_cast<std::size_t>(token)];
    return TokenProbability{token, static_cast<float>(logit - log_total), {}};
  };
  event.chosen = probability(event.chosen.token);
  for (const Token token : most_likely(logits, static_cast<std::size_t>(alternatives))) {
    event.top.push_back(probability(token));
  }
}

}  // namespace

double uniform_at(std::uint64_t seed, std::uint64_t position) {
  const auto words = philox(
      {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), 0, 0},
      {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::uint64_t bits = std::uint64_t{words[1]} << 32 | words[0];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

SampledRow sample(std::span<float> logits, const OutputSpec& output, std::int32_t position,
                  std::span<const Token> end_tokens) {
  SampledRow row;
  const SamplingSpec& spec = *output.sampling;
  // Damage is looked for before a ban can cover it, at no cost where nothing changes the logits.
  Peak peak = find_peak(logits);
  if (!peak.damaged && (!spec.logit_bias.empty() || spec.ban_end_of_text || spec.penalizes())) {
    apply_bias(logits, spec, end_tokens);
    apply_penalties(logits, output);
    peak = find_peak(logits);
  }
  if (peak.damaged) {
    row.error = "[sampler] finite logits: NaN or infinity";
    return row;
  }
  if (peak.value == kBanned) {
    row.error = "[sampler] at least one token that may be chosen: all are banned";
    return row;
  }
  if (spec.greedy()) {
    row.event.chosen.token = static_cast<Token>(peak.index);
  } else {
    row.event.chosen.token =
        draw(candidates(logits, spec, peak.value), logits, peak.value, spec.temperature,
             uniform_at(spec.seed, static_cast<std::uint64_t>(position)));
  }
  if (spec.top_logprobs >= 0) {
    add_probabilities(row.event, logits, peak.value, spec.top_logprobs);
  }
  return row;
}

}  // namespace gogrid
