#include "memory/page_window.h"

#include <gtest/gtest.h>

#include "memory/guest_memory.h"

namespace backplane {
namespace {

constexpr GuestPage kBase{0x4000};

/// Makes the page writable when it is asked to.
struct Resolver final : WriteResolver {
    explicit Resolver(PageMap& pages) : map{pages} {}
    bool make_writable(GuestPage page) override {
        PageEntry entry = map.lookup(page);
        entry.access = Access::read_write;
        entry.copy_on_write = false;
        map.replace(page, std::span{&entry, 1}).run();
        ++resolved;
        return true;
    }
    PageMap& map;
    unsigned resolved{0};
};

struct PageWindowTest : testing::Test {
    FramePool pool{*FramePool::create(16)};
    GuestMemory memory{pool};
    PageWindow window{4};
    FrameNumber frames{*pool.allocate(4)};
};

TEST_F(PageWindowTest, WhatChangesInTheWindowChangesWhereItIsShown) {
    window.place(memory.map(), kBase);
    EXPECT_EQ(memory.map().lookup(kBase).owner, OwnerState::none);
    window.pages().map(GuestPage{1}, frames, 2, OwnerState::owner_exclusive, Access::read_write).run();
    EXPECT_EQ(memory.map().lookup(GuestPage{kBase.value() + 1}).frame, frames);
    EXPECT_EQ(memory.map().lookup(GuestPage{kBase.value() + 3}).owner, OwnerState::none);
    window.remove();
    EXPECT_EQ(memory.map().lookup(GuestPage{kBase.value() + 1}).owner, OwnerState::none);
    window.remove();
    window.place(memory.map(), GuestPage{7});
    EXPECT_EQ(memory.map().lookup(GuestPage{8}).frame, frames);
    window.remove();
}

TEST_F(PageWindowTest, AStoreToACopyOnWritePageIsResolvedInTheWindow) {
    Resolver resolver{window.pages()};
    window.pages().add_write_resolver(resolver);
    PageEntry const entry{frames, OwnerState::owner_exclusive, Access::read, false, true};
    window.pages().replace(GuestPage{2}, std::span{&entry, 1}).run();
    window.place(memory.map(), kBase);
    GuestPhys const address = address_of(GuestPage{kBase.value() + 2});
    EXPECT_TRUE(memory.write_object(address, 5));
    EXPECT_EQ(resolver.resolved, 1u);
    EXPECT_TRUE(memory.write_object(address, 6));
    EXPECT_EQ(resolver.resolved, 1u);
    EXPECT_EQ(load<int>({pool.host(frames), kPageBytes}), 6);
    EXPECT_FALSE(memory.map().resolve_write(GuestPage{1}));
    window.remove();
}

TEST_F(PageWindowTest, AnotherWindowOfTheMachineDoesNotTakeItsStores) {
    Resolver resolver{window.pages()};
    window.pages().add_write_resolver(resolver);
    PageEntry const entry{frames, OwnerState::owner_exclusive, Access::read, false, true};
    window.pages().replace(GuestPage{2}, std::span{&entry, 1}).run();
    window.place(memory.map(), kBase);
    PageWindow other{1};
    GuestPage const beside{kBase.value() + 0x100};
    other.place(memory.map(), beside);
    GuestPhys const address = address_of(GuestPage{kBase.value() + 2});
    EXPECT_TRUE(memory.write_object(address, 5));
    EXPECT_EQ(resolver.resolved, 1u);
    window.pages().replace(GuestPage{2}, std::span{&entry, 1}).run();
    other.remove();
    EXPECT_TRUE(memory.write_object(address, 6));
    EXPECT_EQ(resolver.resolved, 2u);
    window.remove();
}

}  // namespace
}  // namespace backplane
