#include "cpu/x87_transcendental.h"

#include <cstring>

#include "base/int128.h"
#include "cpu/mxcsr.h"

namespace backplane::x87 {

namespace {

/// 113 bits of significand, and the x87's exponents. The compilers' support routines round as MXCSR says and leave their
/// flags there, so it is set aside (QuietMxcsr) while functions that compute run.
__extension__ typedef __float128 Quad;

constexpr unsigned kBias = 16383;
constexpr std::uint64_t kFractionHigh = (std::uint64_t{1} << 48) - 1;

Quad quad_of(std::uint64_t high, std::uint64_t low) {
    std::uint64_t const bits[2] = {low, high};
    Quad value;
    std::memcpy(&value, bits, sizeof value);
    return value;
}
Quad ln2() { return quad_of(0x3ffe'62e4'2fef'a39e, 0xf357'93c7'6730'07e6); }
Quad log2_e() { return quad_of(0x3fff'7154'7652'b82f, 0xe177'7d0f'fda0'd23a); }
Quad pi() { return quad_of(0x4000'921f'b544'42d1, 0x8469'898c'c517'01b8); }

class QuietMxcsr {
  public:
    QuietMxcsr() : saved_{read_host_mxcsr()} { write_host_mxcsr(mxcsr::kMasks); }
    ~QuietMxcsr() { write_host_mxcsr(saved_); }
    QuietMxcsr(QuietMxcsr const&) = delete;
    QuietMxcsr& operator=(QuietMxcsr const&) = delete;

