// Quantized models for tests.
#pragma once

#include <filesystem>
#include <string>

#include "model/quantizer.h"

namespace gogrid::testing {

inline Status write_quantized(const GgufFile& model, const std::filesystem::path& target,
                              const QuantizeOptions& options, const QuantizationPlan& plan,
                              const Progress& progress = {}) {
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(target));
  GOGRID_ASSIGN_OR_RETURN(file, quantize_model(model, std::move(file), options, plan, progress));
  return file.commit();
}

// Ones for every matrix of the layers.
inline ImportanceMatrix importance_of(const GgufFile& file) {
  ImportanceMatrix matrix;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.n_dims < 2 || !tensor.name.starts_with("blk.")) continue;
    const std::size_t experts = tensor.shape[2];
    matrix.entries[std::string(tensor.name)] = {
        .sums = std::vector<float>(tensor.shape[0] * experts, 2.0F),
        .counts = std::vector<float>(experts, 2.0F)};
  }
  matrix.datasets = {"a text"};
  matrix.chunks = 7;
  return matrix;
}

}  // namespace gogrid::testing
