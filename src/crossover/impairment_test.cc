#include "crossover/impairment.h"

#include <gtest/gtest.h>

#include <vector>

namespace backplane {
namespace {

Frame frame_of(std::uint32_t bytes, Ticks sent) { return {{}, bytes, sent}; }

TEST(Impairer, ARateSpacesFramesByTheirLength) {
    Impairer impairer{{.rate_bits_per_s = 1'000'000}, 1, Ticks{}};
    FramePlan const first = impairer.plan(frame_of(125, Ticks{1000}));  // 1000 bits: one millisecond
    EXPECT_EQ(first.leaves, Ticks{1000} + milliseconds(1));
    EXPECT_EQ(first.arrives, first.leaves);
    EXPECT_EQ(impairer.plan(frame_of(250, Ticks{1000})).leaves, Ticks{1000} + milliseconds(3)) << "behind the first";
    EXPECT_EQ(impairer.plan(frame_of(125, milliseconds(50))).leaves, milliseconds(51)) << "the wire is free again";
}

TEST(Impairer, NoRateIsExceededByRounding) {
    Impairer impairer{{.rate_bits_per_s = 3'000'000'000}, 1, Ticks{}};
    EXPECT_EQ(impairer.plan(frame_of(1, Ticks{})).leaves, Ticks{3}) << "2.67 ns";
}

TEST(Impairer, LatencyIsHeldInTheRingUpToTheLimit) {
    Impairer shorter{{.latency = microseconds(100)}, 1, microseconds(100)};
    EXPECT_EQ(shorter.plan(frame_of(64, Ticks{5})).leaves, Ticks{5} + microseconds(100));
    Impairer longer{{.latency = microseconds(101)}, 1, microseconds(100)};
    FramePlan const plan = longer.plan(frame_of(64, Ticks{5}));
    EXPECT_EQ(plan.leaves, Ticks{5});
    EXPECT_EQ(plan.arrives, Ticks{5} + microseconds(101));
}

struct Counts {
    int lost{0}, doubled{0}, late{0};
};

Counts count(Impairment const& impairment, std::uint64_t seed) {
    Impairer impairer{impairment, seed, Ticks{}};
    Counts counts;
    for (std::uint64_t i = 0; i < 100'000; ++i) {
        FramePlan const plan = impairer.plan(frame_of(64, Ticks{i}));
        counts.lost += plan.is_lost;
        counts.doubled += plan.is_doubled;
        counts.late += plan.arrives > plan.leaves;
    }
    return counts;
}

TEST(Impairer, ProbabilitiesAreWhatTheySay) {
    Counts const counts = count({.loss = 10'000, .duplicate = 50'000, .reorder = 250'000}, 7);
    EXPECT_NEAR(counts.lost, 1000, 150);  // five standard deviations
    EXPECT_NEAR(counts.doubled, 5000, 350);
    EXPECT_NEAR(counts.late, 25'000, 700);
    Counts const all = count({.loss = kAlways, .duplicate = kAlways, .reorder = kAlways}, 7);
    EXPECT_EQ(all.lost + all.doubled + all.late, 300'000);
    Counts const none = count({.latency = Ticks{}}, 7);
    EXPECT_EQ(none.lost + none.doubled + none.late, 0);
}

TEST(Impairer, TheSameSeedHitsTheSameFramesWhateverElseIsOn) {
    auto const lost = [](Impairment const& impairment, std::uint64_t seed) {
        Impairer impairer{impairment, seed, Ticks{}};
        std::vector<std::uint64_t> frames;
        for (std::uint64_t i = 0; i < 1000; ++i) {
            if (impairer.plan(frame_of(64, Ticks{i})).is_lost) frames.push_back(i);
        }
        return frames;
    };
    EXPECT_EQ(lost({.loss = 50'000}, 1), lost({.loss = 50'000, .duplicate = 100'000, .reorder = 1}, 1));
    EXPECT_NE(lost({.loss = 50'000}, 1), lost({.loss = 50'000}, 2));
}

}  // namespace
}  // namespace backplane
