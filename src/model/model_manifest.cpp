#include "model/model_manifest.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <format>
#include <optional>
#include <type_traits>

#include "base/text.h"

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
  // The next of the lines that may follow, while there is a whole one.
  std::optional<std::string_view> optional_line() {
    if (!text_.contains('\n')) return std::nullopt;
    return next();
  }
  Status finish() {
    if (problem_.empty() && !text_.empty())
      problem_ =
          std::format("[model_library] {}: expected whole lines after line {}", where_, line_);
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

// Words of a line, as one type or another; the first that is none stays.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line) {}

  std::string word() { return std::string(next_word(rest_)); }
  template <class T>
  T number() {
    const std::string_view text = next_word(rest_);
    T parsed{};
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, parsed);
    good_ = good_ && error == std::errc{} && stop == end && !text.empty();
    if constexpr (std::is_floating_point_v<T>) good_ = good_ && std::isfinite(parsed);
    return parsed;
  }
  std::string rest() { return std::string(trimmed(rest_)); }
  bool good() const { return good_; }

 private:
  std::string_view rest_;
  bool good_ = true;
};

// Shortest digits that give the same number again.
std::string format_loss(const ModelLoss& loss) {
  return std::format("loss {} {} {} {} {} {} {} {} {} {}\n", loss.base_digest, loss.text_digest,
                     loss.context, loss.positions, loss.base_perplexity, loss.perplexity,
                     loss.mean_kl, loss.p99_kl, loss.same_top, one_line(loss.base));
}

std::optional<ModelLoss> parse_loss(std::string_view line) {
  Words words(line);
  ModelLoss loss;
  loss.base_digest = words.word();
  loss.text_digest = words.word();
  loss.context = words.number<std::uint32_t>();
  loss.positions = words.number<std::uint64_t>();
  loss.base_perplexity = words.number<double>();
  loss.perplexity = words.number<double>();
  loss.mean_kl = words.number<double>();
  loss.p99_kl = words.number<double>();
  loss.same_top = words.number<double>();
  loss.base = words.rest();
  if (!words.good() || !is_digest(loss.base_digest) || !is_digest(loss.text_digest) ||
      loss.base.empty())
    return std::nullopt;
  return loss;
}

std::string format_repacked(const RepackRecord& record) {
  return std::format("repacked {} {} {} {} {}\n", record.tensors, record.mean, record.worst,
                     one_line(record.worst_tensor), one_line(record.from));
}

std::optional<RepackRecord> parse_repacked(std::string_view line) {
  Words words(line);
  RepackRecord record;
  record.tensors = words.number<std::uint64_t>();
  record.mean = words.number<double>();
  record.worst = words.number<double>();
  record.worst_tensor = words.word();
  record.from = words.rest();
  if (!words.good() || record.worst_tensor.empty() || record.from.empty()) return std::nullopt;
  return record;
}

// Reads a line's values into `value`, which only one line may have.
template <class T>
void read_once(Lines& lines, std::string_view key, std::optional<T>& value, std::optional<T> parsed,
               std::string_view expected) {
  if (value) return lines.complain(std::format("one line '{} ...'", key));
  value = std::move(parsed);
  if (!value) lines.complain(std::format("{} after '{}'", expected, key));
}

void read_optional(Lines& lines, ModelEntry& entry) {
  for (auto line = lines.optional_line(); line; line = lines.optional_line()) {
    const std::string_view key = next_word(*line);
    if (trimmed(*line).empty()) return lines.complain("a key and its values");
    if (key == "loss") {
      read_once(lines, key, entry.loss, parse_loss(*line), "digests, numbers and a name");
    } else if (key == "repacked") {
      read_once(lines, key, entry.repacked, parse_repacked(*line), "numbers and names");
    }
  }
}

}  // namespace

std::string format_manifest(const ModelEntry& entry) {
  std::string text = std::format(
      "{}\ndigest {}\nsize {}\nimported_at {}\narchitecture {}\nquantization {}\nlicense {}\n",
      kFirstLine, entry.digest, entry.size, entry.imported_at, one_line(entry.architecture),
      one_line(entry.quantization), one_line(entry.license));
  if (entry.loss) text += format_loss(*entry.loss);
  if (entry.repacked) text += format_repacked(*entry.repacked);
  return text;
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
  read_optional(lines, entry);
  GOGRID_RETURN_IF_ERROR(lines.finish());
  return entry;
}

}  // namespace gogrid
