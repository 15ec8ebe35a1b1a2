// Writes GGUFs with a vocabulary only, of the kinds that libllama tokenizes in ways of their own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace gogrid::testing {

// GPT-2 writes bytes as printable characters: those that are, as themselves, the others from
// U+0100.
std::string byte_as_text(std::uint32_t byte);

struct TinyToken {
  std::string text;
  std::int32_t type = 1;  // 1 normal, 2 unknown, 3 control, 4 the user's own, 6 byte
  float score = 0;
};

struct TinyVocabularyFile {
  std::string name = "tiny";  // general.name; phi-3's tokens strip whitespace for it
  std::string kind = "gpt2";  // tokenizer.ggml.model: gpt2, llama, gemma4, t5, bert
  std::string pre = "gpt-2";  // the pre-tokenizer, for byte pair vocabularies
  std::vector<TinyToken> tokens;
  std::vector<std::string> merges;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool adds_begin = false;
  bool adds_end = false;
  bool adds_space = true;  // before a text
};

// One token a byte and a few merges; `specials` follow.
TinyVocabularyFile byte_pair_vocabulary(const std::string& pre,
                                        const std::vector<TinyToken>& specials);
// <unk> <s> </s>, bytes, letters and a few pieces, some of them across words; `specials` follow.
TinyVocabularyFile sentence_piece_vocabulary(const std::vector<TinyToken>& specials);
// Merges over whole lines of raw text, as Gemma 4 has them; `specials` follow, and must have two
// line ends together: libllama looks for no merges of those, and stops the program when it would.
TinyVocabularyFile line_vocabulary(const std::vector<TinyToken>& specials);

// Throws std::runtime_error when the file cannot be written.
void write_vocabulary(const std::filesystem::path& path, const TinyVocabularyFile& vocabulary);

}  // namespace gogrid::testing
