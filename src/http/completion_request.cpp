#include "http/completion_request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "http/json_fields.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

constexpr int kMaxNesting = 64;
constexpr std::size_t kMaxValues = 1 << 19;
constexpr std::size_t kMaxModelName = 256;
constexpr std::size_t kMaxMessages = 4096;
constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopLength = 1024;
constexpr std::size_t kMaxBiases = 2048;
constexpr double kMaxTokens = 16'777'216;

// What a body is made of, counted without building it: a value of two bytes takes a hundred once
// parsed.
struct Census {
  int nesting = 0;
  std::size_t values = 0;  // at most this many
};

Census census_of(std::string_view body) {
  Census census;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == ',') ++census.values;
    if (c == '{' || c == '[') {
      ++census.values;
      census.nesting = std::max(census.nesting, ++depth);
    }
    if (c == '}' || c == ']') --depth;
  }
  return census;
}

// Reads on until the parser gives up, and remembers in which field of the body that was.
class FaultFinder final : public nlohmann::json_sax<Json> {
 public:
  static std::string field_at_fault(std::string_view body) {
    FaultFinder finder;
    Json::sax_parse(body, &finder);
    return finder.field_;
  }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(std::int64_t) override { return true; }
  bool number_unsigned(std::uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(std::string& name) override {
    if (depth_ == 1) field_ = name.substr(0, kMaxFieldName);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    return false;
  }

 private:
  static constexpr std::size_t kMaxFieldName = 64;
  bool enter() { return ++depth_ > 0; }
  bool leave() { return --depth_ >= 0; }

  int depth_ = 0;
  std::string field_;
};

// Without the library's own numbering: "[json.exception.parse_error.101] parse error at …".
std::string reason_of(const Json::exception& error) {
  // The text quotes what was read last, which may be most of the body.
  constexpr std::size_t kEnough = 200;
  const std::string_view text = error.what();
  const auto end = text.find("] ");
  return std::string(end == std::string_view::npos ? text : text.substr(end + 2))
      .substr(0, kEnough);
}

Result<Json> parse_json(std::string_view body) {
  const Census census = census_of(body);
  if (census.nesting > kMaxNesting) {
    return fail(ErrorCode::kInvalidArgument, "the body may be nested " +
                                                 std::to_string(kMaxNesting) + " deep: it is " +
                                                 std::to_string(census.nesting));
  }
  if (census.values > kMaxValues) {
    return fail(ErrorCode::kInvalidArgument, "the body may have " + std::to_string(kMaxValues) +
                                                 " values: it has " +
                                                 std::to_string(census.values));
  }
  try {
    Json json = Json::parse(body);
    if (!json.is_object()) {
      return fail(ErrorCode::kInvalidArgument,
                  "the body must be a JSON object, got " + brief(json));
    }
    return json;
  } catch (const Json::out_of_range& error) {
    return fail(ErrorCode::kInvalidArgument, "a number is too large: " + reason_of(error),
                FaultFinder::field_at_fault(body));
  } catch (const Json::exception& error) {
    return fail(ErrorCode::kInvalidArgument, "the body is no valid JSON: " + reason_of(error));
  }
}

// A field that must be absent, or have a value that changes nothing.
std::unexpected<Error> unsupported(const std::string& name) {
  return fail(ErrorCode::kInvalidArgument, name + " is not supported by this version", name);
}

bool is_empty(const Json& value) {
  return (value.is_array() || value.is_object()) && value.empty();
}

bool is_text(const Json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

Status refuse_unsupported(const Json& body) {
  for (const char* name :
       {"tools", "functions", "function_call", "audio", "prediction", "suffix",
        "web_search_options", "grammar", "json_schema", "guided_json", "guided_regex"}) {
    const Json* field = given(body, name);
    if (field != nullptr && !is_empty(*field) && !is_text(*field, "") && !is_text(*field, "none"))
      return unsupported(name);
  }
  if (const Json* choice = given(body, "tool_choice");
      choice != nullptr && *choice != "none" && *choice != "auto") {
    return unsupported("tool_choice");
  }
  if (const Json* format = given(body, "response_format");
      format != nullptr && !(format->is_object() && format->value("type", Json()) == "text")) {
    return unsupported("response_format");
  }
  if (const Json* modalities = given(body, "modalities");
      modalities != nullptr && *modalities != Json::array({"text"})) {
    return unsupported("modalities");
  }
  return {};
}

Result<std::string> text_of_content(const Json& content, const std::string& where) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array())
    return bad_field(where, "a string or an array of text parts", brief(content));
  std::string text;
  for (const Json& part : content) {
    if (!part.is_object() || part.value("type", Json()) != "text") {
      return bad_field(where, "parts of type \"text\" (this model takes nothing else)",
                       brief(part));
    }
    const Json* piece = given(part, "text");
    if (piece == nullptr || !piece->is_string())
      return bad_field(where, "a text part with a string \"text\"", brief(part));
    text += piece->get_ref<const std::string&>();
  }
  return text;
}

