#include "model/model_manifest.h"

#include <algorithm>
#include <charconv>
#include <format>

namespace gogrid {
namespace {

constexpr std::string_view kFirstLine = "gogrid-model 1";
constexpr std::size_t kMaxValue = 256;  // a license is a name, not its text

std::string one_line(std::string_view value) {
  std::string line(value.substr(0, kMaxValue));
  std::ranges::replace_if(line, [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F; }, ' ');
  return line;
}

// Takes the text apart line by line; the first complaint stays.
class Lines {
 public:
  Lines(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  void expect(std::string_view line) {
    if (next() != line) complain(std::format("the line '{}'", line));
  }
  std::string value(std::string_view key) {
    const std::string_view line = next();
    if (!line.starts_with(key) || !line.substr(key.size()).starts_with(' ')) {
      complain(std::format("a line '{} ...'", key));
      return {};
    }
    return std::string(line.substr(key.size() + 1));
  }
  template <class T>
  T number(std::string_view key) {
    const std::string digits = value(key);
    T parsed = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, parsed);
    if (error != std::errc{} || stop != end) complain(std::format("a number after '{}'", key));
    return parsed;
  }
  void complain(std::string_view expected) {
    if (!problem_.empty()) return;
    problem_ = std::format("[model_library] {}: expected {} in line {}", where_, expected, line_);
  }
  Status finish() {
    if (problem_.empty() && !text_.empty())
      problem_ = std::format("[model_library] {}: expected nothing after line {}", where_, line_);
    if (problem_.empty()) return {};
    return fail(ErrorCode::kCorrupt, problem_);
  }

 private:
  // A line counts only with its end: a file that was cut off in the middle is not whole.
  std::string_view next() {
    ++line_;
    const std::size_t end = text_.find('\n');
    if (end == std::string_view::npos) return {};
    const std::string_view line = text_.substr(0, end);
    text_.remove_prefix(end + 1);
    return line;
  }

  std::string_view text_;
  const std::string_view where_;
  int line_ = 0;
  std::string problem_;
};

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

std::string format_manifest(const ModelEntry& entry) {
  return std::format(
      "{}\ndigest {}\nsize {}\nimported_at {}\narchitecture {}\nquantization {}\nlicense {}\n",
      kFirstLine, entry.digest, entry.size, entry.imported_at, one_line(entry.architecture),
      one_line(entry.quantization), one_line(entry.license));
}

Result<ModelEntry> parse_manifest(std::string_view text, std::string_view where) {
  Lines lines(text, where);
  ModelEntry entry;
  lines.expect(kFirstLine);
  entry.digest = lines.value("digest");
  if (!is_digest(entry.digest)) lines.complain("64 hexadecimal digits after 'digest'");
  entry.size = lines.number<Bytes>("size");
  entry.imported_at = lines.number<std::int64_t>("imported_at");
  entry.architecture = lines.value("architecture");
  entry.quantization = lines.value("quantization");
  entry.license = lines.value("license");
  GOGRID_RETURN_IF_ERROR(lines.finish());
  return entry;
}

}  // namespace gogrid
