// A counter that runs at a fixed frequency on virtual time: how many ticks have passed, and when one comes.
#pragma once

#include <cstdint>

#include "base/int128.h"
#include "clock/virtual_time.h"

namespace backplane {

inline constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

/// Virtual time begins at this instant, so that a run can be repeated: 2026-01-01 00:00:00 UTC, in Unix seconds.
inline constexpr std::uint64_t kEpochSeconds = 1'767'225'600;

/// Whole periods of a clock of `hertz` (at most 2^30) that have passed at `time`.
[[nodiscard]] constexpr std::uint64_t cycles_at(Ticks time, std::uint64_t hertz) {
    return static_cast<std::uint64_t>(static_cast<Uint128>(time.ns()) * hertz / kNanosecondsPerSecond);
}

/// The first time at which cycles_at() is `cycles`; never() when that is beyond what a Ticks can say.
[[nodiscard]] constexpr Ticks time_of_cycle(std::uint64_t cycles, std::uint64_t hertz) {
    Uint128 const ns = (static_cast<Uint128>(cycles) * kNanosecondsPerSecond + hertz - 1) / hertz;
    return ns >> 64 != 0 ? Ticks::never() : Ticks{static_cast<std::uint64_t>(ns)};
}

}  // namespace backplane
