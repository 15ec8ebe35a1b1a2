#include "stage/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplingSpec greedy() {
  SamplingSpec spec;
  spec.temperature = 0;
  return spec;
}

// Nothing but the temperature.
SamplingSpec plain(float temperature = 1.0F) {
  SamplingSpec spec;
  spec.temperature = temperature;
  spec.min_p = 0;
  return spec;
}

OutputSpec output_of(SamplingSpec spec) {
  OutputSpec output;
  output.sampling = std::make_shared<const SamplingSpec>(std::move(spec));
  return output;
}

SampledRow run(std::vector<float> logits, const OutputSpec& output, std::int32_t position = 0,
               const std::vector<Token>& ends = {}) {
  return sample(logits, output, position, ends);
}

Token token_of(std::vector<float> logits, const SamplingSpec& spec, std::int32_t position = 0,
               const std::vector<Token>& ends = {}) {
  const SampledRow row = run(std::move(logits), output_of(spec), position, ends);
  EXPECT_EQ(row.error, "");
  return row.event.chosen.token;
}

std::vector<float> random_logits(std::size_t count, std::uint32_t seed, float spread = 3.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// --- Random numbers -------------------------------------------------------------------------

TEST(UniformAt, IsAFunctionOfSeedAndPosition) {
  EXPECT_EQ(uniform_at(1, 2), uniform_at(1, 2));
  EXPECT_NE(uniform_at(1, 2), uniform_at(2, 1));
  EXPECT_NE(uniform_at(0, 0), uniform_at(0, 1));
  EXPECT_NE(uniform_at(0, 0), uniform_at(std::uint64_t{1} << 32, 0));
  EXPECT_NE(uniform_at(0, 0), uniform_at(0, std::uint64_t{1} << 32));
}

// Random123's known answers for Philox4x32-10: counter and key all zero, and all ones; the first
// two words make the 53 bits.
TEST(UniformAt, MatchesPublishedPhilox) {
  const auto from_words = [](std::uint64_t first, std::uint64_t second) {
    return static_cast<double>((second << 32 | first) >> 11) / 9007199254740992.0;
  };
  EXPECT_EQ(uniform_at(0, 0), from_words(0x6627E8D5, 0xE169C58D));
}

TEST(UniformAt, FillsTheUnitIntervalEvenly) {
  constexpr int kBuckets = 64;
  constexpr int kDraws = 64000;
  for (const std::uint64_t seed : {0ULL, 1ULL, 42ULL, ~0ULL}) {
    std::vector<int> counts(kBuckets);
    for (int i = 0; i < kDraws; ++i) {
      const double u = uniform_at(seed, static_cast<std::uint64_t>(i));
      ASSERT_GE(u, 0.0);
      ASSERT_LT(u, 1.0);
      ++counts[static_cast<std::size_t>(u * kBuckets)];
    }
    double chi_square = 0;
    for (const int count : counts) {
      const double expected = static_cast<double>(kDraws) / kBuckets;
      chi_square += (count - expected) * (count - expected) / expected;
    }
    EXPECT_LT(chi_square, 120.0) << "63 degrees of freedom; seed " << seed;
    EXPECT_GT(chi_square, 25.0) << "too even to be random; seed " << seed;
  }
}

TEST(UniformAt, NeighbouringSeedsAreUnrelated) {
  double sum = 0;
  constexpr int kPairs = 20000;
  for (int i = 0; i < kPairs; ++i) {
    const auto n = static_cast<std::uint64_t>(i);
    sum += (uniform_at(n, 7) - 0.5) * (uniform_at(n + 1, 7) - 0.5);
  }
  EXPECT_LT(std::abs(sum / kPairs), 5.0 / 12.0 / std::sqrt(kPairs));
}

// --- Greedy ---------------------------------------------------------------------------------

TEST(Greedy, TakesTheMostLikely) { EXPECT_EQ(token_of({0.5F, 2.0F, -1.0F, 1.5F}, greedy()), 1); }

TEST(Greedy, TiesGoToTheLowerId) {
  EXPECT_EQ(token_of({1, 3, 3, 3}, greedy()), 1);
  std::vector<float> wide(5000, 0.25F);
  EXPECT_EQ(token_of(wide, greedy()), 0);
  wide[4321] = wide[1234] = 7;
  EXPECT_EQ(token_of(wide, greedy()), 1234);
}

TEST(Greedy, FindsThePeakWhereverItIs) {
  for (const std::size_t size : {1U, 2U, 15U, 16U, 17U, 1023U, 1024U, 1025U, 4999U}) {
    std::vector<float> logits(size, -5.0F);
    for (std::size_t at = 0; at < size; at += std::max<std::size_t>(1, size / 13)) {
      logits[at] = 1;
      EXPECT_EQ(token_of(logits, greedy()), static_cast<Token>(at)) << size;
      logits[at] = -5;
    }
  }
}

TEST(Greedy, IgnoresSeedAndPosition) {
  SamplingSpec spec = greedy();
  const auto logits = random_logits(1000, 3);
  const Token expected = token_of(logits, spec, 0);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    spec.seed = seed;
    EXPECT_EQ(token_of(logits, spec, static_cast<std::int32_t>(seed * 7)), expected);
  }
}

