#include "app/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace gogrid {

ProgressLine::ProgressLine(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (!shown_.empty()) std::fputs("\r\x1b[K", stderr);
}

void ProgressLine::show() { write(what_ + " ..."); }

void ProgressLine::show(double share) {
  const int percent = static_cast<int>(std::clamp(share, 0.0, 1.0) * 100.0);
  write(what_ + ": " + std::to_string(percent) + " %");
}

void ProgressLine::write(const std::string& text) {
  if (!terminal_ || text == shown_) return;
  shown_ = text;
  std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
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
