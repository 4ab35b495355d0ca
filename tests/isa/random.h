// Random numbers that are the same everywhere, and values at which instructions tend to go wrong.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "case.h"

namespace backplane::isa {

/// SplitMix64 (Steele, Lea and Flood 2014): any seed is good, also consecutive ones.
class Rng {
  public:
    explicit Rng(std::uint64_t seed) : state_{seed} {}
    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e37'79b9'7f4a'7c15;
        z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
        z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
        return z ^ z >> 31;
    }
    /// 0 to count - 1.
    std::uint64_t below(std::uint64_t count) {
        return static_cast<std::uint64_t>(static_cast<Wide>(next()) * count >> 64);
    }
    bool chance(unsigned percent) { return below(100) < percent; }
    template <typename Container>
    auto const& pick(Container const& from) {
        return from[below(from.size())];
    }

  private:
    __extension__ using Wide = unsigned __int128;
    std::uint64_t state_;
};

[[nodiscard]] std::uint64_t random_integer(Rng& rng);
[[nodiscard]] std::uint32_t random_single(Rng& rng);
[[nodiscard]] std::uint64_t random_double(Rng& rng);
[[nodiscard]] FxState::Register random_extended(Rng& rng);
void random_xmm(Rng& rng, std::uint64_t (&words)[2]);
[[nodiscard]] std::uint32_t random_mxcsr(Rng& rng);
/// General registers, flags and everything that FXSAVE holds; rip is left 0.
[[nodiscard]] UserState random_state(Rng& rng);

/// Bytes of which any part makes an interesting window: integers, floats and doubles, made once.
class MemoryPattern {
  public:
    explicit MemoryPattern(std::uint64_t seed);
    void fill(Rng& rng, std::uint8_t (&window)[kWindowBytes]) const;

  private:
    static constexpr std::size_t kBytes = 512 * 1024;
    alignas(16) std::array<std::uint8_t, kBytes> bytes_;
};

}  // namespace backplane::isa
