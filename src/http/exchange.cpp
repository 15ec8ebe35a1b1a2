#include "http/exchange.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <utility>

#include "base/ids.h"
#include "http/completion_response.h"

namespace gogrid {
namespace {

std::string id_of(const drogon::HttpRequestPtr& request) {
  auto accepted = accept_request_id(request->getHeader("x-request-id"));
  return accepted ? *std::move(accepted) : make_request_id();
}

}  // namespace

drogon::HttpResponsePtr make_response(const std::string& request_id, int http_status,
                                      std::string body, const Error* error, const char* type) {
  auto response = drogon::HttpResponse::newHttpResponse();
  response->setStatusCode(static_cast<drogon::HttpStatusCode>(http_status));
  response->setContentTypeString(type);
  response->setBody(std::move(body));
  response->addHeader("X-Request-Id", request_id);
  if (error != nullptr && traits(error->code).retry != Retry::kNever) {
    const auto wait = error->retry_after.value_or(std::chrono::seconds(1));
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
    response->addHeader("Retry-After", std::to_string(std::max<std::int64_t>(1, seconds)));
  }
  return response;
}

Exchange::Exchange(drogon::HttpRequestPtr request, AnswerCallback answer, std::string_view route,
                   Metrics& metrics)
    : request_(std::move(request)),
      answer_(std::move(answer)),
      route_(route),
      request_id_(id_of(request_)),
      metrics_(metrics) {}

bool Exchange::closes_after() const {
  std::string options = request_->getHeader("connection");
  std::ranges::transform(options, options.begin(), [](unsigned char c) { return std::tolower(c); });
  return options.find("close") != options.npos;
}

void Exchange::reply(std::string body, const char* type) const {
  count(200);
  answer_(make_response(request_id_, 200, std::move(body), nullptr, type));
}

void Exchange::refuse(const Error& error) const {
  const int status = traits(error.code).http_status;
  count(status);
  answer_(make_response(request_id_, status, error_body(error), &error));
}

void Exchange::refuse_method(const std::string& allowed) const {
  const Error error{
      ErrorCode::kInvalidArgument,
      std::string(request_->path()) + " answers " + allowed + ", not " + request_->methodString(),
      {},
      {}};
  count(405);
  const auto response = make_response(request_id_, 405, error_body(error));
  response->addHeader("Allow", allowed);
  answer_(response);
}

}  // namespace gogrid
