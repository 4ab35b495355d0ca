#include "interrupt/local_apic.h"

#include <gtest/gtest.h>

#include <random>

#include "interrupt/io_apic.h"

namespace backplane {
namespace {

constexpr std::uint64_t kX2apicMode = 0xfee0'0d00;  // bootstrap, enabled, x2APIC

class LocalApicTest : public testing::Test {
  protected:
    LocalApicTest() {
        for (LocalApic* apic : {&zero_, &one_, &two_}) apic->write(0xf0, Width::dword, 0x1ff);
    }
    static std::uint32_t read(LocalApic& apic, std::uint64_t offset) {
        return static_cast<std::uint32_t>(apic.read(offset, Width::dword));
    }
    static void write(LocalApic& apic, std::uint64_t offset, std::uint32_t value) {
        apic.write(offset, Width::dword, value);
    }
    static bool write_faults(LocalApic& apic, std::uint32_t msr, std::uint64_t value) {
        return !apic.write_msr(msr, value).has_value();
    }
    static bool read_faults(LocalApic& apic, std::uint32_t msr) { return !apic.read_msr(msr).has_value(); }
    static void request(LocalApic& apic, std::uint8_t vector) {
        static_cast<void>(apic.deliver({.vector = Vector{vector}}));
    }
    static unsigned taken(LocalApic& apic) { return apic.interrupt_ready() ? apic.acknowledge().value() : 0; }

