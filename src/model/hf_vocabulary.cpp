#include "model/hf_vocabulary.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "base/files.h"
#include "base/format.h"
#include "base/text.h"
#include "model/bounded_json.h"
#include "model/pre_tokenizers.h"
#include "model/sentencepiece_model.h"
#include "model/tokenizer_json.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr Bytes kMaxTemplate = kMiB;
constexpr std::uint64_t kMostTokenId = 1U << 24;
constexpr std::string_view kSpaceMark = "\u2581";
// What converters give to tokens that no merge makes, and to rows without a token.
constexpr float kAddedScore = -1000;
constexpr float kUnusedScore = -10000;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string with_spaces(std::string text) {
  for (std::size_t at = 0; (at = text.find(kSpaceMark, at)) != std::string::npos; ++at) {
    text.replace(at, kSpaceMark.size(), " ");
  }
  return text;
}

// Files mark some tokens as ordinary text that only templates may write.
bool looks_special(std::string_view text) {
  constexpr auto kNames =
      std::to_array<std::string_view>({"<pad>", "<mask>", "<2mass>", "[@BOS@]"});
  const auto between = [&](std::string_view start, std::string_view end) {
    return text.starts_with(start) && text.ends_with(end);
  };
  return std::ranges::contains(kNames, text) || between("<|", "|>") || between("<｜", "｜>") ||
         between("<unused", ">");
}

// --- the table of tokens

// One row a token, and as many as the embeddings have. Not thread-safe.
class TokenTable {
 public:
  explicit TokenTable(std::uint32_t size) : tokens_(size), taken_(size) {}

  void set(std::uint32_t id, HfToken token) {
    if (id >= tokens_.size()) {
      ++beyond_;
      return;
    }
    tokens_[id] = std::move(token);
    taken_[id] = true;
  }
  // Beside the vocabulary: what texts may write is matched as it is shown, with spaces.
  void set_added(const AddedToken& added) {
    const bool control = added.special || looks_special(added.text);
    set(added.id, {control ? added.text : with_spaces(added.text),
                   control ? TokenKind::kControl : TokenKind::kUserDefined, kAddedScore});
  }
  bool is_taken(std::uint32_t id) const { return id < taken_.size() && taken_[id]; }
  HfToken& token(std::uint32_t id) { return tokens_[id]; }

  // libllama takes each text for one token only.
  Result<std::vector<HfToken>> finish(const fs::path& folder, std::vector<std::string>& notes);

 private:
  std::vector<HfToken> tokens_;
  std::vector<bool> taken_;
  std::size_t beyond_ = 0;
};

Result<std::vector<HfToken>> TokenTable::finish(const fs::path& folder,
                                                std::vector<std::string>& notes) {
  std::set<std::string_view> texts;
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    if (!taken_[id]) tokens_[id] = {format_text("[PAD{}]", id), TokenKind::kUnused, kUnusedScore};
    if (texts.insert(tokens_[id].text).second) continue;
    return fail(ErrorCode::kCorrupt,
                format_text("[import] {}: token {}: expected a text of its own: {}",
                            folder.string(), id, excerpt(tokens_[id].text)));
  }
  if (beyond_ > 0) {
    notes.push_back(format_text("{} tokens beyond the {} rows of the embeddings are left out",
                                beyond_, tokens_.size()));
  }
  return std::move(tokens_);
}

// --- the files

// What the folder holds besides the vocabulary proper.
struct TokenizerFiles {
  HfConfig config;  // tokenizer_config.json; without fields when absent
  std::optional<TokenizerDefinition> definition;
  std::vector<AddedToken> added;  // of all files; of two with one id the later holds
};

Result<HfConfig> read_tokenizer_config(const fs::path& folder) {
  const fs::path path = folder / "tokenizer_config.json";
  Json json = Json::object();
  if (is_there(path)) {
    GOGRID_ASSIGN_OR_RETURN(json, read_json(path));
  }
  return HfConfig::of(std::move(json), path.string());
}

