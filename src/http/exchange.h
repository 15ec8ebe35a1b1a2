// A request and the way back. For .cpp files of http/ only.
#pragma once

#include <drogon/HttpRequest.h>
#include <drogon/HttpResponse.h>

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "obs/metrics.h"

namespace gogrid {

using AnswerCallback = std::function<void(const drogon::HttpResponsePtr&)>;

inline constexpr const char* kJsonType = "application/json";
inline constexpr const char* kStreamType = "text/event-stream; charset=utf-8";

// An answer of the server. After an error that may pass, `error` adds Retry-After.
drogon::HttpResponsePtr make_response(const std::string& request_id, int http_status,
                                      std::string body, const Error* error = nullptr,
                                      const char* type = kJsonType);

// Answer it exactly once; each answer is counted. Any thread, one at a time.
class Exchange {
 public:
  // `route` is what the metrics call it: of a small fixed set. Takes the request's id, or makes
  // one.
  Exchange(drogon::HttpRequestPtr request, AnswerCallback answer, std::string_view route,
           Metrics& metrics);

  const drogon::HttpRequestPtr& request() const { return request_; }
  const std::string& request_id() const { return request_id_; }
  // The client says that this is the connection's last request.
  bool closes_after() const;
  const AnswerCallback& answer() const { return answer_; }
  void count(int http_status) const { metrics_.count_request(route_, http_status); }
  Metrics& metrics() const { return metrics_; }
  std::string_view route() const { return route_; }

  void reply(std::string body, const char* type = kJsonType) const;
  void refuse(const Error& error) const;
  // 405, with the methods that are allowed.
  void refuse_method(const std::string& allowed) const;

 private:
  const drogon::HttpRequestPtr request_;
  const AnswerCallback answer_;
  const std::string_view route_;
  const std::string request_id_;
  Metrics& metrics_;
};

}  // namespace gogrid
