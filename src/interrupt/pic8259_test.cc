#include "interrupt/pic8259.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "clock/machine_clock.h"
#include "clock/time_stamp_counter.h"
#include "interrupt/local_apic.h"
#include "memory/frame_pool.h"

namespace backplane {
namespace {

constexpr unsigned kNone = 0xffff;

class PicTest : public testing::Test {
  protected:
    PicTest() {
        EXPECT_TRUE(pic_.attach(bus_).has_value());
        initialize(0x20, 0x20, 4);
        initialize(0xa0, 0x28, 2);
    }
    void initialize(std::uint16_t port, std::uint8_t base, std::uint8_t cascade, std::uint8_t word4 = 1) {
        out(port, 0x11);
        out(port + 1, base);
        out(port + 1, cascade);
        out(port + 1, word4);
    }
    void out(unsigned port, std::uint8_t value) {
        bus_.out(PortNumber{static_cast<std::uint16_t>(port)}, Width::byte, value);
    }
    unsigned in(std::uint16_t port) { return static_cast<unsigned>(bus_.in(PortNumber{port}, Width::byte)); }
    void pulse(unsigned input) {
        pic_.set_level(input, true);
        pic_.set_level(input, false);
    }
    void raise(unsigned input) { pic_.set_level(input, true); }
    unsigned taken() { return pic_.is_asserted() ? pic_.acknowledge().value() : kNone; }

