#include "device/acpi/pm_registers.h"

#include <gtest/gtest.h>

#include <utility>

#include "clock/frequency.h"
#include "memory/frame_pool.h"

namespace backplane {
namespace {

class OneLine final : public LineInputs {
  public:
    void set_level(unsigned /*number*/, bool asserted) override { level = asserted; }
    bool level{false};
};

class PmRegistersTest : public testing::Test {
  protected:
    PmRegistersTest() { EXPECT_TRUE(pm_.attach(bus_).has_value()); }
    static constexpr PortNumber kEnablePort{0x622};
    FramePool pool_{std::move(FramePool::create(8).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    MachineClock clock_;
    OneLine line_;
    PowerControl power_;
    PmRegisters pm_{clock_, InterruptLine{line_, 9}, power_};
};

// [ACPI65] 4.8.3.3.
TEST_F(PmRegistersTest, TheTimerCounts) {
    clock_.advance_to(Ticks{kNanosecondsPerSecond});
    EXPECT_EQ(bus_.in(kPmTimerPorts, Width::dword), kPmTimerHertz);
    clock_.advance_to(time_of_cycle((std::uint64_t{1} << 32) + 5, kPmTimerHertz));
    EXPECT_EQ(bus_.in(kPmTimerPorts, Width::dword), 5U) << "32 bits";
}

// [ACPI65] 4.8.3.1.1: TMR_STS is set when the top bit changes.
TEST_F(PmRegistersTest, TheTimerInterruptsWhenItsTopBitChanges) {
    bus_.out(kEnablePort, Width::word, 1);
    EXPECT_FALSE(line_.level);
    EXPECT_EQ(clock_.next_deadline(), time_of_cycle(std::uint64_t{1} << 31, kPmTimerHertz));
    clock_.advance_to(clock_.next_deadline());
    clock_.fire_due();
    EXPECT_TRUE(line_.level);
    bus_.out(kPmEventPorts, Width::word, 1);
    EXPECT_FALSE(line_.level);
    bus_.out(kEnablePort, Width::word, 0);
    EXPECT_EQ(clock_.next_deadline(), Ticks::never());
}

TEST_F(PmRegistersTest, ThePowerButtonInterrupts) {
    pm_.press_power_button();
    EXPECT_EQ(bus_.in(kPmEventPorts, Width::word), 0x100U);
    EXPECT_FALSE(line_.level) << "not enabled";
    bus_.out(kPmEventPorts, Width::dword, 0x100'0000);
    EXPECT_TRUE(line_.level);
    bus_.out(kPmEventPorts, Width::word, 0x00ff);
    EXPECT_TRUE(line_.level) << "other bits were cleared";
    bus_.out(kPmEventPorts, Width::word, 0x0100);
    EXPECT_FALSE(line_.level);
}

// [ACPI65] 4.8.3.2.1.
TEST_F(PmRegistersTest, SleepTypeFiveIsPowerOff) {
    EXPECT_EQ(bus_.in(kPmControlPorts, Width::word), 1U) << "ACPI mode";
    bus_.out(kPmControlPorts, Width::word, kSleepTypeS5 << 10);
    EXPECT_EQ(power_.take_event(), PowerEvent::none);
    bus_.out(kPmControlPorts, Width::word, 3 << 10 | 1 << 13);
    EXPECT_EQ(power_.take_event(), PowerEvent::none);
    bus_.out(kPmControlPorts, Width::word, kSleepTypeS5 << 10 | 1 << 13);
    EXPECT_EQ(power_.take_event(), PowerEvent::power_off);
    EXPECT_EQ(bus_.in(kPmControlPorts, Width::word), 1U | kSleepTypeS5 << 10) << "SLP_EN is write-only";
}

}  // namespace
}  // namespace backplane
