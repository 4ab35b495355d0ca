#include "memory/frame_pool.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/unique_fd.h"

namespace backplane {
namespace {

bool is_zero(FramePool const& pool, FrameNumber first, std::uint64_t count) {
    std::byte const* const bytes = pool.host(first);
    return std::all_of(bytes, bytes + count * kPageBytes, [](std::byte byte) { return byte == std::byte{0}; });
}
void soil(FramePool const& pool, FrameNumber first, std::uint64_t count) {
    std::memset(pool.host(first), 0xa5, count * kPageBytes);
}

TEST(FramePool, RefusesSizesThatNoRackHas) {
    EXPECT_FALSE(FramePool::create(0).has_value());
    EXPECT_FALSE(FramePool::create(std::uint64_t{1} << 32).has_value());
}

TEST(FramePool, GivesZeroedFramesThatDoNotOverlap) {
    auto pool = FramePool::create(16).value();
    FrameNumber const a = pool.allocate(4).value();
    soil(pool, a, 4);
    FrameNumber const b = pool.allocate(12).value();
    EXPECT_TRUE(is_zero(pool, b, 12));
    EXPECT_EQ(pool.free_count(), 0u);
    EXPECT_FALSE(pool.allocate(1).has_value());
}

TEST(FramePool, ZeroesWhatComesBack) {
    // 512 frames and more go back to the host, fewer are zeroed in place: both ways.
    for (std::uint64_t const count : {1u, 511u, 512u, 700u}) {
        auto pool = FramePool::create(count).value();
        FrameNumber const first = pool.allocate(count).value();
        soil(pool, first, count);
        pool.release(first, count);
        FrameNumber const again = pool.allocate(count).value();
        EXPECT_EQ(again, first);
        EXPECT_TRUE(is_zero(pool, again, count)) << count;
    }
}

TEST(FramePool, MergesNeighboursInAnyOrderOfRelease) {
    std::array<std::uint32_t, 4> order{0, 1, 2, 3};
    do {
        auto pool = FramePool::create(8).value();
        std::array<FrameNumber, 4> parts;
        for (FrameNumber& part : parts) part = pool.allocate(2).value();
        for (std::uint32_t const i : order) pool.release(parts[i], 2);
        EXPECT_EQ(pool.free_count(), 8u);
        EXPECT_TRUE(pool.allocate(8).has_value()) << testing::PrintToString(order);
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST(FramePool, RefusesARunThatOnlyTheSumOfHolesWouldFill) {
    auto pool = FramePool::create(6).value();
    FrameNumber const first = pool.allocate(2).value();
    FrameNumber const middle = pool.allocate(2).value();
    FrameNumber const last = pool.allocate(2).value();
    pool.release(first, 2);
    pool.release(last, 2);
    EXPECT_EQ(pool.free_count(), 4u);
    EXPECT_FALSE(pool.allocate(3).has_value());
    EXPECT_FALSE(pool.allocate(0).has_value());
    EXPECT_EQ(pool.free_count(), 4u);
    pool.release(middle, 2);
    EXPECT_TRUE(pool.allocate(6).has_value());
}

TEST(FramePoolDeathTest, AFrameIsReleasedOnce) {
    auto pool = FramePool::create(8).value();
    FrameNumber const first = pool.allocate(4).value();
    EXPECT_DEATH(pool.release(FrameNumber{6}, 4), "released frames lie in the pool");
    EXPECT_DEATH(pool.release(FrameNumber{4}, 1), "a frame is released once");
    pool.release(first, 2);
    EXPECT_DEATH(pool.release(FrameNumber{1}, 2), "a frame is released once");
}

/// A file without a name, and its bytes as others have them.
struct SharedFile {
    explicit SharedFile(std::size_t bytes) : fd{::memfd_create("frame_pool_test", MFD_CLOEXEC)} {
        EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
    }
    [[nodiscard]] char at(off_t offset) const {
        char byte = 0;
        EXPECT_EQ(::pread(fd.get(), &byte, 1, offset), 1);
        return byte;
    }
    void put(off_t offset, char byte) const { EXPECT_EQ(::pwrite(fd.get(), &byte, 1, offset), 1); }
    UniqueFd fd;
};

TEST(FramePool, BackedFramesAreWhatOthersHaveMapped) {
    constexpr std::uint64_t kBytes = 3 * kPageBytes;
    SharedFile const file{kBytes};
    file.put(kPageBytes, 'f');
    {
        auto pool = FramePool::create(2 * FramePool::kBackingFrames).value();
        FrameNumber const first = pool.allocate(FramePool::kBackingFrames).value();
        FrameNumber const behind = pool.allocate(FramePool::kBackingFrames).value();
        soil(pool, behind, 1);
        ASSERT_TRUE(pool.back(first, FramePool::kBackingFrames, kBytes, file.fd.get()));
        EXPECT_EQ(pool.host(first)[kPageBytes], std::byte{'f'}) << "it is not cleared";
        pool.host(first)[0] = std::byte{'g'};
        EXPECT_EQ(file.at(0), 'g');
        file.put(2 * kPageBytes, 'h');
        EXPECT_EQ(pool.host(first)[2 * kPageBytes], std::byte{'h'});
        EXPECT_EQ(pool.host(behind)[0], std::byte{0xa5}) << "the next frames are as before";
        pool.release(behind, FramePool::kBackingFrames);
        EXPECT_TRUE(is_zero(pool, behind, FramePool::kBackingFrames));
    }
    EXPECT_EQ(file.at(0), 'g') << "and it outlives the pool";
    EXPECT_EQ(file.at(kPageBytes), 'f');
}

TEST(FramePool, WhatCannotBeMappedLeavesZeroedFrames) {
    auto pool = FramePool::create(FramePool::kBackingFrames).value();
    FrameNumber const first = pool.allocate(FramePool::kBackingFrames).value();
    UniqueFd const null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    auto const backed = pool.back(first, FramePool::kBackingFrames, kPageBytes, null.get());
    ASSERT_FALSE(backed);
    EXPECT_EQ(backed.error().message, "cannot be mapped: No such device");
    EXPECT_TRUE(is_zero(pool, first, FramePool::kBackingFrames));
    pool.release(first, FramePool::kBackingFrames);
    EXPECT_EQ(pool.free_count(), FramePool::kBackingFrames);
}

TEST(FramePoolDeathTest, BackedFramesAreNeverReleased) {
    SharedFile const file{kPageBytes};
    auto pool = FramePool::create(FramePool::kBackingFrames).value();
    FrameNumber const first = pool.allocate(FramePool::kBackingFrames).value();
    ASSERT_TRUE(pool.back(first, FramePool::kBackingFrames, kPageBytes, file.fd.get()));
    EXPECT_DEATH(pool.release(FrameNumber{511}, 1), "a file's memory is never released");
}

}  // namespace
}  // namespace backplane
