// Which file of a repository is meant, or which files.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/hub_answers.h"

namespace gogrid {

// "model-00001-of-00003.gguf" -> 3; 1 for a file that is whole.
std::uint32_t parts_of(std::string_view path);

// "Mistral-7B-Instruct-v0.3.Q4_K_M.gguf" -> "Q4_K_M": the last word of the name that looks like a
// GGUF type; empty when none does.
std::string quantization_in(std::string_view path);

// `wanted` is a path in the repository, a quantization in any case, or empty: the only model.
// Projectors (mmproj) are chosen by their path only. A model in parts is all of its files, in their
// order; its path is the first's. kNotFound with the nearest names, or the part that is missing;
// kInvalidArgument lists the quantizations when several files could be meant; kUnsupported for what
// is no GGUF.
Result<std::vector<HubFile>> choose_files(std::span<const HubFile> files, std::string_view wanted,
                                          std::string_view repository);

// "Q4/model-00001-of-00003.gguf" -> "model.gguf".
std::string name_of_all(std::string_view path);

}  // namespace gogrid