// {"<text>": id}
Status read_added_tokens(const fs::path& path, std::vector<AddedToken>& added) {
  if (!is_there(path)) return {};
  GOGRID_ASSIGN_OR_RETURN(const Json json, read_json(path));
  if (!json.is_object()) {
    return fail(ErrorCode::kCorrupt, format_text("[import] {}: expected texts with their ids: {}",
                                                 path.string(), excerpt(json.dump())));
  }
  for (const auto& [text, id] : json.items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > kMostTokenId || text.empty()) {
      return fail(ErrorCode::kCorrupt,
                  format_text("[import] {}: {}: expected an id of 0 to {}: {}", path.string(),
                              excerpt(text), kMostTokenId, excerpt(id.dump())));
    }
    added.push_back({id.get<std::uint32_t>(), text, false});
  }
  return {};
}

// {"added_tokens_decoder": {"<id>": {"content", "special"}}}
void read_decoder(const HfConfig& config, std::vector<AddedToken>& added) {
  const HfConfig decoder = config.object("added_tokens_decoder");
  for (const std::string& key : decoder.keys()) {
    const auto id = parse_number(key);
    const HfConfig token = decoder.object(key);
    std::string text = token.text_or("content", "");
    if (!id || *id > kMostTokenId || text.empty()) {
      decoder.refuse(excerpt(key), "expected an id, and a token with its content");
      return;
    }
    added.push_back(
        {static_cast<std::uint32_t>(*id), std::move(text), token.flag_or("special", false)});
  }
}

Result<TokenizerFiles> read_files(const fs::path& folder) {
  GOGRID_ASSIGN_OR_RETURN(HfConfig config, read_tokenizer_config(folder));
  TokenizerFiles files{std::move(config), std::nullopt, {}};
  GOGRID_RETURN_IF_ERROR(read_added_tokens(folder / "added_tokens.json", files.added));
  read_decoder(files.config, files.added);
  GOGRID_RETURN_IF_ERROR(files.config.status());
  if (is_there(folder / "tokenizer.json")) {
    GOGRID_ASSIGN_OR_RETURN(files.definition, read_tokenizer_json(folder / "tokenizer.json"));
    std::ranges::copy(files.definition->added, std::back_inserter(files.added));
  }
  return files;
}

// --- the kinds of vocabulary

// tokenizer.model and tokenizer.json beside each other say the same; the former has the scores.
Status fill_from_sentencepiece(const fs::path& path, TokenTable& table, HfVocabulary& out) {
  GOGRID_ASSIGN_OR_RETURN(const SentencePieceModel model, read_sentencepiece(path));
  if (model.algorithm != PieceAlgorithm::kBytePair) {
    return fail(ErrorCode::kUnsupported,
                format_text("[import] {}: expected byte-pair pieces: another algorithm of "
                            "SentencePiece",
                            path.string()));
  }
  for (std::uint32_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    const auto kind = static_cast<TokenKind>(piece.kind);
    const bool shown = kind == TokenKind::kUserDefined;
    table.set(id, {shown ? with_spaces(piece.text) : piece.text, kind, piece.score});
  }
  out.model = "llama";
  out.pre = "default";
  out.has_scores = true;
  out.space_prefix = model.adds_prefix;
  return {};
}

void fill_from_byte_pairs(const TokenizerDefinition& definition, TokenTable& table,
                          HfVocabulary& out, std::vector<std::string>& notes) {
  for (const auto& [text, id] : definition.vocabulary) {
    table.set(id, {text, TokenKind::kNormal, 0});
  }
  out.merges.reserve(definition.merges.size());
  for (const auto& [left, right] : definition.merges) out.merges.push_back(left + " " + right);
  out.model = "gpt2";
  out.pre = definition.pre;
  out.composes = definition.composes;
  if (const auto caveat = pre_tokenizer_caveat(out.pre); !caveat.empty())
    notes.emplace_back(caveat);
  if (out.composes) {
    notes.emplace_back(
        "texts that are not composed (NFC) get other tokens than from the model's own "
        "tokenizer");
  }
}

