#include "base/nearest.h"

#include <algorithm>
#include <utility>

namespace gogrid {
namespace {

// Longer than any name we hand out; keeps the quadratic distance away from what a stranger sent.
constexpr std::size_t kMaxCompared = 128;
constexpr std::size_t kMaxListed = 12;

std::string folded(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

// Edit distance with neighbours swapped counted once ("optimal string alignment").
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> before(width);
  std::vector<std::size_t> above(width);
  std::vector<std::size_t> row(width);
  for (std::size_t j = 0; j < width; ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

bool plausible(std::string_view a, std::string_view b, std::size_t distance) {
  if (a.starts_with(b) || b.starts_with(a)) return true;
  const std::size_t longer = std::max(a.size(), b.size());
  return distance < longer && distance <= std::max<std::size_t>(2, longer / 3);
}

std::string joined(std::span<const std::string> names) {
  std::string text;
  for (const std::string& name : names.first(std::min(names.size(), kMaxListed))) {
    if (!text.empty()) text += ", ";
    text += name;
  }
  if (names.size() > kMaxListed) text += ", ...";
  return text;
}

}  // namespace

std::vector<std::string> nearest_names(std::string_view wanted, std::span<const std::string> known,
                                       std::size_t limit) {
  if (wanted.empty() || wanted.size() > kMaxCompared) return {};
  const std::string target = folded(wanted);
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& name : known) {
    if (name.empty() || name.size() > kMaxCompared) continue;
    const std::string candidate = folded(name);
    const std::size_t distance = edit_distance(target, candidate);
    if (plausible(target, candidate, distance)) near.emplace_back(distance, name);
  }
  std::ranges::sort(near);
  if (near.size() > limit) near.resize(limit);
  std::vector<std::string> names;
  for (auto& [distance, name] : near) names.push_back(std::move(name));
  return names;
}

std::string suggestion(std::string_view wanted, std::span<const std::string> known) {
  if (known.empty()) return {};
  const std::vector<std::string> near = nearest_names(wanted, known);
  if (!near.empty()) return " (did you mean " + joined(near) + "?)";
  return " (known: " + joined(known) + ")";
}

}  // namespace gogrid
