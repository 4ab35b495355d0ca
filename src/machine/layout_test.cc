#include "machine/layout.h"

#include <gtest/gtest.h>

namespace backplane {
namespace {

std::uint64_t backed_bytes(std::uint64_t memory_bytes) {
    std::uint64_t sum = 0;
    for (MemoryRange const& range : ram_ranges(memory_bytes)) sum += range.bytes;
    return sum;
}

TEST(Layout, SmallMachineHasItsMemoryBelow4GiB) {
    std::uint64_t const hole = kRomArea - kConventionalEnd;
    EXPECT_EQ(backed_bytes(256 * kMiB), 256 * kMiB - hole);
    EXPECT_EQ(ram_ranges(256 * kMiB).back().start, kHighMemory);
    EXPECT_EQ(low_memory_end(256 * kMiB), GuestPhys{256 * kMiB});
}

TEST(Layout, MemoryBeyond3GiBMovesAbove4GiB) {
    MemoryRange const top = ram_ranges(5 * kGiB).back();
    EXPECT_EQ(top.start, kMemoryAbove4GiB);
    EXPECT_EQ(top.bytes, 2 * kGiB);
    EXPECT_EQ(low_memory_end(5 * kGiB), kLowMemoryLimit);
    EXPECT_EQ(ram_ranges(3 * kGiB).size(), 3U);
}

TEST(Layout, MemoryMapIsAscendingAndDisjointAndLeavesThePciWindowsAlone) {
    for (std::uint64_t bytes : {kMinMemoryBytes, 3 * kGiB, 3 * kGiB + kMiB, kMaxMemoryBytes}) {
        GuestPhys end{0};
        for (MemoryRange const& range : memory_map(bytes)) {
            EXPECT_GE(range.start, end);
            EXPECT_GT(range.bytes, 0U);
            EXPECT_EQ(range.start.page_offset() + (range.bytes & kPageMask), 0U);
            end = range.start + range.bytes;
            EXPECT_TRUE(end <= kPciWindow32 || range.start >= kPciWindow32 + kPciWindow32Bytes);
        }
        EXPECT_LE(end, kPciWindow64);
    }
}

TEST(Layout, RefusesAbsurdMemorySizes) {
    EXPECT_TRUE(check_memory_size(kMinMemoryBytes));
    EXPECT_TRUE(check_memory_size(kMaxMemoryBytes));
    for (std::uint64_t bytes :
         {std::uint64_t{0}, kMiB, kMinMemoryBytes + 1, kMaxMemoryBytes + kMiB, ~std::uint64_t{0}}) {
        EXPECT_FALSE(check_memory_size(bytes)) << bytes;
    }
}

}  // namespace
}  // namespace backplane
