// What a person sees on stderr while something long is done.
#pragma once

#include <string>
#include <string_view>

#include "base/sha256.h"

namespace gogrid {

// A line that is rewritten in place ("importing: 43 %"), on a terminal only. Not thread-safe. The
// destructor ends the line.
class ProgressLine {
 public:
  explicit ProgressLine(std::string what);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(double share);
  // For functions that report bytes; never cancels.
  Progress bytes();

 private:
  const std::string what_;
  const bool terminal_;
  int percent_ = -1;
};

// "gogrid: message" on stderr.
void complain(std::string_view message);

}  // namespace gogrid