TEST(Greedy, AllEquallyUnlikelyStillGivesAToken) {
  EXPECT_EQ(token_of({-3e38F, -3e38F}, greedy()), 0);
}

// --- Damage ---------------------------------------------------------------------------------

TEST(DamagedLogits, OneNotANumberAnywhereEndsTheRow) {
  for (const std::size_t size : {1U, 17U, 1500U}) {
    for (std::size_t at = 0; at < size; at += 7) {
      std::vector<float> logits = random_logits(size, 1);
      logits[at] = kNan;
      EXPECT_THAT(run(logits, output_of(greedy())).error, HasSubstr("NaN")) << at << " of " << size;
      EXPECT_THAT(run(logits, output_of(plain())).error, HasSubstr("NaN"));
    }
  }
}

TEST(DamagedLogits, ABanDoesNotHideIt) {
  SamplingSpec spec = greedy();
  spec.logit_bias = {{1, -100}};
  EXPECT_NE(run({0, kNan, 1}, output_of(spec)).error, "");
}

TEST(DamagedLogits, PositiveInfinityEndsTheRow) {
  EXPECT_NE(run({0, kInfinity, 1}, output_of(greedy())).error, "");
}

TEST(DamagedLogits, NegativeInfinityIsATokenThatCannotBe) {
  EXPECT_EQ(token_of({-kInfinity, -4, -kInfinity}, greedy()), 1);
  EXPECT_EQ(token_of({-kInfinity, -4, -kInfinity}, plain()), 1);
}

TEST(DamagedLogits, NothingLeftIsAnErrorAndNotAToken) {
  EXPECT_THAT(run({-kInfinity, -kInfinity}, output_of(greedy())).error, HasSubstr("banned"));
  SamplingSpec spec = greedy();
  spec.logit_bias = {{0, -100}, {1, -100}};
  EXPECT_THAT(run({1, 2}, output_of(spec)).error, HasSubstr("banned"));
}

// --- Bias and bans --------------------------------------------------------------------------

TEST(LogitBias, IsAddedToTheLogit) {
  SamplingSpec spec = greedy();
  spec.logit_bias = {{2, 1.5F}};
  EXPECT_EQ(token_of({0, 1, 0}, spec), 2);
  spec.logit_bias = {{2, 0.5F}};
  EXPECT_EQ(token_of({0, 1, 0}, spec), 1);
}

TEST(LogitBias, MinusHundredBansHoweverLikely) {
  SamplingSpec spec = greedy();
  spec.logit_bias = {{1, -100}};
  EXPECT_EQ(token_of({0, 500, 0}, spec), 0);
}

TEST(LogitBias, HundredForces) {
  SamplingSpec spec = plain();
  spec.logit_bias = {{2, 100}};
  for (std::int32_t position = 0; position < 200; ++position) {
    EXPECT_EQ(token_of({10, 20, -20}, spec, position), 2);
  }
}

TEST(LogitBias, OfTokensOutsideTheVocabularyIsIgnored) {
  SamplingSpec spec = greedy();
  spec.logit_bias = {{-1, 100}, {3, 100}, {1000000, 100}};
  EXPECT_EQ(token_of({0, 1, 0}, spec), 1);
}

