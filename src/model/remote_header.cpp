#include "model/remote_header.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "base/format.h"
#include "model/byte_ranges.h"
#include "model/gguf_beginning.h"
#include "model/http_ask.h"
#include "model/http_head.h"

namespace gogrid {
namespace {

constexpr Bytes kFirstPiece = kMiB;
constexpr int kPartialContent = 206;

bool is_part(const Answer& answer, ByteRange range, Bytes whole) {
  if (answer.body.size() != range.size()) return false;
  if (answer.head.status != kPartialContent) return range.size() == whole;
  const auto told = parse_content_range(answer.head.content_range);
  return told && told->range == range && told->size.value_or(whole) == whole;
}

}  // namespace

Result<AtomicFile> fetch_header(HttpClient& client, const RemoteFile& remote,
                                const std::filesystem::path& folder,
                                const std::optional<Credential>& credential, const PullRules& rules,
                                const PullHooks& hooks, const Clock& clock) {
  GOGRID_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(folder / "remote.gguf"));
  const auto corrupt = [&](const std::string& what) {
    return fail(ErrorCode::kCorrupt, format_text("[pull] {}: {}", remote.source, what));
  };
  for (Bytes piece = kFirstPiece;; piece *= 2) {
    const Bytes begin = file.size();
    const Bytes end = std::min(remote.size, begin + piece);
    if (begin >= end) return corrupt("expected a GGUF file: it ends before its header does");
    const ByteRange range{begin, end};
    const auto answer =
        ask(client, {.what = "the header", .url = remote.url, .range = range, .most = range.size()},
            credential, rules, hooks, clock);
    // A server that knows no parts sends the whole.
    if (!answer && answer.error().code != ErrorCode::kTooLarge)
      return std::unexpected(answer.error());
    if (!answer || !is_part(*answer, range, remote.size)) {
      return fail(ErrorCode::kUnsupported,
                  format_text("[pull] {}: expected bytes {}-{} of it: its server sent others; pull "
                              "it to look at it",
                              remote.source, begin, end));
    }
    GOGRID_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(answer->body))));
    if (::ftruncate(file.descriptor(), static_cast<off_t>(remote.size)) != 0)
      return file_error("make a file as long as the remote one in", folder, errno);
    GOGRID_ASSIGN_OR_RETURN(const bool whole, judge_beginning(file.path(), end, remote.part));
    if (whole) return file;
  }
}

}  // namespace gogrid
