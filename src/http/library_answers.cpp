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

void send_library_file(const ModelEntry& entry, const Exchange& exchange, ClientLink link,
                       const std::shared_ptr<FileReaders>& readers) {
  const drogon::HttpRequest& request = *exchange.request();
  const auto asked = is_of_this_version(request, entry)
                         ? asked_range(request.getHeader("range"), entry.size)
                         : AskedRange{{0, entry.size}, false};
  if (!asked) {
    const auto response = make_response(exchange.request_id(), 416, {});
    response->addHeader("Content-Range", format_text("bytes */{}", entry.size));
    exchange.count(416);
    return exchange.answer()(response);
  }
  const ByteRange& range = asked->range;
  auto stream =
      FileStream::open(readers, entry.path, range, std::move(link), exchange.closes_after());
  if (!stream) return exchange.refuse(stream.error());
  const auto response = drogon::HttpResponse::newAsyncStreamResponse(
      [stream = *std::move(stream)](drogon::ResponseStreamPtr raw) {
        stream->start(std::move(raw));
      });
  const int status = asked->part ? 206 : 200;
  response->setStatusCode(static_cast<drogon::HttpStatusCode>(status));
  response->setContentTypeString(kFileType);
  response->addHeader("Accept-Ranges", "bytes");
  response->addHeader("ETag", etag_of(entry));
  response->addHeader("X-Request-Id", exchange.request_id());
  if (asked->part) {
    response->addHeader("Content-Range",
                        format_text("bytes {}-{}/{}", range.first, range.last - 1, entry.size));
  }
  exchange.count(status);
  exchange.answer()(response);
}

}  // namespace gogrid
