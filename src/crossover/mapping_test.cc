#include "crossover/mapping.h"

#include <gtest/gtest.h>

#include <array>

namespace backplane {
namespace {

constexpr Destination kBeta{Destination::Kind::one, PortIndex{1}};

struct MappingTest : testing::Test {
    std::array<std::byte, 64> bytes{};
    std::array<ConstByteSpan, 1> pieces{ConstByteSpan{bytes}};
    Frame frame{pieces, 64, Ticks{10}};
    Mapping mapping;
};

TEST_F(MappingTest, IsPeerFromTheHitUntilTheSenderWasTold) {
    EXPECT_EQ(mapping.state(), Mapping::State::unmapped);
    mapping.map_head(frame, kBeta);
    EXPECT_EQ(mapping.state(), Mapping::State::peer);
    EXPECT_EQ(mapping.peer(), kBeta);
    EXPECT_EQ(mapping.pieces().data(), pieces.data());
    mapping.take_head(7);
    EXPECT_EQ(mapping.state(), Mapping::State::peer);
    EXPECT_TRUE(mapping.pieces().empty());
    mapping.complete(6);
    EXPECT_TRUE(mapping.is_in_flight());
    EXPECT_EQ(mapping.state(), Mapping::State::peer);
    mapping.complete(7);
    EXPECT_EQ(mapping.state(), Mapping::State::unmapped);
}

TEST_F(MappingTest, KnowsItsHeadAgain) {
    EXPECT_FALSE(mapping.is_head(frame));
    mapping.map_head(frame, kBeta);
    mapping.rest();
    EXPECT_TRUE(mapping.pieces().empty());
    EXPECT_TRUE(mapping.is_head(frame));
    Frame later = frame;
    later.sent = Ticks{11};
    EXPECT_FALSE(mapping.is_head(later));
    Frame longer = frame;
    longer.bytes = 65;
    EXPECT_FALSE(mapping.is_head(longer));
    bytes[5] = std::byte{1};
    EXPECT_FALSE(mapping.is_head(frame));
}

TEST_F(MappingTest, AWithdrawnHeadLeavesFramesInFlightMapped) {
    mapping.map_head(frame, kBeta);
    mapping.take_head(1);
    mapping.map_head(frame, kBeta);
    mapping.complete(1);
    EXPECT_EQ(mapping.state(), Mapping::State::peer);
    mapping.withdraw_head();
    EXPECT_EQ(mapping.state(), Mapping::State::unmapped);

    mapping.map_head(frame, kBeta);
    mapping.take_head(2);
    mapping.map_head(frame, kBeta);
    mapping.withdraw_head();
    EXPECT_EQ(mapping.state(), Mapping::State::peer);
    mapping.complete(2);
    EXPECT_EQ(mapping.state(), Mapping::State::unmapped);
}

}  // namespace
}  // namespace backplane
