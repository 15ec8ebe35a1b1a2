#include "http/completion_sinks.h"

namespace gogrid {
namespace {

// What an event costs beside its text, roughly: the fields around it.
constexpr std::size_t kEventCost = 256;

std::size_t size_of(const Delta& delta) {
  std::size_t size = kEventCost + delta.text.size();
  for (const TokenEvent& event : delta.tokens) {
    size += (event.top.size() + 1) * (sizeof(TokenProbability) + event.chosen.bytes.size());
  }
  return size;
}

// What the framework puts around a piece of a chunked answer: its size in hexadecimal and two line
// ends.
std::size_t framing_of(std::size_t size) {
  std::size_t digits = 1;
  while (size >>= 4) ++digits;
  return digits + 4;
}

}  // namespace

StreamSink::StreamSink(SinkContext context, ClientLink link)
    : max_backlog_(context.max_backlog),
      link_(std::move(link)),
      context_(std::move(context)),
      writer_(context_.head, context_.logprobs, context_.include_usage) {}

void StreamSink::open(drogon::ResponseStreamPtr stream) {
  link_.post([self = shared_from_this(),
              raw = std::make_shared<drogon::ResponseStreamPtr>(std::move(stream))] {
    self->stream_ = std::move(*raw);
    self->opened_ = true;
    self->sent_before_ = self->link_.bytes_sent();
    self->unsent_ = 0;
    if (!self->early_.empty()) self->write(std::exchange(self->early_, {}));
    if (self->ended_) self->close();
  });
}

void StreamSink::push(Event event, std::size_t size) {
  waiting_ += size;
  {
    MutexLock lock(mu_);
    events_.push_back(std::move(event));
    events_size_ += size;
    if (events_.size() > 1) return;  // its turn is posted already
  }
  link_.post([self = shared_from_this()] { self->write_events(); });
}

void StreamSink::write_events() {
  std::vector<Event> events;
  std::size_t size = 0;
  {
    MutexLock lock(mu_);
    events.swap(events_);
    size = std::exchange(events_size_, 0);
  }
  std::string text;
  text.reserve(size);
  for (const Event& event : events) {
    if (const auto* delta = std::get_if<0>(&event)) {
      writer_.delta(delta->first, delta->second, text);
    } else if (const auto* finish = std::get_if<1>(&event)) {
      writer_.finish(finish->first, finish->second, text);
    } else if (const auto* outcome = std::get_if<2>(&event)) {
      end(*outcome, text);
    } else {
      ChunkWriter::comment(std::get<3>(event).why, text);
    }
  }
  write(std::move(text));
  waiting_ -= size;
  if (ended_ && opened_) close();
}

void StreamSink::close() {
  stream_.reset();
  if (context_.close_after) link_.close_when_sent();
}

void StreamSink::write(std::string text) {
  if (!opened_) {
    early_ += text;
    unsent_ = early_.size();
    return;
  }
  if (text.empty() || stream_ == nullptr) return;
  written_ += text.size() + framing_of(text.size());
  stream_->send(text);
  update_backlog();
}

void StreamSink::update_backlog() {
  if (!opened_) return;
  const std::size_t sent = link_.bytes_sent() - sent_before_;
  unsent_ = written_ > sent ? written_ - sent : 0;
}

SinkState StreamSink::on_delta(std::uint32_t choice, Delta delta) {
  const std::size_t size = size_of(delta);
  push(std::pair(choice, std::move(delta)), size);
  return state();
}

void StreamSink::on_waiting(const std::string& why) {
  if (state() == SinkState::kMore) push(Waiting{why}, kEventCost + why.size());
}

void StreamSink::on_choice_finished(std::uint32_t choice, const Finish& finish) {
  push(std::pair(choice, finish.reason), kEventCost);
}

void StreamSink::on_done(const Result<Usage>& outcome) { push(outcome, kEventCost); }

void StreamSink::end(const Result<Usage>& outcome, std::string& text) {
  if (outcome) {
    writer_.end(*outcome, text);
  } else {
    ChunkWriter::error(outcome.error(), text);
  }
  context_.ended(outcome ? 200 : traits(outcome.error().code).http_status);
  ended_ = true;
}

SinkState StreamSink::state() const {
  if (!link_.connected()) return SinkState::kGone;
  if (waiting_ + unsent_ <= max_backlog_) return SinkState::kMore;
  if (!looking_.exchange(true)) {
    // The count is the connection's thread's to bring up to date.
    auto self = std::const_pointer_cast<StreamSink>(shared_from_this());
    link_.post([self] {
      self->looking_ = false;
      self->update_backlog();
    });
  }
  return SinkState::kSlow;
}

WholeSink::WholeSink(SinkContext context, ClientLink link, MakeResponse make, AnswerCallback answer)
    : context_(std::move(context)),
      link_(std::move(link)),
      make_(std::move(make)),
      answer_(std::move(answer)) {}

ChoiceText& WholeSink::choice_at(std::uint32_t choice) {
  if (choices_.size() <= choice) choices_.resize(choice + 1);
  return choices_[choice];
}

SinkState WholeSink::on_delta(std::uint32_t choice, Delta delta) {
  {
    MutexLock lock(mu_);
    ChoiceText& text = choice_at(choice);
    text.text += delta.text;
    if (context_.logprobs) {
      for (TokenEvent& event : delta.tokens) text.tokens.push_back(std::move(event));
    }
  }
  return state();
}

void WholeSink::on_choice_finished(std::uint32_t choice, const Finish& finish) {
  MutexLock lock(mu_);
  choice_at(choice).reason = finish.reason;
}

void WholeSink::on_done(const Result<Usage>& outcome) {
  std::vector<ChoiceText> choices;
  {
    MutexLock lock(mu_);
    choices.swap(choices_);
  }
  const int status = outcome ? 200 : traits(outcome.error().code).http_status;
  const auto response =
      outcome ? make_(status, whole_answer(context_.head, choices, *outcome, context_.logprobs),
                      nullptr)
              : make_(status, error_body(outcome.error()), &outcome.error());
  context_.ended(status);
  answer_(response);
}

SinkState WholeSink::state() const {
  return link_.connected() ? SinkState::kMore : SinkState::kGone;
}

}  // namespace gogrid
