// Server-sent events of a streamed answer. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "http/completion_response.h"
#include "request/response_sink.h"

namespace gogrid {

// What is the same in all events is made once: a token is sent far more often than a stream begins.
// Not thread-safe: one per stream.
class ChunkWriter {
 public:
  // `usage`: the stream ends with an event of it, and every other event says `"usage":null`, as the
  // OpenAI reference has it.
  ChunkWriter(AnswerHead head, bool logprobs, bool usage);

  // Each appends whole events ("data: {…}\n\n") to `out`.
  void delta(std::uint32_t choice, const Delta& delta, std::string& out);
  void finish(std::uint32_t choice, FinishReason reason, std::string& out);
  void end(const Usage& usage, std::string& out);
  static void error(const Error& error, std::string& out);
  // A line that readers of events skip: it keeps the connection alive and tells people why.
  static void comment(std::string text, std::string& out);

 private:
  struct Choice {
    bool begun = false;
    std::size_t characters = 0;  // of the tokens so far
  };

  Choice& choice_at(std::uint32_t choice);
  // Everything up to the choice's own fields.
  void open(std::uint32_t choice, std::string& out) const;
  void close(std::string& out) const;

  const AnswerHead head_;
  const bool logprobs_;
  const bool usage_;
  const std::string prefix_;
  std::vector<Choice> choices_;
};

}  // namespace gogrid
