// The transcendental functions of the x87 ([SDM1] 8.3.7), computed here, so that they are the same on every host.
//
// Each takes finite numbers that are not zero, denormal or not, and gives the result with about 110 bits, rounded once to
// 64 as the control word's RC says: the error is below 0.51 units in the last place for rounding to nearest, where
// [SDM1] 8.3.10 allows 1. Angles are reduced with the 66 bits of pi that processors use ([SDM1] 8.3.8). Everything else
// (zeros, infinities, NaNs, what is no number, angles beyond 2^63, the logarithms of 1 and of what is negative) the host's
// instruction answers, as the manual's tables say; there, processors agree.
#pragma once

#include <optional>

#include "cpu/state.h"

namespace backplane::x87 {

struct Rounded {
    X87Register value;
    std::uint16_t status{0};  ///< exceptions that arose, masked or not, and C1

    [[nodiscard]] bool up() const { return (status & 1 << 9) != 0; }  ///< C1: rounded away from zero
    [[nodiscard]] bool inexact() const { return (status & 1 << 5) != 0; }
};
struct TwoRounded {
    Rounded first, second;
};

// `control` is the x87 control word. Empty: the host's instruction is to answer.
/// The manual leaves operands beyond -1 and 1 open: they stay as they are and are called inexact, as by AMD's processors.
[[nodiscard]] std::optional<Rounded> power_of_two_less_one(X87Register const& x, std::uint16_t control);
[[nodiscard]] std::optional<Rounded> y_log2_x(X87Register const& x, X87Register const& y, std::uint16_t control);
/// Beyond 1 - sqrt(1/2) the manual leaves the result open: it is the logarithm there too, and x itself where
/// there is none, as by AMD's processors.
[[nodiscard]] std::optional<Rounded> y_log2_x_plus_one(X87Register const& x, X87Register const& y, std::uint16_t control);
[[nodiscard]] std::optional<Rounded> arctangent(X87Register const& x, X87Register const& y, std::uint16_t control);
/// Sine and cosine.
[[nodiscard]] std::optional<TwoRounded> sine_cosine(X87Register const& x, std::uint16_t control);
[[nodiscard]] std::optional<Rounded> tangent(X87Register const& x, std::uint16_t control);

}  // namespace backplane::x87
