#include "model/file_fetch.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "base/format.h"
#include "base/text.h"
#include "model/gguf_beginning.h"
#include "model/http_ask.h"
#include "model/pull_pace.h"

namespace gogrid {
namespace {

constexpr Duration kTurn = std::chrono::milliseconds(100);
constexpr Duration kPauseLook = std::chrono::milliseconds(200);
constexpr Bytes kHashBlock = kMiB;
// Between two turns: a few tens of milliseconds, in which the kernel's buffers take what comes.
constexpr Bytes kHashAtOnce = 8 * kMiB;
constexpr Bytes kPiecesEach = 4;
constexpr Bytes kLeastPiece = kMiB;
constexpr Bytes kMaxIdleBody = 16 * kKiB;
constexpr std::string_view kMagic = "GGUF";
// So much of the file is here when its header is looked at first, and then at twice as much.
constexpr Bytes kFirstLook = 64 * kKiB;
// Making bytes last takes at most a fifth of the time, however slow the disk.
constexpr int kSaveShare = 4;
// Whole files in a row, where parts were asked for, until a server that sent parts is believed to
// send none any more.
constexpr int kWholesBelieved = 3;

// The file's SHA-256 up to where it is here without a gap, read back from the file: what is hashed
// is what is there.
class GrowingDigest {
 public:
  explicit GrowingDigest(const PartialFile& file) : file_(file), block_(kHashBlock) {}

  // At most `most` bytes on towards `prefix`. kCorrupt when the file does not begin as a GGUF does:
  // known after its first bytes, not after the last.
  Status advance(Bytes prefix, Bytes most);
  Bytes at() const { return at_; }
  std::string finish() { return hash_.finish(); }

 private:
  const PartialFile& file_;
  std::vector<std::byte> block_;
  Sha256 hash_;
  Bytes at_ = 0;
};

Status GrowingDigest::advance(Bytes prefix, Bytes most) {
  if (at_ == 0 && prefix < kMagic.size()) return {};
  const Bytes end = std::min(prefix, at_ + most);
  while (at_ < end) {
    const auto part = std::span(block_).first(std::min<Bytes>(end - at_, block_.size()));
    GOGRID_RETURN_IF_ERROR(file_.read(at_, part));
    const std::string_view text(reinterpret_cast<const char*>(part.data()), part.size());
    if (at_ == 0 && !text.starts_with(kMagic)) {
      return fail(ErrorCode::kCorrupt, "[pull] expected a GGUF file: it begins with other bytes");
    }
    hash_.update(part);
    at_ += part.size();
  }
  return {};
}

// Small enough that a file of some MiB comes over all connections, too.
Bytes piece_of(Bytes size, const PullRules& rules) {
  const Bytes share = size / (Bytes{kPiecesEach} * std::max<Bytes>(rules.connections, 1));
  return std::max<Bytes>(std::min(rules.piece, std::max(share, kLeastPiece)), 1);
}

class FileFetch;

// One connection: a part of the file that it brings, and how that goes.
class Slot final : public HttpSink {
 public:
  explicit Slot(FileFetch& fetch) : fetch_(fetch) {}
  bool head(const HttpHead& head) override;
  bool bytes(std::span<const std::byte> bytes) override;

  bool has_work() const { return range_.first < range_.last; }
  void begin_window(TimePoint now) {
    window_ = now;
    in_window_ = 0;
  }

  FileFetch& fetch_;
  std::optional<HttpTransfer> transfer_;
  ByteRange range_;       // still to come; it shrinks from the front
  Bytes answer_end_ = 0;  // how far the answer that runs will go
  HttpUrl url_;           // where it is asked for: the file's address, or where that led
  int hops_ = 0;
  HttpHead head_;  // of the last answer; status 0: none
  Status fault_;   // why the answer is of no use
  bool ignores_range_ = false;
  int wholes_ = 0;    // whole files in a row where a part was asked for
  int failures_ = 0;  // in a row
  Bytes since_failure_ = 0;
  TimePoint not_before_;  // when to try again
  TimePoint window_;      // since when what comes is counted
  Bytes in_window_ = 0;
};

class FileFetch {
 public:
  FileFetch(HttpClient& client, const RemoteFile& remote, PartialFile& partial,
            const std::optional<Credential>& credential, const PullRules& rules,
            const PullHooks& hooks, const Clock& clock);
  FileFetch(const FileFetch&) = delete;
  FileFetch& operator=(const FileFetch&) = delete;
  ~FileFetch() { drop_all(); }

