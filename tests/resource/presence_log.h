// What a listener of the owner's presence was told, for tests that wait for it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "resource/owner_presence.h"

namespace gogrid::testing {

// Thread-safe.
class PresenceLog {
 public:
  OwnerPresence::Listener listener() {
    return [this](const Presence& presence) {
      MutexLock lock(mu_);
      told_.push_back(presence);
      changed_.notify_all();
    };
  }

  // The next that was told and is `wanted`, passing over others. A failure of the test where none
  // comes in 20 s.
  Presence next(const std::function<bool(const Presence&)>& wanted) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    MutexLock lock(mu_);
    while (true) {
      for (; read_ < told_.size(); ++read_)
        if (wanted(told_[read_])) return told_[read_++];
      if (!changed_.wait_until(mu_, until)) {
        ADD_FAILURE() << "waited in vain; the last told: "
                      << (told_.empty() ? "nothing" : name_of(told_.back().state)) << " "
                      << (told_.empty() ? "" : told_.back().why);
        return {};
      }
    }
  }
  Presence next(PresenceState state) {
    return next([state](const Presence& presence) { return presence.state == state; });
  }

  std::size_t size() const {
    MutexLock lock(mu_);
    return told_.size();
  }

 private:
  mutable Mutex mu_;
  CondVar changed_;
  std::vector<Presence> told_ GUARDED_BY(mu_);
  std::size_t read_ GUARDED_BY(mu_) = 0;
};

}  // namespace gogrid::testing
