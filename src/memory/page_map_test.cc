#include "memory/page_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace backplane {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// Writes down what it is told.
struct Recorder final : TranslationObserver {
    void drop_pages(GuestPage first, std::uint64_t count) override {
        told.push_back("drop " + range(first.value(), count));
    }
    void watch_stores(GuestPage page) override { told.push_back("watch " + std::to_string(page.value())); }
    void code_written(GuestPhys start, std::uint64_t bytes) override {
        told.push_back("written " + range(start.value(), bytes));
    }
    static std::string range(std::uint64_t first, std::uint64_t count) {
        return std::to_string(first) + "+" + std::to_string(count);
    }
    std::vector<std::string> told;
};

void map_ram(PageMap& map, std::uint64_t page, std::uint32_t frame, std::uint64_t count) {
    map.map(GuestPage{page}, FrameNumber{frame}, count, OwnerState::owner_exclusive, Access::read_write).run();
}

TEST(PageMap, WhatWasNeverMappedIsAHole) {
    PageMap const map;
    for (std::uint64_t const page : {std::uint64_t{0}, std::uint64_t{512}, PageMap::kPageCount - 1, PageMap::kPageCount,
                                     ~std::uint64_t{0} >> kPageShift, ~std::uint64_t{0}}) {
        PageEntry const entry = map.lookup(GuestPage{page});
        EXPECT_EQ(entry.owner, OwnerState::none) << page;
        EXPECT_EQ(entry.access, Access::none) << page;
    }
}

TEST(PageMap, MapsConsecutiveFramesAcrossLeaves) {
    PageMap map;
    // Around the edges of a leaf (2 MiB), of a middle table (1 GiB), and at the end of the address space.
    for (std::uint64_t const page : {std::uint64_t{510}, (std::uint64_t{1} << 18) - 2, PageMap::kPageCount - 4}) {
        map_ram(map, page, 100, 4);
        for (std::uint32_t i = 0; i < 4; ++i) {
            PageEntry const entry = map.lookup(GuestPage{page + i});
            EXPECT_EQ(entry.frame, FrameNumber{100 + i});
            EXPECT_EQ(entry.owner, OwnerState::owner_exclusive);
            EXPECT_EQ(entry.access, Access::read_write);
        }
        EXPECT_EQ(map.lookup(GuestPage{page - 1}).owner, OwnerState::none);
        EXPECT_EQ(map.lookup(GuestPage{page + 4}).owner, OwnerState::none);
    }
}

