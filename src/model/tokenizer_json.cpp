#include "model/tokenizer_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "base/format.h"
#include "base/text.h"
#include "model/bounded_json.h"
#include "model/pre_tokenizers.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

// The largest published vocabularies have fewer than 300,000 tokens, of at most 512 bytes.
constexpr std::uint64_t kMostTokens = 1U << 20;
constexpr std::size_t kLongestToken = 4096;
// What stands for a space in pieces: U+2581.
constexpr std::string_view kSpaceMark = "\u2581";

const Json kAbsent;

const Json& at(const Json& object, const char* key) {
  if (!object.is_object()) return kAbsent;
  const auto found = object.find(key);
  return found == object.end() ? kAbsent : *found;
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool is_true(const Json& value) { return value.is_boolean() && value.get<bool>(); }

// Steps of a normalizer, one after the other.
void flatten(const Json& normalizer, std::vector<const Json*>& steps) {
  if (!normalizer.is_object()) return;
  if (text_of(at(normalizer, "type")) != "Sequence") {
    steps.push_back(&normalizer);
    return;
  }
  for (const Json& inner : at(normalizer, "normalizers")) flatten(inner, steps);
}

bool replaces_spaces(const Json& step) {
  return text_of(at(step, "type")) == "Replace" &&
         text_of(at(at(step, "pattern"), "String")) == " " &&
         text_of(at(step, "content")) == kSpaceMark;
}

bool prepends_mark(const Json& step) {
  return text_of(at(step, "type")) == "Prepend" && text_of(at(step, "prepend")) == kSpaceMark;
}

// Spaces are no longer there when this comes to look for them.
bool splits_at_spaces_only(const Json& step) {
  return text_of(at(step, "type")) == "Split" && text_of(at(at(step, "pattern"), "String")) == " ";
}

class DefinitionReader {
 public:
  DefinitionReader(const Json& json, std::string_view name) : json_(json), name_(name) {}
  Result<TokenizerDefinition> read();

 private:
  std::unexpected<Error> corrupt(const std::string& what) const {
    return fail(ErrorCode::kCorrupt, format_text("[tokenizer.json] {}: {}", name_, what));
  }
  std::unexpected<Error> unsupported(std::string_view what, const Json& came) const {
    return fail(ErrorCode::kUnsupported,
                format_text("[tokenizer.json] {}: {}: {}", name_, what, excerpt(came.dump())));
  }

  Status read_model();
  Status read_vocabulary(const Json& vocabulary);
  Status read_merges(const Json& merges);
  Status add_merge(const Json& merge);
  Status read_added();
  Status read_byte_pairs();
  Status read_pieces();
  Status read_metaspace(const Json& step);
  Status read_word_piece();
  void read_template();
  void read_template_of(const Json& processor);

  const Json& json_;
  const std::string_view name_;
  TokenizerDefinition out_;
};

Result<TokenizerDefinition> DefinitionReader::read() {
  if (!json_.is_object()) return corrupt("expected an object");
  GOGRID_RETURN_IF_ERROR(read_model());
  GOGRID_RETURN_IF_ERROR(read_added());
  switch (out_.kind) {
    case TokenizerKind::kBytePairs:
      GOGRID_RETURN_IF_ERROR(read_byte_pairs());
      break;
    case TokenizerKind::kPieces:
      GOGRID_RETURN_IF_ERROR(read_pieces());
      break;
    case TokenizerKind::kWordPiece:
      GOGRID_RETURN_IF_ERROR(read_word_piece());
      break;
  }
  read_template();
  return std::move(out_);
}

Status DefinitionReader::read_model() {
  const Json& model = at(json_, "model");
  const std::string type = text_of(at(model, "type"));
  const bool pairs = type == "BPE" || (type.empty() && at(model, "merges").is_array());
  if (!pairs && type != "WordPiece") {
    return unsupported("expected a model of type BPE or WordPiece", at(model, "type"));
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string affix = text_of(at(model, key));
    if (affix.empty() || (!pairs && affix == "##")) continue;
    return unsupported(format_text("expected no {}", key), at(model, key));
  }
  if (at(model, "dropout").is_number() && at(model, "dropout") != 0) {
    return unsupported("expected no dropout", at(model, "dropout"));
  }
  const bool of_bytes =
      canonical_pre_tokenizer(at(json_, "pre_tokenizer")).find("bytes") != std::string::npos;
  out_.kind = !pairs     ? TokenizerKind::kWordPiece
              : of_bytes ? TokenizerKind::kBytePairs
                         : TokenizerKind::kPieces;
  out_.unknown = text_of(at(model, "unk_token"));
  GOGRID_RETURN_IF_ERROR(read_vocabulary(at(model, "vocab")));
  return pairs ? read_merges(at(model, "merges")) : Status();
}

Status DefinitionReader::read_vocabulary(const Json& vocabulary) {
  if (!vocabulary.is_object() || vocabulary.empty() || vocabulary.size() > kMostTokens) {
    return corrupt(format_text("expected a vocab of 1 to {} tokens", kMostTokens));
  }
  std::vector<bool> taken(kMostTokens);
  for (const auto& [text, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= kMostTokens) {
      return corrupt(format_text("token {}: expected an id below {}: {}", excerpt(text),
                                 kMostTokens, excerpt(id.dump())));
    }
    const auto number = id.get<std::uint32_t>();
    if (text.empty() || text.size() > kLongestToken || taken[number]) {
      return corrupt(format_text("token {}: expected a text of 1 to {} bytes, and an id of its own",
                                 excerpt(text), kLongestToken));
    }
    taken[number] = true;
    out_.vocabulary.emplace_back(text, number);
  }
  return {};
}

Status DefinitionReader::read_merges(const Json& merges) {
  if (!merges.is_array()) return corrupt("expected merges: absent");
  out_.merges.reserve(merges.size());
  for (const Json& merge : merges) GOGRID_RETURN_IF_ERROR(add_merge(merge));
  return {};
}

// "a b" in older files, ["a","b"] in newer ones.
Status DefinitionReader::add_merge(const Json& merge) {
  std::string left;
  std::string right;
  if (merge.is_string()) {
    const auto& both = merge.get_ref<const std::string&>();
    const std::size_t space = both.find(' ');
    if (space != std::string::npos) {
      left = both.substr(0, space);
      right = both.substr(space + 1);
    }
  } else if (merge.is_array() && merge.size() == 2) {
    left = text_of(merge[0]);
    right = text_of(merge[1]);
  }
  const auto bad = [](const std::string& part) {
    return part.empty() || part.size() > kLongestToken || part.find(' ') != std::string::npos;
  };
  if (bad(left) || bad(right)) {
    return corrupt(format_text("merge {}: expected two texts without spaces: {}",
                               out_.merges.size(), excerpt(merge.dump())));
  }
  out_.merges.emplace_back(std::move(left), std::move(right));
  return {};
}

Status DefinitionReader::read_added() {
  for (const Json& token : at(json_, "added_tokens")) {
    const Json& id = at(token, "id");
    AddedToken added{0, text_of(at(token, "content")), is_true(at(token, "special"))};
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= kMostTokens || added.text.empty() ||
        added.text.size() > kLongestToken) {
      return corrupt(
          format_text("added token: expected an id and a content: {}", excerpt(token.dump())));
    }
    added.id = id.get<std::uint32_t>();
    out_.added.push_back(std::move(added));
  }
  return {};
}

