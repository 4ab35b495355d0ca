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

}  // namespace
}  // namespace backplane
