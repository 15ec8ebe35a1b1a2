// Sums up what goes into each weight: the numbers of an importance matrix.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/importance_matrix.h"
#include "stage/activation_sink.h"

namespace gogrid {

// Not thread-safe: belongs to the thread of its stage.
class ImportanceCollector final : public ActivationSink {
 public:
  ImportanceCollector() = default;
  // Goes on where `matrix` was.
  explicit ImportanceCollector(const ImportanceMatrix& matrix);

  void add(const Activation& activation) noexcept override;

  // Why its numbers are no use, if they are not: a row that was not finite, a weight whose shape
  // changed, no memory.
  Status status() const;
  std::map<std::string, ImportanceEntry> entries() const;

 private:
  struct Sums {
    std::vector<double> squares;        // [matrices, columns]
    std::vector<std::uint64_t> counts;  // [matrices], or one for all
  };

  Sums* find(const Activation& activation);
  void complain(std::string_view weight, std::string_view what);

  std::map<std::string, Sums, std::less<>> sums_;
  std::string problem_;
};

}  // namespace gogrid
