#include "device/pit/pit8254.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "clock/frequency.h"
#include "memory/frame_pool.h"

namespace backplane {
namespace {

class CountingLine final : public LineInputs {
  public:
    void set_level(unsigned /*number*/, bool asserted) override {
        if (asserted && !level) ++edges;
        level = asserted;
    }
    bool level{false};
    unsigned edges{0};
};

class PitTest : public testing::Test {
  protected:
    PitTest() { EXPECT_TRUE(pit_.attach(bus_).has_value()); }
    void out(std::uint16_t port, unsigned value) { bus_.out(PortNumber{port}, Width::byte, value); }
    unsigned in(std::uint16_t port) { return static_cast<unsigned>(bus_.in(PortNumber{port}, Width::byte)); }
    void program(unsigned counter, unsigned mode, unsigned count, unsigned bcd = 0) {
        out(0x43, counter << 6 | 0x30 | mode << 1 | bcd);
        out(static_cast<std::uint16_t>(0x40 + counter), count & 0xff);
        out(static_cast<std::uint16_t>(0x40 + counter), count >> 8);
    }
    unsigned latched(unsigned counter) {
        out(0x43, counter << 6);
        unsigned const low = in(static_cast<std::uint16_t>(0x40 + counter));
        return low | in(static_cast<std::uint16_t>(0x40 + counter)) << 8;
    }
    /// Lets `cycles` of the counters pass since the last start().
    void start() { origin_ = cycles_at(clock_.now(), kPitHertz); }
    void at_cycle(std::uint64_t cycles) {
        Ticks const end = time_of_cycle(origin_ + cycles, kPitHertz);
        while (clock_.next_deadline() <= end) {
            clock_.advance_to(clock_.next_deadline());
            clock_.fire_due();
        }
        clock_.advance_to(end);
    }
    bool output2() { return (in(0x61) & 0x20) != 0; }

