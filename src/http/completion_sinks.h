// Where a completion's tokens go: into a stream of server-sent events, or into one answer. For .cpp
// files of http/ only.
#pragma once

#include <drogon/HttpResponse.h>

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/gate.h"
#include "base/mutex.h"
#include "http/chunk_writer.h"
#include "http/client_link.h"
#include "http/completion_response.h"
#include "http/exchange.h"
#include "service/completion_service.h"

namespace gogrid {

struct SinkContext {
  AnswerHead head;
  bool logprobs = false;
  bool include_usage = false;
  std::size_t max_backlog = 256 * 1024;        // unsent bytes before the reader counts as slow
  bool close_after = false;                    // the connection, once a stream is sent
  Gate::Pass pass;                             // keeps the server from ending under it
  std::function<void(int http_status)> ended;  // for the metrics; once
};

// Server-sent events. Tokens come from the batcher's thread; the connection's thread turns them
// into events and writes them, all that have come since its last turn at once. Memory is bounded: a
// reader that is behind makes state() slow, and the batcher holds its sequences.
class StreamSink final : public CompletionSink, public std::enable_shared_from_this<StreamSink> {
 public:
  StreamSink(SinkContext context, ClientLink link);

  // Gives it the stream once the head of the answer was sent. Any thread.
  void open(drogon::ResponseStreamPtr stream);

  SinkState on_delta(std::uint32_t choice, Delta delta) override;
  void on_waiting(const std::string& why) override;
  void on_choice_finished(std::uint32_t choice, const Finish& finish) override;
  void on_done(const Result<Usage>& outcome) override;
  SinkState state() const override;

 private:
  struct Waiting {
    std::string why;
  };
  using Event = std::variant<std::pair<std::uint32_t, Delta>,
                             std::pair<std::uint32_t, FinishReason>, Result<Usage>, Waiting>;

  void push(Event event, std::size_t size);
  // The connection's thread.
  void write_events();
  void write(std::string text);
  void update_backlog();
  void close();
  void end(const Result<Usage>& outcome, std::string& text);

  const std::size_t max_backlog_;
  const ClientLink link_;
  // Bytes on their way to the connection's thread, and bytes that it has written but the socket has
  // not taken.
  std::atomic<std::size_t> waiting_{0};
  std::atomic<std::size_t> unsent_{0};
  mutable std::atomic<bool> looking_{false};  // update_backlog() is posted

  Mutex mu_;
  std::vector<Event> events_ GUARDED_BY(mu_);
  std::size_t events_size_ GUARDED_BY(mu_) = 0;

  // The connection's thread only.
  SinkContext context_;
  ChunkWriter writer_;
  drogon::ResponseStreamPtr stream_;
  bool opened_ = false;
  std::string early_;            // events made before open()
  std::size_t written_ = 0;      // bytes given to the stream, with their framing
  std::size_t sent_before_ = 0;  // by the connection, when the stream began
  bool ended_ = false;
};

using MakeResponse =
    std::function<drogon::HttpResponsePtr(int http_status, std::string body, const Error* error)>;

// Collects everything and answers once.
class WholeSink final : public CompletionSink {
 public:
  WholeSink(SinkContext context, ClientLink link, MakeResponse make, AnswerCallback answer);

  SinkState on_delta(std::uint32_t choice, Delta delta) override;
  void on_choice_finished(std::uint32_t choice, const Finish& finish) override;
  void on_done(const Result<Usage>& outcome) override;
  SinkState state() const override;

 private:
  ChoiceText& choice_at(std::uint32_t choice) REQUIRES(mu_);

  SinkContext context_;
  const ClientLink link_;
  const MakeResponse make_;
  const AnswerCallback answer_;
  Mutex mu_;
  std::vector<ChoiceText> choices_ GUARDED_BY(mu_);
};

}  // namespace gogrid