TEST(EndTokens, AreBannedOnlyWhenTheSpecSaysSo) {
  SamplingSpec spec = greedy();
  EXPECT_EQ(token_of({0, 9, 1, 8}, spec, 0, {1, 3}), 1);
  spec.ban_end_of_text = true;
  EXPECT_EQ(token_of({0, 9, 1, 8}, spec, 0, {1, 3}), 2);
  EXPECT_EQ(token_of({0, 9, 1, 8}, spec, 0, {-1, 77}), 1);
}

// --- Penalties ------------------------------------------------------------------------------

Token penalized(std::vector<float> logits, const SamplingSpec& spec, std::vector<Token> history,
                std::uint32_t prompt_length) {
  OutputSpec output = output_of(spec);
  output.history = std::move(history);
  output.prompt_length = prompt_length;
  return run(std::move(logits), output).event.chosen.token;
}

TEST(Penalties, FrequencyCountsGeneratedTokens) {
  SamplingSpec spec = greedy();
  spec.frequency_penalty = 0.5F;
  EXPECT_EQ(penalized({1.9F, 1}, spec, {0, 0}, 0), 1);  // 1.9 - 2 * 0.5
  EXPECT_EQ(penalized({2.1F, 1}, spec, {0, 0}, 0), 0);  // 2.1 - 2 * 0.5
  EXPECT_EQ(penalized({1.9F, 1}, spec, {0, 0}, 1), 0);  // one of them was prompt
}

TEST(Penalties, PresenceCountsOnce) {
  SamplingSpec spec = greedy();
  spec.presence_penalty = 0.5F;
  EXPECT_EQ(penalized({1.6F, 1}, spec, {0, 0, 0, 0}, 0), 0);
  EXPECT_EQ(penalized({1.4F, 1}, spec, {0}, 0), 1);
}

TEST(Penalties, OfOpenAiDoNotLookAtThePrompt) {
  SamplingSpec spec = greedy();
  spec.frequency_penalty = 2;
  spec.presence_penalty = 2;
  EXPECT_EQ(penalized({1.1F, 1}, spec, {0, 0, 0}, 3), 0);
}

TEST(Penalties, NegativeOnesEncourage) {
  SamplingSpec spec = greedy();
  spec.frequency_penalty = -1;
  EXPECT_EQ(penalized({0, 1}, spec, {0, 0}, 0), 0);
}

TEST(Penalties, RepeatDividesPositiveAndMultipliesNegativeLogits) {
  SamplingSpec spec = greedy();
  spec.repeat_penalty = 2;
  EXPECT_EQ(penalized({3, 2}, spec, {0}, 1), 1);       // 1.5 < 2
  EXPECT_EQ(penalized({5, 2}, spec, {0}, 1), 0);       // 2.5 > 2
  EXPECT_EQ(penalized({-1, -1.5F}, spec, {0}, 1), 1);  // -2 < -1.5
}

TEST(Penalties, RepeatCountsATokenOnceHoweverOften) {
  SamplingSpec spec = greedy();
  spec.repeat_penalty = 2;
  EXPECT_EQ(penalized({5, 2}, spec, {0, 0, 0, 0}, 4), 0);
}

TEST(Penalties, RepeatLooksBackNoFurtherThanItsWindow) {
  SamplingSpec spec = greedy();
  spec.repeat_penalty = 2;
  spec.repeat_window = 2;
  EXPECT_EQ(penalized({3, 2}, spec, {0, 1, 1}, 0), 0);
  EXPECT_EQ(penalized({3, 2}, spec, {1, 0, 1}, 0), 0);  // both are in it: 1.5 against 1
  EXPECT_EQ(penalized({3, 2, 2}, spec, {0, 2}, 0), 1);
  spec.repeat_window = 0;
  EXPECT_EQ(penalized({3, 2}, spec, {0, 0, 0}, 0), 0);
}

TEST(Penalties, TokensOutsideTheVocabularyAreIgnored) {
  SamplingSpec spec = greedy();
  spec.repeat_penalty = 2;
  spec.frequency_penalty = 1;
  EXPECT_EQ(penalized({3, 2}, spec, {-5, 2, 99999}, 0), 0);
}

