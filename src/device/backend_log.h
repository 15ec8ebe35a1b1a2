// What ggml and libllama say while they work, for those who must read it.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace gogrid {

// Collects the lines that libraries log on this thread while it lives, beside their way to obs/log.
// What a model really took, and why one was refused, is said there and nowhere else. May be nested:
// the innermost gets the lines. Not thread-safe: lives on one thread's stack.
class BackendLogCapture {
 public:
  // Each line comes to `listener` (if any) when it is whole: how far a long call is. It is called
  // in the middle of the library's work, and an exception of it is lost.
  explicit BackendLogCapture(std::function<void(std::string_view)> listener = {});
  ~BackendLogCapture();
  BackendLogCapture(const BackendLogCapture&) = delete;
  BackendLogCapture& operator=(const BackendLogCapture&) = delete;

  // At most kMaxLines, the first ones; without line ends.
  const std::vector<std::string>& lines() const { return lines_; }
  // The last line that was logged as an error; empty when there was none.
  const std::string& last_error() const { return last_error_; }

  static constexpr std::size_t kMaxLines = 4096;

  void add(std::string_view line, bool is_error);

 private:
  BackendLogCapture* outer_;
  const std::function<void(std::string_view)> listener_;
  std::vector<std::string> lines_;
  std::string last_error_;
};

}  // namespace gogrid