    FramePool pool_{std::move(FramePool::create(8).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    MachineClock clock_;
    CountingLine line_;
    Pit8254 pit_{clock_, InterruptLine{line_, 0}};
    std::uint64_t origin_{0};
};

// [8254] "Mode 2": a period of N cycles.
TEST_F(PitTest, RateGeneratorInterruptsEveryPeriod) {
    program(0, 2, 1000);
    start();
    line_.edges = 0;
    at_cycle(999);
    EXPECT_EQ(line_.edges, 0U);
    at_cycle(1000);
    EXPECT_EQ(line_.edges, 1U);
    at_cycle(10'000);
    EXPECT_EQ(line_.edges, 10U);
    EXPECT_EQ(latched(0), 1000U);
    at_cycle(10'001);
    EXPECT_EQ(latched(0), 999U);
    at_cycle(10'999);
    EXPECT_EQ(latched(0), 1U);
}

// A PC's 18.2 Hz: count 0 is 65536.
TEST_F(PitTest, CountZeroIsTheLargest) {
    program(0, 3, 0);
    start();
    line_.edges = 0;
    at_cycle(65'535);
    EXPECT_EQ(line_.edges, 0U);
    at_cycle(2 * 65'536);
    EXPECT_EQ(line_.edges, 2U);
}

TEST_F(PitTest, SquareWaveCountsByTwo) {
    program(0, 3, 10);
    start();
    at_cycle(1);
    EXPECT_EQ(latched(0), 8U);
    at_cycle(6);
    EXPECT_EQ(latched(0), 8U) << "the second half";
}

// [8254] "Mode 0": the output rises once, the count goes on.
TEST_F(PitTest, InterruptOnTerminalCount) {
    program(0, 0, 100);
    start();
    EXPECT_FALSE(line_.level);
    at_cycle(99);
    EXPECT_FALSE(line_.level);
    at_cycle(100);
    EXPECT_TRUE(line_.level);
    at_cycle(300);
    EXPECT_EQ(line_.edges, 1U);
    EXPECT_EQ(latched(0), 65'536U - 200);
}

// [8254] "Mode 4": what Linux uses for one-shot interrupts.
TEST_F(PitTest, SoftwareStrobe) {
    program(0, 4, 50);
    start();
    line_.edges = 0;
    at_cycle(50);
    EXPECT_EQ(line_.edges, 0U);
    at_cycle(51);
    EXPECT_EQ(line_.edges, 1U);
    at_cycle(200'000);
    EXPECT_EQ(line_.edges, 1U) << "once";
}

TEST_F(PitTest, BcdCounts) {
    program(0, 2, 0x1000, 1);
    start();
    at_cycle(1);
    EXPECT_EQ(latched(0), 0x999U);
    program(0, 0, 0, 1);
    start();
    at_cycle(1);
    EXPECT_EQ(latched(0), 0x9999U) << "0 is 10000";
}

// [8254] "Counter latch command": it stays until it has been read.
TEST_F(PitTest, ALatchedCountStays) {
    program(0, 2, 1000);
    start();
    at_cycle(100);
    out(0x43, 0);
    at_cycle(200);
    out(0x43, 0);
    EXPECT_EQ(in(0x40), 900U & 0xff);
    EXPECT_EQ(in(0x40), 900U >> 8);
    EXPECT_EQ(in(0x40), 800U & 0xff) << "then it is live again";
}

TEST_F(PitTest, ReadBackGivesStatusFirst) {
    program(0, 2, 1000);
    start();
    at_cycle(1);
    out(0x43, 0xc2);
    EXPECT_EQ(in(0x40), 0xb4U) << "output high, count loaded, both bytes, mode 2";
    EXPECT_EQ(in(0x40), 999U & 0xff);
    EXPECT_EQ(in(0x40), 999U >> 8);
    out(0x43, 0x30);
    out(0x43, 0xe2);
    EXPECT_EQ(in(0x40), 0x70U) << "null count";
}

TEST_F(PitTest, OneByteAccess) {
    out(0x43, 0x14);
    out(0x40, 100);
    start();
    at_cycle(1);
    EXPECT_EQ(in(0x40), 99U);
    EXPECT_EQ(in(0x40), 99U);
}

// [ICH10] 13.7.1: how firmware and kernels measure their clock, with counter 2 and its gate.
TEST_F(PitTest, CounterTwoBehindItsGate) {
    out(0x61, 0);
    program(2, 0, 100);
    start();
    at_cycle(1000);
    EXPECT_FALSE(output2()) << "the gate holds it";
    EXPECT_EQ(latched(2), 100U);
    out(0x61, 1);
    start();
    at_cycle(99);
    EXPECT_FALSE(output2());
    at_cycle(100);
    EXPECT_TRUE(output2());
    EXPECT_EQ(in(0x61) & 0x0f, 1U);
    EXPECT_EQ(line_.edges, 0U) << "only counter 0 interrupts";
}

TEST_F(PitTest, TheGateTriggersModeOne) {
    program(2, 1, 100);
    EXPECT_TRUE(output2());
    out(0x61, 1);
    start();
    EXPECT_FALSE(output2());
    at_cycle(100);
    EXPECT_TRUE(output2());
    out(0x61, 0);
    out(0x61, 1);
    EXPECT_FALSE(output2()) << "again";
}

TEST_F(PitTest, TheRefreshBitToggles) {
    unsigned const first = in(0x61) & 0x10;
    clock_.advance_to(microseconds(15));
    EXPECT_NE(in(0x61) & 0x10, first);
}

TEST_F(PitTest, ResetStopsIt) {
    program(0, 2, 1000);
    pit_.reset();
    EXPECT_EQ(clock_.next_deadline(), Ticks::never());
}

// Any bytes at any port, at any time: no counter ever asks for a deadline that does not move.
TEST_F(PitTest, AnyGuestInputIsLegal) {
    std::mt19937 random{8254};
    for (int i = 0; i < 100'000; ++i) {
        auto const port = static_cast<std::uint16_t>(random() % 5 == 0 ? 0x61 : 0x40 + random() % 4);
        if (random() % 2 == 0) {
            out(port, random() & 0xff);
        } else {
            static_cast<void>(in(port));
        }
        clock_.advance_to(clock_.now() + Ticks{random() % 2000});
        clock_.fire_due();
        EXPECT_GT(clock_.next_deadline(), clock_.now());
    }
}

}  // namespace
}  // namespace backplane
