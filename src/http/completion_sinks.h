// Where a completion's tokens go: into a stream of server-sent events, or into one answer. For .cpp
// files of http/ only.
#pragma once

#include <drogon/HttpResponse.h>

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/gate.h"
#include "http/client_link.h"
#include "http/completion_response.h"
#include "service/completion_service.h"

namespace gogrid {

struct SinkContext {
  AnswerHead head;
  bool logprobs = false;
  bool include_usage = false;
  std::size_t max_backlog = 256 * 1024;        // unsent bytes before the reader counts as slow
  Gate::Pass pass;                             // keeps the server from ending under it
  std::function<void(int http_status)> ended;  // for the metrics; once
};

// Server-sent events. Tokens come from the batcher's thread and are written by the connection's:
// everything but the two counters belongs to the latter. Memory is bounded: a reader that is behind
// makes state() slow, and the batcher waits.
class StreamSink final : public CompletionSink, public std::enable_shared_from_this<StreamSink> {
 public:
  StreamSink(SinkContext context, ClientLink link);

  // Gives it the stream once the head of the answer was sent.
  void open(drogon::ResponseStreamPtr stream);

  SinkState on_delta(std::uint32_t choice, Delta delta) override;
  void on_choice_finished(std::uint32_t choice, const Finish& finish) override;
  void on_done(const Result<Usage>& outcome) override;
  SinkState state() const override;

 private:
  struct ChoiceState {
    bool started = false;
    std::size_t text_bytes = 0;
  };

  ChoiceState& choice_state(std::uint32_t choice);
  void write_event(std::string_view data);
  void update_backlog();
  void end(const Result<Usage>& outcome);

  const std::size_t max_backlog_;
  const ClientLink link_;
  std::atomic<std::size_t> posted_{0};  // text bytes on their way to the connection's thread
  std::atomic<std::size_t> unsent_{
      0};  // bytes that thread has handed to the socket's buffer, not sent yet
  mutable std::atomic<bool> looking_{false};  // update_backlog() is posted

  // The connection's thread only.
  SinkContext context_;
  drogon::ResponseStreamPtr stream_;
  std::string early_;  // events made before open()
  std::vector<ChoiceState> choices_;
  std::size_t handed_ = 0;
  std::size_t sent_before_ = 0;
  bool ended_ = false;
};

using Answer = std::function<void(const drogon::HttpResponsePtr&)>;
using MakeResponse =
    std::function<drogon::HttpResponsePtr(int http_status, std::string body, const Error* error)>;

// Collects everything and answers once.
class WholeSink final : public CompletionSink {
 public:
  // `idle_timeout`: after half of it the connection is told to stay.
  WholeSink(SinkContext context, ClientLink link, MakeResponse make, Answer answer,
            TimePoint started, Duration idle_timeout);

  SinkState on_delta(std::uint32_t choice, Delta delta) override;
  void on_choice_finished(std::uint32_t choice, const Finish& finish) override;
  void on_done(const Result<Usage>& outcome) override;
  SinkState state() const override;

 private:
  ChoiceText& choice_at(std::uint32_t choice);

  SinkContext context_;
  const ClientLink link_;
  const MakeResponse make_;
  const Answer answer_;
  const TimePoint keep_open_at_;
  mutable std::atomic<bool> kept_open_{false};
  std::vector<ChoiceText> choices_;  // calls come one at a time (CompletionSink)
};

}  // namespace gogrid
