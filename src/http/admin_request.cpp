#include "http/admin_request.h"

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "http/json_fields.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxBody = 4096;
constexpr std::size_t kMaxWhy = 200;
constexpr std::uint32_t kLeastContext = 16;
constexpr std::uint32_t kMostContext = 16'777'216;
constexpr std::uint32_t kMostParallel = 256;

Result<std::uint32_t> whole_number(const std::string& name, const std::string& text,
                                   std::uint32_t least, std::uint32_t most) {
  const auto number = parse_number(text);
  if (number && *number >= least && *number <= most) return static_cast<std::uint32_t>(*number);
  return bad_field(name, "a whole number " + std::to_string(least) + ".." + std::to_string(most),
                   excerpt(text));
}

}  // namespace

Result<CheckOptions> parse_check_question(
    std::span<const std::pair<std::string, std::string>> words) {
  CheckOptions options;
  for (const auto& [name, text] : words) {
    if (name == "context") {
      GOGRID_ASSIGN_OR_RETURN(options.context,
                              whole_number(name, text, kLeastContext, kMostContext));
    } else if (name == "parallel") {
      GOGRID_ASSIGN_OR_RETURN(options.parallel, whole_number(name, text, 1, kMostParallel));
    } else {
      return bad_field(name.substr(0, 60), "one of context, parallel", "another");
    }
  }
  return options;
}

Result<PauseQuestion> parse_pause_request(std::string_view body) {
  if (body.size() > kMaxBody) {
    return fail(ErrorCode::kTooLarge, "at most " + std::to_string(kMaxBody) + " bytes expected");
  }
  const Json json = body.empty() ? Json::object() : Json::parse(body, nullptr, false);
  if (!json.is_object()) {
    return fail(ErrorCode::kInvalidArgument, R"(an object expected, as {"seconds": 600})");
  }
  PauseQuestion question;
  for (const auto& [name, value] : json.items()) {
    if (name != "seconds" && name != "why") {
      return bad_field(name.substr(0, 60), "one of the fields seconds, why", "another");
    }
  }
  GOGRID_ASSIGN_OR_RETURN(
      const auto seconds,
      number_field<std::int64_t>(json, "seconds", 1,
                                 static_cast<double>(PauseQuestion::kMost.count())));
  if (seconds) question.seconds = std::chrono::seconds(*seconds);
  if (const Json* why = given(json, "why")) {
    const auto* text = why->get_ptr<const std::string*>();
    if (text == nullptr || text->empty() || text->size() > kMaxWhy) {
      return bad_field("why", "a text of 1.." + std::to_string(kMaxWhy) + " bytes", brief(*why));
    }
    question.why = *text;
  }
  return question;
}

}  // namespace gogrid
