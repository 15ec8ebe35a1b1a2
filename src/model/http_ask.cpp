#include "model/http_ask.h"

#include <random>

#include "base/format.h"
#include "base/text.h"

namespace gogrid {
namespace {

constexpr Duration kTurn = std::chrono::milliseconds(100);
constexpr std::size_t kMaxWhy = 256;

class BodySink final : public HttpSink {
 public:
  explicit BodySink(Bytes most) : most_(most) {}

  bool head(const HttpHead& head) override {
    head_ = head;
    const bool wanted = kind_of(head.status) == AnswerKind::kContent && most_ > 0;
    return wanted && !(too_large_ = head.content_length.value_or(0) > most_);
  }
  bool bytes(std::span<const std::byte> bytes) override {
    too_large_ = bytes.size() > most_ - body_.size();
    if (!too_large_) body_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return !too_large_;
  }

  const Bytes most_;
  HttpHead head_;
  std::string body_;
  bool too_large_ = false;
};

class Asking {
 public:
  Asking(HttpClient& client, const Question& question, const std::optional<Credential>& credential,
         const PullRules& rules, const PullHooks& hooks, const Clock& clock)
      : client_(client),
        question_(question),
        credential_(credential),
        rules_(rules),
        hooks_(hooks),
        clock_(clock) {}

  Result<Answer> run();

 private:
  // Empty: the connection broke; `why_` says how.
  Result<std::optional<Answer>> once(const HttpUrl& url);
  Result<bool> comes_whole(HttpTransfer transfer, const BodySink& sink);
  Result<std::optional<Answer>> follow();
  Status wait(Duration duration);
  Error last_error(const std::optional<Answer>& answer) const;
  std::unexpected<Error> cancelled() const {
    return fail(ErrorCode::kCancelled, "[pull] " + question_.what + ": cancelled");
  }

  HttpClient& client_;
  const Question& question_;
  const std::optional<Credential>& credential_;
  const PullRules& rules_;
  const PullHooks& hooks_;
  const Clock& clock_;
  std::string why_;
};

// Whether all of the answer came; false when the sink had enough, or the connection broke.
Result<bool> Asking::comes_whole(HttpTransfer transfer, const BodySink& sink) {
  Bytes seen = 0;
  TimePoint window = clock_.now();
  while (true) {
    if (hooks_.stopped()) {
      client_.drop(transfer);
      return cancelled();
    }
    GOGRID_ASSIGN_OR_RETURN(const auto ends, client_.turn(kTurn));
    for (const HttpEnd& end : ends) {
      if (end.transfer != transfer) continue;
      why_ = end.why;
      if (end.untrusted)
        return std::unexpected(
            untrusted_error(question_.what, question_.url.shown(), printable(end.why, kMaxWhy)));
      return end.whole;
    }
    if (clock_.now() - window < rules_.stall) continue;
    if (sink.body_.size() - seen >= rules_.stall_bytes) {
      window = clock_.now();
      seen = sink.body_.size();
      continue;
    }
    client_.drop(transfer);
    why_ = "too few bytes for too long";
    return false;
  }
}

Result<std::optional<Answer>> Asking::once(const HttpUrl& url) {
  HttpRequest request{url, headers_for(url, credential_, question_.range),
                      may_be_here(question_.url, url)};
  request.headers.insert(request.headers.end(), question_.headers.begin(), question_.headers.end());
  BodySink sink(question_.most);
  GOGRID_ASSIGN_OR_RETURN(const HttpTransfer transfer, client_.start(request, sink));
  GOGRID_ASSIGN_OR_RETURN(const bool whole, comes_whole(transfer, sink));
  if (sink.too_large_) {
    return fail(ErrorCode::kTooLarge,
                format_text("[pull] expected {} of at most {} from {}: it is larger",
                            question_.what, format_bytes(question_.most), url.shown()));
  }
  const bool body_matters =
      question_.most > 0 && kind_of(sink.head_.status) == AnswerKind::kContent;
  if (sink.head_.status == 0 || (body_matters && !whole)) return std::optional<Answer>();
  return Answer{sink.head_, url, std::move(sink.body_)};
}

Result<std::optional<Answer>> Asking::follow() {
  HttpUrl url = question_.url;
  for (int hops = 0;; ++hops) {
    GOGRID_ASSIGN_OR_RETURN(auto answer, once(url));
    if (!answer || kind_of(answer->head.status) != AnswerKind::kElsewhere) return answer;
    GOGRID_ASSIGN_OR_RETURN(url, next_hop(url, answer->head, hops, rules_.allow_http));
  }
}

Status Asking::wait(Duration duration) {
  const TimePoint until = clock_.now() + duration;
  while (clock_.now() < until) {
    if (hooks_.stopped()) return cancelled();
    GOGRID_RETURN_IF_ERROR(client_.turn(std::min(kTurn, until - clock_.now())));
  }
  return {};
}

Error Asking::last_error(const std::optional<Answer>& answer) const {
  if (answer) {
    return error_of_answer(answer->head, question_.what, answer->url.shown(),
                           may_see_token(answer->url, credential_));
  }
  return {
      ErrorCode::kUnavailable,
      format_text("[pull] expected {} from {}: {}", question_.what, question_.url.shown(), why_),
      {},
      {}};
}

Result<Answer> Asking::run() {
  GOGRID_RETURN_IF_ERROR(check_scheme(question_.url, rules_.allow_http));
  for (int failures = 1;; ++failures) {
    GOGRID_ASSIGN_OR_RETURN(auto answer, follow());
    if (answer && kind_of(answer->head.status) == AnswerKind::kContent) return *std::move(answer);
    const bool later = !answer || kind_of(answer->head.status) == AnswerKind::kLater;
    const auto retry_after = answer ? answer->head.retry_after : std::nullopt;
    const auto pause = wait_before_retry(rules_.retry, failures, random_share(), retry_after);
    if (!later || !pause) return std::unexpected(last_error(answer));
    GOGRID_RETURN_IF_ERROR(wait(*pause));
  }
}

}  // namespace

Result<Answer> ask(HttpClient& client, const Question& question,
                   const std::optional<Credential>& credential, const PullRules& rules,
                   const PullHooks& hooks, const Clock& clock) {
  return Asking(client, question, credential, rules, hooks, clock).run();
}

double random_share() {
  thread_local std::minstd_rand generator(std::random_device{}());
  return std::uniform_real_distribution<double>(0.0, 1.0)(generator);
}

}  // namespace gogrid
