// A load generator that costs almost nothing: one thread, non-blocking sockets, one connection a
// request, server-sent events stamped as they arrive and parsed only when everything is over.
//
//   load_client PORT PATH CONCURRENCY < requests.jsonl > results.jsonl
//
// A request line: {"body": {…}, "at_ms": 0}. `at_ms`: not before this time after the start (default
// 0). A result line per request, in order of the requests, times in milliseconds since the start:
//   {"status", "start_ms", "times_ms": [one per event with text], "end_ms", "text", "usage": {…},
//   "error"}
// The last line: {"client_cpu_share": processor time of this program / wall time, "wall_ms"}.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace {

using Json = nlohmann::json;
using SteadyTime = std::chrono::steady_clock::time_point;

SteadyTime g_start;
double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - g_start)
      .count();
}

// Undoes HTTP/1.1 chunked transfer coding, bytes in any portions.
class ChunkDecoder {
 public:
  // Appends decoded bytes to `out`; false after the last chunk.
  bool push(std::string_view in, std::string& out) {
    buffer_.append(in);
    for (;;) {
      if (remaining_ > 0) {
        const std::size_t n = std::min(remaining_, buffer_.size());
        out.append(buffer_, 0, n);
        buffer_.erase(0, n);
        remaining_ -= n;
        if (remaining_ > 0) return true;
        skip_newline_ = true;
      }
      if (skip_newline_) {
        if (buffer_.size() < 2) return true;
        buffer_.erase(0, 2);
        skip_newline_ = false;
      }
      const std::size_t end = buffer_.find("\r\n");
      if (end == std::string::npos) return true;
      std::size_t size = 0;
      std::from_chars(buffer_.data(), buffer_.data() + end, size, 16);
      buffer_.erase(0, end + 2);
      if (size == 0) return false;
      remaining_ = size;
    }
  }

 private:
  std::string buffer_;
  std::size_t remaining_ = 0;
  bool skip_newline_ = false;
};

struct Exchange {
  double at_ms = 0;
  std::string request;
  int fd = -1;
  std::size_t sent = 0;
  int status = 0;
  double start_ms = 0;
  double end_ms = 0;
  std::string head;
  bool in_body = false;
  bool chunked = false;
  ChunkDecoder decoder;
  std::string body;
  std::size_t scanned = 0;
  std::vector<std::pair<double, std::string>> events;
  std::string error;

  void open(int port) {
    start_ms = now_ms();
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
        errno != EINPROGRESS) {
      finish("cannot connect");
    }
  }
  void finish(std::string why = {}) {
    error = std::move(why);
    end_ms = now_ms();
    close(fd);
    fd = -1;
  }
  void write_more() {
    const ssize_t n = send(fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (n > 0)
      sent += static_cast<std::size_t>(n);
    else if (n < 0 && errno != EAGAIN)
      finish("send failed");
  }
  void read_more() {
    char bytes[16384];
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return finish(in_body && !chunked ? "" : "closed early");
    take({bytes, static_cast<std::size_t>(n)});
  }
  void take(std::string_view bytes) {
    if (!in_body) {
      head.append(bytes);
      const std::size_t end = head.find("\r\n\r\n");
      if (end == std::string::npos) return;
      std::from_chars(head.data() + 9, head.data() + 12, status);
      std::string lower = head.substr(0, end);
      for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      chunked = lower.find("transfer-encoding: chunked") != std::string::npos;
      in_body = true;
      const std::string rest = head.substr(end + 4);
      if (!rest.empty()) take(rest);
      return;
    }
    bool more = true;
    if (chunked)
      more = decoder.push(bytes, body);
    else
      body.append(bytes);
    collect_events();
    if (!more || (!events.empty() && events.back().second == "[DONE]")) finish();
  }
  void collect_events() {
    for (;;) {
      const std::size_t end = body.find("\n\n", scanned);
      if (end == std::string::npos) return;
      const std::string_view event = std::string_view(body).substr(scanned, end - scanned);
      if (event.starts_with("data: ")) events.emplace_back(now_ms(), event.substr(6));
      scanned = end + 2;
    }
  }
  Json result() const {
    Json times = Json::array();
    std::string text;
    Json usage;
    for (const auto& [time, data] : events) {
      const Json event = Json::parse(data, nullptr, false);
      if (event.is_discarded()) continue;
      if (event.contains("usage") && event["usage"].is_object()) usage = event["usage"];
      if (!event.contains("choices") || event["choices"].empty()) continue;
      const Json& choice = event["choices"][0];
      std::string piece = choice.value("text", "");
      if (choice.contains("delta") && choice["delta"].contains("content") &&
          choice["delta"]["content"].is_string()) {
        piece = choice["delta"]["content"];
      }
      if (piece.empty()) continue;
      times.push_back(time);
      text += piece;
    }
    return {{"status", status}, {"start_ms", start_ms}, {"times_ms", times}, {"end_ms", end_ms},
            {"text", text},     {"usage", usage},       {"error", error}};
  }
};

std::deque<Exchange> read_requests(const char* path) {
  std::deque<Exchange> exchanges;
  std::string line;
  while (std::getline(std::cin, line)) {
    const Json request = Json::parse(line);
    const std::string body = request["body"].dump();
    Exchange& exchange = exchanges.emplace_back();
    exchange.at_ms = request.value("at_ms", 0.0);
    exchange.request = std::string("POST ") + path +
                       " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       "Connection: close\r\nContent-Length: " +
                       std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  return exchanges;
}

void run(std::deque<Exchange>& exchanges, int port, std::size_t concurrency) {
  std::vector<Exchange*> open;
  std::vector<pollfd> polled;
  std::size_t next = 0;
  while (next < exchanges.size() || !open.empty()) {
    while (next < exchanges.size() && open.size() < concurrency &&
           exchanges[next].at_ms <= now_ms()) {
      exchanges[next].open(port);
      if (exchanges[next].fd >= 0) open.push_back(&exchanges[next]);
      ++next;
    }
    polled.clear();
    for (const Exchange* e : open) {
      const bool writing = e->sent < e->request.size();
      polled.push_back({e->fd, static_cast<short>(writing ? POLLOUT : POLLIN), 0});
    }
    int wait = 1000;
    if (next < exchanges.size() && open.size() < concurrency) {
      wait = std::max(0, static_cast<int>(exchanges[next].at_ms - now_ms()));
    }
    poll(polled.data(), polled.size(), wait);
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      if (open[i]->sent < open[i]->request.size())
        open[i]->write_more();
      else
        open[i]->read_more();
    }
    std::erase_if(open, [](const Exchange* e) { return e->fd < 0; });
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: load_client PORT PATH CONCURRENCY < requests.jsonl\n");
    return 2;
  }
  auto exchanges = read_requests(argv[2]);
  g_start = std::chrono::steady_clock::now();
  run(exchanges, std::atoi(argv[1]), static_cast<std::size_t>(std::atoi(argv[3])));
  const double wall = now_ms();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
  };
  for (const Exchange& exchange : exchanges) {
    std::cout << exchange.result().dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  }
  const Json summary{{"wall_ms", wall},
                     {"client_cpu_share", (ms(usage.ru_utime) + ms(usage.ru_stime)) / wall}};
  std::cout << summary << '\n';
  return 0;
}
