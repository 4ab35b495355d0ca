#include "crossover/shared_window.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include "crossover/window_testing.h"

namespace backplane::testing {
namespace {

constexpr window::Layout kLayout{.peers = 3, .common_bytes = kPageBytes, .section_bytes = 2 * kPageBytes};
constexpr std::uint64_t section(std::uint32_t peer) { return kLayout.section_page(peer).value() * kPageBytes; }

TEST(SharedWindow, ClaimS24TransmitterAndReceiverAreOnePhysicalElement) {
    WindowRack rack{kLayout};
    for (std::uint64_t page = 0; page < kLayout.used_pages(); ++page) {
        GuestPage const here{(WindowGuest::kMemory >> kPageShift) + page};
        PageEntry const first = rack[0].memory.map().lookup(here);
        for (auto const& guest : rack.guests) EXPECT_EQ(guest->memory.map().lookup(here).frame, first.frame);
    }
    rack[1].store(section(1) + 8, 0x1234);
    EXPECT_EQ(rack[0].load(section(1) + 8), 0x1234U) << "with no barrier in between: nothing has to be moved";
    EXPECT_EQ(rack[2].load(section(1) + 8), 0x1234U);
}

TEST(SharedWindow, ASectionIsWrittenByItsOwnerOnly) {
    WindowRack rack{kLayout};
    rack[0].store(section(0), 7);
    for (std::size_t other : {1U, 2U}) {
        rack[other].store(section(0), 8);
        EXPECT_EQ(rack[other].load(section(0)), 7U);
        std::uint64_t const value = 9;
        EXPECT_FALSE(rack[other].memory.write_object(GuestPhys{WindowGuest::kMemory + section(0)}, value))
            << "nor by DMA";
        EXPECT_EQ(rack.shared.report(static_cast<std::uint32_t>(other)).counters.refused_stores, 1U);
    }
    EXPECT_EQ(rack[0].load(section(0)), 7U);
    EXPECT_EQ(rack.shared.report(0).counters.refused_stores, 0U);
}

TEST(SharedWindow, EachPageHasOneWriter) {
    WindowRack rack{kLayout};
    for (std::uint64_t page = kLayout.common_pages(); page < kLayout.used_pages(); ++page) {
        unsigned writers = 0;
        for (auto const& guest : rack.guests)
            writers += guest->device.window().pages().lookup(GuestPage{page}).access == Access::read_write;
        EXPECT_EQ(writers, 1U) << page;
    }
}

TEST(SharedWindow, ClaimS26TheCommonPartIsBothDirectionsInOneBuffer) {
    WindowRack rack{kLayout};
    rack[0].store(0, 1);
    EXPECT_EQ(rack[2].load(0), 1U);
    rack[2].store(0, 2);
    EXPECT_EQ(rack[0].load(0), 2U);
}

TEST(SharedWindow, BehindTheSectionsIsNothing) {
    WindowRack rack{kLayout};  // 7 pages in a BAR of 8
    rack[0].store(7 * kPageBytes, 1);
    EXPECT_EQ(rack[0].load(7 * kPageBytes), ~std::uint64_t{0});
    EXPECT_EQ(rack.shared.report(0).counters.refused_stores, 0U) << "that is a hole, and nobody's section";
}

TEST(SharedWindow, TheMemoryStaysTheSameWhenTheBarMoves) {
    WindowRack rack{kLayout};
    rack[0].store(section(0), 5);
    rack[1].config(pci::bar_offset(3), 0x41);
    EXPECT_EQ(rack[1].bus.read(GuestPhys{(std::uint64_t{0x41} << 32) + section(0)}, Width::qword), 5U);
    EXPECT_EQ(rack[1].load(section(0)), ~std::uint64_t{0});
    rack[1].bus.write(GuestPhys{(std::uint64_t{0x41} << 32) + section(0)}, Width::qword, 6);
    EXPECT_EQ(rack.shared.report(1).counters.refused_stores, 1U);
}

TEST(SharedWindow, ADoorbellIsHeardAtTheBarrier) {
    WindowRack rack{kLayout};
    rack[1].set(window::kInterruptMask, 1);
    rack[0].ring(1, 0);
    EXPECT_FALSE(rack[1].line.level);
    rack.shared.deliver();
    EXPECT_TRUE(rack[1].line.level);
    EXPECT_FALSE(rack[2].line.level);
    rack.shared.deliver();
    EXPECT_EQ(rack.shared.report(1).counters.heard, 1U) << "once";
}

TEST(SharedWindow, DoorbellsAreHeardInTheOrderOfTimeThenMachine) {
    WindowRack rack{kLayout, 4};
    rack[2].use_messages(4);
    rack[1].clock.advance_to(Ticks{10});
    rack[1].ring(2, 1);
    rack[1].clock.advance_to(Ticks{20});
    rack[1].ring(2, 2);
    rack[0].clock.advance_to(Ticks{20});
    rack[0].ring(2, 0);
    rack[2].clock.advance_to(Ticks{5});
    rack[2].ring(2, 3);  // to itself
    rack.shared.deliver();
    std::vector<std::uint32_t> heard;
    for (auto const& [address, data] : rack[2].messages.sent) heard.push_back(data);
    EXPECT_EQ(heard, (std::vector<std::uint32_t>{3, 1, 0, 2}));
}

TEST(SharedWindow, RungAgainIsTheSameDoorbell) {
    WindowRack rack{kLayout};
    for (int i = 0; i < 100'000; ++i) rack[0].ring(1, 0);
    rack.shared.deliver();
    EXPECT_EQ(rack.shared.report(0).counters.rung, 100'000U);
    EXPECT_EQ(rack.shared.report(0).counters.merged, 99'999U);
    EXPECT_EQ(rack.shared.report(1).counters.heard, 1U);
    rack[0].ring(1, 0);
    rack.shared.deliver();
    EXPECT_EQ(rack.shared.report(1).counters.heard, 2U);
}

TEST(SharedWindow, WhoHasEndedHearsNothingAndIsStillRead) {
    WindowRack rack{kLayout};
    rack[1].store(section(1), 3);
    rack.shared.peer_left(1);
    rack[0].ring(1, 0);
    rack[0].ring(7, 0);
    rack[0].ring(1, 2);
    rack.shared.deliver();
    EXPECT_EQ(rack.shared.report(0).counters.lost, 3U) << "ended, no such peer, no such vector";
    EXPECT_EQ(rack.shared.report(1).counters.heard, 0U);
    EXPECT_EQ(rack[0].load(section(1)), 3U);
}

TEST(SharedWindow, ClaimS24TheElementMayBeNoMemoryOfTheRack) {
    UniqueFd const file{::memfd_create("shared_window_test", MFD_CLOEXEC)};
    ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(kLayout.used_pages() * kPageBytes)), 0);
    std::uint64_t value = 4;
    ASSERT_EQ(::pwrite(file.get(), &value, sizeof value, static_cast<off_t>(section(0))), 8);
    WindowRack rack{kLayout, 2, file};
    EXPECT_EQ(rack[1].load(section(0)), 4U) << "it is as it was";
    rack[0].store(section(0) + 8, 5);
    ASSERT_EQ(::pread(file.get(), &value, sizeof value, static_cast<off_t>(section(0) + 8)), 8);
    EXPECT_EQ(value, 5U);
    EXPECT_EQ(rack[1].load(section(0) + 8), 5U);
    value = 6;
    ASSERT_EQ(::pwrite(file.get(), &value, sizeof value, static_cast<off_t>(section(2))), 8);
    for (std::size_t machine : {0U, 1U}) {
        EXPECT_EQ(rack[machine].load(section(2)), 6U);
        rack[machine].store(section(2), 7);
        EXPECT_EQ(rack[machine].load(section(2)), 6U) << "the section of who is outside";
        EXPECT_EQ(rack.shared.report(static_cast<std::uint32_t>(machine)).counters.refused_stores, 1U);
    }
    rack[0].ring(2, 0);
    rack.shared.deliver();
    EXPECT_EQ(rack.shared.report(0).counters.lost, 1U) << "who is outside has no bell";
}

TEST(SharedWindow, WithoutFramesThereIsNone) {
    FramePool pool{*FramePool::create(kLayout.used_pages() - 1)};
    EXPECT_FALSE(SharedWindow::create(kLayout, pool));
}

}  // namespace
}  // namespace backplane::testing
