#include "cpu/approximate.h"

namespace backplane {

namespace {

constexpr std::uint32_t kSign = 0x8000'0000, kInfinity = 0x7f80'0000, kQuiet = 0x0040'0000, kFraction = 0x007f'ffff;
constexpr std::uint32_t kIndefinite = 0xffc0'0000;
constexpr int kBias = 127;

constexpr bool is_nan(std::uint32_t x) { return (x & ~kSign) > kInfinity; }
/// Zero, or a denormal, which counts as zero.
constexpr bool is_zero(std::uint32_t x) { return (x & kInfinity) == 0; }
constexpr int exponent_of(std::uint32_t x) { return static_cast<int>(x >> 23 & 0xff) - kBias; }
constexpr std::uint64_t significand_of(std::uint32_t x) { return (x & kFraction) | 0x0080'0000; }

/// value / 2^11 * 2^exponent, with `value` from 2^11 to 2^12. Tiny results become 0.
constexpr std::uint32_t make(std::uint32_t sign, std::uint64_t value, int exponent) {
    if (value == 1 << 12) value >>= 1, ++exponent;
    if (exponent < 1 - kBias) return sign;
    auto const fraction = static_cast<std::uint32_t>(value << 12) & kFraction;
    return sign | static_cast<std::uint32_t>(exponent + kBias) << 23 | fraction;
}

constexpr std::uint64_t square_root(std::uint64_t value) {
    std::uint64_t root = 0;
    for (std::uint64_t bit = std::uint64_t{1} << 13; bit != 0; bit >>= 1)
        if ((root | bit) * (root | bit) <= value) root |= bit;
    return root;
}

}  // namespace

std::uint32_t approximate_reciprocal(std::uint32_t x) {
    std::uint32_t const sign = x & kSign;
    if (is_nan(x)) return x | kQuiet;
    if (is_zero(x)) return sign | kInfinity;
    if ((x & ~kSign) == kInfinity) return sign;
    // x = s / 2^23 * 2^e: 2 / (s / 2^23) is from 1 to 2.
    std::uint64_t const s = significand_of(x);
    std::uint64_t const quotient = ((std::uint64_t{1} << 35) + s / 2) / s;
    return make(sign, quotient, -exponent_of(x) - 1);
}

std::uint32_t approximate_reciprocal_square_root(std::uint32_t x) {
    std::uint32_t const sign = x & kSign;
    if (is_nan(x)) return x | kQuiet;
    if (is_zero(x)) return sign | kInfinity;
    if (sign != 0) return kIndefinite;
    if (x == kInfinity) return 0;
    // x = s / 2^23 * 2^e with e even and s / 2^23 from 1 to 4: 2 / sqrt(s / 2^23) is from 1 to 2.
    bool const odd = (exponent_of(x) & 1) != 0;
    std::uint64_t const s = significand_of(x) << (odd ? 1 : 0);
    int const half_exponent = (exponent_of(x) - (odd ? 1 : 0)) / 2;
    std::uint64_t const twice = square_root((std::uint64_t{1} << 49) / s);  // 2^13 / sqrt(s / 2^23), rounded down
    return make(0, (twice + 1) / 2, -half_exponent - 1);
}

}  // namespace backplane
