#include "device/checksum.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

#include "device/e1000/testing.h"

namespace backplane {
namespace {

using namespace e1000::testing;

TEST(InternetSum, ExampleOfRfc1071) {
    std::vector<std::uint8_t> const bytes = {0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7};
    InternetSum sum;
    sum.add(std::as_bytes(std::span{bytes}));
    EXPECT_EQ(sum.folded(), 0xDDF2);
}

TEST(InternetSum, PiecesOfAnyLengthGiveTheSumOfTheWhole) {
    std::vector<std::uint8_t> const frame = make_frame(301);
    ConstByteSpan const whole = std::as_bytes(std::span{frame});
    for (std::size_t cut = 0; cut < 60; ++cut) {
        std::array<ConstByteSpan, 3> const pieces = {whole.first(cut), whole.subspan(cut, 41), whole.subspan(cut + 41)};
        InternetSum sum;
        sum.add(Pieces{pieces}, 17, 290);
        EXPECT_EQ(sum.folded(), plain_sum(frame, 17, 290)) << cut;
    }
}

TEST(InternetSum, ARangeBeyondTheEndIsEmpty) {
    std::vector<std::uint8_t> const frame = make_frame(60);
    std::array<ConstByteSpan, 1> const pieces = {std::as_bytes(std::span{frame})};
    InternetSum sum;
    sum.add(Pieces{pieces}, 60, 100);
    EXPECT_EQ(sum.folded(), 0);
}

TEST(FrameCheck, StandardCheckValueInAnyPieces) {
    constexpr std::string_view kDigits = "123456789";
    for (std::size_t cut = 0; cut <= kDigits.size(); ++cut) {
        FrameCheck fcs;
        fcs.add(std::as_bytes(std::span{kDigits.substr(0, cut)}));
        fcs.add(std::as_bytes(std::span{kDigits.substr(cut)}));
        EXPECT_EQ(fcs.value(), 0xCBF43926) << cut;
    }
}

TEST(FrameCheck, ManyBytesAtATimeEqualOneAtATime) {
    for (std::size_t bytes : {14, 63, 64, 65, 127, 128, 192, 1000, 1514, 9018}) {
        std::vector<std::uint8_t> const frame = make_frame(bytes);
        FrameCheck fast;
        fast.add(std::as_bytes(std::span{frame}.first(3)));
        fast.add(std::as_bytes(std::span{frame}.subspan(3)));
        FrameCheck slow;
        for (std::uint8_t const& byte : frame) slow.add(std::as_bytes(std::span{&byte, 1}));
        EXPECT_EQ(fast.value(), slow.value()) << bytes;
    }
}

}  // namespace
}  // namespace backplane