Status DefinitionReader::read_byte_pairs() {
  std::vector<const Json*> steps;
  flatten(at(json_, "normalizer"), steps);
  for (const Json* step : steps) {
    if (text_of(at(*step, "type")) != "NFC") {
      return unsupported("expected no normalizer, or NFC", *step);
    }
    out_.composes = true;
  }
  const std::string canonical = canonical_pre_tokenizer(at(json_, "pre_tokenizer"));
  out_.pre = pre_tokenizer_named(canonical, is_true(at(at(json_, "model"), "ignore_merges")));
  if (!out_.pre.empty()) return {};
  return unsupported("expected a pre_tokenizer that libllama has an equal of",
                     at(json_, "pre_tokenizer"));
}

Status DefinitionReader::read_pieces() {
  if (!is_true(at(at(json_, "model"), "byte_fallback"))) {
    return unsupported("expected byte_fallback in a model without a ByteLevel pre_tokenizer",
                       at(json_, "pre_tokenizer"));
  }
  std::vector<const Json*> steps;
  flatten(at(json_, "normalizer"), steps);
  bool replaces = false;
  for (const Json* step : steps) {
    if (replaces_spaces(*step)) {
      replaces = true;
    } else if (prepends_mark(*step)) {
      out_.space_prefix = true;
    } else {
      return unsupported("expected a normalizer that marks spaces only", *step);
    }
  }
  const Json& pre = at(json_, "pre_tokenizer");
  if (!replaces) return read_metaspace(pre);
  if (pre.is_null() || splits_at_spaces_only(pre)) return {};
  return unsupported("expected no pre_tokenizer behind a normalizer that marks spaces", pre);
}

