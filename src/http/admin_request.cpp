#include "http/admin_request.h"

#include <nlohmann/json.hpp>

#include "http/json_fields.h"

namespace gogrid {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxBody = 4096;
constexpr std::size_t kMaxWhy = 200;

}  // namespace

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
