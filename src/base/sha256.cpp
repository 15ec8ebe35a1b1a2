#include "base/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "base/file_descriptor.h"

namespace gogrid {
namespace {

constexpr std::size_t kDigest = 32;
constexpr std::size_t kChunk = std::size_t{1} << 20;
constexpr Bytes kProgressEvery = 8 * kMiB;

std::string hex_of(std::span<const unsigned char> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 0xF]);
  }
  return text;
}

}  // namespace

struct Sha256::State {
  struct Free {
    void operator()(EVP_MD_CTX* made) const { EVP_MD_CTX_free(made); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context{EVP_MD_CTX_new()};

  // These fail only without memory, or in a build of OpenSSL without SHA-256.
  static void require(bool done) {
    if (!done) throw std::runtime_error("OpenSSL cannot compute SHA-256");
  }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  State::require(state_->context != nullptr &&
                 EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  State::require(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1);
}

void Sha256::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

std::string Sha256::finish() {
  std::array<unsigned char, kDigest> digest{};
  State::require(EVP_DigestFinal_ex(state_->context.get(), digest.data(), nullptr) == 1);
  return hex_of(digest);
}

Result<std::string> sha256_file(const std::filesystem::path& path, const Progress& progress) {
  GOGRID_ASSIGN_OR_RETURN(const FileDescriptor file, open_regular(path));
  GOGRID_ASSIGN_OR_RETURN(const Bytes total, file.size(path));
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  Sha256 hash;
  std::vector<std::byte> chunk(kChunk);
  Bytes done = 0;
  Bytes reported = 0;
  while (true) {
    GOGRID_ASSIGN_OR_RETURN(const std::size_t got, file.read(chunk, path));
    if (got == 0) break;
    hash.update(std::span(chunk).first(got));
    done += got;
    if (progress && done - reported >= kProgressEvery) {
      reported = done;
      if (!progress(done, total)) {
        return fail(ErrorCode::kCancelled, "[sha256] " + path.string() + ": cancelled");
      }
    }
  }
  if (progress && !progress(done, total)) {
    return fail(ErrorCode::kCancelled, "[sha256] " + path.string() + ": cancelled");
  }
  return hash.finish();
}

}  // namespace gogrid
