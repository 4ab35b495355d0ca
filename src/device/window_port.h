// What a shared window offers to whoever joins those of several machines, and nothing about who that is
// (docs/design/window.md).
#pragma once

#include <cstdint>
#include <vector>

#include "clock/virtual_time.h"
#include "memory/page_window.h"

namespace backplane {

struct Doorbell {
    Ticks rung{};  ///< for the first time since the last barrier
    std::uint32_t peer{0};
    std::uint32_t vector{0};
};

struct WindowCounters {
    std::uint64_t rung{0};            ///< stores to the doorbell register
    std::uint64_t merged{0};          ///< of these, rung again before they were heard
    std::uint64_t lost{0};            ///< of these, for a peer or vector that does not exist
    std::uint64_t heard{0};           ///< doorbells of others, or its own
    std::uint64_t refused_stores{0};  ///< into sections of others: accesses of at most 8 bytes
};

class WindowPort {
  public:
    virtual ~WindowPort() = default;
    /// The pages of BAR 2, all of them holes at first.
    [[nodiscard]] virtual PageWindow& window() = 0;
    /// What was rung since the last call, in the order of ringing; each peer and vector once, and they exist.
    [[nodiscard]] virtual std::vector<Doorbell> take_doorbells() = 0;
    /// A doorbell with this vector was rung here. Called while no machine runs.
    virtual void hear(std::uint32_t vector) = 0;
    [[nodiscard]] virtual WindowCounters const& counters() const = 0;
};

}  // namespace backplane
