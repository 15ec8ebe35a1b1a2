#include "support/tiny_vocabulary.h"

#include <gguf.h>

#include <memory>
#include <stdexcept>

namespace gogrid::testing {
namespace {

std::string utf8(std::uint32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
}

void set_strings(gguf_context* file, const char* key, const std::vector<std::string>& values) {
  std::vector<const char*> pointers;
  for (const auto& value : values) pointers.push_back(value.c_str());
  gguf_set_arr_str(file, key, pointers.data(), pointers.size());
}

// What libllama asks of any file, vocabulary only or not.
void set_architecture(gguf_context* file) {
  gguf_set_val_str(file, "general.architecture", "llama");
  for (const char* key : {"llama.block_count", "llama.context_length", "llama.embedding_length",
                          "llama.feed_forward_length", "llama.attention.head_count"}) {
    gguf_set_val_u32(file, key, 1);
  }
  gguf_set_val_f32(file, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
}

}  // namespace

std::string byte_as_text(std::uint32_t byte) {
  const auto printable = [](std::uint32_t b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
  };
  if (printable(byte)) return utf8(byte);
  std::uint32_t shift = 0;
  for (std::uint32_t b = 0; b < byte; ++b) shift += printable(b) ? 0 : 1;
  return utf8(0x100 + shift);
}

TinyVocabularyFile byte_pair_vocabulary(const std::string& pre,
                                        const std::vector<TinyToken>& specials) {
  TinyVocabularyFile file;
  file.pre = pre;
  for (std::uint32_t byte = 0; byte < 256; ++byte) file.tokens.push_back({byte_as_text(byte)});
  const std::string space = byte_as_text(' ');
  const std::string line = byte_as_text('\n');
  const std::pair<std::string, std::string> merges[] = {
      {"t", "h"},     {"th", "e"},    {space, "the"}, {"a", "n"},     {"a", "a"},
      {"aa", "aa"},   {space, space}, {line, line},   {".", line},    {",", space},
      {space, "a"},   {"1", "2"},     {"12", "3"},    {space, "12"},  {".", "."},
      {"a", ","},     {"a", space},   {"e", line},    {"the", space}, {"=", "="},
      {space, "\"a"}, {"\"", "a"},    {line, "a"},    {"1", "."},     {"e", "."},
  };
  for (const auto& [left, right] : merges) {
    file.merges.push_back(left + " " + right);
    file.tokens.push_back({left + right});
  }
  file.begin = file.end = static_cast<std::uint32_t>(file.tokens.size());
  file.tokens.push_back({"<|endoftext|>", 3});
  file.tokens.insert(file.tokens.end(), specials.begin(), specials.end());
  return file;
}

TinyVocabularyFile sentence_piece_vocabulary(const std::vector<TinyToken>& specials) {
  TinyVocabularyFile file;
  file.kind = "llama";
  file.begin = 1;
  file.end = 2;
  file.tokens = {{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}};
  constexpr char kHex[] = "0123456789ABCDEF";
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    file.tokens.push_back({{'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'}, 6});
  }
  const std::string space = "\u2581";
  float score = -1;
  for (const std::string& piece :
       {space, space + space, space + "the", std::string("th"), std::string("the"), space + "a",
        "a" + space + "a", std::string("aa"), std::string("an"), space + "\u4E2D",
        std::string("\u4E2D\u6587"), std::string("\u6587."), std::string("ing")}) {
    file.tokens.push_back({piece, 1, score--});
  }
  for (char c = 'a'; c <= 'm'; ++c) file.tokens.push_back({{c}, 1, score--});
  file.tokens.insert(file.tokens.end(), specials.begin(), specials.end());
  return file;
}

TinyVocabularyFile line_vocabulary(const std::vector<TinyToken>& specials) {
  TinyVocabularyFile file = sentence_piece_vocabulary(specials);
  file.kind = "gemma4";
  file.pre = "gemma4";
  file.adds_begin = true;  // libllama adds it whatever the file says
  const std::string space = "\u2581";
  const std::pair<std::string, std::string> merges[] = {
      {"t", "h"},         {"th", "e"},    {space, "the"},       {space, "a"}, {"a", "a"},
      {"a", space + "a"}, {space, space}, {"\u4E2D", "\u6587"}, {"e", "."},
  };
  for (const auto& [left, right] : merges) file.merges.push_back(left + " " + right);
  file.tokens.push_back({"e.", 1});
  file.tokens.push_back({"\n", 1});
  return file;
}

void write_vocabulary(const std::filesystem::path& path, const TinyVocabularyFile& vocabulary) {
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> owner(gguf_init_empty(), &gguf_free);
  gguf_context* file = owner.get();
  set_architecture(file);
  gguf_set_val_str(file, "general.name", vocabulary.name.c_str());
  gguf_set_val_str(file, "tokenizer.ggml.model", vocabulary.kind.c_str());
  gguf_set_val_str(file, "tokenizer.ggml.pre", vocabulary.pre.c_str());
  std::vector<std::string> texts;
  std::vector<std::int32_t> types;
  std::vector<float> scores;
  for (const TinyToken& token : vocabulary.tokens) {
    texts.push_back(token.text);
    types.push_back(token.type);
    scores.push_back(token.score);
  }
  set_strings(file, "tokenizer.ggml.tokens", texts);
  gguf_set_arr_data(file, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(), types.size());
  gguf_set_arr_data(file, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(), scores.size());
  if (!vocabulary.merges.empty()) {
    set_strings(file, "tokenizer.ggml.merges", vocabulary.merges);
  }
  gguf_set_val_u32(file, "tokenizer.ggml.bos_token_id", vocabulary.begin);
  gguf_set_val_u32(file, "tokenizer.ggml.eos_token_id", vocabulary.end);
  gguf_set_val_bool(file, "tokenizer.ggml.add_bos_token", vocabulary.adds_begin);
  gguf_set_val_bool(file, "tokenizer.ggml.add_eos_token", vocabulary.adds_end);
  gguf_set_val_bool(file, "tokenizer.ggml.add_space_prefix", vocabulary.adds_space);
  if (!gguf_write_to_file(file, path.c_str(), false)) {
    throw std::runtime_error("[tiny_vocabulary] cannot write " + path.string());
  }
}

}  // namespace gogrid::testing
