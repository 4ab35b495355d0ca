// Virtual time: what every clock in every machine is made of.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace backplane {

/// Nanoseconds of virtual time since the rack started. In `virtual` time one instruction lasts 1e9 / ips of them.
class Ticks {
  public:
    constexpr Ticks() = default;
    constexpr explicit Ticks(std::uint64_t ns) : ns_{ns} {}
    [[nodiscard]] constexpr std::uint64_t ns() const { return ns_; }
    constexpr auto operator<=>(Ticks const&) const = default;
    /// Saturates at never().
    constexpr Ticks operator+(Ticks other) const {
        std::uint64_t const sum = ns_ + other.ns_;
        return Ticks{sum < ns_ ? std::numeric_limits<std::uint64_t>::max() : sum};
    }
    /// 0 when `other` is later.
    constexpr Ticks operator-(Ticks other) const { return Ticks{ns_ > other.ns_ ? ns_ - other.ns_ : 0}; }
    [[nodiscard]] static constexpr Ticks never() { return Ticks{std::numeric_limits<std::uint64_t>::max()}; }

  private:
    std::uint64_t ns_{0};
};

[[nodiscard]] constexpr Ticks microseconds(std::uint64_t us) { return Ticks{us * 1000}; }
[[nodiscard]] constexpr Ticks milliseconds(std::uint64_t ms) { return Ticks{ms * 1'000'000}; }

}  // namespace backplane
