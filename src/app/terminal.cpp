#include "app/terminal.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

namespace gogrid {

ProgressLine::ProgressLine(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (percent_ >= 0) std::fputs("\r\x1b[K", stderr);
}

void ProgressLine::show(double share) {
  const int percent = static_cast<int>(share * 100.0);
  if (!terminal_ || percent == percent_) return;
  percent_ = percent;
  std::fprintf(stderr, "\r%s: %d %%\x1b[K", what_.c_str(), percent);
  std::fflush(stderr);
}

Progress ProgressLine::bytes() {
  return [this](Bytes done, Bytes total) {
    show(total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total));
    return true;
  };
}

void complain(std::string_view message) {
  std::fprintf(stderr, "gogrid: %.*s\n", static_cast<int>(message.size()), message.data());
}

}  // namespace gogrid