Result<std::vector<ChatMessage>> parse_messages(const Json& body) {
  const Json* messages = given(body, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return bad_field("messages", "an array of at least one message",
                     messages == nullptr ? "nothing" : brief(*messages));
  }
  if (messages->size() > kMaxMessages) {
    return bad_field("messages", "at most " + std::to_string(kMaxMessages),
                     std::to_string(messages->size()));
  }
  std::vector<ChatMessage> result;
  for (const Json& message : *messages) {
    const std::string where = "messages[" + std::to_string(result.size()) + "]";
    if (!message.is_object()) return bad_field(where, "an object", brief(message));
    for (const char* name : {"tool_calls", "function_call", "audio"}) {
      const Json* field = given(message, name);
      if (field != nullptr && !is_empty(*field)) return unsupported(where + "." + name);
    }
    const Json role = message.value("role", Json());
    if (role != "system" && role != "developer" && role != "user" && role != "assistant") {
      return bad_field(where + ".role", "system, developer, user or assistant", brief(role));
    }
    const Json* content = given(message, "content");
    if (content == nullptr) return bad_field(where + ".content", "a string", "nothing");
    GOGRID_ASSIGN_OR_RETURN(auto text, text_of_content(*content, where + ".content"));
    result.push_back({role.get<std::string>(), std::move(text)});
  }
  return result;
}

Result<std::vector<Token>> parse_tokens(const Json& tokens) {
  std::vector<Token> result;
  for (const Json& token : tokens) {
    if (!token.is_number_integer() || token.get<double>() < 0 ||
        token.get<double>() > std::numeric_limits<Token>::max()) {
      return bad_field("prompt", "token ids", brief(token));
    }
    result.push_back(token.get<Token>());
  }
  return result;
}

Status parse_prompt(const Json& body, CompletionQuestion& question) {
  constexpr const char* kExpected =
      "a string, an array of strings, an array of token ids, or an array of those";
  const Json* prompt = given(body, "prompt");
  if (prompt == nullptr) return bad_field("prompt", kExpected, "nothing");
  if (prompt->is_string()) {
    question.prompt = std::vector<std::string>{prompt->get<std::string>()};
    return {};
  }
  if (!prompt->is_array() || prompt->empty()) return bad_field("prompt", kExpected, brief(*prompt));
  const Json& first = prompt->front();
  if (!first.is_number() && prompt->size() > Completions::kMaxChoices) {
    return bad_field("prompt", "at most " + std::to_string(Completions::kMaxChoices) + " prompts",
                     std::to_string(prompt->size()));
  }
  if (first.is_string()) {
    std::vector<std::string> texts;
    for (const Json& text : *prompt) {
      if (!text.is_string()) return bad_field("prompt", kExpected, brief(text));
      texts.push_back(text.get<std::string>());
    }
    question.prompt = std::move(texts);
    return {};
  }
  std::vector<std::vector<Token>> lists;
  if (first.is_number()) {
    GOGRID_ASSIGN_OR_RETURN(auto tokens, parse_tokens(*prompt));
    lists.push_back(std::move(tokens));
  } else {
    for (const Json& list : *prompt) {
      if (!list.is_array()) return bad_field("prompt", kExpected, brief(list));
      GOGRID_ASSIGN_OR_RETURN(auto tokens, parse_tokens(list));
      lists.push_back(std::move(tokens));
    }
  }
  question.prompt = std::move(lists);
  return {};
}