Status DefinitionReader::read_metaspace(const Json& step) {
  const bool known = text_of(at(step, "type")) == "Metaspace" &&
                     text_of(at(step, "replacement")) == kSpaceMark && at(step, "split") == false;
  if (!known) return unsupported("expected a pre_tokenizer that marks spaces, unsplit", step);
  const std::string scheme = text_of(at(step, "prepend_scheme"));
  out_.space_prefix = scheme.empty() ? is_true(at(step, "add_prefix_space")) : scheme != "never";
  return {};
}

Status DefinitionReader::read_word_piece() {
  const Json& normalizer = at(json_, "normalizer");
  if (text_of(at(normalizer, "type")) != "BertNormalizer" ||
      !is_true(at(normalizer, "clean_text")) || !is_true(at(normalizer, "handle_chinese_chars"))) {
    return unsupported("expected a BertNormalizer that cleans, and parts Chinese characters",
                       normalizer);
  }
  if (text_of(at(at(json_, "pre_tokenizer"), "type")) != "BertPreTokenizer") {
    return unsupported("expected a BertPreTokenizer", at(json_, "pre_tokenizer"));
  }
  out_.lowercase = is_true(at(normalizer, "lowercase"));
  // Unless they say otherwise, accents go where capitals go.
  const Json& strips = at(normalizer, "strip_accents");
  out_.strip_accents = strips.is_null() ? out_.lowercase : is_true(strips);
  return {};
}

void DefinitionReader::read_template() {
  const Json& post = at(json_, "post_processor");
  read_template_of(post);
  for (const Json& processor : at(post, "processors")) read_template_of(processor);
}

void DefinitionReader::read_template_of(const Json& processor) {
  const Json& single = at(processor, "single");
  if (text_of(at(processor, "type")) != "TemplateProcessing" || !single.is_array() ||
      single.empty()) {
    return;
  }
  const auto special = [](const Json& item) { return text_of(at(at(item, "SpecialToken"), "id")); };
  out_.has_template = true;
  out_.first = special(single.front());
  out_.last = special(single.back());
}

}  // namespace

Result<TokenizerDefinition> parse_tokenizer_json(std::string_view text, std::string_view name) {
  GOGRID_ASSIGN_OR_RETURN(const Json json, parse_json(text, name));
  return DefinitionReader(json, name).read();
}

Result<TokenizerDefinition> read_tokenizer_json(const std::filesystem::path& path) {
  GOGRID_ASSIGN_OR_RETURN(const std::string text, read_file(path, JsonLimits().size));
  return parse_tokenizer_json(text, path.native());
}

}  // namespace gogrid
