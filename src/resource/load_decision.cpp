#include "resource/load_decision.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace gogrid {
namespace {

constexpr std::size_t kDecimals = 4;                     // of a millionth, in per cent
constexpr std::uint32_t kPerCent = Share::kWhole / 100;  // millionths

struct Subject {
  std::string_view name;
  std::string_view of;  // in a sentence
  Reading<Share> OthersLoad::* load;
  Share PausePolicy::* pause_above;
};
constexpr std::array kSubjects{
    Subject{"cpu", "the CPU", &OthersLoad::cpu, &PausePolicy::cpu},
    Subject{"gpu", "the GPU", &OthersLoad::gpu, &PausePolicy::gpu},
    Subject{"memory", "the memory", &OthersLoad::memory, &PausePolicy::memory}};

// "83.4211 %", cut to so many decimals.
std::string text_of(Share share, std::size_t decimals) {
  std::string text = std::to_string(share.millionths() / kPerCent);
  if (decimals != 0) {
    std::string digits = std::to_string(share.millionths() % kPerCent);
    digits.insert(0, kDecimals - digits.size(), '0');
    text += "." + digits.substr(0, decimals);
  }
  return text + " %";
}

// As few as show the whole limit and that the load is above it.
std::size_t decimals_for(Share load, Share limit) {
  std::size_t decimals = 0;
  std::uint32_t unit = kPerCent;
  while (limit.millionths() % unit != 0 || load.millionths() / unit <= limit.millionths() / unit) {
    ++decimals;
    unit /= 10;
  }
  return decimals;
}

// What is above its limit: "others use 83 % of the CPU (limit 70 %), 95 % of the memory (limit
// 90 %)". Empty: nothing.
std::string excess(const PausePolicy& policy, const OthersLoad& load, bool paused) {
  std::string all;
  for (const Subject& subject : kSubjects) {
    const Reading<Share>& share = load.*subject.load;
    const Share pause_above = policy.*subject.pause_above;
    const Share limit = paused ? resume_level(pause_above) : pause_above;
    if (!share || *share <= limit) continue;
    const std::size_t decimals = decimals_for(*share, limit);
    all += (all.empty() ? "others use " : ", ") + text_of(*share, decimals) + " of " +
           std::string(subject.of) + (paused ? " (goes on at " : " (limit ") +
           text_of(limit, decimals) + ")";
  }
  return all;
}

std::vector<std::string> unknown_of(const OthersLoad& load) {
  std::vector<std::string> names;
  for (const Subject& subject : kSubjects) {
    const Reading<Share>& share = load.*subject.load;
    if (!share) names.push_back(std::string(subject.name) + ": " + share.error());
  }
  return names;
}

// Shorter than a look would end between two of them.
Duration pause_of(const PausePolicy& policy) { return std::max(policy.pause, policy.check); }

void run(LoadDecision& decision, TimePoint now) {
  decision.state = LoadState::kRunning;
  decision.why.clear();
  decision.changed_at = now;
}

void while_paused(LoadDecision& next, const PausePolicy& policy, std::string excess,
                  TimePoint now) {
  const TimePoint latest = now + pause_of(policy);
  if (!excess.empty()) {
    next.until = latest;
    next.why = std::move(excess);
    return;
  }
  next.until = std::min(next.until, latest);  // the policy may ask for less than before
  if (now >= next.until) run(next, now);
}

void while_running(LoadDecision& next, const PausePolicy& policy, std::string excess,
                   TimePoint now) {
  next.why = std::move(excess);
  if (next.why.empty()) return;
  next.until = next.changed_at ? *next.changed_at + pause_of(policy) : now;
  if (now < next.until) return;
  next.state = LoadState::kPaused;
  next.until = now + pause_of(policy);
  next.changed_at = now;
}

}  // namespace

LoadDecision decide(const LoadDecision& last, const PausePolicy& policy, const OthersLoad& load,
                    TimePoint now) {
  if (!policy.enabled) return {.looked_at = now};
  LoadDecision next = last;
  next.looked_at = now;
  next.unknown = unknown_of(load);
  const bool paused = last.state == LoadState::kPaused;
  std::string over = excess(policy, load, paused);
  (paused ? while_paused : while_running)(next, policy, std::move(over), now);
  return next;
}

Share resume_level(Share pause_above) {
  // Rounded down: nine tenths are below the whole also of one millionth.
  return Share::of_millionths(std::uint64_t{pause_above.millionths()} * 9 / 10);
}

}  // namespace gogrid
