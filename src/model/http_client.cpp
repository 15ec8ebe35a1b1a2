#include "model/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <map>

#include "base/format.h"

namespace gogrid {
namespace {

constexpr long kConnectTimeoutMs = 30'000;
constexpr long kReceiveBuffer = 128L * 1024;
constexpr const char* kUserAgent = "gogrid";

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct MultiDeleter {
  void operator()(CURLM* handle) const { curl_multi_cleanup(handle); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;
using Multi = std::unique_ptr<CURLM, MultiDeleter>;
using List = std::unique_ptr<curl_slist, ListDeleter>;

std::unexpected<Error> curl_error(std::string_view what, const char* why) {
  return fail(ErrorCode::kInternal, format_text("[http] {}: {}", what, why));
}

// libcurl's own initialization is for the whole process and needed once.
Status start_library() {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) return curl_error("libcurl does not start", curl_easy_strerror(started));
  return {};
}

// One answer on its way. Its address is in libcurl's hands: it must not move.
struct Transfer {
  HttpTransfer id = 0;
  HttpSink* sink = nullptr;
  HttpHeadReader reader;
  bool told = false;       // the sink has seen the head
  bool too_large = false;  // the head
  bool may_be_here = true;
  bool led_here = false;  // and was not followed
  Easy easy;
  List headers;

  bool on_line(std::string_view line);
  bool on_bytes(std::span<const std::byte> bytes) { return told && sink->bytes(bytes); }
};

bool Transfer::on_line(std::string_view line) {
  if (!reader.line(line)) {
    too_large = true;
    return false;
  }
  const bool ends = line == "\r\n" || line == "\n";
  HttpHead& head = reader.head();
  if (!ends || head.status < 200 || told) return true;
  // Seconds, or a date: libcurl knows both forms, and takes the time until it.
  curl_off_t seconds = 0;
  if (curl_easy_getinfo(easy.get(), CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK && seconds > 0)
    head.retry_after = std::chrono::seconds(seconds);
  told = true;
  return sink->head(head);
}

// libcurl is C: an exception must not pass through it.
std::size_t take_line(char* data, std::size_t one, std::size_t size, void* transfer) {
  try {
    const bool on = static_cast<Transfer*>(transfer)->on_line({data, one * size});
    return on ? one * size : CURL_WRITEFUNC_ERROR;
  } catch (...) {
    return CURL_WRITEFUNC_ERROR;
  }
}

std::size_t take_bytes(char* data, std::size_t one, std::size_t size, void* transfer) {
  try {
    const std::span<const char> bytes(data, one * size);
    const bool on = static_cast<Transfer*>(transfer)->on_bytes(std::as_bytes(bytes));
    return on ? one * size : CURL_WRITEFUNC_ERROR;
  } catch (...) {
    return CURL_WRITEFUNC_ERROR;
  }
}

bool is_here(const curl_sockaddr& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* numbers = nullptr;
  // libcurl hands a whole sockaddr_storage out under this name.
  const void* const whole = &address.addr;
  if (address.family == AF_INET) numbers = &static_cast<const sockaddr_in*>(whole)->sin_addr;
  if (address.family == AF_INET6) numbers = &static_cast<const sockaddr_in6*>(whole)->sin6_addr;
  return numbers != nullptr &&
         ::inet_ntop(address.family, numbers, text.data(), text.size()) != nullptr &&
         is_loopback_address(text.data());
}

// Called for each address that libcurl is about to connect to: of what a name says only this is
// true.
curl_socket_t open_socket(void* owner, curlsocktype, curl_sockaddr* address) {
  auto& transfer = *static_cast<Transfer*>(owner);
  if (!transfer.may_be_here && is_here(*address)) {
    transfer.led_here = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// Whether the environment names a proxy: its address may be this machine's, and is no secret.
bool has_proxy() {
  for (const char* name : {"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"}) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') return true;
  }
  return false;
}

// Sets options until one fails.
class Options {
 public:
  explicit Options(CURL* handle) : handle_(handle) {}
  template <class Value>
  Options& set(CURLoption option, Value value) {
    if (code_ == CURLE_OK)
      code_ = (curl_easy_setopt)(handle_, option, value);  // not the macro: it asks for constants
    return *this;
  }
  Status status() const {
    if (code_ == CURLE_OK) return {};
    return curl_error("libcurl lacks an option", curl_easy_strerror(code_));
  }

 private:
  CURL* const handle_;
  CURLcode code_ = CURLE_OK;
};

Status configure(Transfer& transfer, const HttpRequest& request) {
  Options options(transfer.easy.get());
  options.set(CURLOPT_URL, request.url.text().c_str())
      .set(CURLOPT_PROTOCOLS_STR, request.url.https ? "https" : "http")
      .set(CURLOPT_FOLLOWLOCATION, 0L)
      .set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1))
      .set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2))
      .set(CURLOPT_NOSIGNAL, 1L)
      .set(CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs)
      .set(CURLOPT_BUFFERSIZE, kReceiveBuffer)
      .set(CURLOPT_USERAGENT, kUserAgent)
      .set(CURLOPT_HTTPHEADER, transfer.headers.get())
      .set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L)
      .set(CURLOPT_OPENSOCKETFUNCTION, &open_socket)
      .set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&transfer))
      .set(CURLOPT_HEADERFUNCTION, &take_line)
      .set(CURLOPT_HEADERDATA, static_cast<void*>(&transfer))
      .set(CURLOPT_WRITEFUNCTION, &take_bytes)
      .set(CURLOPT_WRITEDATA, static_cast<void*>(&transfer))
      .set(CURLOPT_PRIVATE, static_cast<void*>(&transfer));
  if (is_loopback(request.url)) options.set(CURLOPT_PROXY, "");
  return options.status();
}

