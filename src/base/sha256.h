// Content addresses.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "base/units.h"

namespace gogrid {

// SHA-256 (FIPS 180-4) by OpenSSL, which has the CPU's own instructions for it, as 64 lower-case
// hexadecimal digits. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// `progress(done, total)` is called about every 8 MiB; returning false ends with kCancelled.
using Progress = std::function<bool(Bytes done, Bytes total)>;
Result<std::string> sha256_file(const std::filesystem::path& path, const Progress& progress = {});

}  // namespace gogrid
