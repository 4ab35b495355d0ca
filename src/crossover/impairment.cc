#include "crossover/impairment.h"

#include <algorithm>

#include "base/int128.h"

namespace backplane {
namespace {

/// Rounded up, so that no rate is exceeded.
Ticks transmission_time(std::uint32_t frame_bytes, std::uint64_t rate_bits_per_s) {
    constexpr std::uint64_t kBitNs = 8'000'000'000;  // bits of a byte, in nanoseconds of a second
    Uint128 const bit_ns = Uint128{frame_bytes} * kBitNs;
    return Ticks{static_cast<std::uint64_t>((bit_ns + rate_bits_per_s - 1) / rate_bits_per_s)};
}

}  // namespace

bool Impairer::happens(PerMillion probability) {
    random_ += 0x9e3779b97f4a7c15;  // SplitMix64
    std::uint64_t mixed = random_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    mixed ^= mixed >> 31;
    return static_cast<std::uint64_t>((Uint128{mixed} * kAlways) >> 64) < probability;
}

FramePlan Impairer::plan(Frame const& frame) {
    FramePlan plan;
    plan.is_lost = happens(impairment_.loss);
    plan.is_doubled = happens(impairment_.duplicate);
    bool const is_late = happens(impairment_.reorder);
    plan.leaves = frame.sent;
    if (impairment_.rate_bits_per_s != 0) {
        plan.leaves = std::max(frame.sent, wire_free_) + transmission_time(frame.bytes, impairment_.rate_bits_per_s);
        wire_free_ = plan.leaves;
    }
    plan.arrives = plan.leaves + impairment_.latency + (is_late ? impairment_.reorder_by : Ticks{});
    // A frame that is late on purpose must be overtaken, so it cannot wait in its ring.
    if (!is_late && plan.arrives - plan.leaves <= longest_hold_) plan.leaves = plan.arrives;
    return plan;
}

}  // namespace backplane
