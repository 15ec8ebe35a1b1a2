// Waits for what another thread is about to do.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace gogrid::testing {

// Success once `condition` holds, looked at often; failure after half a minute.
template <class Condition>
::testing::AssertionResult eventually(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return ::testing::AssertionFailure() << "never";
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return ::testing::AssertionSuccess();
}

}  // namespace gogrid::testing
