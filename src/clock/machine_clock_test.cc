#include "clock/machine_clock.h"

#include <gtest/gtest.h>

#include <string>

namespace backplane {
namespace {

TEST(MachineClock, FiresInOrderOfDeadlineThenArming) {
    MachineClock clock;
    std::string order;
    Timer a{clock, [&] { order += 'a'; }};
    Timer b{clock, [&] { order += 'b'; }};
    Timer c{clock, [&] { order += 'c'; }};
    a.arm(Ticks{30});
    b.arm(Ticks{10});
    c.arm(Ticks{10});
    EXPECT_EQ(clock.next_deadline(), Ticks{10});
    clock.advance_to(Ticks{30});
    clock.fire_due();
    EXPECT_EQ(order, "bca");
    EXPECT_EQ(clock.next_deadline(), Ticks::never());
}

TEST(MachineClock, RearmingReplacesAndDisarmingForgets) {
    MachineClock clock;
    int fired = 0;
    Timer timer{clock, [&] { ++fired; }};
    timer.arm(Ticks{10});
    timer.arm(Ticks{50});
    clock.advance_to(Ticks{20});
    clock.fire_due();
    EXPECT_EQ(fired, 0);
    timer.disarm();
    clock.advance_to(Ticks{60});
    clock.fire_due();
    EXPECT_EQ(fired, 0);
}

TEST(MachineClock, HandlerMayArmATimerThatIsDueAlready) {
    MachineClock clock;
    int fired = 0;
    Timer second{clock, [&] { ++fired; }};
    Timer first{clock, [&] { second.arm(Ticks{1}); }};
    first.arm(Ticks{5});
    clock.advance_to(Ticks{5});
    clock.fire_due();
    EXPECT_EQ(fired, 1);
}

TEST(MachineClock, NeverGoesBack) {
    MachineClock clock;
    clock.advance_to(Ticks{5});
    clock.advance_to(Ticks{3});
    EXPECT_EQ(clock.now(), Ticks{5});
}

}  // namespace
}  // namespace backplane
