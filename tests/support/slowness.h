// How much more time than usual a test that measures time must allow.
#pragma once

namespace gogrid::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int kSlowness = 30;  // what instrumented code may take more
#else
inline constexpr int kSlowness = 1;
#endif

}  // namespace gogrid::testing