// --- Against a reference --------------------------------------------------------------------

// The header's order of work, written plainly: everything sorted, every probability computed.
Token reference(const std::vector<float>& logits, const SamplingSpec& spec, std::int32_t position) {
  std::vector<Token> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](Token t) { return static_cast<double>(logits[static_cast<size_t>(t)]); };
  std::ranges::stable_sort(order, std::greater<>(), logit);
  if (spec.top_k > 0 && static_cast<std::size_t>(spec.top_k) < order.size()) {
    order.resize(static_cast<std::size_t>(spec.top_k));
  }
  const double peak = logit(order.front());
  double mass = 0;
  for (const Token token : order) mass += std::exp(logit(token) - peak);
  double held = 0;
  std::size_t nucleus = 0;
  while (nucleus < order.size() &&
         (nucleus == 0 || held < static_cast<double>(spec.top_p) * mass)) {
    held += std::exp(logit(order[nucleus++]) - peak);
  }
  if (spec.top_p < 1) order.resize(nucleus);
  std::erase_if(order, [&](Token token) {
    return std::exp(logit(token) - peak) < static_cast<double>(spec.min_p);
  });
  std::ranges::sort(order);
  double total = 0;
  for (const Token token : order) total += std::exp((logit(token) - peak) / spec.temperature);
  double left = uniform_at(spec.seed, static_cast<std::uint64_t>(position)) * total;
  for (const Token token : order) {
    left -= std::exp((logit(token) - peak) / spec.temperature);
    if (left < 0) return token;
  }
  return order.back();
}

class AgainstReference : public ::testing::TestWithParam<std::size_t> {};

TEST_P(AgainstReference, ChoosesTheSameToken) {
  std::mt19937 random(static_cast<std::uint32_t>(GetParam()));
  const auto pick = [&](auto... choices) {
    const std::vector<double> all{static_cast<double>(choices)...};
    return all[random() % all.size()];
  };
  std::map<Token, int> seen;
  for (std::uint32_t round = 0; round < 400; ++round) {
    SamplingSpec spec;
    spec.temperature = static_cast<float>(pick(0.2, 0.7, 1.0, 2.0));
    spec.top_k = static_cast<std::int32_t>(pick(0, 1, 2, 5, 40, 100000));
    spec.top_p = static_cast<float>(pick(0.01, 0.3, 0.8, 0.95, 1.0));
    spec.min_p = static_cast<float>(pick(0, 0.01, 0.05, 0.5, 1.0));
    spec.seed = random();
    const auto logits = random_logits(GetParam(), round, static_cast<float>(pick(0.1, 1, 4)));
    const auto position = static_cast<std::int32_t>(random() % 5000);
    const Token got = token_of(logits, spec, position);
    ASSERT_EQ(got, reference(logits, spec, position))
        << "round " << round << ": temperature " << spec.temperature << " top_k " << spec.top_k
        << " top_p " << spec.top_p << " min_p " << spec.min_p;
    ++seen[got];
  }
  EXPECT_GE(seen.size(), std::min<std::size_t>(GetParam(), 6));
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, AgainstReference,
                         ::testing::Values(1, 2, 7, 64, 1000, 5000));

// --- Distributions --------------------------------------------------------------------------

// Pearson's statistic of `draws` tokens at positions 0, 1, 2…, against `probabilities`.
double chi_square(const std::vector<float>& logits, const SamplingSpec& spec,
                  const std::vector<double>& probabilities, int draws) {
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(token_of(logits, spec, i))];
  double sum = 0;
  for (std::size_t t = 0; t < logits.size(); ++t) {
    const double expected = probabilities[t] * draws;
    if (probabilities[t] == 0) {
      EXPECT_EQ(counts[t], 0) << "token " << t << " was filtered out";
    } else {
      sum += (counts[t] - expected) * (counts[t] - expected) / expected;
    }
  }
  return sum;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature,
                            const std::vector<Token>& kept) {
  std::vector<double> p(logits.size());
  double total = 0;
  for (const Token t : kept) {
    const auto i = static_cast<std::size_t>(t);
    total += p[i] = std::exp(static_cast<double>(logits[i]) / temperature);
  }
  for (double& x : p) x /= total;
  return p;
}

