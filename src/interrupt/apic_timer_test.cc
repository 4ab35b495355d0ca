#include "interrupt/apic_timer.h"

#include <gtest/gtest.h>

namespace backplane {
namespace {

class ApicTimerTest : public testing::Test {
  protected:
    void pass_ns(std::uint64_t ns) {
        clock_.advance_to(clock_.now() + Ticks{ns});
        clock_.fire_due();
    }
    static constexpr std::uint32_t kDivideBy1 = 0xb;
    static constexpr std::uint32_t kDivideBy16 = 0x3;

    MachineClock clock_;
    TimeStampCounter counter_;
    int expired_{0};
    ApicTimer timer_{clock_, counter_, [this] { ++expired_; }};
};

// [SDM3A] figure 10-10.
TEST_F(ApicTimerTest, DividesAsTheDivideConfigurationSays) {
    struct Row {
        std::uint32_t configuration;
        std::uint64_t divisor;
    };
    for (Row const row : {Row{0x0, 2}, Row{0x1, 4}, Row{0x2, 8}, Row{0x3, 16}, Row{0x8, 32}, Row{0x9, 64},
                          Row{0xa, 128}, Row{0xb, 1}}) {
        timer_.set_divide_configuration(row.configuration);
        timer_.set_initial_count(10);
        EXPECT_EQ(clock_.next_deadline(), clock_.now() + Ticks{10 * row.divisor}) << row.configuration;
    }
    timer_.set_divide_configuration(0xffff'ffff);
    EXPECT_EQ(timer_.divide_configuration(), 0xbU);
}

TEST_F(ApicTimerTest, OneShotCountsDownAndExpiresOnce) {
    timer_.set_divide_configuration(kDivideBy16);
    timer_.set_initial_count(100);
    EXPECT_EQ(timer_.current_count(), 100U);
    pass_ns(16 * 40);
    EXPECT_EQ(timer_.current_count(), 60U);
    pass_ns(16 * 60 - 1);
    EXPECT_EQ(expired_, 0);
    EXPECT_EQ(timer_.current_count(), 1U);
    pass_ns(1);
    EXPECT_EQ(expired_, 1);
    EXPECT_EQ(timer_.current_count(), 0U);
    EXPECT_EQ(timer_.initial_count(), 100U);
    pass_ns(100'000);
    EXPECT_EQ(expired_, 1);
}

TEST_F(ApicTimerTest, PeriodicKeepsItsPhaseAndStopsAtZero) {
    timer_.set_divide_configuration(kDivideBy1);
    timer_.set_mode(ApicTimer::Mode::periodic);
    timer_.set_initial_count(2000);
    pass_ns(2000);
    EXPECT_EQ(expired_, 1);
    pass_ns(2700);  // 700 late
    EXPECT_EQ(expired_, 2);
    EXPECT_EQ(clock_.next_deadline(), Ticks{6000});
    EXPECT_EQ(timer_.current_count(), 1300U);
    timer_.set_initial_count(0);
    pass_ns(100'000);
    EXPECT_EQ(expired_, 2);
}

// Otherwise a guest with a period of 1 ns would keep the monitor in fire_due().
TEST_F(ApicTimerTest, MissedPeriodsAreOneExpiryAndShortOnesAreStretched) {
    timer_.set_divide_configuration(kDivideBy1);
    timer_.set_mode(ApicTimer::Mode::periodic);
    timer_.set_initial_count(1);
    EXPECT_EQ(clock_.next_deadline(), Ticks{ApicTimer::kMinimumPeriodNs});
    EXPECT_EQ(timer_.current_count(), 1U);
    pass_ns(1'000'000'000);
    EXPECT_EQ(expired_, 1);
    EXPECT_GT(clock_.next_deadline(), clock_.now());
}

TEST_F(ApicTimerTest, ADivisorChangeKeepsTheCount) {
    timer_.set_divide_configuration(kDivideBy1);
    timer_.set_initial_count(1000);
    pass_ns(400);
    timer_.set_divide_configuration(kDivideBy16);
    EXPECT_EQ(timer_.current_count(), 600U);
    EXPECT_EQ(clock_.next_deadline(), Ticks{400 + 16 * 600});
}

// [SDM3A] 10.5.4.1.
TEST_F(ApicTimerTest, TscDeadlineExpiresOnceAndReadsZero) {
    counter_.add(5000);
    timer_.set_mode(ApicTimer::Mode::tsc_deadline);
    timer_.set_initial_count(7);
    EXPECT_EQ(timer_.initial_count(), 0U) << "the initial count is ignored in this mode";
    timer_.set_tsc_deadline(5300);
    EXPECT_EQ(timer_.tsc_deadline(), 5300U);
    EXPECT_EQ(clock_.next_deadline(), Ticks{300});
    pass_ns(300);
    EXPECT_EQ(expired_, 1);
    EXPECT_EQ(timer_.tsc_deadline(), 0U);
    timer_.set_tsc_deadline(1);
    EXPECT_EQ(expired_, 2) << "a deadline in the past expires at once";
    EXPECT_EQ(clock_.next_deadline(), Ticks::never());
}

TEST_F(ApicTimerTest, TscDeadlineIsDisarmedByZeroAndByAChangeOfMode) {
    timer_.set_tsc_deadline(100);
    EXPECT_EQ(timer_.tsc_deadline(), 0U) << "ignored in one-shot mode";
    timer_.set_mode(ApicTimer::Mode::tsc_deadline);
    timer_.set_tsc_deadline(100);
    timer_.set_tsc_deadline(0);
    EXPECT_EQ(clock_.next_deadline(), Ticks::never());
    timer_.set_tsc_deadline(~std::uint64_t{0});
    EXPECT_EQ(expired_, 0) << "the comparison is unsigned";
    timer_.set_mode(ApicTimer::Mode::periodic);
    EXPECT_EQ(clock_.next_deadline(), Ticks::never());
    EXPECT_EQ(timer_.tsc_deadline(), 0U);
}

TEST_F(ApicTimerTest, TscDeadlineFollowsTheCounter) {
    timer_.set_mode(ApicTimer::Mode::tsc_deadline);
    timer_.set_tsc_deadline(1000);
    counter_.add(400);
    timer_.time_stamp_counter_changed();
    EXPECT_EQ(clock_.next_deadline(), Ticks{600});
    counter_.add(600);
    timer_.time_stamp_counter_changed();
    EXPECT_EQ(expired_, 1);
}

}  // namespace
}  // namespace backplane
