#include "crossover/delay_line.h"

#include <gtest/gtest.h>

#include <array>

namespace backplane {
namespace {

struct DelayLineTest : testing::Test {
    void push(std::uint8_t label, Ticks arrival) {
        std::array<std::byte, 3> const bytes{std::byte{1}, std::byte{2}, std::byte{label}};
        std::array<ConstByteSpan, 2> const pieces{ConstByteSpan{bytes}.first(1), ConstByteSpan{bytes}.subspan(1)};
        line.push({pieces, 3, Ticks{}}, arrival);
    }
    unsigned take() {
        Frame const* const frame = line.front();
        EXPECT_NE(frame, nullptr);
        EXPECT_EQ(frame->pieces[0].size(), 3u);
        auto const label = std::to_integer<unsigned>(frame->pieces[0][2]);
        line.take_front();
        return label;
    }
    DelayLine line{3 * (3 + DelayLine::kFrameOverhead)};
};

TEST_F(DelayLineTest, GivesFramesInTheOrderOfArrivalThenOfPushing) {
    EXPECT_EQ(line.front(), nullptr);
    EXPECT_EQ(line.next_arrival(), Ticks::never());
    push(1, Ticks{30});
    push(2, Ticks{20});
    push(3, Ticks{30});
    push(4, Ticks{10});
    EXPECT_EQ(line.next_arrival(), Ticks{10});
    EXPECT_EQ(line.front()->sent, Ticks{10});
    EXPECT_EQ(line.stored_bytes(), 12u);
    EXPECT_EQ(take(), 4u);
    EXPECT_EQ(take(), 2u);
    EXPECT_EQ(take(), 1u);
    EXPECT_EQ(take(), 3u);
    EXPECT_EQ(line.stored_bytes(), 0u);
}

TEST_F(DelayLineTest, HasRoomForItsBytesAndAlwaysForOneFrame) {
    EXPECT_TRUE(line.has_room(1'000'000));
    push(1, Ticks{1});
    EXPECT_FALSE(line.has_room(1'000'000));
    push(2, Ticks{1});
    EXPECT_TRUE(line.has_room(3));
    EXPECT_FALSE(line.has_room(4));
    push(3, Ticks{1});
    EXPECT_FALSE(line.has_room(0));
    EXPECT_EQ(line.clear(), 3u);
    EXPECT_EQ(line.stored_bytes(), 0u);
    EXPECT_EQ(line.front(), nullptr);
}

}  // namespace
}  // namespace backplane
