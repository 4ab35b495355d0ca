#include "bus/bus.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace backplane {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Writes down every access; reads answer 0x1122334455667788, whatever the width.
class RecordingBank final : public RegisterBank {
  public:
    explicit RecordingBank(std::string name) : name_{std::move(name)} {}
    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override {
        accesses.push_back(fmt::format("r{}@{}", bytes_in(width), offset));
        return 0x1122'3344'5566'7788;
    }
    void write(std::uint64_t offset, Width width, std::uint64_t value) override {
        accesses.push_back(fmt::format("w{}@{}={}", bytes_in(width), offset, value));
    }
    std::vector<std::string> accesses;

  private:
    std::string name_;
};

/// RAM from 0 to 0x4000; `device` at 0x8000 to 0x80ff.
class BusTest : public testing::Test {
  protected:
    BusTest() {
        EXPECT_TRUE(memory.add_ram(GuestPage{0}, 4).has_value());
        EXPECT_TRUE(bus.attach(GuestPhys{0x8000}, 0x100, device).has_value());
    }
    FramePool pool{FramePool::create(8).value()};
    GuestMemory memory{pool};
    Bus bus{memory};
    RecordingBank device{"device"};
    RecordingBank other{"other"};
};

TEST_F(BusTest, ADeviceGetsOffsetsAndItsAnswerIsCutToTheWidth) {
    EXPECT_EQ(bus.read(GuestPhys{0x8010}, Width::byte), 0x88u);
    EXPECT_EQ(bus.read(GuestPhys{0x8010}, Width::word), 0x7788u);
    EXPECT_EQ(bus.read(GuestPhys{0x8010}, Width::dword), 0x5566'7788u);
    EXPECT_EQ(bus.read(GuestPhys{0x80f8}, Width::qword), 0x1122'3344'5566'7788u);
    bus.write(GuestPhys{0x8000}, Width::byte, 0x1ff);
    EXPECT_THAT(device.accesses, ElementsAre("r1@16", "r2@16", "r4@16", "r8@248", "w1@0=255"));
    EXPECT_EQ(bus.unclaimed_count(), 0u);
    EXPECT_EQ(bus.access_count(), 5u);
}

TEST_F(BusTest, AnAccessWithTwoOwnersIsMadeOfBytes) {
    ASSERT_TRUE(bus.attach(GuestPhys{0x8100}, 0x10, other).has_value());
    bus.write(GuestPhys{0x80fe}, Width::dword, 0x0403'0201);
    EXPECT_THAT(device.accesses, ElementsAre("w1@254=1", "w1@255=2"));
    EXPECT_THAT(other.accesses, ElementsAre("w1@0=3", "w1@1=4"));
}

TEST_F(BusTest, AnAccessHalfBeyondADeviceReadsOnesThere) {
    EXPECT_EQ(bus.read(GuestPhys{0x7ffe}, Width::dword), 0x8888'ffffu);
    EXPECT_EQ(bus.unclaimed_count(), 2u);
}

TEST_F(BusTest, WhatNobodyClaimsReadsOnesAndDropsWrites) {
    EXPECT_EQ(bus.read(GuestPhys{0x5000}, Width::word), 0xffffu);
    EXPECT_EQ(bus.read(GuestPhys{~std::uint64_t{0} - 1}, Width::qword), ~std::uint64_t{0});  // wraps around
    bus.write(GuestPhys{std::uint64_t{1} << 50}, Width::qword, 1);
    EXPECT_EQ(bus.in(PortNumber{0x80}, Width::byte), 0xffu);
    bus.out(PortNumber{0xffff}, Width::dword, 0);
    EXPECT_GE(bus.unclaimed_count(), 5u);
}

TEST_F(BusTest, RamIsRamAndIsNotCounted) {
    bus.write(GuestPhys{0xffc}, Width::qword, 0x0102'0304'0506'0708);
    EXPECT_EQ(bus.read(GuestPhys{0xffe}, Width::dword), 0x0304'0506u);
    EXPECT_EQ(bus.access_count(), 0u);
}

TEST_F(BusTest, ABankHidesTheRamBelowIt) {
    EXPECT_TRUE(bus.is_plain_ram(GuestPage{1}));
    ASSERT_TRUE(bus.attach(GuestPhys{0x1ff0}, 0x20, other).has_value());
    EXPECT_TRUE(bus.is_plain_ram(GuestPage{0}));
    EXPECT_FALSE(bus.is_plain_ram(GuestPage{1}));
    EXPECT_FALSE(bus.is_plain_ram(GuestPage{2}));
    EXPECT_TRUE(bus.is_plain_ram(GuestPage{3}));
    EXPECT_FALSE(bus.is_plain_ram(GuestPage{4}));
    EXPECT_EQ(bus.read(GuestPhys{0x2000}, Width::byte), 0x88u);
    bus.write(GuestPhys{0x2010}, Width::byte, 7);
    EXPECT_EQ(bus.read(GuestPhys{0x2010}, Width::byte), 7u);
    bus.detach(GuestPhys{0x1ff0}, device);  // another one's: nothing happens
    EXPECT_FALSE(bus.is_plain_ram(GuestPage{1}));
    bus.detach(GuestPhys{0x1ff0}, other);
    EXPECT_TRUE(bus.is_plain_ram(GuestPage{1}));
    EXPECT_EQ(bus.read(GuestPhys{0x2000}, Width::byte), 0u);
}

TEST_F(BusTest, RefusesBanksThatAreEmptyWrapOrOverlap) {
    struct Case {
        std::uint64_t base, bytes;
        char const* words;
    };
    for (Case const c : {Case{0x9000, 0, "empty"}, Case{~std::uint64_t{0}, 2, "wraps"},
                         Case{0x80ff, 1, "overlaps device"}, Case{0x7fff, 2, "overlaps device"},
                         Case{0x7000, 0x10000, "overlaps device"}, Case{0x8010, 4, "overlaps device"}}) {
        auto const result = bus.attach(GuestPhys{c.base}, c.bytes, other);
        ASSERT_FALSE(result.has_value()) << c.words;
        EXPECT_THAT(result.error().message, HasSubstr(c.words));
    }
    EXPECT_TRUE(bus.attach(GuestPhys{0x8100}, 1, other).has_value());
    EXPECT_TRUE(bus.attach(GuestPhys{0x7fff}, 1, other).has_value());
}

TEST_F(BusTest, PortsAreASpaceOfTheirOwn) {
    ASSERT_TRUE(bus.attach_ports(PortNumber{0x60}, 4, other).has_value());
    EXPECT_EQ(bus.in(PortNumber{0x61}, Width::byte), 0x88u);
    bus.out(PortNumber{0x62}, Width::dword, 0x0403'0201);  // two of the four bytes are there
    EXPECT_THAT(other.accesses, ElementsAre("r1@1", "w1@2=1", "w1@3=2"));
    EXPECT_FALSE(bus.attach_ports(PortNumber{0x63}, 1, device).has_value());
    bus.detach_ports(PortNumber{0x60}, other);
    EXPECT_EQ(bus.in(PortNumber{0x61}, Width::byte), 0xffu);
}

struct Seen final : BusObserver {
    void accessed(BusAccess const& access) override {
        char const direction = access.direction == BusAccess::Direction::read ? 'r' : 'w';
        lines.push_back(fmt::format("{} {} {}={}", access.device, direction, access.address, access.value));
    }
    std::vector<std::string> lines;
};

TEST_F(BusTest, ObserversSeeEveryAccessThatIsNotRam) {
    Seen seen, also;
    bus.add_observer(seen);
    bus.add_observer(also);
    bus.write(GuestPhys{0x8004}, Width::dword, 9);
    bus.write(GuestPhys{0x100}, Width::dword, 9);
    (void)bus.in(PortNumber{5}, Width::byte);
    bus.remove_observer(seen);
    bus.write(GuestPhys{0x8004}, Width::dword, 9);
    EXPECT_THAT(seen.lines, ElementsAre("device w 32772=9", "- r 5=255"));
    EXPECT_EQ(also.lines.size(), 3u);
}

}  // namespace
}  // namespace backplane
