// How much each column of each weight matters: the mean square of what the column is multiplied
// with, taken over a text. In the GGUF format of llama.cpp's imatrix files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace gogrid {

// Of one weight; a stack of experts has sums and a count for each.
struct ImportanceEntry {
  std::vector<float> sums;    // [experts, columns] of squares, over all rows that were seen
  std::vector<float> counts;  // [experts] rows that were seen: whole numbers

  std::size_t columns() const { return counts.empty() ? 0 : sums.size() / counts.size(); }
  // Mean squares, [experts, columns]; an expert that saw nothing has ones: nothing is known.
  std::vector<float> means() const;
  // `count` of them from `first` on.
  std::vector<float> means(std::size_t first, std::size_t count) const;
};

struct ImportanceMatrix {
  std::map<std::string, ImportanceEntry> entries;  // by the weight's name
  std::vector<std::string> datasets;               // names of the texts
  std::uint32_t chunks = 0;
  std::uint32_t chunk_tokens = 0;
  // SHA-256 of the model and of the text, where we made it: to go on only with the same.
  std::string model_digest = {};
  std::string text_digest = {};
};

// kCorrupt "[imatrix] FILE: what was expected: what came" for a file that is no such matrix, or has
// numbers that cannot be; kUnsupported for llama.cpp's older format.
Result<ImportanceMatrix> read_importance_matrix(const std::filesystem::path& file);

// Whole or not at all. kUnsupported for a weight whose name leaves no room for a suffix.
Status write_importance_matrix(const std::filesystem::path& file, const ImportanceMatrix& matrix);

}  // namespace gogrid