bool is_byte_piece(std::string_view text) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>') && is_digit(text[3]) &&
         is_digit(text[4]);
}

// Merges in order are scores in order: libllama merges the pair with the best one first.
void fill_from_pieces(const TokenizerDefinition& definition, TokenTable& table, HfVocabulary& out) {
  std::unordered_map<std::string, float> scores;
  float rank = 0;
  for (const auto& [left, right] : definition.merges) scores.emplace(left + right, rank--);
  for (const auto& [text, id] : definition.vocabulary) {
    const auto scored = scores.find(text);
    HfToken token{text, TokenKind::kNormal, scored == scores.end() ? rank : scored->second};
    if (text == definition.unknown) token.kind = TokenKind::kUnknown;
    if (is_byte_piece(text)) token.kind = TokenKind::kByte;
    table.set(id, std::move(token));
  }
  out.model = "llama";
  out.pre = "default";
  out.has_scores = true;
  out.space_prefix = definition.space_prefix;
}

void fill_from_word_pieces(const TokenizerDefinition& definition, TokenTable& table,
                           HfVocabulary& out, std::vector<std::string>& notes) {
  notes.emplace_back(
      "Hangul, and texts with combining marks, get other tokens than from the model's "
      "own tokenizer");
  for (const auto& [text, id] : definition.vocabulary) {
    table.set(id, {text, TokenKind::kNormal, 0});
  }
  out.model = "bert";
  out.pre = "default";
  out.lowercase = definition.lowercase;
  out.strip_accents = definition.strip_accents;
}

Status fill(const fs::path& folder, VocabularyKind wanted, const TokenizerFiles& files,
            TokenTable& table, HfVocabulary& out, std::vector<std::string>& notes) {
  const fs::path pieces = folder / "tokenizer.model";
  if (wanted == VocabularyKind::kText && is_there(pieces)) {
    return fill_from_sentencepiece(pieces, table, out);
  }
  if (!files.definition) {
    return fail(ErrorCode::kNotFound,
                format_text("[import] {}: expected {}tokenizer.json: absent", folder.string(),
                            wanted == VocabularyKind::kText ? "tokenizer.model or " : ""));
  }
  const TokenizerDefinition& definition = *files.definition;
  const bool words = definition.kind == TokenizerKind::kWordPiece;
  if (words != (wanted == VocabularyKind::kBert)) {
    return fail(ErrorCode::kUnsupported,
                format_text("[import] {}: expected {}: another kind of tokenizer", folder.string(),
                            words ? "byte pairs or pieces" : "WordPiece"));
  }
  if (words) {
    fill_from_word_pieces(definition, table, out, notes);
  } else if (definition.kind == TokenizerKind::kBytePairs) {
    fill_from_byte_pairs(definition, table, out, notes);
  } else {
    fill_from_pieces(definition, table, out);
  }
  return {};
}

// libllama knows the beginnings of words by a mark, and what goes on by having none.
void mark_words(std::vector<HfToken>& tokens) {
  for (HfToken& token : tokens) {
    if (token.kind == TokenKind::kControl) continue;
    token.text =
        token.text.starts_with("##") ? token.text.substr(2) : std::string(kSpaceMark) + token.text;
  }
}

// --- special tokens

constexpr auto kRoles =
    std::to_array<std::string_view>({"bos", "eos", "unk", "sep", "pad", "cls", "mask"});

// "<s>", or {"content": "<s>", ...}.
std::string text_of_role(const HfConfig& config, std::string_view role) {
  const std::string key = format_text("{}_token", role);
  return config.is_object(key) ? config.object(key).text_or("content", "")
                               : config.text_or(key, "");
}

// Models without begin and end of text have those of a sentence in their place.
std::string text_of_role_or_kin(const HfConfig& config, std::string_view role) {
  std::string text = text_of_role(config, role);
  if (text.empty() && role == "bos") text = text_of_role(config, "cls");
  if (text.empty() && role == "eos") text = text_of_role(config, "sep");
  return text;
}

