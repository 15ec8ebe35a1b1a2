// Quantized models for tests.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "model/quantizer.h"
#include "support/temporary_folder.h"
#include "support/tiny_gguf.h"

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

inline QuantizeOptions quantize_to(std::string_view mix) { return {.mix = find_mix(mix).value()}; }

class QuantizableModels : public ::testing::Test {
 protected:
  // Rows of 256 and 512, which every type's blocks divide.
  GgufFile model(TinyModel tiny = {}) {
    tiny.n_embd = 256;
    tiny.n_ff = 512;
    if (tiny.weights == TinyWeights::kF32) tiny.weights = TinyWeights::kF16;
    write_tiny_model(folder_ / "model.gguf", tiny);
    return open("model.gguf");
  }
  GgufFile open(const std::string& name) {
    auto file = GgufFile::open(folder_ / name);
    if (!file) throw std::runtime_error(file.error().message);
    return *std::move(file);
  }

  TemporaryFolder folder_;
};

}  // namespace gogrid::testing
