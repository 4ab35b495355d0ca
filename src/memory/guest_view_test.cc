#include "memory/guest_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace backplane {
namespace {

using testing::ElementsAre;

constexpr std::uint64_t kPages = 8;

class GuestViewTest : public testing::Test {
  protected:
    GuestViewTest() { EXPECT_TRUE(memory.add_ram(GuestPage{0}, kPages).has_value()); }
    void map(std::uint64_t page, FrameNumber frame, Access access = Access::read_write) {
        memory.map().map(GuestPage{page}, frame, 1, OwnerState::owner_exclusive, access).run();
    }
    [[nodiscard]] FrameNumber frame_of(std::uint64_t page) const { return memory.map().lookup(GuestPage{page}).frame; }

    FramePool pool{FramePool::create(kPages + 1).value()};
    GuestMemory memory{pool};
};

TEST_F(GuestViewTest, FollowsItsPageToAnotherFrame) {
    GuestView view{GuestPhys{3 * kPageBytes + 8}, 64};
    std::uint32_t value = 0;
    ASSERT_TRUE(view.write(memory, 0, std::uint32_t{0x11111111}));
    FrameNumber const old = frame_of(3);
    FrameNumber const fresh = pool.allocate(1).value();
    map(3, fresh);
    ASSERT_TRUE(view.read(memory, 0, value));
    EXPECT_EQ(value, 0U) << "of the page's old frame nothing is left";
    ASSERT_TRUE(view.write(memory, 0, std::uint32_t{0x22222222}));
    std::memcpy(&value, pool.host(old) + 8, sizeof value);
    EXPECT_EQ(value, 0x11111111U);
    memory.map().unmap(GuestPage{3}, 1).run();
    EXPECT_FALSE(view.read(memory, 0, value));
    EXPECT_FALSE(view.write(memory, 0, value));
}

/// Has code in all of page 2 and notes what is written there.
struct CodeOfPage2 final : TranslationObserver {
    void drop_pages(GuestPage, std::uint64_t) override {}
    void watch_stores(GuestPage) override {}
    void code_written(GuestPhys start, std::uint64_t) override { written.push_back(start.value()); }
    [[nodiscard]] bool covers(GuestPhys start, std::uint64_t) const override {
        return has_code && page_of(start) == GuestPage{2};
    }
    bool has_code{true};
    std::vector<std::uint64_t> written;
};

TEST_F(GuestViewTest, TellsOfStoresIntoCodeThatWasDecodedAfterTheFirstStore) {
    CodeOfPage2 cache;
    memory.map().add_observer(cache);
    GuestView view{GuestPhys{kPageBytes}, 2 * kPageBytes};
    ASSERT_TRUE(view.write(memory, kPageBytes, 1));
    EXPECT_TRUE(cache.written.empty());
    memory.map().mark_code(GuestPage{2});
    ASSERT_TRUE(view.write(memory, kPageBytes + 16, 2));
    ASSERT_TRUE(view.write(memory, 16, 3)) << "in page 1";
    EXPECT_THAT(cache.written, ElementsAre(2 * kPageBytes + 16));
    cache.has_code = false;
    memory.map().clear_code(GuestPage{2});
    ASSERT_TRUE(view.write(memory, kPageBytes, 4));
    EXPECT_EQ(cache.written.size(), 1U);
    memory.map().remove_observer(cache);
}

TEST_F(GuestViewTest, OutsideOfItIsNothing) {
    GuestView view{GuestPhys{kPageBytes}, 16};
    std::uint64_t value = 0;
    EXPECT_TRUE(view.read(memory, 8, value));
    EXPECT_DEATH((void)view.read(memory, 9, value), "within its view");
    GuestView nothing;
    EXPECT_DEATH((void)nothing.read(memory, 0, value), "within its view");
}

TEST_F(GuestViewTest, ARangeThatIsNoAddressFails) {
    for (std::uint64_t const start : {~std::uint64_t{0} - 7, std::uint64_t{1} << 39, (std::uint64_t{1} << 52) - 8}) {
        GuestView view{GuestPhys{start}, 4096};
        std::uint32_t value = 0;
        EXPECT_FALSE(view.read(memory, 0, value)) << start;
        EXPECT_FALSE(view.write(memory, 4, value)) << start;
    }
}

// The same as through GuestMemory, while pages are exchanged, taken away and made read-only between any two accesses.
TEST_F(GuestViewTest, IsWhatTheMemoryIsWhileTheMapChanges) {
    std::mt19937 random{42};
    auto const below = [&](std::uint64_t end) { return random() % end; };
    std::vector<FrameNumber> frames;
    for (std::uint64_t page = 0; page < kPages; ++page) frames.push_back(frame_of(page));
    unsigned reached = 0;
    for (int round = 0; round < 20000; ++round) {
        std::uint64_t const start = below(kPages * kPageBytes);
        std::uint64_t const bytes = 8 + below(3 * kPageBytes);
        GuestView view{GuestPhys{start}, bytes};
        for (int access = 0; access < 8; ++access) {
            std::uint64_t const offset = below(bytes - 7);
            std::uint64_t seen = 0, expected = 0;
            bool const is_readable = memory.read_object(GuestPhys{start + offset}, expected);
            ASSERT_EQ(view.read(memory, offset, seen), is_readable) << round;
            ASSERT_EQ(is_readable ? seen : 0, is_readable ? expected : 0) << round;
            reached += is_readable ? 1 : 0;
            std::uint64_t const value = (std::uint64_t{random()} << 32) | random();
            bool const is_written = view.write(memory, offset, value);
            ASSERT_EQ(is_written, memory.write_object(GuestPhys{start + offset}, value)) << round;
            std::uint64_t const page = below(kPages), other = below(kPages);
            if (below(4) == 0) {
                std::swap(frames[page], frames[other]);
                map(page, frames[page]);
                map(other, frames[other]);
            } else if (below(8) == 0) {
                map(page, frames[page], Access::read);
            } else if (below(8) == 0) {
                memory.map().unmap(GuestPage{page}, 1).run();
            }
        }
    }
    EXPECT_GT(reached, 20000U);
}

}  // namespace
}  // namespace backplane
