#include "cpu/x87_transcendental.h"

#include <bit>
#include <cstring>

#include "base/int128.h"
#include "cpu/mxcsr.h"
#include "cpu/x87.h"

namespace backplane::x87 {

namespace {

/// 113 bits of significand, and the x87's exponents. The compilers' support routines round as MXCSR says and leave their
/// flags there, so it is set aside (QuietMxcsr) while functions that compute run.
__extension__ typedef __float128 Quad;

constexpr int kBias = 16383;
constexpr std::uint16_t kSign = 0x8000, kExponent = 0x7fff;
constexpr std::uint64_t kIntegerBit = std::uint64_t{1} << 63;

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

/// A finite number that is not zero, as a significand in [1, 2) and an exponent: there, neither denormals nor the limits of
/// the exponent are special.
struct Number {
    std::uint64_t significand;
    int exponent;
    bool negative;
    bool denormal;  // DE

    [[nodiscard]] Quad magnitude() const {
        return quad_of(static_cast<std::uint64_t>(kBias) << 48 | significand << 1 >> 16, significand << 49);
    }
    [[nodiscard]] Quad signed_significand() const { return negative ? -magnitude() : magnitude(); }
};
std::optional<Number> number_of(X87Register const& x) {
    int const exponent = x.sign_exponent & kExponent;
    bool const negative = (x.sign_exponent & kSign) != 0;
    if (exponent == 0 && x.significand != 0) {
        int const shift = std::countl_zero(x.significand);
        return Number{x.significand << shift, 1 - kBias - shift, negative, true};
    }
    if (exponent == 0 || exponent == kExponent || (x.significand & kIntegerBit) == 0) return {};
    return Number{x.significand, exponent - kBias, negative, false};
}
/// 2^exponent, for exponents of a few thousand.
Quad power_of_two(int exponent) { return quad_of(static_cast<std::uint64_t>(kBias + exponent) << 48, 0); }
Quad value_of(Number const& x) { return x.signed_significand() * power_of_two(x.exponent); }

/// A number so small that only the first term of a series counts.
bool is_tiny(Number const& x) { return x.exponent < -70; }

/// value * 2^scale, whatever its exponent.
struct Scaled {
    Quad value;
    int scale{0};
};

/// Rounded once to 64 bits with the range of the x87 ([SDM1] 4.9, 8.5.4, 8.5.5). The value is not zero.
/// \param is_exact  false: it cannot be exact, though its 113 bits may look so
Rounded rounded(Scaled const& exact, std::uint16_t control, bool is_exact = false) {
    constexpr int kUnmaskedBias = 24576;
    std::uint64_t bits[2];
    std::memcpy(bits, &exact.value, sizeof bits);
    auto const sign = static_cast<std::uint16_t>(bits[1] >> 48 & kSign);
    int exponent = static_cast<int>(bits[1] >> 48 & kExponent) + exact.scale;
    constexpr std::uint64_t kFractionHigh = (std::uint64_t{1} << 48) - 1;
    Uint128 const whole = static_cast<Uint128>(bits[1] & kFractionHigh) << 64 | bits[0] | static_cast<Uint128>(1) << 112;
    std::uint16_t status = 0;
    unsigned dropped = 49;
    bool const tiny = exponent <= 0;
    bool const denormal = tiny && (control & kUnderflow) != 0;
    if (denormal) dropped += exponent < -64 ? 65 : static_cast<unsigned>(1 - exponent);
    if (tiny) exponent = denormal ? 0 : exponent + kUnmaskedBias;

    auto significand = static_cast<std::uint64_t>(whole >> dropped);
    Uint128 const rest = whole - (static_cast<Uint128>(significand) << dropped);
    Uint128 const half = static_cast<Uint128>(1) << (dropped - 1);
    bool up = false;
    switch (control >> 10 & 3) {
        case 0: up = rest > half || (rest == half && (significand & 1) != 0); break;
        case 1: up = sign != 0 && rest != 0; break;
        case 2: up = sign == 0 && rest != 0; break;
        default: break;
    }
    if (up && ++significand == 0) significand = kIntegerBit, ++exponent;
    if (denormal && (significand & kIntegerBit) != 0) exponent = 1;
    bool const inexact = rest != 0 || !is_exact;
    if (tiny && (inexact || !denormal)) status |= kUnderflow;
    if (exponent >= kExponent) {
        status |= kOverflow;
        if ((control & kOverflow) != 0) {
            unsigned const rounding = control >> 10 & 3;
            up = rounding == 0 || rounding == (sign != 0 ? 1U : 2U);
            significand = up ? kIntegerBit : ~std::uint64_t{0};
            exponent = up ? kExponent : kExponent - 1;
            status |= kPrecision;
        } else {
            exponent -= kUnmaskedBias;
        }
    }
    if (inexact) status |= kPrecision;
    if (up) status |= kC1;
    return {{significand, static_cast<std::uint16_t>(sign | exponent)}, status};
}

Rounded with_operands(Rounded result, bool denormal) {
    if (denormal) result.status |= kDenormal;
    return result;
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

[[gnu::noinline]] Scaled compute_power(Number const& x) {
    if (is_tiny(x)) return {x.signed_significand() * ln2(), x.exponent};
    return {exp_less_one(value_of(x) * ln2())};
}

/// log2(m * 2^exponent), 1 <= m < 2.
Quad log2_of(Quad m, int exponent) {
    bool const is_upper = m > quad_of(0x3fff'6a09'e667'f3bc, 0xc908'0000'0000'0000);  // sqrt(2)
    if (is_upper) m /= 2, ++exponent;
    return exponent + twice_atanh((m - 1) / (m + 1)) * log2_e();
}
[[gnu::noinline]] Scaled compute_log(Number const& x, Number const& y) {
    return {y.signed_significand() * log2_of(x.magnitude(), x.exponent), y.exponent};
}
/// The range of FYL2XP1: 1 - sqrt(1/2) on both sides.
bool is_near_zero(Number const& x) {
    return x.exponent < -2 || (x.exponent == -2 && x.significand <= 0x95f6'1998'0c43'36f7);
}
[[gnu::noinline]] Scaled compute_log_plus_one(Number const& x, Number const& y) {
    if (is_tiny(x)) return {y.signed_significand() * x.signed_significand() * log2_e(), x.exponent + y.exponent};
    if (x.exponent > 120) return compute_log(x, y);  // the 1 is lost
    Quad const value = value_of(x);
    if (is_near_zero(x)) return {y.signed_significand() * (twice_atanh(value / (2 + value)) * log2_e()), y.exponent};
    Quad const sum = 1 + value;
    std::uint64_t bits[2];
    std::memcpy(bits, &sum, sizeof bits);
    int const exponent = static_cast<int>(bits[1] >> 48) - kBias;
    return {y.signed_significand() * log2_of(sum / power_of_two(exponent), exponent), y.exponent};
}
/// The angle of (x, y).
[[gnu::noinline]] Scaled compute_arctangent(Number const& x, Number const& y) {
    constexpr int kFar = 120;
    int const distance = y.exponent - x.exponent;
    if (distance < -kFar && !x.negative) return {y.signed_significand() / x.magnitude(), distance};
    Quad angle = 0;
    if (distance > kFar) {
        angle = pi() / 2;
    } else if (distance >= -kFar) {
        Quad const a = x.magnitude();
        Quad const b = y.magnitude() * power_of_two(distance);
        angle = b > a ? pi() / 2 - atan_of(a / b) : atan_of(b / a);
    }
    if (x.negative && distance <= kFar) angle = pi() - angle;
    return {y.negative ? -angle : angle};
}

/// The angle within pi/4 of a multiple of pi/2, and which multiple.
struct Reduced {
    Quad angle;
    unsigned quadrant;
};
Reduced reduce(Number const& x) {
    // pi/2 is kHalfPi / 2^65 with the 66 bits of [SDM1] 8.3.8; x is significand * 2^(exponent - 63).
    constexpr Uint128 kHalfPi = static_cast<Uint128>(0x3) << 64 | 0x243f'6a88'85a3'08d3;
    if (x.exponent < -1) return {x.magnitude() * power_of_two(x.exponent), 0};  // below 1/2
    Uint128 rest = x.significand;
    unsigned quotient = 0;
    for (int i = 0; i < x.exponent + 2; ++i) {
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
    Scaled sine, cosine;
};
[[gnu::noinline]] Pair compute_sine_cosine(Number const& x) {
    if (is_tiny(x)) return {{x.signed_significand(), x.exponent}, {1}};
    Reduced const reduced = reduce(x);
    Quad const s = sine_of(reduced.angle);
    Quad const c = cosine_of(reduced.angle);
    bool const swapped = (reduced.quadrant & 1) != 0;
    Quad sine = swapped ? c : s;
    Quad cosine = swapped ? s : c;
    if ((reduced.quadrant & 2) != 0) sine = -sine;
    if (((reduced.quadrant + 1) & 2) != 0) cosine = -cosine;
    return {{x.negative ? -sine : sine}, {cosine}};
}
[[gnu::noinline]] Scaled compute_tangent(Number const& x) {
    Pair const both = compute_sine_cosine(x);
    return {both.sine.value / both.cosine.value, both.sine.scale};
}

std::optional<Number> angle_of(X87Register const& x) {
    auto const angle = number_of(x);
    return angle && angle->exponent < 63 ? angle : std::nullopt;
}

}  // namespace

std::optional<Rounded> power_of_two_less_one(X87Register const& register_x, std::uint16_t control) {
    auto const x = number_of(register_x);
    if (!x) return {};
    bool const is_one = x->exponent == 0 && x->significand == kIntegerBit;
    if (is_one && x->negative) return Rounded{{kIntegerBit, kSign | (kBias - 1)}, kPrecision};
    if (x->exponent >= 0) return Rounded{register_x, kPrecision};
    QuietMxcsr const quiet;
    return with_operands(rounded(compute_power(*x), control), x->denormal);
}
std::optional<Rounded> y_log2_x(X87Register const& register_x, X87Register const& register_y, std::uint16_t control) {
    auto const x = number_of(register_x), y = number_of(register_y);
    if (!x || !y || x->negative) return {};
    bool const is_power_of_two = x->significand == kIntegerBit;  // whose logarithm is exact, and so may the product be
    if (is_power_of_two && x->exponent == 0) return {};
    QuietMxcsr const quiet;
    return with_operands(rounded(compute_log(*x, *y), control, is_power_of_two), x->denormal || y->denormal);
}
std::optional<Rounded> y_log2_x_plus_one(X87Register const& register_x, X87Register const& register_y, std::uint16_t control) {
    auto const x = number_of(register_x), y = number_of(register_y);
    if (!x || !y) return {};
    bool const denormal = x->denormal || y->denormal;
    if (x->negative && x->exponent >= 0) return with_operands({register_x, kPrecision}, denormal);
    QuietMxcsr const quiet;
    return with_operands(rounded(compute_log_plus_one(*x, *y), control), denormal);
}
std::optional<Rounded> arctangent(X87Register const& register_x, X87Register const& register_y, std::uint16_t control) {
    auto const x = number_of(register_x), y = number_of(register_y);
    if (!x || !y) return {};
    QuietMxcsr const quiet;
    return with_operands(rounded(compute_arctangent(*x, *y), control), x->denormal || y->denormal);
}
std::optional<TwoRounded> sine_cosine(X87Register const& register_x, std::uint16_t control) {
    auto const x = angle_of(register_x);
    if (!x) return {};
    QuietMxcsr const quiet;
    auto const [sine, cosine] = compute_sine_cosine(*x);
    return TwoRounded{with_operands(rounded(sine, control), x->denormal),
                      with_operands(rounded(cosine, control), x->denormal)};
}
std::optional<Rounded> tangent(X87Register const& register_x, std::uint16_t control) {
    auto const x = angle_of(register_x);
    if (!x) return {};
    QuietMxcsr const quiet;
    return with_operands(rounded(compute_tangent(*x), control), x->denormal);
}

}  // namespace backplane::x87