    FramePool pool_{std::move(FramePool::create(8).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    PicPair pic_;
};

// [8259A] "Fully nested mode".
TEST_F(PicTest, TheLowerInputComesFirstAndBlocksWhatIsAboveIt) {
    raise(4);
    raise(1);
    EXPECT_EQ(taken(), 0x21U);
    EXPECT_EQ(taken(), kNone) << "4 waits for the end of 1";
    raise(0);
    EXPECT_EQ(taken(), 0x20U) << "nested";
    out(0x20, 0x20);
    EXPECT_EQ(taken(), kNone);
    out(0x20, 0x20);
    EXPECT_EQ(taken(), 0x24U);
}

TEST_F(PicTest, InputsBehindTheCascade) {
    raise(8);
    raise(14);
    EXPECT_EQ(taken(), 0x28U);
    EXPECT_EQ(taken(), kNone);
    out(0xa0, 0x20);
    out(0x20, 0x20);
    EXPECT_EQ(taken(), 0x2eU);
    out(0xa0, 0x20);
    out(0x20, 0x20);
    EXPECT_EQ(taken(), kNone);
}

TEST_F(PicTest, TheCascadeRanksAsInputTwo) {
    raise(3);
    raise(12);
    EXPECT_EQ(taken(), 0x2cU);
    raise(1);
    EXPECT_EQ(taken(), 0x21U);
}

TEST_F(PicTest, AMaskedInputWaits) {
    out(0x21, 0x10);
    raise(4);
    EXPECT_EQ(taken(), kNone);
    EXPECT_EQ(in(0x21), 0x10U);
    out(0x20, 0x0a);
    EXPECT_EQ(in(0x20), 0x10U) << "IRR";
    out(0x21, 0);
    EXPECT_EQ(taken(), 0x24U);
    out(0x20, 0x0b);
    EXPECT_EQ(in(0x20), 0x10U) << "ISR";
}

// [8259A] "Edge and level triggered modes": an edge asks once; a line that falls too early is spurious.
TEST_F(PicTest, AnEdgeAsksOnce) {
    raise(4);
    EXPECT_EQ(taken(), 0x24U);
    out(0x20, 0x20);
    EXPECT_EQ(taken(), kNone) << "still high";
    pulse(4);
    EXPECT_EQ(taken(), kNone) << "gone before it was acknowledged";
    EXPECT_EQ(pic_.acknowledge().value(), 0x27U) << "spurious";
    out(0x20, 0x0b);
    EXPECT_EQ(in(0x20), 0U) << "and not in service";
}

// [ICH10] 13.4.9.
TEST_F(PicTest, ALevelAsksUntilItFalls) {
    bus_.out(PortNumber{0x4d0}, Width::word, 0x0c20);
    EXPECT_EQ(bus_.in(PortNumber{0x4d0}, Width::word), 0x0c20U);
    for (unsigned input : {5U, 11U}) {
        raise(input);
        for (int i = 0; i < 2; ++i) {
            EXPECT_EQ(taken(), 0x20 + input);
            out(0xa0, 0x20);
            out(0x20, 0x20);
        }
        pic_.set_level(input, false);
        EXPECT_EQ(taken(), kNone);
    }
    bus_.out(PortNumber{0x4d0}, Width::word, 0xffff);
    EXPECT_EQ(bus_.in(PortNumber{0x4d0}, Width::word), 0xdef8U) << "0, 1, 2, 8 and 13 are edges";
}

TEST_F(PicTest, SpecificEndAndRotation) {
    raise(3);
    EXPECT_EQ(taken(), 0x23U);
    raise(1);
    EXPECT_EQ(taken(), 0x21U);
    out(0x20, 0x63);  // ends 3 alone
    out(0x20, 0x0b);
    EXPECT_EQ(in(0x20), 2U);
    out(0x20, 0xa0);  // ends 1 and gives it the lowest priority
    pulse(1);
    raise(6);
    pic_.set_level(1, true);
    EXPECT_EQ(taken(), 0x26U) << "2 to 7 before 0 and 1";
    out(0x20, 0xe6);
    EXPECT_EQ(taken(), 0x21U);
}

TEST_F(PicTest, AutomaticEnd) {
    initialize(0x20, 0x40, 4, 3);
    raise(4);
    EXPECT_EQ(taken(), 0x44U);
    raise(5);
    EXPECT_EQ(taken(), 0x45U) << "nothing was in service";
}

TEST_F(PicTest, SpecialMaskModeLetsOthersThrough) {
    raise(1);
    EXPECT_EQ(taken(), 0x21U);
    raise(4);
    out(0x21, 0x02);
    EXPECT_EQ(taken(), kNone);
    out(0x20, 0x68);
    EXPECT_EQ(taken(), 0x24U);
}

TEST_F(PicTest, Poll) {
    out(0x20, 0x0c);
    EXPECT_EQ(in(0x20), 0U);
    raise(4);
    out(0x20, 0x0c);
    EXPECT_EQ(in(0x20), 0x84U);
    EXPECT_EQ(taken(), kNone) << "in service";
}

TEST_F(PicTest, NothingComesBeforeInitialization) {
    pic_.reset();
    raise(4);
    EXPECT_EQ(taken(), kNone);
    out(0x20, 0x11);
    EXPECT_EQ(taken(), kNone);
}

// Any bytes at any port: nothing breaks, and what is acknowledged is a vector of one of the two.
TEST_F(PicTest, AnyGuestInputIsLegal) {
    std::mt19937 random{8259};
    for (int i = 0; i < 100'000; ++i) {
        unsigned const choice = random() % 4;
        std::uint16_t const ports[]{0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
        if (choice == 0) out(ports[random() % 6], static_cast<std::uint8_t>(random()));
        if (choice == 1) pic_.set_level(random() % 20, random() % 2 != 0);
        if (choice == 2) static_cast<void>(in(ports[random() % 6]));
        if (choice == 3) static_cast<void>(taken());
    }
}

// [SDM3A] 10.4.3, 10.5.1: how the vector comes to the processor.
TEST_F(PicTest, TheLocalApicPassesItOn) {
    MachineClock clock;
    TimeStampCounter counter;
    ApicFabric fabric;
    LocalApic apic{clock, counter, 0, fabric};
    bool woken = false;
    pic_.set_listener([&] { apic.lint0_changed(); });
    apic.connect_lint0(pic_);
    apic.set_wake_flag(&woken);
    constexpr std::uint64_t kLint0Register = 0x350;
    EXPECT_EQ(apic.read(kLint0Register, Width::dword), 0x700U) << "virtual wire";

    raise(4);
    EXPECT_TRUE(woken);
    ASSERT_TRUE(apic.interrupt_ready());
    EXPECT_EQ(apic.acknowledge().value(), 0x24U);
    EXPECT_FALSE(apic.interrupt_ready());

    out(0x20, 0x20);
    apic.write(0xf0, Width::dword, 0x1ff);
    apic.write(kLint0Register, Width::dword, 0x1'0700);
    raise(3);
    EXPECT_FALSE(apic.interrupt_ready()) << "masked";
    apic.write(kLint0Register, Width::dword, 0x700);
    EXPECT_TRUE(apic.interrupt_ready());
    apic.set_task_priority(15);
    EXPECT_TRUE(apic.interrupt_ready()) << "no APIC priority applies";
    apic.write(kLint0Register, Width::dword, 0x1'0700);
    ASSERT_TRUE(apic.write_msr(0x1b, 0xfee0'0100).has_value());
    EXPECT_TRUE(apic.interrupt_ready()) << "switched off: LINT0 is INTR";
}

}  // namespace
}  // namespace backplane
