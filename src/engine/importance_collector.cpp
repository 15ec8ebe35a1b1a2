#include "engine/importance_collector.h"

#include <cmath>
#include <exception>

namespace gogrid {

ImportanceCollector::ImportanceCollector(const ImportanceMatrix& matrix) {
  for (const auto& [name, entry] : matrix.entries) {
    Sums& sums = sums_[name];
    sums.squares.assign(entry.sums.begin(), entry.sums.end());
    for (const float count : entry.counts) sums.counts.push_back(static_cast<std::uint64_t>(count));
  }
}

void ImportanceCollector::complain(std::string_view weight, std::string_view what) {
  if (problem_.empty())
    problem_ = "[imatrix] what goes into " + std::string(weight) + ": " + std::string(what);
}

ImportanceCollector::Sums* ImportanceCollector::find(const Activation& activation) {
  const std::size_t counts = activation.chosen ? activation.matrices : 1;
  const std::size_t size = activation.matrices * activation.row.size();
  auto found = sums_.find(activation.weight);
  if (found == sums_.end()) {
    found = sums_.emplace(std::string(activation.weight), Sums{}).first;
    found->second.squares.resize(size);
    found->second.counts.resize(counts);
  }
  Sums& sums = found->second;
  return sums.squares.size() == size && sums.counts.size() == counts ? &sums : nullptr;
}

void ImportanceCollector::add(const Activation& activation) noexcept {
  try {
    Sums* sums = find(activation);
    if (sums == nullptr) return complain(activation.weight, "expected as many numbers as before");
    double* squares = sums->squares.data() + activation.matrix * activation.row.size();
    double row = 0;
    for (std::size_t i = 0; i < activation.row.size(); ++i) {
      const auto x = static_cast<double>(activation.row[i]);
      squares[i] += x * x;
      row += x * x;
    }
    if (!std::isfinite(row)) complain(activation.weight, "expected numbers: NaN or infinite");
    // A stack that is used as a whole counts its rows once.
    if (activation.chosen)
      ++sums->counts[activation.matrix];
    else if (activation.matrix == 0)
      ++sums->counts.front();
  } catch (const std::exception&) {
    complain(activation.weight, "no memory");
  }
}

Status ImportanceCollector::status() const {
  if (problem_.empty()) return {};
  return fail(ErrorCode::kCorrupt, problem_);
}

std::map<std::string, ImportanceEntry> ImportanceCollector::entries() const {
  std::map<std::string, ImportanceEntry> made;
  for (const auto& [name, sums] : sums_) {
    ImportanceEntry& entry = made[name];
    for (const double square : sums.squares) entry.sums.push_back(static_cast<float>(square));
    for (const std::uint64_t count : sums.counts) entry.counts.push_back(static_cast<float>(count));
  }
  return made;
}

}  // namespace gogrid
