#include "device/acpi/power_control.h"

#include <gtest/gtest.h>

#include "memory/frame_pool.h"
#include "memory/guest_memory.h"

namespace backplane {
namespace {

class PowerControlTest : public testing::Test {
  protected:
    PowerControlTest() {
        power_.set_wake_flag(&attention_);
        EXPECT_TRUE(power_.attach(bus_).has_value());
        EXPECT_TRUE(bus_.attach_ports(kResetPort, 1, power_.reset_register()).has_value());
    }
    FramePool pool_{std::move(FramePool::create(16).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    bool attention_{false};
    PowerControl power_;
};

// [ACPI65] 4.8.3.7: SLP_TYP bits 4:2, SLP_EN bit 5.
TEST_F(PowerControlTest, SleepTypeFiveWithSleepEnableIsPowerOff) {
    bus_.out(kSleepControlPort, Width::byte, kSleepTypeS5 << 2);
    EXPECT_FALSE(attention_) << "without SLP_EN";
    bus_.out(kSleepControlPort, Width::byte, 3 << 2 | 1 << 5);
    EXPECT_FALSE(attention_) << "another sleep state";
    bus_.out(kSleepStatusPort, Width::byte, kSleepTypeS5 << 2 | 1 << 5);
    EXPECT_EQ(power_.take_event(), PowerEvent::none);
    bus_.out(kSleepControlPort, Width::byte, kSleepTypeS5 << 2 | 1 << 5);
    EXPECT_TRUE(attention_);
    EXPECT_EQ(power_.take_event(), PowerEvent::power_off);
    EXPECT_EQ(power_.take_event(), PowerEvent::none);
    EXPECT_EQ(bus_.in(kSleepControlPort, Width::word), 0U);
}

// [ICH10] 13.7.5.
TEST_F(PowerControlTest, ResetRegister) {
    bus_.out(kResetPort, Width::byte, 0x02);
    EXPECT_FALSE(attention_);
    EXPECT_EQ(bus_.in(kResetPort, Width::byte), 0x02U);
    bus_.out(kResetPort, Width::byte, kResetValue);
    EXPECT_TRUE(attention_);
    EXPECT_EQ(power_.take_event(), PowerEvent::reset);
}

// [ICH10] 13.7.3.
TEST_F(PowerControlTest, FastReset) {
    EXPECT_EQ(bus_.in(kSystemControlPort, Width::byte), 0x02U) << "address line 20 is there";
    bus_.out(kSystemControlPort, Width::byte, 0x02);
    EXPECT_FALSE(attention_);
    bus_.out(kSystemControlPort, Width::byte, 0x03);
    EXPECT_EQ(power_.take_event(), PowerEvent::reset);
    EXPECT_EQ(bus_.in(kSystemControlPort, Width::byte), 0x02U);
}

TEST_F(PowerControlTest, TheFirstEventStays) {
    bus_.out(kSleepControlPort, Width::byte, kSleepTypeS5 << 2 | 1 << 5);
    bus_.out(kResetPort, Width::byte, kResetValue);
    EXPECT_EQ(power_.take_event(), PowerEvent::power_off);
    EXPECT_EQ(power_.take_event(), PowerEvent::none);
}

}  // namespace
}  // namespace backplane