void find_special_ids(const HfConfig& tokenizer, const HfConfig& model, HfVocabulary& out) {
  std::unordered_map<std::string_view, std::uint32_t> ids;
  for (std::uint32_t id = 0; id < out.tokens.size(); ++id) ids.emplace(out.tokens[id].text, id);
  for (const std::string_view role : kRoles) {
    const auto named = ids.find(text_of_role_or_kin(tokenizer, role));
    if (named != ids.end()) {
      out.special_ids.emplace(role, named->second);
      continue;
    }
    const std::string key = format_text("{}_token_id", role);
    if (model.is_array(key)) continue;  // several; libllama knows those by their texts
    const auto id = model.maybe_id(key);
    if (id && *id < out.tokens.size()) out.special_ids.emplace(role, *id);
  }
}

void find_adds(const TokenizerFiles& files, HfVocabulary& out) {
  const bool of_pieces = out.model == "llama";
  const bool of_words = out.model == "bert";
  bool first = of_pieces || of_words;
  bool last = of_words;
  if (files.definition && files.definition->has_template) {
    const auto is_role = [&](const std::string& text, std::string_view role) {
      return !text.empty() && (!files.config.has(format_text("{}_token", role)) ||
                               text == text_of_role_or_kin(files.config, role));
    };
    first = is_role(files.definition->first, "bos") || is_role(files.definition->first, "cls");
    last = is_role(files.definition->last, "eos") || is_role(files.definition->last, "sep");
  }
  out.adds["bos"] = files.config.flag_or("add_bos_token", first);
  out.adds["eos"] = files.config.flag_or("add_eos_token", last);
}

// --- chat templates

Status add_template(std::string name, std::string text, const fs::path& folder, HfVocabulary& out) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  if (name.empty() || name.size() > 64 || !std::ranges::all_of(name, is_plain)) {
    return fail(ErrorCode::kCorrupt,
                format_text("[import] {}: expected a template's name of letters, digits and '_': "
                            "{}",
                            folder.string(), excerpt(name)));
  }
  if (text.size() > kMaxTemplate) {
    return fail(ErrorCode::kCorrupt,
                format_text("[import] {}: template {}: expected at most {}: {}", folder.string(),
                            name, format_bytes(kMaxTemplate), format_bytes(text.size())));
  }
  out.chat_templates.emplace_back(std::move(name), std::move(text));
  return {};
}

Status find_templates(const fs::path& folder, const HfConfig& config, HfVocabulary& out) {
  if (config.is_array("chat_template")) {
    for (const HfConfig& one : config.objects("chat_template", 64)) {
      GOGRID_RETURN_IF_ERROR(
          add_template(one.text_or("name", ""), one.text_or("template", ""), folder, out));
    }
    return {};
  }
  if (config.has("chat_template")) {
    return add_template("default", config.text_or("chat_template", ""), folder, out);
  }
  if (is_there(folder / "chat_template.jinja")) {
    GOGRID_ASSIGN_OR_RETURN(std::string text,
                            read_file(folder / "chat_template.jinja", kMaxTemplate));
    return add_template("default", std::move(text), folder, out);
  }
  if (is_there(folder / "chat_template.json")) {
    GOGRID_ASSIGN_OR_RETURN(Json json, read_json(folder / "chat_template.json"));
    GOGRID_ASSIGN_OR_RETURN(const HfConfig file,
                            HfConfig::of(std::move(json), folder / "chat_template.json"));
    GOGRID_RETURN_IF_ERROR(add_template("default", file.text_or("chat_template", ""), folder, out));
    return file.status();
  }
  return {};
}

}  // namespace

