#include "random.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace backplane::isa {
namespace {

constexpr std::uint32_t kSingleQuietNan = 0x7fc0'0000, kSingleSignallingNan = 0x7f80'0001;
constexpr std::uint64_t kDoubleQuietNan = 0x7ff8'0000'0000'0000, kDoubleSignallingNan = 0x7ff0'0000'0000'0001;

/// Numbers at the borders of conversions and of the format, as doubles.
double border_number(Rng& rng) {
    static constexpr double kNumbers[] = {0,
                                          1,
                                          0.5,
                                          1.5,
                                          2.5,
                                          0.1,
                                          3.14159265358979,
                                          127,
                                          128,
                                          255.5,
                                          32767,
                                          32768,
                                          32767.5,
                                          65535,
                                          65536,
                                          2147483647,
                                          2147483648.0,
                                          2147483647.5,
                                          4294967295.0,
                                          4294967296.0,
                                          9223372036854774784.0,
                                          9223372036854775808.0,
                                          18446744073709551616.0,
                                          999999999999999999.0,
                                          1e18,
                                          1e30,
                                          1e-30,
                                          std::numeric_limits<float>::max(),
                                          std::numeric_limits<float>::min(),
                                          std::numeric_limits<float>::denorm_min()};
    double const number = kNumbers[rng.below(std::size(kNumbers))];
    return rng.chance(50) ? -number : number;
}

std::uint64_t sign(Rng& rng) { return rng.next() << 63; }

}  // namespace

std::uint64_t random_integer(Rng& rng) {
    switch (rng.below(10)) {
        case 0:
            return rng.below(17);
        case 1:
            return 0 - rng.below(17);
        case 2:
            return (std::uint64_t{1} << rng.below(64)) - rng.below(3) + 1;
        case 3:
            return ~(std::uint64_t{1} << rng.below(64)) + rng.below(3);
        case 4:
            return rng.next() >> rng.below(64);
        case 5:
            return static_cast<std::uint64_t>(static_cast<std::int64_t>(rng.next()) >> rng.below(64));
        case 6:
            return 0x0101'0101'0101'0101 * rng.below(256);
        case 7: {
            static constexpr std::uint64_t kBorders[] = {0x7f,
                                                         0x80,
                                                         0xff,
                                                         0x7fff,
                                                         0x8000,
                                                         0xffff,
                                                         0x7fff'ffff,
                                                         0x8000'0000,
                                                         0xffff'ffff,
                                                         0x7fff'ffff'ffff'ffff,
                                                         0x8000'0000'0000'0000,
                                                         0xffff'ffff'8000'0000};
            return kBorders[rng.below(std::size(kBorders))];
        }
        default:
            return rng.next();
    }
}

std::uint32_t random_single(Rng& rng) {
    auto const bits = static_cast<std::uint32_t>(rng.next());
    std::uint32_t const signed_bit = bits & 0x8000'0000;
    switch (rng.below(12)) {
        case 0:
            return signed_bit;
        case 1:
            return signed_bit | 0x7f80'0000;
        case 2:
            return signed_bit | kSingleQuietNan | (bits & 0xffff);
        case 3:
            return signed_bit | kSingleSignallingNan | (bits & 0xffff);
        case 4:
            return signed_bit | (bits & 0x7f'ffff);  // denormal
        case 5:
            return signed_bit | 0x0080'0000 | (bits & 0x07ff'ffff);  // tiny
        case 6:
            return signed_bit | 0x7f00'0000 | (bits & 0x7f'ffff);  // huge
        case 7:
            return std::bit_cast<std::uint32_t>(static_cast<float>(border_number(rng)));
        case 8:
            return std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(bits) >> rng.below(32)));
        case 9:
            return bits;
        default:
            return signed_bit | static_cast<std::uint32_t>(0x3f80'0000 + (rng.below(20) - 10) * 0x80'0000) |
                   (bits & 0x7f'ffff);
    }
}

