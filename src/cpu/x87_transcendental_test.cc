// [SDM1] 8.3.10: within one unit in the last place; each rounding mode on its side; MXCSR is left alone.
#include "cpu/x87_transcendental.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <numbers>

#include "cpu/mxcsr.h"
#include "cpu/x87.h"

namespace backplane {
namespace {

constexpr std::uint16_t kNearest = 0x37f, kDown = 0x77f, kUp = 0xb7f, kTowardsZero = 0xf7f;

X87Register of(long double value) {
    X87Register bits;
    std::memcpy(&bits.significand, &value, 8);
    std::memcpy(&bits.sign_exponent, reinterpret_cast<char const*>(&value) + 8, 2);
    return bits;
}
long double value_of(X87Register const& bits) {
    long double value = 0;
    std::memcpy(&value, &bits.significand, 8);
    std::memcpy(reinterpret_cast<char*>(&value) + 8, &bits.sign_exponent, 2);
    return value;
}
long double ulp(long double value) { return std::ldexp(1.0L, std::ilogb(value) - 63); }

using Function = std::function<std::optional<x87::Rounded>(std::uint16_t control)>;

/// Nearest is within two units of `expected`, which the C library computes in two steps and so within one itself; the
/// other modes bracket it, one unit apart.
void check_all_modes(Function const& function, long double expected) {
    auto const nearest = function(kNearest), down = function(kDown), up = function(kUp), chopped = function(kTowardsZero);
    ASSERT_TRUE(nearest && down && up && chopped) << static_cast<double>(expected);
    EXPECT_LE(std::fabs(value_of(nearest->value) - expected), 2 * ulp(expected)) << static_cast<double>(expected);
    long double const low = value_of(down->value), high = value_of(up->value);
    EXPECT_TRUE(value_of(nearest->value) == low || value_of(nearest->value) == high);
    EXPECT_LE(high - low, ulp(low));
    EXPECT_EQ(value_of(chopped->value), expected < 0 ? high : low);
    EXPECT_FALSE(chopped->up());
    EXPECT_EQ(nearest->up(), std::fabs(value_of(nearest->value)) > std::fabs(value_of(chopped->value)));
    EXPECT_TRUE(nearest->inexact());
}

TEST(Transcendental, IsRightInTheLastPlace) {
    using namespace x87;
    for (int i = -40; i <= 40; ++i) {
        if (i == 0) continue;
        long double const x = i / 41.0L;
        check_all_modes([&](auto control) { return power_of_two_less_one(of(x), control); }, std::expm1(x * std::numbers::ln2_v<long double>));
        check_all_modes([&](auto control) { return tangent(of(x), control); }, std::tan(x));
        check_all_modes([&](auto control) { return sine_cosine(of(x), control)->first; }, std::sin(x));
        check_all_modes([&](auto control) { return sine_cosine(of(x), control)->second; }, std::cos(x));
        long double const y = 7.25L;
        check_all_modes([&](auto control) { return arctangent(of(y), of(x), control); }, std::atan2(x, y));
        check_all_modes([&](auto control) { return arctangent(of(-x), of(y), control); }, std::atan2(y, -x));
        check_all_modes([&](auto control) { return y_log2_x(of(std::fabs(x)), of(1.0L), control); }, std::log2(std::fabs(x)));
        check_all_modes([&](auto control) { return y_log2_x_plus_one(of(x / 4), of(1.0L), control); }, std::log1p(x / 4) * std::numbers::log2e_v<long double>);
    }
}

// [SDM1] 8.3.8: sin(x) with 66 bits of pi, from which the nearest number to pi is 2^-64 away.
TEST(Transcendental, PiHasSixtySixBits) {
    auto const both = x87::sine_cosine(of(std::numbers::pi_v<long double>), kNearest);
    ASSERT_TRUE(both);
    EXPECT_EQ(value_of(both->first.value), -0x1p-64L);
}

TEST(Transcendental, ExactLogarithmsAreExact) {
    auto const result = x87::y_log2_x(of(1024.0L), of(3.0L), kNearest);
    ASSERT_TRUE(result);
    EXPECT_EQ(value_of(result->value), 30.0L);
    EXPECT_FALSE(result->inexact());
}

TEST(Transcendental, WhatTheManualsTablesAnswerIsLeftToTheHost) {
    using namespace x87;
    X87Register const zero{}, infinity{std::uint64_t{1} << 63, 0x7fff}, unnormal{1, 0x3fff};
    for (X87Register const& x : {zero, infinity, unnormal}) {
        EXPECT_FALSE(power_of_two_less_one(x, kNearest));
        EXPECT_FALSE(sine_cosine(x, kNearest));
        EXPECT_FALSE(tangent(x, kNearest));
        EXPECT_FALSE(y_log2_x(x, of(1.0L), kNearest));
        EXPECT_FALSE(y_log2_x_plus_one(x, of(1.0L), kNearest));
        EXPECT_FALSE(arctangent(x, of(1.0L), kNearest));
    }
    EXPECT_FALSE(y_log2_x(of(-2.0L), of(1.0L), kNearest));
    EXPECT_FALSE(y_log2_x(of(1.0L), of(7.0L), kNearest)) << "a zero with a sign";
    EXPECT_FALSE(sine_cosine(of(0x1p63L), kNearest)) << "C2";
}

// What differs between processors is ours: [SDM2A] F2XM1 and [SDM2B] FYL2XP1 leave these open.
TEST(Transcendental, OperandsOutOfRangeHaveOneAnswer) {
    using namespace x87;
    EXPECT_EQ(value_of(power_of_two_less_one(of(-1.0L), kNearest)->value), -0.5L);
    EXPECT_EQ(value_of(power_of_two_less_one(of(1.0L), kNearest)->value), 1.0L);
    EXPECT_EQ(value_of(power_of_two_less_one(of(3.0L), kNearest)->value), 3.0L);
    for (long double const x : {0.5L, -0.9L, 1.0e30L, 0x1p16000L}) {
        long double const expected = std::log1p(x) * std::numbers::log2e_v<long double>;
        check_all_modes([&](auto control) { return y_log2_x_plus_one(of(x), of(1.0L), control); }, expected);
    }
    auto const below = y_log2_x_plus_one(of(-1.5L), of(1.0L), kNearest);
    EXPECT_EQ(below->value, of(-1.5L));
    EXPECT_EQ(below->status, kPrecision);
}

// [SDM1] 8.5.4, 8.5.5
TEST(Transcendental, TheLimitsOfTheExponent) {
    using namespace x87;
    X87Register const least{1, 0}, pseudo{std::uint64_t{1} << 63, 0}, denormal{std::uint64_t{3} << 40, 0};
    constexpr std::uint16_t kTinyStatus = kDenormal | kUnderflow | kPrecision;
    for (X87Register const& x : {least, denormal}) {
        EXPECT_EQ(sine_cosine(x, kNearest)->first.value, x);
        EXPECT_EQ(sine_cosine(x, kNearest)->first.status, kTinyStatus);
        EXPECT_EQ(tangent(x, kNearest)->value, x);
        EXPECT_EQ(arctangent(of(1.0L), x, kNearest)->value, x);
    }
    EXPECT_EQ(sine_cosine(pseudo, kNearest)->first.value, (X87Register{std::uint64_t{1} << 63, 1}));
    EXPECT_EQ(power_of_two_less_one(denormal, kNearest)->value.sign_exponent, 0);
    EXPECT_EQ(power_of_two_less_one(denormal, kNearest)->value.significand, 2286370154357U) << "3 * 2^40 ln 2";
    EXPECT_EQ(power_of_two_less_one(least, kDown)->value, X87Register{});
    EXPECT_EQ(power_of_two_less_one(least, kUp)->value, least);
    EXPECT_TRUE(power_of_two_less_one(least, kUp)->up());
    // Unmasked, a result out of range comes with an exponent moved by 24576.
    auto const scaled = sine_cosine(least, kNearest & ~kUnderflow)->first;
    EXPECT_EQ(scaled.value, (X87Register{std::uint64_t{1} << 63, 24576 - 62}));
    EXPECT_EQ(scaled.status, kTinyStatus);
    X87Register const most{~std::uint64_t{0}, 0x7ffe};
    auto const huge = y_log2_x(most, most, kNearest);
    EXPECT_EQ(huge->value, (X87Register{std::uint64_t{1} << 63, 0x7fff}));
    EXPECT_EQ(huge->status, kOverflow | kPrecision | kC1);
    EXPECT_EQ(y_log2_x(most, most, kTowardsZero)->value, most);
    EXPECT_EQ(y_log2_x(most, most, kNearest & ~kOverflow)->value.sign_exponent, 0x7ffe + 14 - 24576);
    EXPECT_EQ(value_of(y_log2_x(least, of(1.0L), kNearest)->value), -16445.0L);
}

TEST(Transcendental, LeavesTheRoundingModeAndFlagsOfSseAlone) {
    std::uint32_t const before = read_host_mxcsr();
    write_host_mxcsr(mxcsr::kMasks | 3 << 13);
    auto const chopping = x87::tangent(of(1.25L), kNearest);
    EXPECT_EQ(read_host_mxcsr(), mxcsr::kMasks | 3 << 13);
    write_host_mxcsr(before);
    EXPECT_EQ(chopping->value, x87::tangent(of(1.25L), kNearest)->value);
}

}  // namespace
}  // namespace backplane
