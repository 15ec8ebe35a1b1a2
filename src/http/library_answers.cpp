#include "http/library_answers.h"

#include <nlohmann/json.hpp>

#include "base/format.h"
#include "http/exchange.h"
#include "http/range_header.h"

namespace gogrid {
namespace {

constexpr const char* kFileType = "application/octet-stream";

std::string etag_of(const ModelEntry& entry) { return format_text("\"sha256:{}\"", entry.digest); }

// Of the content, whatever it is called: no other version has this digest.
bool is_of_this_version(const drogon::HttpRequest& request, const ModelEntry& entry) {
  const std::string& wanted = request.getHeader("if-range");
  return wanted.empty() || wanted == etag_of(entry);
}

}  // namespace

std::string library_entry_json(const ModelEntry& entry) {
  const nlohmann::ordered_json json{{"name", entry.name},
                                    {"digest", "sha256:" + entry.digest},
                                    {"bytes", entry.size},
                                    {"architecture", entry.architecture},
                                    {"quantization", entry.quantization},
                                    {"license", entry.license}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

drogon::HttpResponsePtr library_file(const ModelEntry& entry, const drogon::HttpRequest& request,
                                     const std::string& request_id) {
  const auto asked = is_of_this_version(request, entry)
                         ? asked_range(request.getHeader("range"), entry.size)
                         : AskedRange{{0, entry.size}, false};
  if (!asked) {
    auto response = make_response(request_id, 416, {});
    response->addHeader("Content-Range", format_text("bytes */{}", entry.size));
    return response;
  }
  const ByteRange& range = asked->range;
  auto response = drogon::HttpResponse::newFileResponse(
      entry.path.string(), range.first, range.size(), false, {}, drogon::CT_CUSTOM, kFileType);
  response->setStatusCode(asked->part ? drogon::k206PartialContent : drogon::k200OK);
  response->addHeader("Accept-Ranges", "bytes");
  response->addHeader("ETag", etag_of(entry));
  response->addHeader("X-Request-Id", request_id);
  if (asked->part) {
    response->addHeader("Content-Range",
                        format_text("bytes {}-{}/{}", range.first, range.last - 1, entry.size));
  }
  return response;
}

}  // namespace gogrid
