#include "device/rtc/cmos_clock.h"

#include <gtest/gtest.h>

#include <random>

namespace backplane {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

class CountingLine final : public LineInputs {
  public:
    void set_level(unsigned /*number*/, bool asserted) override {
        if (asserted && !level) ++edges;
        level = asserted;
    }
    bool level{false};
    unsigned edges{0};
};

class CmosClockTest : public testing::Test {
  protected:
    unsigned get(unsigned index) {
        rtc_.write(0, Width::byte, index);
        return static_cast<unsigned>(rtc_.read(1, Width::byte));
    }
    void set(unsigned index, unsigned value) {
        rtc_.write(0, Width::byte, index);
        rtc_.write(1, Width::byte, value);
    }
    void at(std::uint64_t ns) {
        while (clock_.next_deadline() <= Ticks{ns}) {
            clock_.advance_to(clock_.next_deadline());
            clock_.fire_due();
        }
        clock_.advance_to(Ticks{ns});
    }
    std::string date() {
        char text[32];
        std::snprintf(text, sizeof text, "%02x%02x-%02x-%02x %02x:%02x:%02x/%x", get(0x32), get(9), get(8), get(7),
                      get(4), get(2), get(0), get(6));
        return text;
    }
    MachineClock clock_;
    CountingLine line_;
    CmosClock rtc_{clock_, InterruptLine{line_, 8}};
};

TEST_F(CmosClockTest, TimeBeginsAtAFixedInstantAndFollowsVirtualTime) {
    EXPECT_EQ(date(), "2026-01-01 00:00:00/5") << "a Thursday";
    EXPECT_EQ(get(0x0d), 0x80U) << "the battery is good";
    at((59 * 86'400 + 23 * 3600 + 59 * 60 + 59) * kSecond);
    EXPECT_EQ(date(), "2026-03-01 23:59:59/1");
    at(60 * 86'400 * kSecond);
    EXPECT_EQ(date(), "2026-03-02 00:00:00/2");
}

TEST_F(CmosClockTest, SettingTheTime) {
    set(0x0b, 0x82);
    set(0x32, 0x20);
    set(9, 0x28);
    set(8, 0x02);
    set(7, 0x28);
    set(4, 0x23);
    set(2, 0x59);
    set(0, 0x58);
    at(5 * kSecond);
    EXPECT_EQ(get(0), 0x58U) << "SET stops it";
    set(0x0b, 0x02);
    EXPECT_EQ(date(), "2028-02-28 23:59:58/2");
    at(7 * kSecond);
    EXPECT_EQ(date(), "2028-02-29 00:00:00/3") << "a leap year";
}

// [MC146818] "Time, calendar and alarm locations".
TEST_F(CmosClockTest, BinaryAndTwelveHours) {
    at((13 * 3600 + 45 * 60) * kSecond);
    EXPECT_EQ(get(4), 0x13U);
    set(0x0b, 0x06);
    EXPECT_EQ(get(4), 13U);
    EXPECT_EQ(get(2), 45U);
    set(0x0b, 0x04);
    EXPECT_EQ(get(4), 0x81U) << "1 pm";
    set(0x0b, 0x00);
    set(4, 0x12);
    set(0x0b, 0x02);
    EXPECT_EQ(get(4), 0U) << "12 am is midnight";
}

TEST_F(CmosClockTest, TheUpdateInterruptComesEverySecond) {
    set(0x0b, 0x12);
    at(kSecond - 1);
    EXPECT_EQ(line_.edges, 0U);
    EXPECT_EQ(get(0x0a) & 0x80, 0x80U) << "update in progress";
    at(kSecond);
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(get(0x0a) & 0x80, 0U);
    at(3 * kSecond);
    EXPECT_EQ(line_.edges, 1U) << "register C was not read";
    EXPECT_EQ(get(0x0c) & 0x90, 0x90U);
    EXPECT_FALSE(line_.level);
    EXPECT_EQ(get(0x0c), 0U);
    at(4 * kSecond);
    EXPECT_EQ(line_.edges, 2U);
}

// [MC146818] table 3: rate 6 is 1024 Hz.
TEST_F(CmosClockTest, ThePeriodicInterrupt) {
    set(0x0a, 0x26);
    set(0x0b, 0x42);
    unsigned count = 0;
    while (clock_.next_deadline() <= Ticks{kSecond}) {
        clock_.advance_to(clock_.next_deadline());
        clock_.fire_due();
        ++count;
        EXPECT_EQ(get(0x0c) & 0xc0, 0xc0U);
    }
    EXPECT_EQ(count, 1024U);
    set(0x0a, 0x20);
    EXPECT_EQ(clock_.next_deadline(), Ticks::never()) << "rate 0";
}

TEST_F(CmosClockTest, TheAlarm) {
    set(5, 0x01);
    set(3, 0x02);
    set(1, 0x03);
    set(0x0b, 0x22);
    at(3722 * kSecond);
    EXPECT_FALSE(line_.level);
    at(3723 * kSecond);
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(get(0x0c) & 0xa0, 0xa0U);
    set(5, 0xff);  // every hour
    at(7322 * kSecond);
    EXPECT_FALSE(line_.level);
    at(7323 * kSecond);
    EXPECT_TRUE(line_.level);
    EXPECT_NE(get(0x0c), 0U);
    set(1, 0x99);
    EXPECT_EQ(clock_.next_deadline(), Ticks::never()) << "no such second";
}

TEST_F(CmosClockTest, FlagsAreSetWithoutInterrupts) {
    at(2 * kSecond);
    EXPECT_EQ(get(0x0c) & 0x10, 0x10U);
    EXPECT_EQ(line_.edges, 0U);
    EXPECT_EQ(clock_.next_deadline(), Ticks::never()) << "an idle clock wakes nobody";
}

TEST_F(CmosClockTest, Memory) {
    rtc_.set_memory(0x34, 0xab);
    EXPECT_EQ(get(0x34), 0xabU);
    set(0x7f, 0x12);
    EXPECT_EQ(get(0xff), 0x12U) << "bit 7 of the index masks the NMI";
    EXPECT_EQ(rtc_.read(0, Width::byte), 0xffU);
}

TEST_F(CmosClockTest, AnyGuestInputIsLegal) {
    std::mt19937 random{146818};
    for (int i = 0; i < 50'000; ++i) {
        if (random() % 2 == 0)
            set(random() % 16 == 0 ? 0x32 : random() % 16, random() & 0xff);
        else
            static_cast<void>(get(random() & 0xff));
        clock_.advance_to(clock_.now() + Ticks{random()});
        clock_.fire_due();
        EXPECT_GT(clock_.next_deadline(), clock_.now());
    }
}

}  // namespace
}  // namespace backplane
