#include "app/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/text.h"

namespace gogrid {
namespace {

constexpr std::size_t kMaxWhat = 200;
constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kMaxMessage = std::size_t{64} * 1024;

}  // namespace

ProgressLine::ProgressLine(std::string what)
    : what_(printable(what, kMaxWhat)), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (!shown_.empty()) std::fputs("\r\x1b[K", stderr);
}

void ProgressLine::show() { write(what_ + " ..."); }

void ProgressLine::show(double share, std::string_view more) {
  const int percent = static_cast<int>(std::clamp(share, 0.0, 1.0) * 100.0);
  write(what_ + ": " + std::to_string(percent) + " %" + std::string(more));
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
  std::string text = "gogrid: ";
  while (true) {
    const std::size_t end = std::min(message.find('\n'), message.size());
    text += printable(message.substr(0, end), kMaxLine) + '\n';
    if (end == message.size() || text.size() > kMaxMessage) break;
    message.remove_prefix(end + 1);
  }
  std::fputs(text.c_str(), stderr);
}

}  // namespace gogrid