  Result<Fetched> run();

  // Called by slots.
  TimePoint now() const { return clock_.now(); }
  Status accept(Slot& slot, const HttpHead& head);
  Status take(Slot& slot, std::span<const std::byte> bytes);

 private:
  Status fetch_all();
  Status one_turn();
  Status start_slots();
  Status start(Slot& slot);
  bool has_turn(const Slot& slot) const;
  Status accept_part(Slot& slot, const HttpHead& head);
  Status accept_whole(Slot& slot, const HttpHead& head);
  Status ended(Slot& slot, const HttpEnd& end);
  Status answered(Slot& slot, const HttpEnd& end);
  // A network that is gone may come back, and then it goes on where it was.
  enum class Patience : std::uint8_t { kFewTries, kWhileItMayComeBack };
  Status try_again(Slot& slot, Error why, std::optional<std::chrono::seconds> retry_after,
                   Patience patience = Patience::kFewTries);
  Status whole_came(Slot& slot);
  Status write_missing(ByteRange range, std::span<const std::byte> bytes);
  Status drop_stalled();
  Status keep_up(Bytes hash_at_once);
  Status judge_header();
  Status save();
  void wait_while_paused();
  void drop(Slot& slot);
  void drop_all();
  Error error_of(const Slot& slot) const;
  bool goes_on() const { return !hooks_.keep_going || hooks_.keep_going(); }
  std::unexpected<Error> cancelled() const;

