#include "interrupt/io_apic.h"

#include <gtest/gtest.h>

#include "interrupt/local_apic.h"

namespace backplane {
namespace {

constexpr std::uint32_t kLevel = 1U << 15;
constexpr std::uint32_t kMasked = 1U << 16;
constexpr std::uint32_t kRemoteIrr = 1U << 14;

class IoApicTest : public testing::Test {
  protected:
    IoApicTest() { local_.write(0xf0, Width::dword, 0x1ff); }
    std::uint32_t read(std::uint8_t index) {
        io_.write(0x00, Width::dword, index);
        return static_cast<std::uint32_t>(io_.read(0x10, Width::dword));
    }
    void write(std::uint8_t index, std::uint32_t value) {
        io_.write(0x00, Width::dword, index);
        io_.write(0x10, Width::dword, value);
    }
    void set_entry(unsigned input, std::uint32_t low) { write(static_cast<std::uint8_t>(0x10 + 2 * input), low); }
    std::uint32_t entry(unsigned input) { return read(static_cast<std::uint8_t>(0x10 + 2 * input)); }
    /// The vector that the processor gets, 0 for none.
    unsigned taken() { return local_.interrupt_ready() ? local_.acknowledge().value() : 0; }
    void end_interrupt() { local_.write(0xb0, Width::dword, 0); }

    MachineClock clock_;
    TimeStampCounter counter_;
    ApicFabric fabric_;
    LocalApic local_{clock_, counter_, 0, fabric_};
    IoApic io_{fabric_};
};

// [82093AA] 3.2.1 to 3.2.4.
TEST_F(IoApicTest, RegistersReadAsTheManualSays) {
    EXPECT_EQ(read(0x01), 0x0017'0020U);
    write(0x00, 0xffff'ffff);
    EXPECT_EQ(read(0x00), 0x0f00'0000U);
    EXPECT_EQ(entry(0), kMasked);
    write(0x10, 0xffff'ffff);
    write(0x11, 0xffff'ffff);
    EXPECT_EQ(read(0x10), 0x0001'afffU) << "delivery status and remote IRR are read-only";
    EXPECT_EQ(read(0x11), 0xff00'0000U);
    write(0x40, 0x1234);
    EXPECT_EQ(read(0x40), 0U) << "no such register";
    io_.write(0, Width::dword, 0x10);
    EXPECT_EQ(io_.read(0x11, Width::byte), 0xafU);
}

TEST_F(IoApicTest, AnEdgeIsSentOnceForEachRise) {
    set_entry(4, 0x31);
    io_.set_level(4, true);
    io_.set_level(4, true);
    EXPECT_EQ(taken(), 0x31U);
    end_interrupt();
    EXPECT_EQ(taken(), 0U);
    io_.set_level(4, false);
    io_.set_level(4, true);
    EXPECT_EQ(taken(), 0x31U);
}

// [82093AA] 3.2.4, bit 16: an edge on a masked input is neither delivered nor held pending.
TEST_F(IoApicTest, AMaskedEdgeIsLost) {
    set_entry(4, 0x31 | kMasked);
    io_.set_level(4, true);
    set_entry(4, 0x31);
    EXPECT_EQ(taken(), 0U);
}

TEST_F(IoApicTest, ALevelIsSentWhenItIsUnmasked) {
    set_entry(16, 0x41 | kLevel | kMasked);
    io_.set_level(16, true);
    EXPECT_EQ(taken(), 0U);
    set_entry(16, 0x41 | kLevel);
    EXPECT_EQ(taken(), 0x41U);
}

// [82093AA] 3.2.4, bit 14; [SDM3A] 10.8.5.
TEST_F(IoApicTest, ALevelIsHeldUntilEndOfInterruptAndSentAgainWhileAsserted) {
    set_entry(16, 0x41 | kLevel);
    io_.set_level(16, true);
    EXPECT_TRUE(entry(16) & kRemoteIrr);
    io_.set_level(16, false);
    io_.set_level(16, true);
    EXPECT_EQ(taken(), 0x41U);
    EXPECT_EQ(taken(), 0U) << "remote IRR holds it back";
    end_interrupt();
    EXPECT_EQ(taken(), 0x41U) << "still asserted";
    io_.set_level(16, false);
    end_interrupt();
    EXPECT_EQ(taken(), 0U);
    EXPECT_FALSE(entry(16) & kRemoteIrr);
}

// [ICH10] 13.5.4; and the way without that register, switching to edge.
TEST_F(IoApicTest, RemoteIrrIsClearedByTheEoiRegisterAndByEdgeTriggering) {
    set_entry(16, 0x41 | kLevel);
    io_.set_level(16, true);
    io_.set_level(16, false);
    io_.write(0x40, Width::dword, 0x42);
    EXPECT_TRUE(entry(16) & kRemoteIrr) << "another vector";
    io_.write(0x40, Width::dword, 0x41);
    EXPECT_FALSE(entry(16) & kRemoteIrr);
    io_.set_level(16, true);
    EXPECT_TRUE(entry(16) & kRemoteIrr);
    set_entry(16, 0x41 | kMasked);
    EXPECT_FALSE(entry(16) & kRemoteIrr);
}

TEST_F(IoApicTest, EdgeInterruptsAreNotEndedByBroadcast) {
    set_entry(16, 0x41 | kLevel);
    io_.set_level(16, true);
    EXPECT_EQ(taken(), 0x41U);
    fabric_.send({.vector = Vector{0x41}});  // the same vector, edge-triggered, clears its TMR bit
    end_interrupt();
    EXPECT_TRUE(entry(16) & kRemoteIrr);
}

TEST_F(IoApicTest, ALevelThatNobodyTookIsSentWhenTheLocalApicIsEnabled) {
    local_.write(0xf0, Width::dword, 0xff);
    set_entry(16, 0x41 | kLevel);
    io_.set_level(16, true);
    EXPECT_FALSE(entry(16) & kRemoteIrr);
    local_.write(0xf0, Width::dword, 0x1ff);
    EXPECT_EQ(taken(), 0x41U);
}

TEST_F(IoApicTest, AnNmiIsAnEdgeWhateverTheTriggerModeSays) {
    set_entry(2, 0x400 | kLevel);
    io_.set_level(2, true);
    EXPECT_TRUE(local_.nmi_pending());
    local_.take_nmi();
    set_entry(2, 0x400 | kLevel);
    EXPECT_FALSE(local_.nmi_pending());
}

TEST_F(IoApicTest, InputsThatDoNotExistAreIgnored) {
    io_.set_level(24, true);
    io_.set_level(4'000'000'000U, true);
    EXPECT_FALSE(local_.interrupt_ready());
}

}  // namespace
}  // namespace backplane
