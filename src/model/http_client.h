// Fetching over HTTP, several answers at once, from one thread. The library that does it (libcurl)
// is seen by one source file only.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/http_head.h"
#include "model/http_url.h"

namespace gogrid {

// Where an answer goes. Called by HttpClient::turn() only.
class HttpSink {
 public:
  virtual ~HttpSink() = default;
  // False: the rest of the answer is of no use, the transfer ends.
  virtual bool head(const HttpHead& head) = 0;
  virtual bool bytes(std::span<const std::byte> bytes) = 0;
};

struct HttpRequest {
  HttpUrl url;
  std::vector<std::string> headers;  // "Range: bytes=0-1023"; never written to a log
  // False where another machine leads (a redirect): then no address of this machine is connected
  // to, whatever the name resolves to. Through a proxy it is the proxy that connects.
  bool may_be_here = true;
};

using HttpTransfer = std::uint64_t;

// How a transfer ended that was not dropped.
struct HttpEnd {
  HttpTransfer transfer = 0;
  bool whole = false;  // all of the answer came; else the connection broke or the sink had enough
  std::string why;     // of what broke, in words
  bool untrusted = false;  // the server's certificate: another try would show the same
};

// GET requests. Redirects are answers like others: whoever asks decides where a token may go. Not
// thread-safe. The destructor drops what runs.
class HttpClient {
 public:
  virtual ~HttpClient() = default;
  // `sink` must live until its transfer ended or was dropped.
  virtual Result<HttpTransfer> start(const HttpRequest& request, HttpSink& sink) = 0;
  virtual void drop(HttpTransfer transfer) = 0;
  // Waits up to `patience` for bytes, hands what has come to the sinks, and answers which transfers
  // ended. Reads nothing between calls: whoever calls less often slows the servers down.
  virtual Result<std::vector<HttpEnd>> turn(Duration patience) = 0;
};

// TLS 1.2 and later with the system's certificates; HTTP proxies as the environment says
// (https_proxy, no_proxy), but never for this machine itself.
Result<std::unique_ptr<HttpClient>> make_http_client();

}  // namespace gogrid
