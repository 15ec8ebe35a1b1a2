#include "http/completion_sinks.h"

#include <utility>

namespace gogrid {

StreamSink::StreamSink(SinkContext context, ClientLink link)
    : max_backlog_(context.max_backlog), link_(std::move(link)), context_(std::move(context)) {}

StreamSink::ChoiceState& StreamSink::choice_state(std::uint32_t choice) {
  if (choices_.size() <= choice) choices_.resize(choice + 1);
  return choices_[choice];
}

void StreamSink::open(drogon::ResponseStreamPtr stream) {
  link_.post([self = shared_from_this(),
              raw = std::make_shared<drogon::ResponseStreamPtr>(std::move(stream))] {
    self->stream_ = std::move(*raw);
    self->sent_before_ = self->link_.bytes_sent();
    if (!self->early_.empty()) self->stream_->send(std::exchange(self->early_, {}));
    if (self->ended_) self->stream_.reset();
  });
}

void StreamSink::write_event(std::string_view data) {
  std::string event = "data: " + std::string(data) + "\n\n";
  handed_ += event.size();
  if (stream_ == nullptr) {
    early_ += event;
  } else {
    stream_->send(event);
  }
  update_backlog();
}

void StreamSink::update_backlog() {
  const std::size_t sent = link_.bytes_sent() - sent_before_;
  unsent_ = handed_ > sent ? handed_ - sent : 0;
}

SinkState StreamSink::on_delta(std::uint32_t choice, Delta delta) {
  const std::size_t size = delta.text.size() + sizeof(TokenEvent) * delta.tokens.size();
  posted_ += size;
  link_.post([self = shared_from_this(), choice, size, delta = std::move(delta)] {
    self->posted_ -= size;
    ChoiceState& state = self->choice_state(choice);
    const bool first = !std::exchange(state.started, true);
    self->write_event(delta_chunk(self->context_.head, choice, delta, first,
                                  self->context_.logprobs, state.text_bytes));
    state.text_bytes += delta.text.size();
  });
  return state();
}

void StreamSink::on_choice_finished(std::uint32_t choice, const Finish& finish) {
  link_.post([self = shared_from_this(), choice, reason = finish.reason] {
    // A choice without text still says who speaks.
    if (!std::exchange(self->choice_state(choice).started, true)) {
      self->write_event(delta_chunk(self->context_.head, choice, {}, true, false, 0));
    }
    self->write_event(finish_chunk(self->context_.head, choice, reason));
  });
}

void StreamSink::on_done(const Result<Usage>& outcome) {
  link_.post([self = shared_from_this(), outcome] { self->end(outcome); });
}

void StreamSink::end(const Result<Usage>& outcome) {
  if (!outcome) {
    write_event(error_body(outcome.error()));
  } else {
    if (context_.include_usage) write_event(usage_chunk(context_.head, *outcome));
    write_event("[DONE]");
  }
  context_.ended(outcome ? 200 : traits(outcome.error().code).http_status);
  ended_ = true;
  stream_.reset();
}

SinkState StreamSink::state() const {
  if (!link_.connected()) return SinkState::kGone;
  if (posted_ + unsent_ <= max_backlog_) return SinkState::kMore;
  if (!looking_.exchange(true)) {
    // The counter is the connection's thread's to bring up to date.
    auto self = std::const_pointer_cast<StreamSink>(shared_from_this());
    link_.post([self] {
      self->looking_ = false;
      self->update_backlog();
    });
  }
  return SinkState::kSlow;
}

WholeSink::WholeSink(SinkContext context, ClientLink link, MakeResponse make, Answer answer,
                     TimePoint started, Duration idle_timeout)
    : context_(std::move(context)),
      link_(std::move(link)),
      make_(std::move(make)),
      answer_(std::move(answer)),
      keep_open_at_(started + idle_timeout / 2) {}

ChoiceText& WholeSink::choice_at(std::uint32_t choice) {
  if (choices_.size() <= choice) choices_.resize(choice + 1);
  return choices_[choice];
}

SinkState WholeSink::on_delta(std::uint32_t choice, Delta delta) {
  ChoiceText& text = choice_at(choice);
  text.text += delta.text;
  if (context_.logprobs) {
    for (TokenEvent& event : delta.tokens) text.tokens.push_back(std::move(event));
  }
  return state();
}

void WholeSink::on_choice_finished(std::uint32_t choice, const Finish& finish) {
  choice_at(choice).reason = finish.reason;
}

void WholeSink::on_done(const Result<Usage>& outcome) {
  const int status = outcome ? 200 : traits(outcome.error().code).http_status;
  const auto response =
      outcome ? make_(status, whole_answer(context_.head, choices_, *outcome, context_.logprobs),
                      nullptr)
              : make_(status, error_body(outcome.error()), &outcome.error());
  if (kept_open_) response->setCloseConnection(true);
  context_.ended(status);
  answer_(response);
}

SinkState WholeSink::state() const {
  if (!link_.connected()) return SinkState::kGone;
  if (!kept_open_ && SteadyClock().now() >= keep_open_at_ && !kept_open_.exchange(true))
    link_.keep_open();
  return SinkState::kMore;
}

}  // namespace gogrid
