#include "mmu/tlb.h"

#include <gtest/gtest.h>

namespace backplane {
namespace {

using Table = TlbTable<TlbEntry, 16>;

bool hits(Table& table, std::uint64_t address) { return table.slot(address).tag == (address & ~kPageMask); }

TEST(Tlb, AnEmptySlotMatchesNoAddress) {
    Table table;
    // Each of these would index the slot that is looked at; none may match, at either end of the address space.
    for (std::uint64_t page = 0; page < 64; ++page) {
        EXPECT_FALSE(hits(table, page << kPageShift)) << page;
        EXPECT_FALSE(hits(table, ~std::uint64_t{0} - (page << kPageShift))) << page;
    }
}

TEST(Tlb, FindsWhatWasInsertedUntilItIsFlushed) {
    Table table;
    table.insert(0x5123, 0x100, false);
    EXPECT_TRUE(hits(table, 0x5fff));
    EXPECT_EQ(table.slot(0x5000).addend, 0x100u);
    EXPECT_FALSE(hits(table, 0x1'5000));  // the same slot, another page
    table.flush_page(0x1'5000);
    EXPECT_TRUE(hits(table, 0x5000));
    table.flush_page(0x5abc);
    EXPECT_FALSE(hits(table, 0x5000));
    table.insert(0x5000, 0x100, true);
    table.flush();
    EXPECT_FALSE(hits(table, 0x5000));
    table.insert(0x5000, 0x100, true);  // and a flush after a flush still works
    table.flush();
    EXPECT_FALSE(hits(table, 0x5000));
}

TEST(Tlb, GlobalEntriesSurviveAChangeOfAddressSpace) {
    Table table;
    table.insert(0x1000, 0, true);
    table.insert(0x2000, 0, false);
    table.flush_non_global();
    EXPECT_TRUE(hits(table, 0x1000));
    EXPECT_FALSE(hits(table, 0x2000));
    table.insert(0x1'1000, 0, false);  // takes the slot of a global entry
    table.flush_non_global();
    EXPECT_FALSE(hits(table, 0x1'1000));
}

TEST(Tlb, FindsTheAliasesOfAFrame) {
    Table table;
    table.insert(0x1000, 0x7000 - 0x1000, false);
    table.insert(0x3000, 0x7000 - 0x3000, true);
    table.insert(0x4000, 0x8000 - 0x4000, false);
    table.flush_if([](TlbEntry const& entry) { return entry.tag + entry.addend == 0x7000; });
    EXPECT_FALSE(hits(table, 0x1000));
    EXPECT_FALSE(hits(table, 0x3000));
    EXPECT_TRUE(hits(table, 0x4000));
}

TEST(Tlb, EntriesWaitOnAShelf) {
    Table table;
    std::vector<TlbEntry> shelf;
    table.insert(0x1000, 1, true);
    table.insert(0x2000, 2, false);
    table.insert(0x3000, 3, true);
    table.insert(0x3000, 4, false);  // no longer global
    table.insert(0x5000, 5, false);
    table.flush_page(0x5000);
    table.shelve(shelf);
    EXPECT_EQ(shelf.size(), 2u);
    EXPECT_TRUE(hits(table, 0x1000));
    EXPECT_FALSE(hits(table, 0x2000));
    EXPECT_FALSE(hits(table, 0x3000));
    table.insert(0x1'2000, 6, false);  // another address space uses the slot
    table.unshelve(shelf);
    EXPECT_TRUE(shelf.empty());
    EXPECT_FALSE(hits(table, 0x1'2000));
    EXPECT_EQ(table.slot(0x2000).addend, 2u);
    EXPECT_EQ(table.slot(0x3000).addend, 4u);
    EXPECT_FALSE(table.holds_global(0x3000));
    table.flush_non_global();
    EXPECT_FALSE(hits(table, 0x2000));
}

// Against a plain list, with few hash values and slots, so that everything collides.
TEST(WriteTlb, ForgetsAllThatLeadToAHostPage) {
    WriteTlbTable<16> table;
    std::uint64_t random = 1;
    auto const next = [&](std::uint64_t below) {
        random = random * 6364136223846793005 + 1442695040888963407;
        return (random >> 33) % below;
    };
    auto const host_of = [](std::uint64_t n) { return 0x7000'0000'0000 + n * kPageBytes * 1024 * (n & 1) + n * kPageBytes; };
    for (unsigned i = 0; i < 20'000; ++i) {
        std::uint64_t const page = next(40) << kPageShift;
        switch (next(8)) {
            default: table.insert(page, host_of(next(6)) - page, next(2) != 0); break;
            case 0: table.flush_non_global(); break;
            case 1: table.flush_page(page); break;
            case 2: {
                std::uint64_t const host = host_of(next(6));
                table.flush_host_page(host);
                for (std::uint64_t slot = 0; slot < 16; ++slot) {
                    TlbEntry const& entry = table.slot(slot << kPageShift);
                    ASSERT_NE(entry.tag + entry.addend, host) << i;
                }
            }
        }
    }
}

}  // namespace
}  // namespace backplane
