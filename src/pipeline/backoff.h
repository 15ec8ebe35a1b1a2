// How long to wait before trying again what can be repeated safely.
#pragma once

#include "base/clock.h"

namespace gogrid {

inline constexpr int kMaxTries = 3;

// Before try `attempt` + 1 (attempt counts from 1): `random` in [0, 1] of 100 ms, doubled with each
// attempt, at most 5 s. Full jitter, so that several who failed together do not come back together.
Duration backoff(int attempt, double random);

}  // namespace gogrid