Status add_header(List& list, const std::string& header) {
  curl_slist* grown = curl_slist_append(list.get(), header.c_str());
  if (grown == nullptr) return curl_error("no memory for a header", "curl_slist_append");
  static_cast<void>(list.release());
  list.reset(grown);
  return {};
}

bool is_about_certificates(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR ||
         code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_INVALIDCERTSTATUS;
}

class CurlClient final : public HttpClient {
 public:
  explicit CurlClient(Multi multi) : multi_(std::move(multi)) {}
  CurlClient(const CurlClient&) = delete;
  CurlClient& operator=(const CurlClient&) = delete;
  ~CurlClient() override {
    while (!transfers_.empty()) drop(transfers_.begin()->first);
  }

  Result<HttpTransfer> start(const HttpRequest& request, HttpSink& sink) override;
  void drop(HttpTransfer transfer) override;
  Result<std::vector<HttpEnd>> turn(Duration patience) override;

 private:
  HttpEnd end_of(const Transfer& transfer, CURLcode code) const;

  Multi multi_;
  HttpTransfer last_ = 0;
  std::map<HttpTransfer, std::unique_ptr<Transfer>> transfers_;
};

Result<HttpTransfer> CurlClient::start(const HttpRequest& request, HttpSink& sink) {
  auto transfer = std::make_unique<Transfer>();
  transfer->id = ++last_;
  transfer->sink = &sink;
  transfer->may_be_here = request.may_be_here || has_proxy();
  transfer->easy.reset(curl_easy_init());
  if (!transfer->easy) return curl_error("no memory for a transfer", "curl_easy_init");
  // As it is on the server's disk: ranges of a compressed answer would be ranges of something else.
  GOGRID_RETURN_IF_ERROR(add_header(transfer->headers, "Accept-Encoding: identity"));
  for (const std::string& header : request.headers)
    GOGRID_RETURN_IF_ERROR(add_header(transfer->headers, header));
  GOGRID_RETURN_IF_ERROR(configure(*transfer, request));
  const CURLMcode added = curl_multi_add_handle(multi_.get(), transfer->easy.get());
  if (added != CURLM_OK) return curl_error("a transfer does not start", curl_multi_strerror(added));
  const HttpTransfer id = transfer->id;
  transfers_.emplace(id, std::move(transfer));
  return id;
}

void CurlClient::drop(HttpTransfer transfer) {
  const auto found = transfers_.find(transfer);
  if (found == transfers_.end()) return;
  curl_multi_remove_handle(multi_.get(), found->second->easy.get());
  transfers_.erase(found);
}

HttpEnd CurlClient::end_of(const Transfer& transfer, CURLcode code) const {
  HttpEnd end{transfer.id, code == CURLE_OK && transfer.told, {}};
  end.untrusted = is_about_certificates(code);
  if (transfer.led_here)
    end.why = "a redirect to another machine: its name leads to this one";
  else if (transfer.too_large)
    end.why = "the head of the answer is too large";
  else if (!end.whole)
    end.why = code == CURLE_OK ? "no answer in HTTP" : curl_easy_strerror(code);
  return end;
}

Result<std::vector<HttpEnd>> CurlClient::turn(Duration patience) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(patience).count();
  CURLMcode code = curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(ms), nullptr);
  int running = 0;
  if (code == CURLM_OK) code = curl_multi_perform(multi_.get(), &running);
  if (code != CURLM_OK) return curl_error("transfers do not go on", curl_multi_strerror(code));
  std::vector<HttpEnd> ended;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    char* owner = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
    // libcurl hands the pointer back as the type it keeps it in.
    const auto& transfer = *static_cast<const Transfer*>(static_cast<void*>(owner));
    ended.push_back(end_of(transfer, message->data.result));
  }
  for (const HttpEnd& end : ended) drop(end.transfer);
  return ended;
}

}  // namespace

Result<std::unique_ptr<HttpClient>> make_http_client() {
  GOGRID_RETURN_IF_ERROR(start_library());
  Multi multi(curl_multi_init());
  if (!multi) return curl_error("no memory for transfers", "curl_multi_init");
  return std::make_unique<CurlClient>(std::move(multi));
}

}  // namespace gogrid
