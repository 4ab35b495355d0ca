// What a direction of a link does to frames on purpose: latency, a rate, loss, duplication, reordering. All of it is a
// function of the rack's seed and of the frames that were sent before, so a run can be repeated.
#pragma once

#include <cstdint>

#include "clock/virtual_time.h"
#include "device/frame_port.h"

namespace backplane {

/// A probability as what it is counted in: frames in a million.
using PerMillion = std::uint32_t;
inline constexpr PerMillion kAlways = 1'000'000;

struct Impairment {
    Ticks latency{};                   ///< from leaving the sender to arriving at the receiver
    std::uint64_t rate_bits_per_s{0};  ///< at which frames leave the sender's ring; 0: no limit
    PerMillion loss{0};
    PerMillion duplicate{0};
    PerMillion reorder{0};              ///< frames that are held back by `reorder_by`, so that later ones overtake
    Ticks reorder_by{milliseconds(1)};  ///< more than the time between frames, or nothing changes its place

    [[nodiscard]] bool is_none() const {
        return latency == Ticks{} && rate_bits_per_s == 0 && loss == 0 && duplicate == 0 && reorder == 0;
    }
    bool operator==(Impairment const&) const = default;
};

/// What becomes of one frame.
struct FramePlan {
    Ticks leaves{};   ///< when its last bit has left the sender's ring
    Ticks arrives{};  ///< when it is at the receivers
    bool is_lost{false};
    bool is_doubled{false};
};

/// The fate of one port's frames, in the order in which they are sent.
class Impairer {
  public:
    /// \param longest_hold  an arrival at most this much after leaving is made to be the leaving: the frame waits in
    ///                      the sender's ring, and nothing has to store it
    Impairer(Impairment const& impairment, std::uint64_t seed, Ticks longest_hold)
        : impairment_{impairment}, random_{seed}, longest_hold_{longest_hold} {}

    [[nodiscard]] bool is_none() const { return impairment_.is_none(); }
    /// The plan of the next frame. Takes the same number of random draws for every frame, whatever is switched on:
    /// with one more impairment the others still hit the same frames.
    [[nodiscard]] FramePlan plan(Frame const& frame);

  private:
    [[nodiscard]] bool happens(PerMillion probability);

    Impairment impairment_;
    std::uint64_t random_;  // state of SplitMix64
    Ticks longest_hold_;
    Ticks wire_free_{};  // when the last bit of the frame before has left
};

}  // namespace backplane
