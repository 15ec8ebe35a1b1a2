#include "model/text_cutter.h"

#include <algorithm>
#include <string>

namespace gogrid {
namespace {

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// Letters and digits that every pre-tokenizer has in its classes: ASCII, and the large blocks of
// kana, Chinese and Korean letters.
bool is_word_character(std::string_view character) {
  if (character.size() == 1) return is_alphanumeric(character.front());
  return (character >= "\u3041" && character <= "\u3096") ||
         (character >= "\u30A1" && character <= "\u30FA") ||
         (character >= "\u4E00" && character <= "\u9FA5") ||
         (character >= "\uAC00" && character <= "\uD7A3");
}

// Unicode's whitespace, and what has been taken for it. Characters of UTF-8 compare as their code
// points do.
bool may_be_whitespace(std::string_view character) {
  if (character.size() == 1) return character.front() <= ' ' || character.front() == '\x7f';
  return character <= "\u00A0" || character == "\u1680" || character == "\u180E" ||
         (character >= "\u2000" && character <= "\u206F") || character == "\u3000" ||
         character == "\uFEFF";
}

// As SentencePiece reads it.
std::string_view escaped(std::string_view character) {
  return character == " " ? std::string_view("\u2581") : character;
}

}  // namespace

Result<TextPart> TextCutter::next() {
  const std::string_view lead = text_.substr(begin_ - lead_, lead_);
  const std::size_t begin = begin_;
  specials_ = 0;
  const std::size_t limit = std::min(text_.size(), begin + kMaxPart);
  look_for_special(begin);
  for (std::size_t at = begin + 1; at < text_.size() && at <= limit; ++at) {
    if (at > cluster_end_) only_whitespace_ = only_whitespace_ && is_stripped(text_[at - 1]);
    if (at - begin >= part_) {
      if (const Cut cut = cut_at(at); cut.possible) {
        begin_ = at;
        lead_ = cut.lead;
        return TextPart{lead, text_.substr(begin, at - begin)};
      }
    }
    look_for_special(at);
    if (specials_ > kMaxSpecials) {
      return fail(ErrorCode::kInvalidArgument,
                  "[text_cutter] texts that look like special tokens at up to " +
                      std::to_string(kMaxSpecials) + " places in a row expected: more from byte " +
                      std::to_string(begin));
    }
  }
  if (limit < text_.size()) {
    return fail(ErrorCode::kInvalidArgument,
                "[text_cutter] words of at most " + std::to_string(kMaxPart) +
                    " bytes expected: the one at byte " + std::to_string(begin) + " is longer");
  }
  begin_ = text_.size();
  return TextPart{lead, text_.substr(begin)};
}

void TextCutter::look_for_special(std::size_t at) {
  const SpecialTexts::Match match = rules_.specials.longest_at(text_, at, with_control_);
  if (match.size == 0) return;
  ++specials_;
  if (at >= cluster_end_) {  // a new cluster
    spanning_end_ = at + match.size;
    spanning_strips_ = match.strips_right;
  }
  cluster_end_ = std::max(cluster_end_, at + match.size);
  only_whitespace_ = true;
}

TextCutter::Cut TextCutter::cut_at(std::size_t at) const {
  if (at < cluster_end_) return {};
  if (behind_special(at)) return {.possible = true};
  if (rules_.specials.begins_inside_character()) return {};
  const std::string_view left = character_before(text_, at);
  // The character must be text, not a token or the end of one.
  if (left.empty() || at - left.size() < cluster_end_) return {};
  if (rules_.by_pairs) {
    if (between_strangers(left, at)) return {.possible = true, .lead = left.size()};
    return {};
  }
  return {.possible = before_stop(left, at)};
}

bool TextCutter::behind_special(std::size_t at) const {
  const SpecialTexts& specials = rules_.specials;
  if (spanning_end_ == 0 || spanning_end_ != cluster_end_) return false;
  // Another token's stripping could take the token apart before it is found.
  if ((specials.strips_left() || specials.strips_right()) && specials.touches_whitespace()) {
    return false;
  }
  if (!spanning_strips_) return at == cluster_end_;
  return only_whitespace_ && !is_stripped(text_[at]);
}

bool TextCutter::before_stop(std::string_view left, std::size_t at) const {
  if (rules_.any_before_space && text_[at] == ' ' && !may_be_whitespace(left)) return true;
  if (!is_word_character(left)) return false;
  if (rules_.stops.contains(text_[at])) return true;
  const std::string_view rest = text_.substr(at);
  return rules_.cjk_stops && (rest.starts_with("\u3002") || rest.starts_with("\uFF0C"));
}

bool TextCutter::between_strangers(std::string_view left, std::size_t at) const {
  const std::string_view right = character_at(text_, at);
  if (right.empty() || rules_.pairs.contains(escaped(left), escaped(right))) return false;
  // Whitespace that a special token takes along must be seen together with it.
  if (!is_stripped(left.front())) return true;
  return !rules_.specials.strips_left() &&
         !(rules_.specials.strips_right() && spanning_end_ != 0 && only_whitespace_);
}

}  // namespace gogrid
