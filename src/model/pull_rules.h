// What all requests of a pull go by.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/sha256.h"
#include "base/units.h"
#include "model/byte_ranges.h"
#include "model/http_url.h"
#include "model/pull_retry.h"

namespace gogrid {

inline constexpr std::uint32_t kMaxConnections = 16;
inline constexpr int kMaxRedirects = 5;

struct PullRules {
  // Parts of one file that are fetched at once, 1..kMaxConnections. More helps where the server
  // limits each connection, and annoys it elsewhere.
  std::uint32_t connections = 4;
  // Most bytes of one request; small files are cut into smaller ones. Smaller pieces spread better,
  // larger ones ask less often.
  Bytes piece = 32 * kMiB;
  Bytes rate = 0;  // bytes a second over all connections; 0: as fast as they come
  // A connection that brings fewer than `stall_bytes` in so long is given up and tried again: one
  // that drips would hold its part of the file for ever.
  Duration stall = std::chrono::seconds(60);
  Bytes stall_bytes = 16 * kKiB;
  // How often what has come is made to last; a crash loses what came since.
  Duration save_every = std::chrono::milliseconds(250);
  // So many bytes since the last failure make it forgotten.
  Bytes worthwhile = 64 * kKiB;
  RetryRules retry;
  bool allow_http = false;  // http:// to other machines
};

// What the caller has to say while it lasts.
struct PullHooks {
  // Asked between chunks. False: connections are closed, what came is kept, and it is asked again
  // five times a second until it says true.
  std::function<bool()> keep_going;
  std::function<std::string()> why_paused;  // for the person; empty: it is not said
  std::stop_token stop;                     // ends with kCancelled within 0.2 s; what came is kept
  Progress progress;                        // false ends with kCancelled too
  std::function<void(std::string_view)> note;  // one line for the person, now and then

  bool stopped() const { return stop.stop_requested(); }
  void say(std::string_view line) const {
    if (note) note(line);
  }
};

// A token and the only place it may go to.
struct Credential {
  HttpUrl origin;
  std::string token;
};

// 1..4096 visible characters; kInvalidArgument otherwise, without the token in the text. A token
// must be kept from strangers: kInvalidArgument for an origin that is neither https nor this
// machine.
Result<Credential> make_credential(HttpUrl origin, std::string_view token);

// The headers of a request to `url`: the token where it may go, the range where one is asked for.
std::vector<std::string> headers_for(const HttpUrl& url,
                                     const std::optional<Credential>& credential,
                                     const std::optional<ByteRange>& range);
bool may_see_token(const HttpUrl& url, const std::optional<Credential>& credential);

// Where an answer's redirect leads: kInvalidArgument and kPermissionDenied as check_hop() says,
// kUnavailable after kMaxRedirects.
Result<HttpUrl> next_hop(const HttpUrl& from, const HttpHead& head, int hops, bool allow_http);
// Whether a request to `url`, which began as one to `asked`, may reach this machine: where the
// person said so, and where check_hop() let this machine lead.
bool may_be_here(const HttpUrl& asked, const HttpUrl& url);

}  // namespace gogrid
