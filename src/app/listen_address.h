// Where a server listens, as it is written on the command line and in the configuration.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gogrid {

struct ListenAddress {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any free one
};

// "127.0.0.1:8080", "localhost:8080", "[::1]:0". Addresses, not host names: what is listened on
// must not depend on a name server. kInvalidArgument, also for an address that others could reach:
// there are no keys yet.
Result<ListenAddress> parse_listen(std::string_view text);

// Whether this process may listen there now; kIo with the system's reason. Asked before models are
// loaded, because the web framework ends the process where it cannot listen.
Status check_listen(const ListenAddress& listen);

// "http://127.0.0.1:8080", "http://[::1]:8080".
std::string url_of(const ListenAddress& listen);

}  // namespace gogrid
