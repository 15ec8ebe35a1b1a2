// Names of things that are followed through logs, answers and metrics.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace gogrid {

inline constexpr std::size_t kMaxRequestIdLength = 128;

// "req-" and 96 random bits in hexadecimal. Thread-safe.
std::string make_request_id();

// `candidate` when it is safe to log and to send back: 1..kMaxRequestIdLength of [A-Za-z0-9._:-].
std::optional<std::string> accept_request_id(std::string_view candidate);

// `bytes` random bytes in lower-case hexadecimal, from the operating system's generator.
// Thread-safe.
std::string random_hex(std::size_t bytes);

}  // namespace gogrid
