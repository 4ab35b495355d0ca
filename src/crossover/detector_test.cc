#include "crossover/detector.h"

#include <gtest/gtest.h>

#include <array>

namespace backplane {
namespace {

constexpr MacAddress kAlpha{0x52, 0x54, 0, 0, 0, 0xA};
constexpr MacAddress kBeta{0x52, 0x54, 0, 0, 0, 0xB};
constexpr MacAddress kNew{0x52, 0x54, 0, 0, 0, 0xC};
constexpr Destination kNobody{};

Destination to(PortIndex port) { return {Destination::Kind::one, port}; }

std::optional<AddressNumber> destination_of_pieces(std::vector<ConstByteSpan> const& pieces) {
    return destination_of({pieces, 0, Ticks{}});
}

TEST(DestinationOf, IsGatheredFromPieces) {
    std::array<std::byte, 8> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i + 1);
    ConstByteSpan const all{bytes};
    AddressNumber const wanted = as_number({1, 2, 3, 4, 5, 6});
    EXPECT_EQ(destination_of_pieces({all}), wanted);
    EXPECT_EQ(destination_of_pieces({all.first(6)}), wanted);
    EXPECT_EQ(destination_of_pieces({all.first(1), {}, all.subspan(1, 4), all.subspan(5)}), wanted);
    EXPECT_EQ(destination_of_pieces({all.first(5)}), std::nullopt);
    EXPECT_EQ(destination_of_pieces({all.first(2), all.subspan(2, 3), {}}), std::nullopt);
    EXPECT_EQ(destination_of_pieces({}), std::nullopt);
}

struct TwoPorts : testing::Test {
    CrosstalkDetector detector;
    PortIndex alpha = detector.add(kAlpha);
    PortIndex beta = detector.add(kBeta);
};
using CrosstalkDetectorTest = TwoPorts;

TEST_F(CrosstalkDetectorTest, ComparesTheDestinationWithTheOtherMachines) {
    EXPECT_EQ(detector.find(as_number(kBeta), alpha), to(beta));
    EXPECT_EQ(detector.find(as_number(kAlpha), beta), to(alpha));
    EXPECT_EQ(detector.find(as_number(kNew), alpha), kNobody);
    for (std::size_t i = 0; i < kBeta.size(); ++i) {
        MacAddress near = kBeta;
        near[i] ^= 0x80;
        EXPECT_EQ(detector.find(as_number(near), alpha), kNobody) << "byte " << i;
    }
}

TEST_F(CrosstalkDetectorTest, NothingGoesBackToTheSender) {
    EXPECT_EQ(detector.find(as_number(kAlpha), alpha), kNobody);
    detector.set_current(alpha, kNew);
    EXPECT_EQ(detector.find(as_number(kNew), alpha), kNobody);
}

TEST_F(CrosstalkDetectorTest, BroadcastAndMulticastAreForTheGroup) {
    Destination const group{Destination::Kind::group, {}};
    EXPECT_EQ(detector.find(as_number({0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}), alpha), group);
    EXPECT_EQ(detector.find(as_number({0x33, 0x33, 0, 0, 0, 1}), alpha), group);
    EXPECT_EQ(detector.find(as_number({0x01, 0, 0x5E, 0, 0, 1}), beta), group);
}

TEST_F(CrosstalkDetectorTest, FollowsAGuestThatChangesItsAddress) {
    detector.set_current(beta, kNew);
    EXPECT_EQ(detector.find(as_number(kNew), alpha), to(beta));
    EXPECT_EQ(detector.find(as_number(kBeta), alpha), to(beta)) << "its filter refuses it, but nobody else gets it";
}

TEST_F(CrosstalkDetectorTest, AGuestCannotTakeTheAddressOfAnother) {
    PortIndex const gamma = detector.add(kNew);
    detector.set_current(alpha, kNew);
    EXPECT_EQ(detector.find(as_number(kNew), beta), to(gamma));
    detector.set_current(gamma, kBeta);
    EXPECT_EQ(detector.find(as_number(kBeta), alpha), to(beta));
    EXPECT_EQ(detector.find(as_number(kBeta), gamma), to(beta));
}

}  // namespace
}  // namespace backplane
