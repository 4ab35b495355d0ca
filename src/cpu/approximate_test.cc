// [SDM2B] RCPPS and RSQRTPS: the precision over every significand, and the table of special values.
#include "cpu/approximate.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

namespace backplane {
namespace {

double single(std::uint32_t bits) { return static_cast<double>(std::bit_cast<float>(bits)); }

TEST(Approximate, EverySignificandIsWithinTheBound) {
    double worst = 0;
    double worst_root = 0;
    for (std::uint32_t fraction = 0; fraction < 1U << 23; ++fraction) {
        std::uint32_t const one = 0x3f80'0000 | fraction;
        double const x = single(one);
        worst = std::max(worst, std::fabs(single(approximate_reciprocal(one)) * x - 1));
        for (std::uint32_t const bits : {one, one + 0x0080'0000}) {
            double const root = single(approximate_reciprocal_square_root(bits)) * std::sqrt(single(bits));
            worst_root = std::max(worst_root, std::fabs(root - 1));
        }
    }
    EXPECT_LE(worst, 0x1p-12);
    EXPECT_LE(worst_root, 0x1p-12);
    EXPECT_GT(worst, 0x1p-14) << "12 bits and no more, as the page says";
}

TEST(Approximate, ExponentsMirror) {
    for (int e = -125; e <= 125; ++e) {
        EXPECT_EQ(approximate_reciprocal(std::bit_cast<std::uint32_t>(std::ldexp(1.0F, e))),
                  std::bit_cast<std::uint32_t>(std::ldexp(1.0F, -e)));
        if (e % 2 != 0) continue;
        EXPECT_EQ(approximate_reciprocal_square_root(std::bit_cast<std::uint32_t>(std::ldexp(1.0F, e))),
                  std::bit_cast<std::uint32_t>(std::ldexp(1.0F, -e / 2)));
    }
}

struct Special {
    std::uint32_t x, reciprocal, root;
};
TEST(Approximate, SpecialValues) {
    for (Special const& row : {
             Special{0x0000'0000, 0x7f80'0000, 0x7f80'0000},  // 0
             Special{0x8000'0000, 0xff80'0000, 0xff80'0000},
             Special{0x007f'ffff, 0x7f80'0000, 0x7f80'0000},  // a denormal counts as 0
             Special{0x8000'0001, 0xff80'0000, 0xff80'0000},
             Special{0x7f80'0000, 0x0000'0000, 0x0000'0000},  // infinity
             Special{0xff80'0000, 0x8000'0000, 0xffc0'0000},
             Special{0x7f80'0001, 0x7fc0'0001, 0x7fc0'0001},  // SNaN
             Special{0xffc1'2345, 0xffc1'2345, 0xffc1'2345},  // QNaN
             Special{0xbf80'0000, 0xbf80'0000, 0xffc0'0000},  // -1
             Special{0x7f00'0000, 0x0000'0000, 0x1fb5'0000},  // 2^127: 2^-127 would be denormal
             Special{0xff7f'ffff, 0x8000'0000, 0xffc0'0000},
             Special{0x0080'0000, 0x7e80'0000, 0x5f00'0000},  // 2^-126
         }) {
        EXPECT_EQ(approximate_reciprocal(row.x), row.reciprocal) << std::hex << row.x;
        EXPECT_EQ(approximate_reciprocal_square_root(row.x), row.root) << std::hex << row.x;
    }
}

}  // namespace
}  // namespace backplane