Status parse_stop(const Json& body, CompletionQuestion& question) {
  const Json* stop = given(body, "stop");
  if (stop == nullptr) return {};
  const auto add = [&](const Json& text) -> Status {
    if (!text.is_string() || text.get_ref<const std::string&>().empty() ||
        text.get_ref<const std::string&>().size() > kMaxStopLength) {
      return bad_field("stop", "strings of 1.." + std::to_string(kMaxStopLength) + " bytes",
                       brief(text));
    }
    question.stop.push_back(text.get<std::string>());
    return {};
  };
  if (!stop->is_array()) return add(*stop);
  if (stop->size() > kMaxStops) {
    return bad_field("stop", "at most " + std::to_string(kMaxStops) + " strings",
                     std::to_string(stop->size()));
  }
  for (const Json& text : *stop) GOGRID_RETURN_IF_ERROR(add(text));
  return {};
}

Status parse_bias(const Json& body, SamplingSpec& sampling) {
  const Json* bias = given(body, "logit_bias");
  if (bias == nullptr) return {};
  if (!bias->is_object() || bias->size() > kMaxBiases) {
    return bad_field("logit_bias",
                     "an object of at most " + std::to_string(kMaxBiases) + " token ids",
                     brief(*bias));
  }
  for (const auto& [key, value] : bias->items()) {
    Token token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc{} || end != key.data() + key.size() || token < 0) {
      return bad_field("logit_bias", "token ids as keys", brief(Json(key)));
    }
    if (!value.is_number() || !(value.get<double>() >= -100.0 && value.get<double>() <= 100.0)) {
      return bad_field("logit_bias", "numbers -100..100", brief(value));
    }
    sampling.logit_bias.push_back({token, value.get<float>()});
  }
  return {};
}

Status parse_sampling(const Json& body, SamplingSpec& sampling) {
  struct FloatField {
    const char* name;
    float SamplingSpec::* member;
    double low;
    double high;
  };
  constexpr std::array<FloatField, 6> kFloats{
      {{"temperature", &SamplingSpec::temperature, 0, 2},
       {"top_p", &SamplingSpec::top_p, 0, 1},
       {"min_p", &SamplingSpec::min_p, 0, 1},
       {"frequency_penalty", &SamplingSpec::frequency_penalty, -2, 2},
       {"presence_penalty", &SamplingSpec::presence_penalty, -2, 2},
       {"repeat_penalty", &SamplingSpec::repeat_penalty, 0.01, 10}}};
  for (const FloatField& field : kFloats) {
    GOGRID_ASSIGN_OR_RETURN(const auto value,
                            number_field<float>(body, field.name, field.low, field.high));
    if (value) sampling.*field.member = *value;
  }
  GOGRID_ASSIGN_OR_RETURN(const auto top_k, number_field<std::int32_t>(body, "top_k", 0, 1 << 20));
  if (top_k) sampling.top_k = *top_k;
  // OpenAI's top_p 0 means the most likely token alone, whatever top_k would let through.
  if (sampling.top_p == 0.0F) sampling.top_k = 1, sampling.top_p = 1.0F;
  GOGRID_ASSIGN_OR_RETURN(const auto window,
                          number_field<std::int32_t>(body, "repeat_last_n", 0, 1 << 20));
  if (window) sampling.repeat_window = *window;
  GOGRID_ASSIGN_OR_RETURN(sampling.ban_end_of_text, bool_field(body, "ignore_eos", false));
  return parse_bias(body, sampling);
}

Status parse_logprobs(CompletionKind kind, const Json& body, SamplingSpec& sampling) {
  if (kind == CompletionKind::kText) {
    GOGRID_ASSIGN_OR_RETURN(const auto count, number_field<std::int32_t>(body, "logprobs", 0, 20));
    if (count) sampling.top_logprobs = *count;
    return {};
  }
  GOGRID_ASSIGN_OR_RETURN(const bool wanted, bool_field(body, "logprobs", false));
  GOGRID_ASSIGN_OR_RETURN(const auto count,
                          number_field<std::int32_t>(body, "top_logprobs", 0, 20));
  if (count && !wanted)
    return fail(ErrorCode::kInvalidArgument, "top_logprobs: needs logprobs to be true",
                "top_logprobs");
  if (wanted) sampling.top_logprobs = count.value_or(0);
  return {};
}

