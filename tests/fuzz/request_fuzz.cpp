// Any bytes at all: parsed as the body of either kind of completion request. What is accepted must
// be what the layers below take without looking again; what is refused must say why, briefly.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <variant>

#include "http/completion_request.h"
#include "http/completion_response.h"

namespace {

using namespace gogrid;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "request_fuzz: %s\n", what);
  std::abort();
}

void check_refusal(const Error& error) {
  require(error.code == ErrorCode::kInvalidArgument, "a bad body is an invalid argument");
  require(!error.message.empty() && error.message.size() < 500, "a refusal says why, briefly");
  require(error_body(error).size() > error.message.size() / 2, "a refusal can be written down");
}

void check_prompt(CompletionKind kind, const CompletionQuestion& question) {
  if (kind == CompletionKind::kChat) {
    const auto* messages = std::get_if<std::vector<ChatMessage>>(&question.prompt);
    require(messages != nullptr && !messages->empty(), "a chat has messages");
  } else if (const auto* lists = std::get_if<std::vector<std::vector<Token>>>(&question.prompt)) {
    require(!lists->empty(), "there is a prompt");
    for (const auto& list : *lists) {
      for (const Token token : list) require(token >= 0, "token ids are not negative");
    }
  } else {
    const auto* texts = std::get_if<std::vector<std::string>>(&question.prompt);
    require(texts != nullptr && !texts->empty(), "there is a prompt");
  }
}

void check_question(const CompletionQuestion& question) {
  require(!question.model.empty(), "a model is named");
  require(validate(question.sampling).has_value(), "the sampling is within its ranges");
  require(question.n >= 1 && question.n <= Completions::kMaxChoices, "n is in its range");
  require(question.max_tokens.value_or(1) >= 1, "max_tokens is not zero");
  for (const std::string& stop : question.stop) require(!stop.empty(), "no stop is empty");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const CompletionKind kind : {CompletionKind::kChat, CompletionKind::kText}) {
    const auto request = parse_completion_request(kind, body);
    if (!request) {
      check_refusal(request.error());
      continue;
    }
    check_prompt(kind, request->question);
    check_question(request->question);
    require(request->stream || !request->include_usage, "usage chunks are for streams");
  }
  return 0;
}