std::uint64_t random_double(Rng& rng) {
    std::uint64_t const bits = rng.next();
    std::uint64_t const fraction = bits & 0xf'ffff'ffff'ffff;
    switch (rng.below(12)) {
        case 0:
            return sign(rng);
        case 1:
            return sign(rng) | 0x7ff0'0000'0000'0000;
        case 2:
            return sign(rng) | kDoubleQuietNan | (bits & 0xffff'ffff);
        case 3:
            return sign(rng) | kDoubleSignallingNan | (bits & 0xffff'ffff);
        case 4:
            return sign(rng) | fraction;
        case 5:
            return sign(rng) | 0x0010'0000'0000'0000 | (fraction << rng.below(8) & 0x00ff'ffff'ffff'ffff);
        case 6:
            return sign(rng) | 0x7fe0'0000'0000'0000 | fraction;
        case 7:
            return std::bit_cast<std::uint64_t>(border_number(rng));
        case 8:
            return std::bit_cast<std::uint64_t>(static_cast<double>(static_cast<std::int64_t>(bits) >> rng.below(64)));
        case 9:
            return bits;
        case 10:
            return sign(rng) | (0x380 + rng.below(0x100)) << 52 | fraction;  // at the borders of single precision
        default:
            return sign(rng) | (0x3ff + rng.below(20) - 10) << 52 | fraction;
    }
}

FxState::Register random_extended(Rng& rng) {
    constexpr std::uint64_t kOne = std::uint64_t{1} << 63;
    auto const signed_bit = static_cast<std::uint16_t>(rng.next() & 0x8000);
    auto const make = [&](std::uint64_t exponent, std::uint64_t significand) {
        return FxState::Register{significand, static_cast<std::uint16_t>(signed_bit | exponent), {}};
    };
    std::uint64_t const bits = rng.next();
    switch (rng.below(16)) {
        case 0:
            return make(0, 0);
        case 1:
            return make(0x7fff, kOne);  // infinity
        case 2:
            return make(0x7fff, kOne | kOne >> 1 | bits >> 2);  // quiet NaN
        case 3:
            return make(0x7fff, kOne | bits >> 2 | 1);  // signalling NaN
        case 4:
            return make(0, bits >> (1 + rng.below(62)));  // denormal
        case 5:
            return make(1 + rng.below(70), kOne | bits);  // tiny
        case 6:
            return make(0x7ffe - rng.below(70), kOne | bits);  // huge
        case 7:
            return make(rng.below(0x8000), bits);  // also encodings that are no numbers
        case 8:
            return make(0x3fff + 62 - rng.below(70), kOne | bits);  // about the integers
        case 9:
            return make(0x3fff + rng.below(64), kOne | bits << rng.below(64));  // integers
        case 10:
            return make(0x3c00 + rng.below(0x40), kOne | bits);  // tiny as a double
        case 11:
            return make(0x4400 - rng.below(0x40), kOne | bits);  // huge as a double
        case 12:
            return make(0x3fff + rng.below(2), kOne);  // 1, 2
        default:
            return make(0x3fff + rng.below(20) - 10, kOne | bits);
    }
}

void random_xmm(Rng& rng, std::uint64_t (&words)[2]) {
    switch (rng.below(3)) {
        case 0:
            for (auto& word : words) word = random_integer(rng);
            break;
        case 1:
            for (auto& word : words) word = random_double(rng);
            break;
        default:
            for (auto& word : words) word = random_single(rng) | std::uint64_t{random_single(rng)} << 32;
    }
}

std::uint32_t random_mxcsr(Rng& rng) {
    std::uint64_t const bits = rng.next();
    std::uint32_t value = 0x1f80;
    if (rng.chance(40)) value |= bits & 0x6000;                                     // rounding
    if (rng.chance(15)) value |= 0x8000;                                            // flush to zero
    if (rng.chance(15)) value |= 0x0040;                                            // denormals are zero
    if (rng.chance(30)) value |= bits >> 16 & 0x3f;                                 // sticky flags
    if (rng.chance(10)) value &= ~static_cast<std::uint32_t>(bits >> 24 & 0x1f80);  // some unmasked
    return value;
}

namespace {

FxState random_fx(Rng& rng) {
    FxState fx{};
    std::uint64_t const bits = rng.next();
    fx.control = 0x37f;
    if (rng.chance(50)) fx.control = static_cast<std::uint16_t>(fx.control ^ (bits & 0xf00));  // precision, rounding
    if ((fx.control & 0x300) == 0x100) fx.control |= 0x300;                                    // a reserved precision
    if (rng.chance(10)) fx.control = static_cast<std::uint16_t>(fx.control & ~(bits >> 16 & 0x3f));
    fx.status = static_cast<std::uint16_t>(bits >> 32 & 0x7800);  // TOP and C3
    if (rng.chance(50)) fx.status |= bits >> 48 & 0x0740;         // C2 to C0, stack fault
    std::uint16_t const masked = fx.control & 0x3f;
    if (rng.chance(30)) fx.status |= bits >> 48 & 0x3f & masked;
    if (rng.chance(2)) fx.status |= 0x3f & ~masked;  // pending
    // [SDM1] 8.1.3.3: ES says that an unmasked flag is set, and B is its copy.
    if ((fx.status & 0x3f & ~masked) != 0) fx.status |= 0x8080;
    fx.valid = rng.chance(60) ? 0xff : static_cast<std::uint8_t>(rng.next() | rng.next());
    fx.mxcsr = random_mxcsr(rng);
    for (auto& st : fx.st) {
        st = random_extended(rng);
        if (rng.chance(20)) st = {random_integer(rng), 0xffff, {}};  // as MMX leaves it
    }
    for (auto& xmm : fx.xmm) random_xmm(rng, xmm);
    return fx;
}

}  // namespace

UserState random_state(Rng& rng) {
    UserState state{};
    for (auto& gpr : state.gpr) gpr = random_integer(rng);
    constexpr std::uint64_t kArithmetic = 0x8d5, kDirection = 0x400, kInterrupt = 0x200, kFixed = 2;
    state.rflags = kFixed | kInterrupt | (rng.next() & kArithmetic) | (rng.chance(25) ? kDirection : 0);
    state.fs_base = kFsBase;
    state.gs_base = kGsBase;
    state.fx = random_fx(rng);
    for (auto& high : state.ymm_high) random_xmm(rng, high);
    return state;
}

MemoryPattern::MemoryPattern(std::uint64_t seed) {
    Rng rng{seed};
    for (std::size_t i = 0; i + 16 <= kBytes; i += 16) {
        std::uint64_t words[2];
        if (rng.chance(10)) {
            FxState::Register const value = random_extended(rng);
            words[0] = value.significand;
            words[1] = value.sign_exponent;
        } else {
            random_xmm(rng, words);
        }
        std::memcpy(&bytes_[i], words, sizeof words);
    }
}

void MemoryPattern::fill(Rng& rng, std::uint8_t (&window)[kWindowBytes]) const {
    std::memcpy(window, &bytes_[16 * rng.below((kBytes - kWindowBytes) / 16)], kWindowBytes);
}

}  // namespace backplane::isa
