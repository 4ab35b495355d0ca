// The time-stamp counter of one vCPU: a function of its machine's virtual time, constant rate, never stopping.
#pragma once

#include <cstdint>

#include "clock/virtual_time.h"

namespace backplane {

/// The frequency that CPUID and the paravirtual clock announce. One tick a nanosecond, so that no rounding exists.
inline constexpr std::uint64_t kTscHz = 1'000'000'000;

class TimeStampCounter {
  public:
    /// The counter's value at `now`; arithmetic is modulo 2^64 as in hardware.
    [[nodiscard]] std::uint64_t at(Ticks now) const { return now.ns() + offset_; }
    /// The time at which the counter reaches `value`; never earlier than `now`.
    [[nodiscard]] Ticks when(std::uint64_t value, Ticks now) const {
        std::uint64_t const ahead = value - at(now);
        return ahead >> 63 != 0 ? now : now + Ticks{ahead};
    }
    /// A write of IA32_TSC or IA32_TSC_ADJUST moves the counter ([SDM3B] 17.17.3).
    void add(std::uint64_t delta) { offset_ += delta; }
    [[nodiscard]] std::uint64_t offset() const { return offset_; }
    /// Where it is kept, for translated code.
    [[nodiscard]] std::uint64_t const* offset_word() const { return &offset_; }

  private:
    std::uint64_t offset_{0};
};

}  // namespace backplane