  private:
    std::uint32_t saved_;
};

bool is_negative(X87Register const& x) { return (x.sign_exponent & 0x8000) != 0; }
int exponent_of(X87Register const& x) { return static_cast<int>(x.sign_exponent & 0x7fff) - static_cast<int>(kBias); }
bool is_normal(X87Register const& x) {
    unsigned const exponent = x.sign_exponent & 0x7fff;
    return exponent != 0 && exponent != 0x7fff && x.significand >> 63 != 0;
}
Quad quad_of(X87Register const& x) {
    std::uint64_t const high = std::uint64_t{x.sign_exponent} << 48 | (x.significand << 1 >> 16);
    return quad_of(high, x.significand << 49);
}

/// Rounds once to 64 bits. Empty: the value is no normal number.
std::optional<Rounded> rounded(Quad value, std::uint16_t control) {
    std::uint64_t bits[2];
    std::memcpy(bits, &value, sizeof bits);
    auto sign_exponent = static_cast<std::uint16_t>(bits[1] >> 48);
    bool const negative = (sign_exponent & 0x8000) != 0;
    unsigned const exponent = sign_exponent & 0x7fff;
    if (exponent == 0 || exponent >= 0x7ffe) return {};
    constexpr unsigned kDropped = 49;
    std::uint64_t significand = std::uint64_t{1} << 63 | (bits[1] & kFractionHigh) << 15 | bits[0] >> kDropped;
    std::uint64_t const rest = bits[0] & ((std::uint64_t{1} << kDropped) - 1);
    constexpr std::uint64_t kHalf = std::uint64_t{1} << (kDropped - 1);
    bool up = false;
    switch (control >> 10 & 3) {
        case 0: up = rest > kHalf || (rest == kHalf && (significand & 1) != 0); break;
        case 1: up = negative && rest != 0; break;
        case 2: up = !negative && rest != 0; break;
        default: break;
    }
    if (up && ++significand == 0) {
        significand = std::uint64_t{1} << 63;
        ++sign_exponent;
    }
    return Rounded{{significand, sign_exponent}, up, rest != 0};
}

/// A value that cannot be exact, though its 113 bits may look so.
std::optional<Rounded> inexact(std::optional<Rounded> value) {
    if (value) value->inexact = true;
    return value;
}

// --- series, each for small arguments -------------------------------------------------------------------------------

/// 2 atanh(s) = ln((1 + s) / (1 - s)), |s| < 0.18.
Quad twice_atanh(Quad s) {
    Quad const square = s * s;
    Quad sum = 0;
    for (int n = 47; n >= 1; n -= 2) sum = sum * square + Quad(1) / n;
    return 2 * s * sum;
}
/// exp(t) - 1, |t| < 0.7.
Quad exp_less_one(Quad t) {
    Quad sum = 1;
    for (int n = 31; n >= 2; --n) sum = 1 + sum * t / n;
    return sum * t;
}
Quad sine_of(Quad r) {
    Quad const square = r * r;
    Quad sum = 1;
    for (int n = 28; n >= 2; n -= 2) sum = 1 - sum * square / (n * (n + 1));
    return r * sum;
}
Quad cosine_of(Quad r) {
    Quad const square = r * r;
    Quad sum = 1;
    for (int n = 29; n >= 1; n -= 2) sum = 1 - sum * square / (n * (n + 1));
    return sum;
}
/// atan(z), 0 <= z <= 1.
Quad atan_of(Quad z) {
    bool const far = z > Quad(0.4142);
    Quad const w = far ? (z - 1) / (z + 1) : z;
    Quad const square = w * w;
    Quad sum = 0;
    for (int n = 95; n >= 1; n -= 2) sum = Quad(1) / n - sum * square;
    return far ? pi() / 4 + w * sum : w * sum;
}

// --- the functions; the parts that compute are not inlined, so that they stay between two writes of MXCSR -----------

[[gnu::noinline]] Quad compute_power(X87Register const& x) { return exp_less_one(quad_of(x) * ln2()); }

[[gnu::noinline]] Quad compute_log(X87Register const& x, X87Register const& y) {
    X87Register significand{x.significand, kBias};
    int exponent = exponent_of(x);
    constexpr std::uint64_t kSquareRootOfTwo = 0xb504'f333'f9de'6484;
    if (x.significand > kSquareRootOfTwo) --significand.sign_exponent, ++exponent;
    Quad const m = quad_of(significand);
    Quad const log = exponent + twice_atanh((m - 1) / (m + 1)) * log2_e();
    return quad_of(y) * log;
}
[[gnu::noinline]] Quad compute_log_plus_one(X87Register const& x, X87Register const& y) {
    Quad const value = quad_of(x);
    return quad_of(y) * (twice_atanh(value / (2 + value)) * log2_e());
}
[[gnu::noinline]] Quad compute_arctangent(X87Register const& x, X87Register const& y) {
    Quad const a = quad_of(X87Register{x.significand, static_cast<std::uint16_t>(x.sign_exponent & 0x7fff)});
    Quad const b = quad_of(X87Register{y.significand, static_cast<std::uint16_t>(y.sign_exponent & 0x7fff)});
    Quad angle = b > a ? pi() / 2 - atan_of(a / b) : atan_of(b / a);
    if (is_negative(x)) angle = pi() - angle;
    return is_negative(y) ? -angle : angle;
}

/// The angle within pi/4 of a multiple of pi/2, and which multiple.
struct Reduced {
    Quad angle;
    unsigned quadrant;
};
Reduced reduce(X87Register const& x) {
    // pi/2 is kHalfPi / 2^65 with the 66 bits of [SDM1] 8.3.8; x is significand * 2^(exponent - 63).
    constexpr Uint128 kHalfPi = static_cast<Uint128>(0x3) << 64 | 0x243f'6a88'85a3'08d3;
    X87Register const magnitude{x.significand, static_cast<std::uint16_t>(x.sign_exponent & 0x7fff)};
    int const exponent = exponent_of(x);
    if (exponent < -1) return {quad_of(magnitude), 0};  // below 1/2
    Uint128 rest = x.significand;
    unsigned quotient = 0;
    for (int i = 0; i < exponent + 2; ++i) {
        rest <<= 1;
        quotient <<= 1;
        if (rest >= kHalfPi) rest -= kHalfPi, quotient |= 1;
    }
    bool const beyond = rest > kHalfPi / 2;
    Uint128 const distance = beyond ? kHalfPi - rest : rest;
    Quad angle = static_cast<std::uint64_t>(distance >> 32);
    angle = angle * Quad(4294967296.0) + static_cast<std::uint32_t>(distance);
    angle /= Quad(4294967296.0) * Quad(4294967296.0) * 2;
    return {beyond ? -angle : angle, quotient + (beyond ? 1 : 0)};
}
struct Pair {
    Quad sine, cosine;
};
[[gnu::noinline]] Pair compute_sine_cosine(X87Register const& x) {
    Reduced const reduced = reduce(x);
    Quad const s = sine_of(reduced.angle);
    Quad const c = cosine_of(reduced.angle);
    bool const swapped = (reduced.quadrant & 1) != 0;
    Quad sine = swapped ? c : s;
    Quad cosine = swapped ? s : c;
    if ((reduced.quadrant & 2) != 0) sine = -sine;
    if (((reduced.quadrant + 1) & 2) != 0) cosine = -cosine;
    return {is_negative(x) ? -sine : sine, cosine};
}
[[gnu::noinline]] Quad compute_tangent(X87Register const& x) {
    Pair const both = compute_sine_cosine(x);
    return both.sine / both.cosine;
}

bool is_angle(X87Register const& x) { return is_normal(x) && exponent_of(x) < 63; }

}  // namespace

std::optional<Rounded> power_of_two_less_one(X87Register const& x, std::uint16_t control) {
    if (!is_normal(x) || exponent_of(x) >= 0) return {};  // 1 and -1 are exact
    QuietMxcsr const quiet;
    return inexact(rounded(compute_power(x), control));
}
std::optional<Rounded> y_log2_x(X87Register const& x, X87Register const& y, std::uint16_t control) {
    if (!is_normal(x) || !is_normal(y) || is_negative(x)) return {};
    QuietMxcsr const quiet;
    auto const result = rounded(compute_log(x, y), control);
    bool const is_power_of_two = x.significand << 1 == 0;  // whose logarithm is exact, and so may the product be
    return is_power_of_two ? result : inexact(result);
}
std::optional<Rounded> y_log2_x_plus_one(X87Register const& x, X87Register const& y, std::uint16_t control) {
    // The range is 1 - sqrt(1/2) on both sides; beyond it the result is undefined.
    if (!is_normal(x) || !is_normal(y) || exponent_of(x) >= -2) {
        bool const in_range = is_normal(x) && exponent_of(x) == -2 && x.significand <= 0x95f6'1998'0c43'36f7;
        if (!in_range || !is_normal(y)) return {};
    }
    QuietMxcsr const quiet;
    return inexact(rounded(compute_log_plus_one(x, y), control));
}
std::optional<Rounded> arctangent(X87Register const& x, X87Register const& y, std::uint16_t control) {
    if (!is_normal(x) || !is_normal(y)) return {};
    if (!is_negative(x) && exponent_of(y) - exponent_of(x) < -16300) return {};  // the result may be tiny
    QuietMxcsr const quiet;
    return inexact(rounded(compute_arctangent(x, y), control));
}
std::optional<TwoRounded> sine_cosine(X87Register const& x, std::uint16_t control) {
    if (!is_angle(x)) return {};
    QuietMxcsr const quiet;
    Pair const both = compute_sine_cosine(x);
    auto const sine = inexact(rounded(both.sine, control));
    auto const cosine = inexact(rounded(both.cosine, control));
    if (!sine || !cosine) return {};
    return TwoRounded{*sine, *cosine};
}
std::optional<Rounded> tangent(X87Register const& x, std::uint16_t control) {
    if (!is_angle(x)) return {};
    QuietMxcsr const quiet;
    return inexact(rounded(compute_tangent(x), control));
}

}  // namespace backplane::x87
