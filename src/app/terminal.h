// What a person sees on stderr while something long is done.
#pragma once

#include <string>
#include <string_view>

#include "base/sha256.h"

namespace gogrid {

// A line that is rewritten in place ("importing: 43 %"), on a terminal only. Not thread-safe. The
// destructor takes the line away.
class ProgressLine {
 public:
  explicit ProgressLine(std::string what);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Of what has no share to tell.
  void show();
  // `more` comes behind the share: ", paused".
  void show(double share, std::string_view more = {});  // 0..1
  // For functions that report bytes; never cancels. Must not outlive the line.
  Progress bytes();

 private:
  void write(const std::string& text);

  const std::string what_;
  const bool terminal_;
  std::string shown_;
};

// "gogrid: message" on stderr. What a model, a server or a file put into it commands no terminal;
// its lines stay lines.
void complain(std::string_view message);

}  // namespace gogrid