  HttpClient& client_;
  const RemoteFile& remote_;
  PartialFile& partial_;
  const std::optional<Credential>& credential_;
  const PullRules& rules_;
  const PullHooks& hooks_;
  const Clock& clock_;
  RangePlan plan_;
  PullPace pace_;
  GrowingDigest digest_;
  std::vector<Slot> slots_;
  Bytes came_ = 0;
  Bytes saved_;  // how many bytes the record names
  TimePoint next_save_;
  TimePoint last_progress_;       // a byte that was not here came
  bool told_patience_ = false;    // since then
  bool answered_ = false;         // by content once: only then more connections are opened
  Bytes next_look_ = kFirstLook;  // at the header
  bool judged_whole_ = false;
  bool parts_came_;          // in this pull or an earlier one
  bool whole_only_ = false;  // the server sends no parts
};

bool Slot::head(const HttpHead& head) {
  head_ = head;
  begin_window(fetch_.now());
  // The few bytes of a redirect's or a refusal's body are read, and the connection used again.
  if (kind_of(head.status) != AnswerKind::kContent)
    return head.content_length.value_or(kMaxIdleBody + 1) <= kMaxIdleBody;
  fault_ = fetch_.accept(*this, head);
  return fault_.has_value() && !ignores_range_;
}

bool Slot::bytes(std::span<const std::byte> bytes) {
  if (kind_of(head_.status) != AnswerKind::kContent) return bytes.size() <= kMaxIdleBody;
  fault_ = fetch_.take(*this, bytes);
  return fault_.has_value();
}

FileFetch::FileFetch(HttpClient& client, const RemoteFile& remote, PartialFile& partial,
                     const std::optional<Credential>& credential, const PullRules& rules,
                     const PullHooks& hooks, const Clock& clock)
    : client_(client),
      remote_(remote),
      partial_(partial),
      credential_(credential),
      rules_(rules),
      hooks_(hooks),
      clock_(clock),
      plan_(remote.size, partial.present(), piece_of(remote.size, rules)),
      pace_(rules.rate, clock.now()),
      digest_(partial),
      saved_(partial.present().total()),
      next_save_(clock.now()),
      last_progress_(clock.now()),
      parts_came_(saved_ > 0) {
  const std::uint32_t connections =
      std::clamp<std::uint32_t>(rules.connections, 1, kMaxConnections);
  slots_.reserve(connections);  // transfers know their slot's address
  while (slots_.size() < connections) slots_.emplace_back(*this);
}

// --- what comes

// An answer with content: is it what was asked for?
Status FileFetch::accept(Slot& slot, const HttpHead& head) {
  if (!head.content_encoding.empty() && head.content_encoding != "identity") {
    return fail(ErrorCode::kUnavailable,
                format_text("[pull] expected the file as it is from {}: it comes encoded as {}",
                            slot.url_.shown(), head.content_encoding.substr(0, 32)));
  }
  // With a digest the end tells; without one only this does.
  if (remote_.sha256.empty() && !remote_.validator.empty() &&
      head.validator() != remote_.validator) {
    // One of many servers may say so of the same file: no reason to throw away what came.
    return fail(ErrorCode::kUnavailable,
                format_text("[pull] expected version {} of {}: it answers with {}, as if it had "
                            "changed there meanwhile; the same command looks again (with --sha256 "
                            "the content alone decides)",
                            remote_.validator, slot.url_.shown(),
                            head.validator().empty() ? "none" : head.validator()));
  }
  return head.status == 206 ? accept_part(slot, head) : accept_whole(slot, head);
}

Status FileFetch::accept_part(Slot& slot, const HttpHead& head) {
  const auto came = parse_content_range(head.content_range);
  // One of many servers behind an address may be wrong: worth another try, and no reason to throw
  // away what came.
  const auto lie = [&](std::string_view text) {
    return fail(ErrorCode::kUnavailable,
                format_text("[pull] expected bytes {}-{} of {} from {}: {}", slot.range_.first,
                            slot.range_.last - 1, remote_.size, slot.url_.shown(), text));
  };
  if (!came || came->range.first != slot.range_.first || came->range.last > slot.range_.last)
    return lie("Content-Range '" + head.content_range.substr(0, 80) + "'");
  if (came->size && *came->size != remote_.size)
    return lie(format_text("the file there has {}", *came->size));
  if (head.content_length && *head.content_length != came->range.size())
    return lie(format_text("Content-Length {}", *head.content_length));
  slot.answer_end_ = came->range.last;
  slot.wholes_ = 0;
  parts_came_ = true;
  return {};
}

Status FileFetch::accept_whole(Slot& slot, const HttpHead& head) {
  if (head.content_length && *head.content_length != remote_.size) {
    return fail(ErrorCode::kUnavailable,
                format_text("[pull] expected {} bytes from {}: Content-Length {}", remote_.size,
                            slot.url_.shown(), *head.content_length));
  }
  const bool as_asked = slot.range_ == ByteRange{0, remote_.size};
  slot.ignores_range_ = !as_asked;
  slot.answer_end_ = remote_.size;
  return {};
}

Status FileFetch::take(Slot& slot, std::span<const std::byte> bytes) {
  if (bytes.size() > slot.answer_end_ - slot.range_.first) {
    return fail(
        ErrorCode::kUnavailable,
        format_text("[pull] expected {} bytes up to {} from {}: more came",
                    slot.answer_end_ - slot.range_.first, slot.answer_end_, slot.url_.shown()));
  }
  const Bytes first = slot.range_.first;
  // A page in place of the file, from a server that had the file before.
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (whole_only_ && parts_came_ && first == 0 &&
      !text.starts_with(kMagic.substr(0, text.size()))) {
    return fail(ErrorCode::kUnavailable,
                format_text("[pull] expected a GGUF file from {}: it begins with {}",
                            slot.url_.shown(), excerpt(text)));
  }
  const Bytes before = plan_.present().total();
  GOGRID_RETURN_IF_ERROR(write_missing({first, first + bytes.size()}, bytes));
  slot.range_.first += bytes.size();
  slot.since_failure_ += bytes.size();
  slot.in_window_ += bytes.size();
  pace_.came(bytes.size(), clock_.now());
  came_ += bytes.size();
  if (plan_.present().total() > before) {
    last_progress_ = clock_.now();
    told_patience_ = false;
  }
  answered_ = true;
  return {};
}

// What is here already stays as it is: it was hashed. A server that sends no parts sends it again.
Status FileFetch::write_missing(ByteRange range, std::span<const std::byte> bytes) {
  if (!whole_only_) {
    GOGRID_RETURN_IF_ERROR(partial_.write(range.first, bytes));
    plan_.came(range);
    return {};
  }
  // All before the range is here, so that the first gap is in it or behind it.
  for (auto gap = plan_.present().first_gap(range.last); gap && gap->first < range.last;
       gap = plan_.present().first_gap(range.last)) {
    GOGRID_RETURN_IF_ERROR(
        partial_.write(gap->first, bytes.subspan(gap->first - range.first, gap->size())));
    plan_.came(*gap);
  }
  return {};
}

// --- connections

// A server that was not heard of yet gets one connection, and so does one that sends no parts.
bool FileFetch::has_turn(const Slot& slot) const {
  const bool alone = !answered_ || whole_only_;
  return !slot.transfer_ && clock_.now() >= slot.not_before_ && (!alone || &slot == slots_.data());
}

Status FileFetch::start_slots() {
  for (Slot& slot : slots_) {
    if (!has_turn(slot)) continue;
    if (!slot.has_work() || whole_only_) {
      const auto piece = whole_only_ ? plan_.take_all() : plan_.next();
      if (!piece) continue;
      slot.range_ = *piece;
      slot.url_ = remote_.url;
      slot.hops_ = 0;
    }
    GOGRID_RETURN_IF_ERROR(start(slot));
  }
  return {};
}

Status FileFetch::start(Slot& slot) {
  slot.head_ = {};
  slot.fault_ = {};
  slot.ignores_range_ = false;
  slot.answer_end_ = slot.range_.first;
  slot.begin_window(clock_.now());
  const std::optional<ByteRange> range = whole_only_ ? std::nullopt : std::optional(slot.range_);
  const HttpRequest request{slot.url_, headers_for(slot.url_, credential_, range),
                            may_be_here(remote_.url, slot.url_)};
  GOGRID_ASSIGN_OR_RETURN(slot.transfer_, client_.start(request, slot));
  return {};
}

void FileFetch::drop(Slot& slot) {
  if (slot.transfer_) client_.drop(*slot.transfer_);
  slot.transfer_.reset();
}

void FileFetch::drop_all() {
  for (Slot& slot : slots_) drop(slot);
}

// One answer is no proof: one of many servers behind an address may know no parts, or send a page
// that asks for patience. What is here stays in any case: each byte has its place in the file.
Status FileFetch::whole_came(Slot& slot) {
  ++slot.wholes_;
  if (parts_came_ && slot.wholes_ < kWholesBelieved) {
    Error whole{ErrorCode::kUnavailable,
                format_text("[pull] expected bytes {}-{} from {}: something whole came",
                            slot.range_.first, slot.range_.last - 1, slot.url_.shown()),
                {},
                {}};
    return try_again(slot, std::move(whole), std::nullopt);
  }
  hooks_.say(parts_came_ ? "the server sends whole files only by now: it sends again what is here"
                         : "the server sends whole files only: cannot be resumed");
  whole_only_ = true;
  drop_all();
  return {};
}

Status FileFetch::ended(Slot& slot, const HttpEnd& end) {
  slot.transfer_.reset();
  if (!slot.fault_) {
    if (slot.fault_.error().code != ErrorCode::kUnavailable) return slot.fault_;
    return try_again(slot, slot.fault_.error(), std::nullopt);
  }
  if (slot.ignores_range_) return whole_came(slot);
  if (!slot.has_work()) {
    slot.failures_ = 0;
    slot.since_failure_ = 0;
    return {};
  }
  // Less than was asked for, but what was announced: the rest is asked for next.
  if (end.whole && slot.since_failure_ > 0 && slot.range_.first == slot.answer_end_) return {};
  return answered(slot, end);
}

// An answer that did not bring all of the part.
Status FileFetch::answered(Slot& slot, const HttpEnd& end) {
  const AnswerKind kind = kind_of(slot.head_.status);
  if (kind == AnswerKind::kElsewhere) {
    GOGRID_ASSIGN_OR_RETURN(slot.url_,
                            next_hop(slot.url_, slot.head_, slot.hops_, rules_.allow_http));
    ++slot.hops_;
    return start(slot);
  }
  if (slot.head_.status == 0 || kind == AnswerKind::kContent) {
    Error broken{ErrorCode::kUnavailable,
                 format_text("[pull] expected bytes {}-{} from {}: {}", slot.range_.first,
                             slot.range_.last - 1, slot.url_.shown(),
                             end.why.empty() ? "fewer came" : end.why),
                 {},
                 {}};
    if (end.untrusted)
      return std::unexpected(untrusted_error(remote_.name, slot.url_.shown(), end.why));
    return try_again(slot, std::move(broken), std::nullopt, Patience::kWhileItMayComeBack);
  }
  // Signed addresses that redirects lead to expire; the file's own leads to a new one.
  if (kind == AnswerKind::kLater || (slot.hops_ > 0 && kind == AnswerKind::kRefused))
    return try_again(slot, error_of(slot), slot.head_.retry_after, Patience::kWhileItMayComeBack);
  return std::unexpected(error_of(slot));
}

Error FileFetch::error_of(const Slot& slot) const {
  return error_of_answer(slot.head_, remote_.name, slot.url_.shown(),
                         may_see_token(slot.url_, credential_));
}

Status FileFetch::try_again(Slot& slot, Error why, std::optional<std::chrono::seconds> retry_after,
                            Patience patience) {
  // A server that sends no parts makes no progress that lasts.
  if (slot.since_failure_ >= rules_.worthwhile && !whole_only_) slot.failures_ = 0;
  slot.since_failure_ = 0;
  ++slot.failures_;
  const bool patient = patience == Patience::kWhileItMayComeBack && answered_ &&
                       clock_.now() - last_progress_ < rules_.retry.patience;
  const auto wait =
      wait_before_retry(rules_.retry, slot.failures_, random_share(), retry_after, patient);
  if (!wait) return std::unexpected(std::move(why));
  if (slot.failures_ == rules_.retry.tries && !told_patience_) {
    told_patience_ = true;
    hooks_.say(format_text("{}; keeps trying for {} minutes", why.message,
                           std::chrono::ceil<std::chrono::minutes>(rules_.retry.patience).count()));
  }
  slot.not_before_ = clock_.now() + *wait;
  slot.url_ = remote_.url;
  slot.hops_ = 0;
  return {};
}

Status FileFetch::drop_stalled() {
  for (Slot& slot : slots_) {
    if (!slot.transfer_ || clock_.now() - slot.window_ < rules_.stall) continue;
    if (slot.in_window_ >= rules_.stall_bytes) {
      slot.begin_window(clock_.now());
      continue;
    }
    drop(slot);
    const auto window = std::chrono::duration_cast<std::chrono::milliseconds>(rules_.stall);
    Error stalled{ErrorCode::kUnavailable,
                  format_text("[pull] expected at least {} in {} ms from {}: {} bytes came",
                              format_bytes(rules_.stall_bytes), window.count(), slot.url_.shown(),
                              slot.in_window_),
                  {},
                  {}};
    GOGRID_RETURN_IF_ERROR(
        try_again(slot, std::move(stalled), std::nullopt, Patience::kWhileItMayComeBack));
  }
  return {};
}

// --- the loop

Status FileFetch::save() {
  const TimePoint began = clock_.now();
  GOGRID_RETURN_IF_ERROR(partial_.save(plan_.present()));
  saved_ = plan_.present().total();
  const TimePoint done = clock_.now();
  next_save_ = done + std::max(rules_.save_every, (done - began) * kSaveShare);
  return {};
}

Status FileFetch::keep_up(Bytes hash_at_once) {
  GOGRID_RETURN_IF_ERROR(digest_.advance(plan_.present().prefix(), hash_at_once));
  GOGRID_RETURN_IF_ERROR(judge_header());
  const Bytes present = plan_.present().total();
  if (present != saved_ && clock_.now() >= next_save_) GOGRID_RETURN_IF_ERROR(save());
  if (hooks_.progress && !hooks_.progress(present, remote_.size)) return cancelled();
  return {};
}

// What can never be a model here is not fetched to its last byte.
Status FileFetch::judge_header() {
  const Bytes prefix = plan_.present().prefix();
  // A whole file is judged by the library; but for a part by itself, as one of a model.
  const bool whole = prefix == remote_.size;
  if (whole ? remote_.part.count == 1 || judged_whole_ : prefix < next_look_) return {};
  judged_whole_ = whole;
  GOGRID_ASSIGN_OR_RETURN(const bool right, judge_beginning(partial_.path(), prefix, remote_.part));
  next_look_ = right ? remote_.size : 2 * prefix;
  return {};
}

// Nothing is read while the pace says wait: the senders then wait too.
Status FileFetch::one_turn() {
  if (const Duration wait = pace_.wait(clock_.now()); wait > Duration{}) {
    std::this_thread::sleep_for(std::min(wait, kTurn));
    // It was we who did not read.
    for (Slot& slot : slots_) slot.begin_window(clock_.now());
    return {};
  }
  GOGRID_ASSIGN_OR_RETURN(const auto ends, client_.turn(kTurn));
  for (const HttpEnd& end : ends) {
    const auto slot = std::ranges::find(slots_, std::optional(end.transfer), &Slot::transfer_);
    if (slot != slots_.end()) GOGRID_RETURN_IF_ERROR(ended(*slot, end));
  }
  return drop_stalled();
}

void FileFetch::wait_while_paused() {
  drop_all();
  const std::string why = hooks_.why_paused ? hooks_.why_paused() : "others need this machine";
  hooks_.say("paused (" + why + "): goes on when the pause ends");
  while (!hooks_.stopped() && !goes_on()) {
    // So that what is shown says so; its answer is asked for again with the next bytes.
    if (hooks_.progress) static_cast<void>(hooks_.progress(plan_.present().total(), remote_.size));
    std::this_thread::sleep_for(kPauseLook);
  }
  if (!hooks_.stopped()) hooks_.say("goes on");
}

Status FileFetch::fetch_all() {
  while (!plan_.whole()) {
    if (hooks_.stopped()) return cancelled();
    if (!goes_on()) {
      GOGRID_RETURN_IF_ERROR(save());
      wait_while_paused();
      continue;
    }
    GOGRID_RETURN_IF_ERROR(start_slots());
    GOGRID_RETURN_IF_ERROR(one_turn());
    GOGRID_RETURN_IF_ERROR(keep_up(kHashAtOnce));
  }
  // What was here before may not have been hashed yet.
  while (digest_.at() < remote_.size) {
    if (hooks_.stopped()) return cancelled();
    if (!goes_on()) wait_while_paused();
    GOGRID_RETURN_IF_ERROR(keep_up(kHashAtOnce));
  }
  return save();
}

std::unexpected<Error> FileFetch::cancelled() const {
  return fail(ErrorCode::kCancelled,
              format_text("[pull] {}: stopped with {} of {} here; the same command goes on there",
                          remote_.source, format_bytes(plan_.present().total()),
                          format_bytes(remote_.size)));
}

Result<Fetched> FileFetch::run() {
  const Status status = fetch_all();
  drop_all();
  if (status) return Fetched{digest_.finish(), came_};
  // The first error is the one to tell; that what came is not saved only makes the next call
  // longer.
  if (plan_.present().total() != saved_) static_cast<void>(save());
  return std::unexpected(status.error());
}

}  // namespace

Result<Fetched> fetch_file(HttpClient& client, const RemoteFile& remote, PartialFile& partial,
                           const std::optional<Credential>& credential, const PullRules& rules,
                           const PullHooks& hooks, const Clock& clock) {
  if (remote.size < kMagic.size()) {
    return fail(ErrorCode::kCorrupt, format_text("[pull] expected a GGUF file: {} has {} bytes",
                                                 remote.source, remote.size));
  }
  return FileFetch(client, remote, partial, credential, rules, hooks, clock).run();
}

}  // namespace gogrid