const std::vector<float> kSix = {1.0F, 2.0F, 0.5F, 1.5F, -1.0F, 0.0F};

TEST(Distribution, FollowsTheSoftmax) {
  const auto p = softmax(kSix, 1.0, {0, 1, 2, 3, 4, 5});
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    SamplingSpec spec = plain();
    spec.seed = seed;
    EXPECT_LT(chi_square(kSix, spec, p, 20000), 20.5) << "5 degrees of freedom, p = 0.001";
  }
}

TEST(Distribution, TemperatureFlattensAndSharpens) {
  for (const float temperature : {0.3F, 0.8F, 1.7F}) {
    const auto p = softmax(kSix, static_cast<double>(temperature), {0, 1, 2, 3, 4, 5});
    EXPECT_LT(chi_square(kSix, plain(temperature), p, 20000), 20.5) << temperature;
  }
}

TEST(Distribution, TopKRenormalizesWhatIsLeft) {
  SamplingSpec spec = plain();
  spec.top_k = 3;
  EXPECT_LT(chi_square(kSix, spec, softmax(kSix, 1.0, {0, 1, 3}), 20000), 13.8);
}

TEST(Distribution, TopPKeepsTheSmallestSetThatHoldsIt) {
  // Probabilities 0.5, 0.3, 0.15, 0.05.
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.15F),
                                     std::log(0.05F)};
  SamplingSpec spec = plain();
  spec.top_p = 0.6F;
  EXPECT_LT(chi_square(logits, spec, softmax(logits, 1.0, {0, 1}), 20000), 10.9);
  spec.top_p = 0.4F;
  EXPECT_EQ(chi_square(logits, spec, softmax(logits, 1.0, {0}), 500), 0.0);
  spec.top_p = 0.9F;
  EXPECT_LT(chi_square(logits, spec, softmax(logits, 1.0, {0, 1, 2}), 20000), 13.8);
}

TEST(Distribution, MinPDropsWhatIsMuchLessLikelyThanTheBest) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.15F),
                                     std::log(0.05F)};
  SamplingSpec spec = plain();
  spec.min_p = 0.2F;  // of 0.5: below 0.1 goes
  EXPECT_LT(chi_square(logits, spec, softmax(logits, 1.0, {0, 1, 2}), 20000), 13.8);
}

TEST(Distribution, FiltersLookAtTheDistributionBeforeTemperature) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.15F),
                                     std::log(0.05F)};
  SamplingSpec spec = plain(2.0F);
  spec.min_p = 0.2F;
  EXPECT_LT(chi_square(logits, spec, softmax(logits, 2.0, {0, 1, 2}), 20000), 13.8);
}

TEST(Distribution, TopKTiesGoToTheLowerId) {
  SamplingSpec spec = plain();
  spec.top_k = 2;
  EXPECT_LT(chi_square({1, 1, 1, 1}, spec, {0.5, 0.5, 0, 0}, 2000), 10.9);
}

TEST(Distribution, NucleusOfAFlatVocabularyIsStillRight) {
  const std::vector<float> flat(100, 2.5F);
  SamplingSpec spec = plain();
  spec.top_p = 0.25F;
  std::vector<double> p(100);
  std::fill_n(p.begin(), 25, 0.04);
  EXPECT_LT(chi_square(flat, spec, p, 10000), 51.2) << "24 degrees of freedom";
}

TEST(Distribution, TinyTemperatureIsTheMostLikely) {
  for (std::int32_t position = 0; position < 100; ++position) {
    EXPECT_EQ(token_of(kSix, plain(1e-6F), position), 1);
  }
}

TEST(Distribution, HugeLogitsDoNotOverflow) {
  const std::vector<float> logits = {3e38F, 3e38F, -3e38F};
  std::map<Token, int> counts;
  for (std::int32_t position = 0; position < 1000; ++position) {
    ++counts[token_of(logits, plain(), position)];
  }
  EXPECT_NEAR(counts[0], 500, 80);
  EXPECT_NEAR(counts[1], 500, 80);
}