TEST(PageMap, UnmapMakesHolesOfWhatIsThere) {
    PageMap map;
    map_ram(map, 10, 0, 4);
    map.unmap(GuestPage{11}, 2).run();
    EXPECT_EQ(map.lookup(GuestPage{10}).owner, OwnerState::owner_exclusive);
    EXPECT_EQ(map.lookup(GuestPage{11}).owner, OwnerState::none);
    EXPECT_EQ(map.lookup(GuestPage{12}).access, Access::none);
    EXPECT_EQ(map.lookup(GuestPage{13}).owner, OwnerState::owner_exclusive);
    map.unmap(GuestPage{100'000}, 8).run();  // a hole stays one
    EXPECT_EQ(map.lookup(GuestPage{100'000}).owner, OwnerState::none);
}

TEST(PageMap, OwnerAndAccessAreKeptAsGiven) {
    PageMap map;
    map.map(GuestPage{1}, FrameNumber{7}, 1, OwnerState::borrower_shared, Access::read).run();
    EXPECT_EQ(map.lookup(GuestPage{1}).owner, OwnerState::borrower_shared);
    EXPECT_EQ(map.lookup(GuestPage{1}).access, Access::read);
    map.map(GuestPage{1}, FrameNumber{7}, 1, OwnerState::owner_lent, Access::none).run();
    EXPECT_EQ(map.lookup(GuestPage{1}).owner, OwnerState::owner_lent);
    EXPECT_EQ(map.lookup(GuestPage{1}).access, Access::none);
}

TEST(Shootdown, TellsEveryObserverWhenItIsRunAndNotBefore) {
    PageMap map;
    Recorder first, second;
    map.add_observer(first);
    map.add_observer(second);
    Shootdown owed = map.map(GuestPage{5}, FrameNumber{0}, 3, OwnerState::owner_exclusive, Access::read_write);
    EXPECT_THAT(first.told, IsEmpty());
    owed.run();
    EXPECT_THAT(first.told, ElementsAre("drop 5+3"));
    EXPECT_THAT(second.told, ElementsAre("drop 5+3"));
    map.remove_observer(second);
    map.unmap(GuestPage{6}, 1).run();
    EXPECT_THAT(first.told, ElementsAre("drop 5+3", "drop 6+1"));
    EXPECT_THAT(second.told, ElementsAre("drop 5+3"));
}

TEST(Shootdown, CanBeHandedOn) {
    PageMap map;
    Recorder observer;
    map.add_observer(observer);
    Shootdown owed = map.unmap(GuestPage{1}, 1);
    Shootdown heir{std::move(owed)};  // the first one owes nothing any more and may go
    heir.run();
    EXPECT_THAT(observer.told, ElementsAre("drop 1+1"));
}

TEST(ShootdownDeathTest, MustBeRunOnce) {
    PageMap map;
    EXPECT_DEATH({ Shootdown const forgotten = map.unmap(GuestPage{1}, 1); }, "an owed invalidation was run");
    EXPECT_DEATH(
        {
            Shootdown owed = map.unmap(GuestPage{1}, 1);
            owed.run();
            owed.run();
        },
        "an owed invalidation is run once");
}

TEST(PageMapDeathTest, MapsNothingBeyondTheAddressSpace) {
    PageMap map;
    EXPECT_DEATH(map_ram(map, PageMap::kPageCount, 0, 1), "within the physical address space");
}

TEST(PageMap, CodeMarksAreToldOnceAndClearedByARemap) {
    PageMap map;
    Recorder observer;
    map_ram(map, 3, 0, 1);
    map.add_observer(observer);
    map.mark_code(GuestPage{3});
    map.mark_code(GuestPage{3});
    map.mark_code(GuestPage{4});  // a hole has no code
    EXPECT_THAT(observer.told, ElementsAre("watch 3"));
    EXPECT_TRUE(map.lookup(GuestPage{3}).has_code);
    EXPECT_FALSE(map.lookup(GuestPage{4}).has_code);
    map.report_code_write(GuestPhys{0x3010}, 2);
    EXPECT_THAT(observer.told, ElementsAre("watch 3", "written 12304+2"));
    map.clear_code(GuestPage{3});
    EXPECT_FALSE(map.lookup(GuestPage{3}).has_code);
    map.mark_code(GuestPage{3});
    map_ram(map, 3, 1, 1);
    EXPECT_FALSE(map.lookup(GuestPage{3}).has_code);
}

/// A cache with code of page 3.
struct CodeOfPage3 final : TranslationObserver {
    void drop_pages(GuestPage, std::uint64_t) override { has_code = false; }
    void watch_stores(GuestPage) override {}
    void code_written(GuestPhys, std::uint64_t) override {}
    [[nodiscard]] bool covers(GuestPhys start, std::uint64_t) const override {
        ++questions;
        return has_code && page_of(start).value() == 3;
    }
    bool has_code{true};
    mutable int questions{0};
};

TEST(PageMap, APageKeepsItsMarkWhileAnotherCacheHasCodeOfIt) {
    PageMap map;
    CodeOfPage3 other;
    map_ram(map, 3, 0, 2);
    map.add_observer(other);
    map.mark_code(GuestPage{3});
    map.mark_code(GuestPage{4});
    map.clear_code(GuestPage{3});
    map.clear_code(GuestPage{4});
    EXPECT_TRUE(map.lookup(GuestPage{3}).has_code);
    EXPECT_FALSE(map.lookup(GuestPage{4}).has_code);
}

// Its invalidation takes the code, so no cache need be asked: pages change hands in nanoseconds.
TEST(PageMap, ReplacedPagesHaveNoCode) {
    PageMap map;
    CodeOfPage3 cache;
    map_ram(map, 3, 0, 2);
    map.add_observer(cache);
    map.mark_code(GuestPage{3});
    PageEntry const entry{FrameNumber{7}, OwnerState::owner_exclusive, Access::read_write};
    map.replace(GuestPage{3}, std::vector{entry, entry}).run();
    EXPECT_FALSE(map.lookup(GuestPage{3}).has_code);
    EXPECT_FALSE(map.lookup(GuestPage{4}).has_code);
    EXPECT_EQ(cache.questions, 0);
}

TEST(PageMap, ARunEndsAtAnotherFrameAtLessAccessAndAtAHole) {
    PageMap map;
    map_ram(map, 510, 10, 4);  // over the end of a leaf
    map_ram(map, 514, 20, 1);
    auto const count = [&](std::uint64_t page, std::uint64_t most, Access needed = Access::read_write) {
        return map.run(GuestPage{page}, most, needed).count;
    };
    EXPECT_EQ(count(510, 8), 4U);
    EXPECT_EQ(count(510, 3), 3U);
    EXPECT_EQ(count(513, 8), 1U) << "the next frame is no neighbour";
    EXPECT_EQ(count(514, 8), 1U) << "then a hole";
    EXPECT_EQ(count(515, 8), 0U);
    EXPECT_EQ(count(509, 8), 0U);
    EXPECT_EQ(count(PageMap::kPageCount - 1, 8), 0U);
    EXPECT_EQ(count(~std::uint64_t{0}, 8), 0U);
    EXPECT_EQ(map.run(GuestPage{511}, 8, Access::read).first, FrameNumber{11});
    map.map(GuestPage{512}, FrameNumber{12}, 1, OwnerState::borrower_shared, Access::read).run();
    EXPECT_EQ(count(510, 8), 2U);
    EXPECT_EQ(count(510, 8, Access::read), 4U);
    EXPECT_EQ(count(512, 8), 0U);
}

TEST(PageMap, EachChangeOfAnEntryMakesAnotherGeneration) {
    PageMap map;
    CodeOfPage3 cache;
    map.add_observer(cache);
    std::uint64_t before = map.generation();
    auto const has_changed = [&] { return std::exchange(before, map.generation()) != before; };
    map_ram(map, 3, 0, 2);
    EXPECT_TRUE(has_changed());
    map.mark_code(GuestPage{3});
    EXPECT_TRUE(has_changed());
    EXPECT_TRUE(map.run(GuestPage{3}, 2, Access::read).has_code);
    EXPECT_EQ(map.run(GuestPage{3}, 2, Access::read).count, 2U);
    EXPECT_FALSE(map.run(GuestPage{4}, 2, Access::read).has_code);
    map.mark_code(GuestPage{3});
    EXPECT_FALSE(has_changed()) << "it was marked already";
    map.clear_code(GuestPage{3});
    EXPECT_TRUE(has_changed());
    PageEntry const entry{FrameNumber{7}, OwnerState::owner_exclusive, Access::read_write};
    map.replace(GuestPage{3}, std::vector{entry}).run();
    EXPECT_TRUE(has_changed());
    map.unmap(GuestPage{3}, 1).run();
    EXPECT_TRUE(has_changed());
    map.remove_observer(cache);
}

}  // namespace
}  // namespace backplane
