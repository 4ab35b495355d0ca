#include "memory/guest_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace backplane {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// RAM in pages 0 to 7; page 2 is read-only, page 4 a hole, and the frames of pages 5 and 6 are exchanged.
class GuestMemoryTest : public testing::Test {
  protected:
    GuestMemoryTest() {
        EXPECT_TRUE(memory.add_ram(GuestPage{0}, 8).has_value());
        auto const frame = [&](std::uint64_t page) { return memory.map().lookup(GuestPage{page}).frame; };
        memory.map().map(GuestPage{2}, frame(2), 1, OwnerState::borrower_shared, Access::read).run();
        FrameNumber const five = frame(5);
        FrameNumber const six = frame(6);
        memory.map().map(GuestPage{5}, six, 1, OwnerState::owner_exclusive, Access::read_write).run();
        memory.map().map(GuestPage{6}, five, 1, OwnerState::owner_exclusive, Access::read_write).run();
        memory.map().unmap(GuestPage{4}, 1).run();
    }
    static std::vector<std::byte> pattern(std::size_t count) {
        std::vector<std::byte> bytes(count);
        for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 13 + 5);
        return bytes;
    }
    [[nodiscard]] bool writes(std::uint64_t at, std::size_t count) {
        return memory.write(GuestPhys{at}, pattern(count));
    }
    [[nodiscard]] bool reads(std::uint64_t at, std::size_t count) const {
        std::vector<std::byte> into(count);
        return memory.read(GuestPhys{at}, into);
    }

    FramePool pool{FramePool::create(8).value()};
    GuestMemory memory{pool};
};

TEST_F(GuestMemoryTest, AMachineTakesNoMoreThanThePoolHas) {
    EXPECT_FALSE(memory.add_ram(GuestPage{100}, 1).has_value());
    EXPECT_EQ(memory.map().lookup(GuestPage{100}).owner, OwnerState::none);
}

TEST_F(GuestMemoryTest, ReadsBackWhatWasWrittenAcrossFramesThatAreNoNeighbours) {
    auto const bytes = pattern(3 * kPageBytes);
    ASSERT_TRUE(memory.write(GuestPhys{5 * kPageBytes}, bytes));
    std::vector<std::byte> back(bytes.size());
    ASSERT_TRUE(memory.read(GuestPhys{5 * kPageBytes}, back));
    EXPECT_EQ(back, bytes);
    // and it lies where the page map says
    std::byte const* const page5 = pool.host(memory.map().lookup(GuestPage{5}).frame);
    EXPECT_TRUE(std::equal(page5, page5 + kPageBytes, bytes.begin()));
}

TEST_F(GuestMemoryTest, RefusesWhatIsNoRamAtItsFirstAndItsLastByte) {
    std::uint64_t const hole = 4 * kPageBytes;
    EXPECT_TRUE(reads(hole - 8, 8));
    EXPECT_FALSE(reads(hole - 8, 9));
    EXPECT_FALSE(reads(hole, 1));
    EXPECT_FALSE(reads(hole + kPageBytes - 1, 2));
    EXPECT_TRUE(reads(hole + kPageBytes, 1));
    EXPECT_FALSE(writes(hole, 1));
    EXPECT_TRUE(writes(8 * kPageBytes - 1, 1));
    EXPECT_FALSE(writes(8 * kPageBytes - 1, 2));
    EXPECT_FALSE(reads(~std::uint64_t{0} - 3, 8));  // wraps around the address space
    EXPECT_FALSE(reads(std::uint64_t{1} << 39, 1));
    EXPECT_TRUE(reads(hole, 0));
}

TEST_F(GuestMemoryTest, AReadOnlyPageCanBeReadOnly) {
    EXPECT_TRUE(reads(2 * kPageBytes, kPageBytes));
    EXPECT_FALSE(writes(2 * kPageBytes, 1));
    EXPECT_TRUE(memory.writable(GuestPhys{2 * kPageBytes}, 1).empty());
    EXPECT_EQ(memory.readable(GuestPhys{2 * kPageBytes}, 1).size(), 1u);
}

TEST_F(GuestMemoryTest, PiecesEndWhereHostMemoryDoes) {
    EXPECT_EQ(memory.readable(GuestPhys{0}, 100 * kPageBytes).size(), 4 * kPageBytes);  // up to the hole
    EXPECT_EQ(memory.writable(GuestPhys{0}, 100 * kPageBytes).size(), 2 * kPageBytes);  // up to the read-only page
    EXPECT_EQ(memory.readable(GuestPhys{5 * kPageBytes + 16}, 2 * kPageBytes).size(), kPageBytes - 16);
    EXPECT_EQ(memory.readable(GuestPhys{16}, 32).size(), 32u);
    EXPECT_TRUE(memory.readable(GuestPhys{0}, 0).empty());
}

TEST_F(GuestMemoryTest, TellsTheCodeCachesAboutWritesToCodeAlone) {
    struct Recorder final : TranslationObserver {
        void drop_pages(GuestPage, std::uint64_t) override {}
        void watch_stores(GuestPage) override {}
        void code_written(GuestPhys start, std::uint64_t bytes) override { written.emplace_back(start.value(), bytes); }
        std::vector<std::pair<std::uint64_t, std::uint64_t>> written;
    } observer;
    memory.map().add_observer(observer);
    memory.map().mark_code(GuestPage{6});
    ASSERT_TRUE(writes(5 * kPageBytes, 64));
    EXPECT_THAT(observer.written, IsEmpty());
    ASSERT_TRUE(writes(6 * kPageBytes - 4, 8));
    EXPECT_THAT(observer.written, ElementsAre(std::pair{6 * kPageBytes, std::uint64_t{4}}));
    memory.map().remove_observer(observer);
}

// The sum of pages over all machines and the pool never changes (docs/design/memory.md).
TEST(Pages, AreNeitherMadeNorLost) {
    FramePool pool = FramePool::create(64).value();
    GuestMemory first{pool}, second{pool};
    auto const pages_of = [](GuestMemory const& memory) {
        std::uint64_t count = 0;
        for (std::uint64_t page = 0; page < 256; ++page)
            count += memory.map().lookup(GuestPage{page}).owner == OwnerState::owner_exclusive ? 1 : 0;
        return count;
    };
    auto const sum = [&] { return pages_of(first) + pages_of(second) + pool.free_count(); };
    ASSERT_TRUE(first.add_ram(GuestPage{0}, 20).has_value());
    EXPECT_EQ(sum(), 64u);
    ASSERT_TRUE(second.add_ram(GuestPage{100}, 30).has_value());
    EXPECT_EQ(sum(), 64u);
    EXPECT_FALSE(first.add_ram(GuestPage{200}, 15).has_value());
    EXPECT_EQ(sum(), 64u);
    // A page moves from one machine to the other: away first, then there.
    FrameNumber const frame = first.map().lookup(GuestPage{3}).frame;
    first.map().unmap(GuestPage{3}, 1).run();
    second.map().map(GuestPage{3}, frame, 1, OwnerState::owner_exclusive, Access::read_write).run();
    EXPECT_EQ(sum(), 64u);
    EXPECT_EQ(pages_of(first), 19u);
    EXPECT_EQ(pages_of(second), 31u);
}

}  // namespace
}  // namespace backplane