    MachineClock clock_;
    TimeStampCounter counter_;
    ApicFabric fabric_;
    LocalApic zero_{clock_, counter_, 0, fabric_};
    LocalApic one_{clock_, counter_, 1, fabric_};
    LocalApic two_{clock_, counter_, 2, fabric_};
};

// [SDM3A] 10.4.7.1.
TEST_F(LocalApicTest, StateAfterPowerOn) {
    LocalApic apic{clock_, counter_, 3, fabric_};
    EXPECT_EQ(read(apic, 0x020), 0x0300'0000U);
    EXPECT_EQ(read(apic, 0x030), 0x0005'0014U);
    EXPECT_EQ(read(apic, 0x0e0), 0xffff'ffffU);
    EXPECT_EQ(read(apic, 0x0f0), 0xffU);
    for (std::uint64_t lvt = 0x320; lvt <= 0x370; lvt += 0x10) EXPECT_EQ(read(apic, lvt), 0x1'0000U) << lvt;
    for (std::uint64_t zero : {0x080, 0x0a0, 0x0d0, 0x100, 0x180, 0x200, 0x280, 0x300, 0x310, 0x380, 0x390, 0x3e0})
        EXPECT_EQ(read(apic, zero), 0U) << zero;
    EXPECT_EQ(apic.read_msr(0x1b).value(), 0xfee0'0800U);
    EXPECT_EQ(zero_.read_msr(0x1b).value(), 0xfee0'0900U);
}

// [SDM3A] 10.8.3, 10.8.4.
TEST_F(LocalApicTest, TheHighestRequestGoesIntoServiceAndBlocksItsClass) {
    request(zero_, 0x41);
    request(zero_, 0x52);
    request(zero_, 0x55);
    EXPECT_EQ(taken(zero_), 0x55U);
    EXPECT_EQ(read(zero_, 0x0a0), 0x50U);
    EXPECT_FALSE(zero_.interrupt_ready()) << "0x52 is of the class in service";
    EXPECT_EQ(read(zero_, 0x120), 0x20'0000U) << "ISR 0x40 to 0x5f";
    EXPECT_EQ(read(zero_, 0x220), 0x4'0002U) << "IRR 0x40 to 0x5f";
    request(zero_, 0x61);
    EXPECT_EQ(taken(zero_), 0x61U);
    write(zero_, 0xb0, 0);
    EXPECT_FALSE(zero_.interrupt_ready());
    write(zero_, 0xb0, 0);
    EXPECT_EQ(taken(zero_), 0x52U);
    write(zero_, 0xb0, 0);
    EXPECT_EQ(taken(zero_), 0x41U);
}

// [SDM3A] 10.8.3.1, 10.8.6.1.
TEST_F(LocalApicTest, TaskPriorityHoldsBackItsClassAndBelow) {
    zero_.set_task_priority(5);
    EXPECT_EQ(read(zero_, 0x080), 0x50U);
    request(zero_, 0x5f);
    EXPECT_FALSE(zero_.interrupt_ready());
    request(zero_, 0x60);
    EXPECT_TRUE(zero_.interrupt_ready());
    write(zero_, 0x080, 0x6f);
    EXPECT_EQ(zero_.task_priority(), 6U);
    EXPECT_EQ(zero_.processor_priority(), 0x6fU);
    EXPECT_FALSE(zero_.interrupt_ready());
    zero_.set_task_priority(0);
    EXPECT_EQ(taken(zero_), 0x60U);
}

// [SDM3A] 10.9.
TEST_F(LocalApicTest, NothingReadyGivesTheSpuriousVector) {
    write(zero_, 0xf0, 0x1ef);
    EXPECT_EQ(zero_.acknowledge().value(), 0xefU);
    EXPECT_EQ(read(zero_, 0x170), 0U) << "a spurious interrupt is not in service";
}

// [SDM3A] 10.4.7.2.
TEST_F(LocalApicTest, SoftwareDisableMasksTheTableAndRefusesFixedInterrupts) {
    write(zero_, 0x320, 0x40);
    write(zero_, 0xf0, 0xff);
    EXPECT_EQ(read(zero_, 0x320), 0x1'0040U);
    write(zero_, 0x320, 0x40);
    EXPECT_EQ(read(zero_, 0x320), 0x1'0040U) << "cannot be unmasked";
    request(zero_, 0x50);
    static_cast<void>(zero_.deliver({.mode = DeliveryMode::nmi}));
    write(zero_, 0xf0, 0x1ff);
    EXPECT_FALSE(zero_.interrupt_ready());
    EXPECT_TRUE(zero_.nmi_pending());
}

TEST_F(LocalApicTest, TimerInterruptsWithItsVectorUnlessMasked) {
    bool attention = false;
    zero_.set_wake_flag(&attention);
    write(zero_, 0x3e0, 0xb);
    write(zero_, 0x320, 0x2'0040);  // periodic
    write(zero_, 0x380, 5000);
    EXPECT_TRUE(attention) << "the deadline moved";
    attention = false;
    clock_.advance_to(Ticks{5000});
    clock_.fire_due();
    EXPECT_TRUE(attention);
    EXPECT_EQ(taken(zero_), 0x40U);
    write(zero_, 0xb0, 0);
    write(zero_, 0x320, 0x3'0040);
    clock_.advance_to(Ticks{10000});
    clock_.fire_due();
    EXPECT_FALSE(zero_.interrupt_ready());
    EXPECT_EQ(read(zero_, 0x390), 5000U);
}

TEST_F(LocalApicTest, TscDeadlineMsr) {
    write(zero_, 0x320, 0x4'0040);
    ASSERT_TRUE(zero_.write_msr(0x6e0, 700).has_value());
    EXPECT_EQ(zero_.read_msr(0x6e0).value(), 700U);
    counter_.add(100);
    zero_.time_stamp_counter_changed();
    EXPECT_EQ(clock_.next_deadline(), Ticks{600});
    clock_.advance_to(Ticks{600});
    clock_.fire_due();
    EXPECT_EQ(taken(zero_), 0x40U);
    EXPECT_EQ(zero_.read_msr(0x6e0).value(), 0U);
}

// [SDM3A] 10.6.1.
TEST_F(LocalApicTest, InterprocessorInterruptToAPhysicalDestination) {
    write(zero_, 0x310, 0x0200'0000);
    write(zero_, 0x300, 0x4051);
    EXPECT_EQ(taken(zero_), 0U);
    EXPECT_EQ(taken(one_), 0U);
    EXPECT_EQ(taken(two_), 0x51U);
    write(zero_, 0x310, 0xff00'0000);
    write(zero_, 0x300, 0x4052);
    for (LocalApic* apic : {&zero_, &one_}) EXPECT_EQ(taken(*apic), 0x52U);
    EXPECT_EQ(read(zero_, 0x300), 0x4052U) << "delivery status is idle";
}

// [SDM3A] table 10-3.
TEST_F(LocalApicTest, Shorthands) {
    write(one_, 0x300, 0x4'4051);
    EXPECT_EQ(taken(one_), 0x51U);
    EXPECT_EQ(taken(zero_), 0U);
    write(one_, 0x300, 0x8'4061);
    for (LocalApic* apic : {&zero_, &one_, &two_}) EXPECT_EQ(taken(*apic), 0x61U);
    write(one_, 0x300, 0xc'4071);
    EXPECT_EQ(taken(one_), 0U);
    EXPECT_EQ(taken(two_), 0x71U);
    write(one_, 0x300, 0xc'4400);
    EXPECT_TRUE(zero_.nmi_pending());
    EXPECT_FALSE(one_.nmi_pending());
    write(one_, 0x300, 0x4'4400);
    EXPECT_FALSE(one_.nmi_pending()) << "NMI to self is invalid";
}

// [SDM3A] 10.6.2.2.
TEST_F(LocalApicTest, LogicalDestinationsFlat) {
    write(one_, 0x0d0, 0x0200'0000);
    write(two_, 0x0d0, 0x0400'0000);
    EXPECT_TRUE(one_.matches(0x06, DestinationMode::logical));
    EXPECT_TRUE(two_.matches(0x06, DestinationMode::logical));
    EXPECT_FALSE(two_.matches(0x02, DestinationMode::logical));
    EXPECT_FALSE(zero_.matches(0x01, DestinationMode::logical)) << "its LDR is 0";
}

TEST_F(LocalApicTest, LogicalDestinationsCluster) {
    write(one_, 0x0e0, 0x0fff'ffff);
    EXPECT_EQ(read(one_, 0x0e0), 0x0fff'ffffU);
    write(one_, 0x0d0, 0x3200'0000);
    EXPECT_TRUE(one_.matches(0x32, DestinationMode::logical));
    EXPECT_TRUE(one_.matches(0x36, DestinationMode::logical));
    EXPECT_FALSE(one_.matches(0x31, DestinationMode::logical));
    EXPECT_FALSE(one_.matches(0x22, DestinationMode::logical));
    EXPECT_TRUE(one_.matches(0xf2, DestinationMode::logical)) << "all clusters";
}

TEST_F(LocalApicTest, LowestPriorityGoesToOneProcessor) {
    zero_.set_task_priority(4);
    one_.set_task_priority(2);
    two_.set_task_priority(3);
    fabric_.send({.vector = Vector{0x91}, .mode = DeliveryMode::lowest_priority, .destination = kBroadcastDestination});
    EXPECT_EQ(taken(one_), 0x91U);
    EXPECT_EQ(taken(zero_) + taken(two_), 0U);
}

// [SDM3A] 10.6.1: INIT and start-up.
TEST_F(LocalApicTest, InitAndStartup) {
    bool attention = false;
    one_.set_wake_flag(&attention);
    write(zero_, 0x310, 0x0100'0000);
    write(zero_, 0x300, 0x8500);
    EXPECT_FALSE(one_.take_init()) << "INIT level de-assert does nothing";
    write(zero_, 0x300, 0xc500);
    EXPECT_TRUE(attention);
    EXPECT_TRUE(one_.take_init());
    EXPECT_FALSE(one_.take_init());
    write(zero_, 0x300, 0x4699);
    EXPECT_EQ(one_.take_startup(), 0x99);
    EXPECT_EQ(one_.take_startup(), std::nullopt);
}

// [SDM3A] 10.5.3.
TEST_F(LocalApicTest, ErrorsAreLatchedByAWriteAndInterruptOnce) {
    write(zero_, 0x370, 0xe1);
    write(zero_, 0x300, 0x4'400f);
    EXPECT_EQ(read(zero_, 0x280), 0U) << "not before ESR is written";
    EXPECT_EQ(taken(zero_), 0xe1U);
    write(zero_, 0xb0, 0);
    request(zero_, 3);
    EXPECT_FALSE(zero_.interrupt_ready()) << "one interrupt until ESR is written";
    write(zero_, 0x280, 0);
    EXPECT_EQ(read(zero_, 0x280), 0x60U) << "send and receive illegal vector";
    static_cast<void>(read(zero_, 0x040));
    EXPECT_EQ(taken(zero_), 0xe1U);
    write(zero_, 0x280, 0);
    EXPECT_EQ(read(zero_, 0x280), 0x80U) << "illegal register address";
    write(zero_, 0x280, 0);
    EXPECT_EQ(read(zero_, 0x280), 0U);
}

TEST_F(LocalApicTest, AnErrorEntryWithAnIllegalVectorEnds) {
    write(zero_, 0x370, 0x05);
    request(zero_, 1);
    write(zero_, 0x280, 0);
    EXPECT_EQ(read(zero_, 0x280), 0x40U);
}

// [SDM3A] 10.4.1: 32-bit registers on 128-bit boundaries.
TEST_F(LocalApicTest, OddAccessesToThePage) {
    EXPECT_EQ(one_.read(0x020, Width::qword), 0x0100'0000U);
    EXPECT_EQ(one_.read(0x023, Width::byte), 0x01U);
    EXPECT_EQ(one_.read(0x024, Width::dword), 0U);
    one_.write(0x081, Width::byte, 0xff);
    one_.write(0x080, Width::word, 0xff);
    EXPECT_EQ(read(one_, 0x080), 0U) << "narrow writes are ignored";
    one_.write(0x080, Width::qword, 0xffff'ffff'0000'0030);
    EXPECT_EQ(read(one_, 0x080), 0x30U);
    write(one_, 0x020, 0x0700'0000);
    EXPECT_EQ(read(one_, 0x020), 0x0100'0000U);
}

// [SDM3A] 10.12.5, figure 10-27.
TEST_F(LocalApicTest, ModeChanges) {
    constexpr std::uint64_t kOff = 0xfee0'0100;
    constexpr std::uint64_t kXapic = 0xfee0'0900;
    EXPECT_TRUE(write_faults(zero_, 0x1b, 0xfee0'0500)) << "x2APIC without enable";
    EXPECT_TRUE(write_faults(zero_, 0x1b, 0xfed0'0900)) << "the page does not move";
    EXPECT_TRUE(write_faults(zero_, 0x1b, kXapic | 1)) << "reserved bit";
    EXPECT_TRUE(write_faults(zero_, 0x1b, kXapic | std::uint64_t{1} << 40)) << "beyond the physical addresses";
    EXPECT_FALSE(write_faults(zero_, 0x1b, kX2apicMode));
    EXPECT_TRUE(zero_.is_x2apic());
    EXPECT_TRUE(write_faults(zero_, 0x1b, kXapic)) << "x2APIC to xAPIC";
    EXPECT_EQ(zero_.read_msr(0x1b).value(), kX2apicMode);
    EXPECT_FALSE(write_faults(zero_, 0x1b, kOff));
    EXPECT_FALSE(zero_.is_enabled());
    EXPECT_FALSE(zero_.matches(kBroadcastDestination, DestinationMode::physical));
    EXPECT_TRUE(write_faults(zero_, 0x1b, kX2apicMode)) << "disabled to x2APIC";
    EXPECT_FALSE(write_faults(zero_, 0x1b, kXapic));
    EXPECT_EQ(read(zero_, 0x0f0), 0xffU) << "as after reset";
}

TEST_F(LocalApicTest, ThePageIsGoneInX2apicMode) {
    ASSERT_FALSE(write_faults(zero_, 0x1b, kX2apicMode));
    EXPECT_EQ(read(zero_, 0x030), 0xffff'ffffU);
    write(zero_, 0x080, 0x40);
    EXPECT_EQ(zero_.read_msr(0x808).value(), 0U);
}

TEST_F(LocalApicTest, InitKeepsTheModeAndClearsTheRest) {
    ASSERT_FALSE(write_faults(zero_, 0x1b, kX2apicMode));
    zero_.set_task_priority(9);
    request(zero_, 0xa1);
    zero_.reset(ResetKind::init);
    EXPECT_TRUE(zero_.is_x2apic());
    EXPECT_EQ(zero_.task_priority(), 0U);
    EXPECT_EQ(zero_.read_msr(0x825).value(), 0U);
    zero_.reset(ResetKind::power_on);
    EXPECT_FALSE(zero_.is_x2apic());
}

// [SDM3A] table 10-6.
TEST_F(LocalApicTest, X2apicRegisterRights) {
    EXPECT_TRUE(read_faults(zero_, 0x802)) << "not in xAPIC mode";
    ASSERT_FALSE(write_faults(one_, 0x1b, 0xfee0'0c00));
    EXPECT_EQ(one_.read_msr(0x802).value(), 1U);
    EXPECT_EQ(one_.read_msr(0x803).value(), 0x5'0014U);
    EXPECT_EQ(one_.read_msr(0x80d).value(), 0x2U) << "logical ID from the ID";
    for (std::uint32_t reserved : {0x800, 0x801, 0x804, 0x809, 0x80c, 0x80e, 0x829, 0x82f, 0x831, 0x83a, 0x840, 0x8ff})
        EXPECT_TRUE(read_faults(one_, reserved)) << std::hex << reserved;
    for (std::uint32_t write_only : {0x80b, 0x83f})
        EXPECT_TRUE(read_faults(one_, write_only)) << std::hex << write_only;
    for (std::uint32_t read_only : {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x81f, 0x827, 0x839})
        EXPECT_TRUE(write_faults(one_, read_only, 0)) << std::hex << read_only;
    EXPECT_TRUE(write_faults(one_, 0x80b, 1)) << "EOI takes only 0";
    EXPECT_TRUE(write_faults(one_, 0x828, 1)) << "ESR takes only 0";
    EXPECT_TRUE(write_faults(one_, 0x808, 0x100));
    EXPECT_TRUE(write_faults(one_, 0x808, std::uint64_t{1} << 32));
    EXPECT_TRUE(write_faults(one_, 0x830, 0x1000)) << "there is no delivery status";
    EXPECT_FALSE(write_faults(one_, 0x832, 0x4'00ec));
    EXPECT_FALSE(write_faults(one_, 0x808, 0x20));
    EXPECT_EQ(one_.task_priority(), 2U);
}

// [SDM3A] 10.12.9, 10.12.10, 10.12.11.
TEST_F(LocalApicTest, X2apicInterprocessorInterrupts) {
    for (LocalApic* apic : {&zero_, &one_, &two_})
        ASSERT_FALSE(write_faults(*apic, 0x1b, apic->read_msr(0x1b).value() | 0x400));
    EXPECT_FALSE(write_faults(zero_, 0x830, std::uint64_t{2} << 32 | 0x51));
    EXPECT_EQ(zero_.read_msr(0x830).value(), std::uint64_t{2} << 32 | 0x51);
    EXPECT_EQ(taken(two_), 0x51U);
    EXPECT_FALSE(write_faults(zero_, 0x830, std::uint64_t{6} << 32 | 0x861)) << "logical, cluster 0, members 1 and 2";
    EXPECT_EQ(taken(zero_), 0U);
    EXPECT_EQ(taken(one_), 0x61U);
    EXPECT_EQ(taken(two_), 0x61U);
    EXPECT_FALSE(zero_.matches(0x1'0001, DestinationMode::logical)) << "another cluster";
    EXPECT_FALSE(write_faults(zero_, 0x83f, 0x71));
    EXPECT_EQ(taken(zero_), 0x71U);
    EXPECT_FALSE(write_faults(zero_, 0x80b, 0));
    EXPECT_FALSE(write_faults(zero_, 0x83f, 0x05));
    EXPECT_FALSE(write_faults(zero_, 0x828, 0));
    EXPECT_EQ(zero_.read_msr(0x828).value(), 0x20U);
}

// [SDM3A] 10.11.
TEST_F(LocalApicTest, MessageSignalledInterrupts) {
    EXPECT_TRUE(fabric_.send_msi(GuestPhys{0xfee0'1000}, 0x4051));
    EXPECT_EQ(taken(one_), 0x51U);
    write(two_, 0x0d0, 0x0400'0000);
    EXPECT_TRUE(fabric_.send_msi(GuestPhys{0xfee0'4004}, 0x61));
    EXPECT_EQ(taken(two_), 0x61U);
    EXPECT_FALSE(fabric_.send_msi(GuestPhys{0xfed0'1000}, 0x71));
    EXPECT_FALSE(fabric_.send_msi(GuestPhys{0x1'fee0'1000}, 0x71));
    EXPECT_FALSE(fabric_.send_msi(GuestPhys{0xfee0'1000}, 0x8071)) << "a level de-assert";
    EXPECT_FALSE(fabric_.send_msi(GuestPhys{0xfee0'7000}, 0x71)) << "nobody there";
    EXPECT_EQ(taken(zero_) + taken(one_) + taken(two_), 0U);
}

TEST_F(LocalApicTest, TheWakeFlagIsSetWhenARequestBecomesReady) {
    bool attention = false;
    zero_.set_wake_flag(&attention);
    zero_.set_task_priority(8);
    request(zero_, 0x71);
    EXPECT_FALSE(attention);
    zero_.set_task_priority(0);
    EXPECT_TRUE(attention);
}

// Every register, every width, any value: no guest access may reach an abort or an endless loop.
TEST_F(LocalApicTest, RandomAccessesDoNoHarm) {
    IoApic io{fabric_};
    std::mt19937_64 random{20240612};
    std::array constexpr kWidths{Width::byte, Width::word, Width::dword, Width::qword};
    std::array<LocalApic*, 3> const apics{&zero_, &one_, &two_};
    for (int i = 0; i < 200'000; ++i) {
        LocalApic& apic = *apics[random() % 3];
        Width const width = kWidths[random() % 4];
        std::uint64_t const value = random() >> (random() % 64);
        switch (random() % 8) {
            case 0:
                static_cast<void>(apic.read(random() % 4096, width));
                break;
            case 1:
            case 2:
                apic.write(random() % 3 == 0 ? random() % 4096 : random() % 64 * 16, width, value & ones(width));
                break;
            case 3:
                static_cast<void>(apic.write_msr(static_cast<std::uint32_t>(0x800 + random() % 256), value));
                break;
            case 4:
                static_cast<void>(apic.write_msr(0x1b, 0xfee0'0000 | (random() & 0xfff)));
                break;
            case 5:
                io.write(random() % 2 == 0 ? random() % 4096 : random() % 2 * 16, width, value & ones(width));
                break;
            case 6:
                io.set_level(random() % 32, random() % 2 == 0);
                break;
            default:
                if (apic.interrupt_ready()) {
                    EXPECT_GE(apic.acknowledge().value(), 16U);
                }
                clock_.advance_to(clock_.now() + Ticks{random() % 10'000});
                clock_.fire_due();
                if (i % 64 == 0) apic.reset(ResetKind::power_on);
        }
        static_cast<void>(apic.read_msr(static_cast<std::uint32_t>(0x800 + random() % 256)));
    }
}

}  // namespace
}  // namespace backplane
