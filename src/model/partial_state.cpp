#include "model/partial_state.h"

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

constexpr std::string_view kFirstLine = "gogrid-partial 1";
constexpr std::size_t kMaxValue = 512;
// Behind it a file that was cut off is known for what it is.
constexpr std::string_view kLastLine = "end";

std::string one_line(std::string_view value) { return printable(value, kMaxValue); }

std::unexpected<Error> corrupt(std::string_view where, std::string_view expected,
                               std::string_view came) {
  return fail(ErrorCode::kCorrupt,
              format_text("[pull] {}: expected {}: {}", where, expected, excerpt(came)));
}

// The value of a line "key value"; empty when it is another.
std::optional<std::string> value_of(std::string_view line, std::string_view key) {
  if (!line.starts_with(key) || line.substr(key.size(), 1) != " ") return std::nullopt;
  return std::string(line.substr(key.size() + 1));
}

// "present 0 4096": first and last, the last one exclusive.
std::optional<ByteRange> range_of(std::string_view line, Bytes size) {
  if (next_word(line) != "present") return std::nullopt;
  const auto first = parse_number(next_word(line));
  const auto last = parse_number(next_word(line));
  if (!first || !last || *first >= *last || *last > size || !trimmed(line).empty())
    return std::nullopt;
  return ByteRange{*first, *last};
}

}  // namespace

std::string format_partial_state(const PartialState& state) {
  std::string text = format_text("{}\nsource {}\nsize {}\nsha256 {}\nvalidator {}\n", kFirstLine,
                                 one_line(state.source), state.size, one_line(state.sha256),
                                 one_line(state.validator));
  for (const ByteRange& range : state.present.ranges())
    text += format_text("present {} {}\n", range.first, range.last);
  return text + std::string(kLastLine) + "\n";
}

Result<PartialState> parse_partial_state(std::string_view text, std::string_view where) {
  PartialState state;
  if (const auto line = next_line(text); line != kFirstLine)
    return corrupt(where, kFirstLine, line);
  const auto source = value_of(next_line(text), "source");
  const auto size = value_of(next_line(text), "size");
  const auto sha256 = value_of(next_line(text), "sha256");
  const auto validator = value_of(next_line(text), "validator");
  const auto bytes = parse_number(size.value_or(""));
  if (!source || !bytes || *bytes == 0 || !sha256 || !validator)
    return corrupt(where, "source, size, sha256 and validator", text);
  state.source = *source;
  state.size = *bytes;
  state.sha256 = *sha256;
  state.validator = *validator;
  for (std::size_t lines = 0; lines <= kMaxPartialRanges; ++lines) {
    const std::string_view line = next_line(text);
    if (line == kLastLine && text.empty()) return state;
    const auto range = range_of(line, state.size);
    if (!range) return corrupt(where, "a line 'present FIRST LAST' or the end", line);
    state.present.add(*range);
  }
  return corrupt(where, format_text("at most {} ranges", kMaxPartialRanges), "more");
}

bool continues(const PartialState& kept, const PartialState& wanted) {
  if (kept.size != wanted.size) return false;
  if (!wanted.sha256.empty()) return kept.sha256 == wanted.sha256;
  return !wanted.validator.empty() && kept.validator == wanted.validator;
}

}  // namespace gogrid
