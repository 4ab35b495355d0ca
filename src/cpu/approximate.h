// RCPPS and RSQRTPS: the two approximations of SSE, defined here so that they are the same on every host.
//
// The result is the exact value rounded to nearest at 12 bits of significand: its relative error is at most 2^-12, where
// [SDM2B] allows 1.5 * 2^-12. Hosts differ from each other in these bits. Zeros, denormals, infinities, negative numbers,
// NaNs and tiny results are treated as [SDM2B] RCPPS and RSQRTPS say.
#pragma once

#include <cstdint>

namespace backplane {

/// 1 / x of the single-precision number with these bits.
[[nodiscard]] std::uint32_t approximate_reciprocal(std::uint32_t x);
/// 1 / sqrt(x).
[[nodiscard]] std::uint32_t approximate_reciprocal_square_root(std::uint32_t x);

}  // namespace backplane
