#include "device/e1000/e1000.h"

#include <gtest/gtest.h>

#include "device/e1000/testing.h"

namespace backplane {
namespace {

using namespace e1000;
using namespace e1000::testing;

class Wire final : public LineInputs {
  public:
    void set_level(unsigned number, bool asserted) override {
        if (number == 5) level = asserted;
    }
    bool level{false};
};

/// The card in a slot, its BARs where firmware would put them.
class E1000Test : public ::testing::Test {
  protected:
    static constexpr std::uint64_t kMemoryBar = 0xFEB00000;
    static constexpr std::uint16_t kPorts = 0xC000;

    E1000Test() : pool_{FramePool::create(16).value()}, memory_{pool_}, bus_{memory_}, card_{"eth0", kMac, clock_} {
        EXPECT_TRUE(memory_.add_ram(GuestPage{0}, 16).has_value());
        card_.connect(bus_, InterruptLine{wire_, 5});
        card_.write_config(0x10, Width::dword, kMemoryBar);
        card_.write_config(0x18, Width::dword, kPorts);
        card_.write_config(0x04, Width::word, 3);
    }
    std::uint64_t get(std::uint32_t offset) { return bus_.read(GuestPhys{kMemoryBar + offset}, Width::dword); }
    void set(std::uint32_t offset, std::uint32_t value) {
        bus_.write(GuestPhys{kMemoryBar + offset}, Width::dword, value);
    }

    MachineClock clock_;
    FramePool pool_;
    GuestMemory memory_;
    Bus bus_;
    Wire wire_;
    E1000 card_;
};

TEST_F(E1000Test, IdentityAndSizes) {
    EXPECT_EQ(card_.read_config(0, Width::dword), 0x100E8086U);
    EXPECT_EQ(card_.read_config(8, Width::dword) >> 8, 0x020000U);
    EXPECT_EQ(card_.read_config(0x3D, Width::byte), 1U);
    card_.write_config(0x10, Width::dword, 0xFFFFFFFF);
    EXPECT_EQ(card_.read_config(0x10, Width::dword), 0xFFFE0000U);
    EXPECT_EQ(card_.read_config(0x14, Width::dword), 0U);
    card_.write_config(0x18, Width::dword, 0xFFFFFFFF);
    EXPECT_EQ(card_.read_config(0x18, Width::dword), 0xFFFFFFC1U);
}

TEST_F(E1000Test, BothBarsReachTheRegisters) {
    set(kTdbah, 0x1234);
    bus_.out(PortNumber{kPorts}, Width::dword, kTdbah);
    EXPECT_EQ(bus_.in(PortNumber{kPorts + 4}, Width::dword), 0x1234U);
    bus_.out(PortNumber{kPorts}, Width::dword, kCtrl);
    bus_.out(PortNumber{kPorts + 4}, Width::dword, kCtrlRst);
    EXPECT_EQ(get(kTdbah), 0U);
}

TEST_F(E1000Test, InterruptPin) {
    card_.port().set_carrier(true);
    EXPECT_FALSE(wire_.level);
    set(kIms, kCauseLsc);
    EXPECT_TRUE(wire_.level);
    EXPECT_EQ(get(kIcr), kCauseLsc);
    EXPECT_FALSE(wire_.level);
}

TEST_F(E1000Test, DmaNeedsBusMastering) {
    card_.port().set_carrier(true);
    ASSERT_TRUE(memory_.write_object(GuestPhys{0x1000}, TransmitDescriptor{0x2000, 64 | kTxEop | kTxIfcs, 0}));
    set(kTdbal, 0x1000);
    set(kTdlen, 128);
    set(kTctl, kTctlEn);
    set(kTdt, 1);
    EXPECT_EQ(card_.port().front(), nullptr);
    card_.write_config(0x04, Width::word, 7);
    ASSERT_NE(card_.port().front(), nullptr);
    EXPECT_EQ(card_.port().front()->bytes, 64U);
    EXPECT_EQ(card_.counters().tail_moves, 1U);
}

TEST_F(E1000Test, MachineResetLeavesTheCable) {
    card_.port().set_carrier(true);
    set(kIms, kCauseLsc);
    card_.reset();
    EXPECT_FALSE(wire_.level);
    EXPECT_EQ(card_.read_config(0x10, Width::dword), 0U);
    EXPECT_EQ(card_.port().mac(), kMac);
    card_.write_config(0x10, Width::dword, kMemoryBar);
    card_.write_config(0x04, Width::word, 2);
    EXPECT_EQ(get(kStatus) & kStatusLu, kStatusLu);
}

}  // namespace
}  // namespace backplane
