#include "model/model_manifest.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <type_traits>

#include "base/format.h"
#include "base/text.h"
#include "obs/log.h"

namespace gogrid {
namespace {

constexpr std::string_view kFirstLine = "gogrid-model 1";
constexpr std::size_t kMaxValue = 256;  // a license is a name, not its text

std::string one_line(std::string_view value) { return printable(value, kMaxValue); }

// Takes the text apart line by line; the first complaint stays.
class Lines {
 public:
  Lines(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  void expect(std::string_view line) {
    if (next() != line) complain(format_text("the line '{}'", line));
  }
  std::string value(std::string_view key) {
    const std::string_view line = next();
    if (!line.starts_with(key) || !line.substr(key.size()).starts_with(' ')) {
      complain(format_text("a line '{} ...'", key));
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
    if (error != std::errc{} || stop != end) complain(format_text("a number after '{}'", key));
    return parsed;
  }
  void complain(std::string_view expected) {
    if (!problem_.empty()) return;
    problem_ = format_text("[model_library] {}: expected {} in line {}", where_, expected, line_);
  }
  // The next of the lines that may follow, while there is a whole one.
  std::optional<std::string_view> optional_line() {
    if (!text_.contains('\n')) return std::nullopt;
    return next();
  }
  bool good() const { return problem_.empty(); }
  Status finish() {
    if (problem_.empty() && !text_.empty())
      problem_ =
          format_text("[model_library] {}: expected whole lines after line {}", where_, line_);
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
  return format_text("loss {} {} {} {} {} {} {} {} {} {}\n", loss.base_digest, loss.text_digest,
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
  loss.base = one_line(words.rest());
  if (!words.good() || !is_digest(loss.base_digest) || !is_digest(loss.text_digest) ||
      loss.base.empty())
    return std::nullopt;
  return loss;
}

std::string format_repacked(const RepackRecord& record) {
  return format_text("repacked {} {} {} {} {}\n", record.tensors, record.mean, record.worst,
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

// Of several lines the last that can be read holds, as it was written last.
template <class T>
void read_value(std::string_view where, std::string_view line, std::optional<T> parsed,
                std::optional<T>& value) {
  if (parsed) {
    value = std::move(parsed);
    return;
  }
  const std::string came = excerpt(line);
  log::warning("model_record_unreadable",
               {{"where", where},
                {"expected", std::string_view("a key and its values, finite numbers among them")},
                {"came", std::string_view(came)}});
}

void read_optional(Lines& lines, std::string_view where, ModelEntry& entry) {
  for (auto line = lines.optional_line(); line; line = lines.optional_line()) {
    std::string_view values = *line;
    const std::string_view key = next_word(values);
    if (key == "loss") read_value(where, *line, parse_loss(values), entry.loss);
    if (key == "repacked") read_value(where, *line, parse_repacked(values), entry.repacked);
  }
}

}  // namespace

std::string format_manifest(const ModelEntry& entry) {
  std::string text = format_text(
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
  // Earlier versions wrote whatever the file said.
  entry.architecture = one_line(lines.value("architecture"));
  entry.quantization = one_line(lines.value("quantization"));
  entry.license = one_line(lines.value("license"));
  read_optional(lines, where, entry);
  GOGRID_RETURN_IF_ERROR(lines.finish());
  return entry;
}

std::optional<std::string> manifest_digest(std::string_view text) {
  Lines lines(text, {});
  lines.expect(kFirstLine);
  std::string digest = lines.value("digest");
  if (!lines.good() || !is_digest(digest)) return std::nullopt;
  return digest;
}

}  // namespace gogrid