Result<HfVocabulary> read_vocabulary(const fs::path& folder, const HfArchitecture& architecture,
                                     const HfConfig& config, std::uint32_t n_tokens,
                                     std::vector<std::string>& notes) {
  GOGRID_ASSIGN_OR_RETURN(const TokenizerFiles files, read_files(folder));
  HfVocabulary out;
  TokenTable table(n_tokens);
  GOGRID_RETURN_IF_ERROR(fill(folder, architecture.vocabulary, files, table, out, notes));
  for (const AddedToken& added : files.added) {
    const bool unknown = table.is_taken(added.id) &&
                         table.token(added.id).kind == TokenKind::kUnknown &&
                         table.token(added.id).text == added.text;
    if (!unknown) table.set_added(added);
  }
  GOGRID_ASSIGN_OR_RETURN(out.tokens, table.finish(folder, notes));
  find_special_ids(files.config, config, out);
  find_adds(files, out);
  if (out.model == "bert") mark_words(out.tokens);
  if (out.space_prefix) {
    out.space_prefix =
        files.config.flag_or("add_prefix_space", *out.space_prefix && architecture.space_prefix);
  }
  GOGRID_RETURN_IF_ERROR(find_templates(folder, files.config, out));
  GOGRID_RETURN_IF_ERROR(files.config.status());
  GOGRID_RETURN_IF_ERROR(config.status());
  return out;
}

namespace {

// How GGUF spells the roles.
constexpr auto kIdKeys = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"bos", "bos_token_id"},
    {"eos", "eos_token_id"},
    {"unk", "unknown_token_id"},
    {"sep", "seperator_token_id"},
    {"pad", "padding_token_id"},
    {"cls", "cls_token_id"},
    {"mask", "mask_token_id"},
});

std::string key_of(std::string_view tail) { return format_text("tokenizer.ggml.{}", tail); }

void add_token_keys(const HfVocabulary& vocabulary, GgufKeys& keys) {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<std::int32_t> kinds;
  for (const HfToken& token : vocabulary.tokens) {
    texts.push_back(token.text);
    scores.push_back(token.score);
    kinds.push_back(static_cast<std::int32_t>(token.kind));
  }
  keys.texts(key_of("tokens"), texts);
  if (vocabulary.has_scores) keys.f32s(key_of("scores"), scores);
  keys.i32s(key_of("token_type"), kinds);
  if (!vocabulary.merges.empty()) keys.texts(key_of("merges"), vocabulary.merges);
}

void add_template_keys(const HfVocabulary& vocabulary, GgufKeys& keys) {
  std::vector<std::string> others;
  for (const auto& [name, text] : vocabulary.chat_templates) {
    if (name == "default") {
      keys.text("tokenizer.chat_template", text);
    } else {
      keys.text(format_text("tokenizer.chat_template.{}", name), text);
      others.push_back(name);
    }
  }
  if (!others.empty()) keys.texts("tokenizer.chat_templates", others);
}

}  // namespace

void add_vocabulary_keys(const HfVocabulary& vocabulary, GgufKeys& keys) {
  keys.text(key_of("model"), vocabulary.model);
  keys.text(key_of("pre"), vocabulary.pre);
  add_token_keys(vocabulary, keys);
  for (const auto& [role, key] : kIdKeys) {
    const auto id = vocabulary.special_ids.find(std::string(role));
    if (id != vocabulary.special_ids.end()) keys.u32(key_of(key), id->second);
  }
  for (const auto& [role, adds] : vocabulary.adds) {
    keys.flag(key_of(format_text("add_{}_token", role)), adds);
  }
  if (vocabulary.space_prefix) keys.flag(key_of("add_space_prefix"), *vocabulary.space_prefix);
  if (vocabulary.composes) keys.flag(key_of("normalizer.nfc"), true);
  if (vocabulary.lowercase) keys.flag(key_of("normalizer.lowercase"), *vocabulary.lowercase);
  if (vocabulary.strip_accents) {
    keys.flag(key_of("normalizer.strip_accents"), *vocabulary.strip_accents);
  }
  add_template_keys(vocabulary, keys);
}

}  // namespace gogrid
