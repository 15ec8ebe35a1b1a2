#include "base/ids.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

namespace gogrid {
namespace {

bool is_request_id_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == ':' || c == '-';
}

// Throws std::system_error when the kernel has no generator: there is nothing safe to go on with.
void fill_random(std::vector<unsigned char>& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::getrandom(bytes.data() + done, bytes.size() - done, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw std::system_error(errno, std::generic_category(), "getrandom");
    }
    done += static_cast<std::size_t>(got);
  }
}

}  // namespace

std::string random_hex(std::size_t bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::vector<unsigned char> raw(bytes);
  fill_random(raw);
  std::string text;
  text.reserve(bytes * 2);
  for (const unsigned char byte : raw) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 0xF]);
  }
  return text;
}

std::string make_request_id() { return "req-" + random_hex(12); }

std::optional<std::string> accept_request_id(std::string_view candidate) {
  if (candidate.empty() || candidate.size() > kMaxRequestIdLength) return std::nullopt;
  if (!std::ranges::all_of(candidate, is_request_id_character)) return std::nullopt;
  return std::string(candidate);
}

}  // namespace gogrid
