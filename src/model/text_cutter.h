// Cuts a text where a tokenizer would cut it anyway, so that the tokens of the parts are those of
// the whole: libllama takes quadratic time for some texts, and each part is short.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/result.h"
#include "model/character_pairs.h"
#include "model/special_texts.h"

namespace gogrid {

// Where a vocabulary lets its texts be cut. Behind a special token always; elsewhere:
struct CutRules {
  SpecialTexts specials;
  // BPE: between a letter or digit and one of these, which no pre-tokenizer of its kind joins.
  // Empty: nowhere.
  std::string_view stops;
  bool cjk_stops = false;         // also before the full stop and comma of Chinese
  bool any_before_space = false;  // before a space it may be any character but whitespace
  // SentencePiece: between characters that no token has side by side, as no merge reaches over
  // them. A space is U+2581 here, as in the tokens.
  bool by_pairs = false;
  CharacterPairs pairs;
};

// A part of the text. The tokenizer is to see `lead` (one character of the text, or none) just
// before `text`, and to drop the tokens of `lead`: a SentencePiece tokenizer puts a space before
// whatever it sees first.
struct TextPart {
  std::string_view lead;
  std::string_view text;
};

// Reads a text once, part by part; `rules` and the text must outlive it. Not thread-safe.
class TextCutter {
 public:
  // Parts have at least `part` bytes (all but the last), no more than needed for a cut, and never
  // more than kMaxPart.
  static constexpr std::size_t kPart = 4096;
  static constexpr std::size_t kMaxPart = std::size_t{256} << 10;
  // Places in a part where a special token may begin: for these libllama takes quadratic time, a
  // fifth of a second for so many.
  static constexpr std::size_t kMaxSpecials = 16384;

  // `with_control`: texts of control tokens are tokens here.
  TextCutter(const CutRules& rules, std::string_view text, bool with_control,
             std::size_t part = kPart)
      : rules_(rules), text_(text), with_control_(with_control), part_(part) {}

  bool done() const { return begin_ == text_.size(); }
  // The next part, in order. kInvalidArgument where no cut is found within kMaxPart bytes or
  // kMaxSpecials. Only while not done().
  Result<TextPart> next();

 private:
  struct Cut {
    bool possible = false;
    std::size_t lead = 0;  // bytes before the cut that the next part is to begin with
  };

  void look_for_special(std::size_t at);
  // Whether a cut at `at` is one that the tokenizer makes too.
  Cut cut_at(std::size_t at) const;
  bool behind_special(std::size_t at) const;
  bool before_stop(std::string_view left, std::size_t at) const;
  bool between_strangers(std::string_view left, std::size_t at) const;

  const CutRules& rules_;
  const std::string_view text_;
  const bool with_control_;
  const std::size_t part_;
  std::size_t begin_ = 0;     // of the next part
  std::size_t lead_ = 0;      // bytes before it that it is to begin with
  std::size_t specials_ = 0;  // places in this part where one may begin
  // Texts of special tokens that overlap are a cluster: which of them become tokens is not decided
  // here. One that reaches over its whole cluster always does.
  std::size_t cluster_end_ = 0;   // of the last cluster that began before the place looked at
  std::size_t spanning_end_ = 0;  // of the first token of that cluster; 0: no cluster yet
  bool spanning_strips_ = false;  // that token takes the whitespace behind it along
  bool only_whitespace_ = false;  // since the end of that cluster
};

}  // namespace gogrid