Status parse_limits(CompletionKind kind, const Json& body, CompletionQuestion& question) {
  GOGRID_ASSIGN_OR_RETURN(const auto n,
                          number_field<std::uint32_t>(body, "n", 1, Completions::kMaxChoices));
  question.n = n.value_or(1);
  GOGRID_ASSIGN_OR_RETURN(question.max_tokens,
                          number_field<std::uint32_t>(body, "max_tokens", 1, kMaxTokens));
  if (kind == CompletionKind::kChat) {
    GOGRID_ASSIGN_OR_RETURN(const auto newer, number_field<std::uint32_t>(
                                                  body, "max_completion_tokens", 1, kMaxTokens));
    if (newer) question.max_tokens = newer;
  }
  if (const Json* seed = given(body, "seed"); seed != nullptr) {
    if (!seed->is_number_integer()) return bad_field("seed", "a whole number", brief(*seed));
    question.seed = seed->is_number_unsigned()
                        ? seed->get<std::uint64_t>()
                        : static_cast<std::uint64_t>(seed->get<std::int64_t>());
  }
  return {};
}

Status parse_text_only(const Json& body, CompletionQuestion& question) {
  GOGRID_ASSIGN_OR_RETURN(question.echo, bool_field(body, "echo", false));
  if (question.echo && question.sampling.top_logprobs >= 0) {
    return fail(ErrorCode::kInvalidArgument,
                "logprobs: not supported together with echo by this version", "logprobs");
  }
  GOGRID_ASSIGN_OR_RETURN(const auto best_of, number_field<std::uint32_t>(
                                                  body, "best_of", 1, Completions::kMaxChoices));
  if (best_of && *best_of != question.n) {
    return fail(ErrorCode::kInvalidArgument,
                "best_of: only the same as n is supported by this version", "best_of");
  }
  return {};
}

Status parse_streaming(const Json& body, CompletionRequest& request) {
  GOGRID_ASSIGN_OR_RETURN(request.stream, bool_field(body, "stream", false));
  const Json* options = given(body, "stream_options");
  if (options == nullptr) return {};
  if (!options->is_object()) return bad_field("stream_options", "an object", brief(*options));
  if (!request.stream)
    return fail(ErrorCode::kInvalidArgument, "stream_options: only with stream: true",
                "stream_options");
  GOGRID_ASSIGN_OR_RETURN(request.include_usage, bool_field(*options, "include_usage", false));
  return {};
}

}  // namespace

Result<CompletionRequest> parse_completion_request(CompletionKind kind, std::string_view text) {
  GOGRID_ASSIGN_OR_RETURN(const Json body, parse_json(text));
  CompletionRequest request;
  CompletionQuestion& question = request.question;
  const Json* model = given(body, "model");
  if (model == nullptr || !model->is_string() || model->get_ref<const std::string&>().empty() ||
      model->get_ref<const std::string&>().size() > kMaxModelName) {
    return bad_field("model", "the name of a model", model == nullptr ? "nothing" : brief(*model));
  }
  question.model = model->get<std::string>();
  GOGRID_RETURN_IF_ERROR(refuse_unsupported(body));
  if (kind == CompletionKind::kChat) {
    GOGRID_ASSIGN_OR_RETURN(question.prompt, parse_messages(body));
  } else {
    GOGRID_RETURN_IF_ERROR(parse_prompt(body, question));
  }
  GOGRID_RETURN_IF_ERROR(parse_sampling(body, question.sampling));
  GOGRID_RETURN_IF_ERROR(parse_logprobs(kind, body, question.sampling));
  GOGRID_RETURN_IF_ERROR(parse_limits(kind, body, question));
  GOGRID_RETURN_IF_ERROR(parse_stop(body, question));
  if (kind == CompletionKind::kText) GOGRID_RETURN_IF_ERROR(parse_text_only(body, question));
  GOGRID_RETURN_IF_ERROR(parse_streaming(body, request));
  return request;
}

}  // namespace gogrid
