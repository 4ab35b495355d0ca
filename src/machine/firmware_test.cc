#include "machine/firmware.h"

#include <gtest/gtest.h>

#include <numeric>
#include <utility>
#include <vector>

#include "machine/layout.h"
#include "memory/frame_pool.h"

namespace backplane {
namespace {

constexpr std::uint64_t kKib = 1024;

std::vector<std::byte> image(std::uint64_t bytes) {
    std::vector<std::byte> result(bytes);
    for (std::uint64_t i = 0; i < bytes; ++i) result[i] = static_cast<std::byte>(i / kPageBytes + i);
    return result;
}

TEST(Firmware, OnlyWholeImagesOfReasonableSize) {
    EXPECT_TRUE(check_firmware("f", 64 * kKib));
    EXPECT_TRUE(check_firmware("f", kMaxFirmwareBytes));
    for (std::uint64_t bytes : {std::uint64_t{0}, 64 * kKib - 1, kMaxFirmwareBytes + 64 * kKib})
        EXPECT_FALSE(check_firmware("f", bytes)) << bytes;
    EXPECT_EQ(check_firmware("f.bin", 3).error().message,
              "f.bin: 3 bytes: expected a flat firmware image, a multiple of 64 KiB up to 8 MiB");
}

TEST(Firmware, EndsAt4GiBReadOnlyAndIsCopiedBelow1MiB) {
    FramePool pool{std::move(FramePool::create(256).value())};
    GuestMemory memory{pool};
    ASSERT_TRUE(memory.add_ram(page_of(kRomArea), kRomAreaBytes / kPageBytes).has_value());
    std::vector<std::byte> const firmware = image(256 * kKib);
    ASSERT_TRUE(load_firmware(firmware, memory).has_value());
    std::vector<std::byte> top(firmware.size());
    ASSERT_TRUE(memory.read(GuestPhys{0x1'0000'0000 - firmware.size()}, top));
    EXPECT_EQ(top, firmware);
    EXPECT_FALSE(memory.write(GuestPhys{0xffff'fff0}, firmware)) << "read-only";
    std::vector<std::byte> low(128 * kKib);
    ASSERT_TRUE(memory.read(GuestPhys{0xe'0000}, low));
    EXPECT_TRUE(std::equal(low.begin(), low.end(), firmware.end() - 128 * kKib));
    EXPECT_TRUE(memory.write(GuestPhys{0xe'0000}, low)) << "the copy is RAM";
    std::uint64_t before = 0;
    ASSERT_TRUE(memory.read_object(GuestPhys{0xd'fff8}, before));
    EXPECT_EQ(before, 0U) << "no more than 128 KiB";
}

TEST(Firmware, SeesTheMemoryMap) {
    FramePool pool{std::move(FramePool::create(8).value())};
    GuestMemory memory{pool};
    Bus bus{memory};
    FwCfg fw_cfg;
    ASSERT_TRUE(fw_cfg.attach(bus).has_value());
    describe_board(fw_cfg, 4 * kGiB, {});
    bus.out(PortNumber{0x510}, Width::word, FwCfg::kRamBytes);
    std::uint64_t ram = 0;
    for (unsigned i = 0; i < 8; ++i) ram |= bus.in(PortNumber{0x511}, Width::byte) << (8 * i);
    EXPECT_EQ(ram, 3 * kGiB) << "below 4 GiB";
}

}  // namespace
}  // namespace backplane