TEST(Distribution, DependsOnPositionNotOnCallOrder) {
  const auto logits = random_logits(500, 10);
  std::vector<Token> forwards;
  std::vector<Token> backwards;
  for (std::int32_t i = 0; i < 50; ++i) forwards.push_back(token_of(logits, plain(), i));
  for (std::int32_t i = 49; i >= 0; --i) backwards.push_back(token_of(logits, plain(), i));
  std::ranges::reverse(backwards);
  EXPECT_EQ(forwards, backwards);
  EXPECT_GT(std::set<Token>(forwards.begin(), forwards.end()).size(), 5U);
}

// --- Log-probabilities ----------------------------------------------------------------------

std::vector<Token> tokens_of(const std::vector<TokenProbability>& top) {
  std::vector<Token> tokens;
  for (const auto& entry : top) tokens.push_back(entry.token);
  return tokens;
}

TEST(LogProbabilities, AreAbsentUnlessAskedFor) {
  const SampledRow row = run({1, 2}, output_of(greedy()));
  EXPECT_EQ(row.event.chosen.logprob, 0.0F);
  EXPECT_TRUE(row.event.top.empty());
}

TEST(LogProbabilities, ZeroAsksForTheChosenTokenOnly) {
  SamplingSpec spec = greedy();
  spec.top_logprobs = 0;
  const SampledRow row = run({0, std::log(3.0F)}, output_of(spec));
  EXPECT_NEAR(row.event.chosen.logprob, std::log(0.75), 1e-6);
  EXPECT_TRUE(row.event.top.empty());
}

TEST(LogProbabilities, AlternativesComeMostLikelyFirst) {
  SamplingSpec spec = greedy();
  spec.top_logprobs = 3;
  const SampledRow row =
      run({std::log(0.1F), std::log(0.4F), std::log(0.3F), std::log(0.2F)}, output_of(spec));
  EXPECT_THAT(tokens_of(row.event.top), ElementsAre(1, 2, 3));
  EXPECT_NEAR(row.event.top[0].logprob, std::log(0.4), 1e-6);
  EXPECT_NEAR(row.event.top[2].logprob, std::log(0.2), 1e-6);
  EXPECT_EQ(row.event.chosen.logprob, row.event.top[0].logprob);
}

TEST(LogProbabilities, AreOfTheDistributionBeforeTemperatureAndFilters) {
  SamplingSpec spec = plain(0.1F);
  spec.top_k = 1;
  spec.top_logprobs = 2;
  const SampledRow row = run({0, std::log(3.0F)}, output_of(spec));
  EXPECT_NEAR(row.event.top[1].logprob, std::log(0.25), 1e-6);
}

TEST(LogProbabilities, CountTheBiasAndTheBans) {
  SamplingSpec spec = greedy();
  spec.top_logprobs = 3;
  spec.logit_bias = {{2, -100}};
  const SampledRow row = run({0, 0, 50}, output_of(spec));
  EXPECT_NEAR(row.event.chosen.logprob, std::log(0.5), 1e-6);
  EXPECT_THAT(tokens_of(row.event.top), ElementsAre(0, 1));  // a banned one is no alternative
}

TEST(LogProbabilities, TiesGoToTheLowerId) {
  SamplingSpec spec = greedy();
  spec.top_logprobs = 2;
  EXPECT_THAT(tokens_of(run({1, 1, 1, 1}, output_of(spec)).event.top), ElementsAre(0, 1));
}

TEST(LogProbabilities, OfAWholeVocabularySumToOne) {
  SamplingSpec spec = plain();
  spec.top_logprobs = 20;
  const SampledRow row = run(random_logits(20, 5), output_of(spec));
  double sum = 0;
  for (const auto& entry : row.event.top) sum += std::exp(static_cast<double>(entry.logprob));
  EXPECT_EQ(row.event.top.size(), 20U);
  EXPECT_NEAR(sum, 1.0, 1e-5);
  EXPECT_TRUE(std::ranges::is_sorted(row.event.top, std::greater<>(), &TokenProbability::logprob));
}

TEST(LogProbabilities, AskForMoreThanThereIs) {
  SamplingSpec spec = greedy();
  spec.top_logprobs = 20;
  EXPECT_EQ(run({1, 2, 3}, output_of(spec)).event.top.size(), 3U);
}

}  // namespace
}  // namespace gogrid
