// Any bytes at all, as a connection brings them: how they are cut into portions changes nothing,
// and what is waited for is bounded.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "http/request_screen.h"

namespace {

using namespace gogrid;

constexpr ScreenLimits kLimits{.max_head = 512, .max_body = 256};

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "request_screen_fuzz: %s\n", what);
  std::abort();
}

struct Verdict {
  std::uint64_t completed = 0;
  bool inside = false;
  int http_status = 0;  // 0: not refused
};

Verdict screen(std::string_view bytes, std::size_t portion) {
  RequestScreen screen(kLimits);
  Verdict verdict;
  while (!bytes.empty() && verdict.http_status == 0) {
    const auto now = bytes.substr(0, portion);
    bytes.remove_prefix(now.size());
    if (const auto refusal = screen.feed(now)) {
      verdict.http_status = refusal->http_status;
      require(!refusal->error.message.empty(), "a refusal says why");
      require(refusal->http_status >= 400, "a refusal is an error");
    }
    require(screen.pending() <= kLimits.max_head + kLimits.max_body + 64, "memory is bounded");
  }
  verdict.completed = screen.completed();
  verdict.inside = verdict.http_status == 0 && screen.inside();
  return verdict;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Verdict whole = screen(bytes, size + 1);
  for (const std::size_t portion : {std::size_t{1}, std::size_t{7}}) {
    const Verdict cut = screen(bytes, portion);
    require(cut.http_status == whole.http_status, "portions do not change the answer");
    require(cut.completed == whole.completed, "portions do not change what is complete");
    require(cut.inside == whole.inside, "portions do not change where it stands");
  }
  return 0;
}
