#include "debug/inspect.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

#include "memory/frame_pool.h"

namespace backplane {
namespace {

constexpr std::uint64_t kPages = 16;

// Page tables at 0x1000 and up; data at 0x8000 and 0xa000, which are neighbours in linear addresses.
class InspectTest : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_TRUE(memory_.add_ram(GuestPage{0}, kPages)); }
    template <typename T>
    void put(std::uint64_t address, T value) {
        ASSERT_TRUE(memory_.write_object(GuestPhys{address}, value));
    }
    [[nodiscard]] std::uint64_t at(std::uint64_t address) {
        std::uint64_t value = 0;
        EXPECT_TRUE(memory_.read_object(GuestPhys{address}, value));
        return value;
    }
    [[nodiscard]] CpuState long_mode() {
        put<std::uint64_t>(0x1000, 0x2001);       // level 4
        put<std::uint64_t>(0x2000, 0x3001);       // level 3
        put<std::uint64_t>(0x3000, 0x4001);       // level 2
        put<std::uint64_t>(0x3008, 0x0000'0081);  // 2 MiB at 2 MiB
        put<std::uint64_t>(0x4000, 0x8001);
        put<std::uint64_t>(0x4008, 0xa001);
        CpuState state;
        state.cr0 = cr0::kProtection | cr0::kPaging;
        state.cr4 = cr4::kPhysicalAddressExtension;
        state.efer = efer::kLongModeActive;
        state.cr3 = 0x1000;
        return state;
    }

    FramePool pool_ = *FramePool::create(kPages);
    GuestMemory memory_{pool_};
};

TEST_F(InspectTest, FourLevelsAndLargePages) {
    CpuState const state = long_mode();
    EXPECT_EQ(translate_quietly(memory_, state, GuestVirt{0x123}), GuestPhys{0x8123});
    EXPECT_EQ(translate_quietly(memory_, state, GuestVirt{0x1fff}), GuestPhys{0xafff});
    EXPECT_EQ(translate_quietly(memory_, state, GuestVirt{0x20'1234}), GuestPhys{0x1234});
    EXPECT_FALSE(translate_quietly(memory_, state, GuestVirt{0x2000}));
    EXPECT_FALSE(translate_quietly(memory_, state, GuestVirt{0xffff'8000'0000'0000}));
    EXPECT_EQ(at(0x4000), 0x8001U) << "the accessed bit is not set";
}

TEST_F(InspectTest, TwoAndThreeLevels) {
    CpuState state;
    state.cr0 = cr0::kProtection | cr0::kPaging;
    state.cr3 = 0x5000;
    put<std::uint32_t>(0x5004, 0x6001);  // [SDM3A] 4.3: bits 31:22 choose the first entry
    put<std::uint32_t>(0x6008, 0x9001);
    EXPECT_EQ(translate_quietly(memory_, state, GuestVirt{0x40'2345}), GuestPhys{0x9345});
    state.cr4 = cr4::kPhysicalAddressExtension;
    state.cr3 = 0x7020;
    put<std::uint64_t>(0x7028, 0xb001);  // [SDM3A] 4.4: bits 31:30
    put<std::uint64_t>(0xb000, 0xc001);
    put<std::uint64_t>(0xc000, 0xd001);
    EXPECT_EQ(translate_quietly(memory_, state, GuestVirt{0x4000'0001}), GuestPhys{0xd001});
}

TEST_F(InspectTest, WithoutPagingAddressesArePhysical) {
    EXPECT_EQ(translate_quietly(memory_, CpuState{}, GuestVirt{0x1234}), GuestPhys{0x1234});
}

TEST_F(InspectTest, ATableOutsideOfRamLeadsNowhere) {
    CpuState state = long_mode();
    state.cr3 = 0x7fff'f000;
    EXPECT_FALSE(translate_quietly(memory_, state, GuestVirt{0}));
}

TEST_F(InspectTest, PeeksAcrossPagesUpToTheFirstHole) {
    CpuState const state = long_mode();
    put<std::uint64_t>(0x8ff8, 0x1111'1111'1111'1111);
    put<std::uint64_t>(0xa000, 0x2222'2222'2222'2222);
    std::array<std::byte, 16> bytes{};
    EXPECT_EQ(peek(memory_, state, GuestVirt{0xff8}, bytes), 16U);
    EXPECT_EQ(bytes[7], std::byte{0x11});
    EXPECT_EQ(bytes[8], std::byte{0x22});
    EXPECT_EQ(peek(memory_, state, GuestVirt{0x1ff8}, bytes), 8U);
    EXPECT_EQ(peek(memory_, GuestPhys{kPages * kPageBytes - 4}, bytes), 4U);
}

TEST_F(InspectTest, PokesAllOrNothing) {
    CpuState const state = long_mode();
    std::array<std::byte, 16> bytes{};
    bytes.fill(std::byte{0x77});
    EXPECT_TRUE(poke(memory_, state, GuestVirt{0xff8}, bytes));
    EXPECT_EQ(at(0xa000), 0x7777'7777'7777'7777U);
    EXPECT_FALSE(poke(memory_, state, GuestVirt{0x1ff8}, bytes));
    EXPECT_EQ(at(0xaff8), 0U);
    EXPECT_FALSE(poke(memory_, GuestPhys{kPages * kPageBytes - 8}, bytes));
    EXPECT_EQ(at(kPages * kPageBytes - 8), 0U);
}

}  // namespace
}  // namespace backplane
