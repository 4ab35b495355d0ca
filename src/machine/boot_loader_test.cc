#include "machine/boot_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "machine/boot_test_images.h"
#include "machine/layout.h"

namespace backplane {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMemoryBytes = 64 * kMiB;

/// A machine's memory and nothing else.
class BootLoader : public testing::Test {
  protected:
    BootLoader() : pool_{FramePool::create(kMemoryBytes / kPageBytes)}, memory_{*pool_} {
        for (MemoryRange const& range : ram_ranges(kMemoryBytes)) {
            check(memory_.add_ram(page_of(range.start), range.bytes / kPageBytes).has_value(),
                  "the pool is large enough");
        }
    }
    template <typename T>
    T read(GuestPhys at) {
        T value{};
        EXPECT_TRUE(memory_.read_object(at, value)) << at.value();
        return value;
    }
    test::Bytes read_bytes(GuestPhys at, std::size_t count) {
        test::Bytes bytes(count);
        EXPECT_TRUE(memory_.read(at, bytes));
        return bytes;
    }
    std::string error_of(BootRequest const& request) {
        auto const state = load_kernel(request, memory_);
        return state ? "no error" : state.error().message;
    }
    static KernelImage bzimage(test::ElfOptions const& options = {}) {
        return KernelImage::parse("vmlinuz", test::make_bzimage(test::pack(Packing::lz4, test::make_elf(options))))
            .value();
    }
    static KernelImage bare(test::ElfOptions const& options = {}) {
        return KernelImage::parse("vmlinux", test::make_elf(options)).value();
    }

    Expected<FramePool, Error> pool_;
    GuestMemory memory_;
    KernelImage kernel_{bzimage()};
    test::Bytes initrd_{test::make_text(3 * kPageBytes + 5)};
};

// Linux jumps there when it restarts with hardware-reduced ACPI, after an EFI that is not there.
TEST_F(BootLoader, ARestartThroughTheBiosIsAReset) {
    ASSERT_TRUE(load_kernel({.kernel = kernel_, .initrd = {}, .command_line = "", .memory_bytes = kMemoryBytes, .acpi = {}}, memory_));
    EXPECT_EQ(read<std::uint16_t>(kRestartEntry), 0x06B0);
    EXPECT_EQ(read<std::uint32_t>(GuestPhys{kRestartEntry.value() + 2}), 0xEE0C'F9BA);
}

TEST_F(BootLoader, PvhHasEverythingInItsPlace) {
    auto const state = load_kernel(
        {
            .kernel = kernel_,
            .initrd = initrd_,
            .command_line = "console=ttyS0",
            .memory_bytes = kMemoryBytes,
        },
        memory_);
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_EQ(state->mode, BootMode::pvh);
    EXPECT_EQ(state->entry, GuestPhys{0x100'0850});
    EXPECT_EQ(state->rbx, state->start_info.value());
    EXPECT_EQ(state->cr0, 0x11U);
    EXPECT_EQ(state->cr4 | state->efer | state->cr3, 0U);
    EXPECT_EQ(state->rflags, 2U);
    EXPECT_EQ(state->code.descriptor, read<std::uint64_t>(state->gdt_base + state->code.selector));
    EXPECT_EQ(state->data.descriptor, read<std::uint64_t>(state->gdt_base + state->data.selector));
    EXPECT_EQ(state->task.descriptor, read<std::uint64_t>(state->gdt_base + state->task.selector));
    EXPECT_EQ(state->gdt_limit, 6 * 8 - 1);

    EXPECT_EQ(read_bytes(GuestPhys{0x100'0000}, 0x3000), test::make_text(0x3000));

    GuestPhys const info = state->start_info;  // [PVH] struct hvm_start_info
    EXPECT_EQ(read<std::uint32_t>(info), 0x336EC578U);
    EXPECT_EQ(read<std::uint32_t>(info + 4), 1U);
    EXPECT_EQ(read<std::uint32_t>(info + 12), 1U);
    GuestPhys const command_line{read<std::uint64_t>(info + 24)};
    EXPECT_EQ(read_bytes(command_line, 14), test::Bytes(std::as_bytes(std::span{"console=ttyS0"}).begin(),
                                                        std::as_bytes(std::span{"console=ttyS0"}).end()));
    EXPECT_EQ(read<std::uint64_t>(GuestPhys{read<std::uint64_t>(info + 32)}), 0x2052'5450'2044'5352U);  // "RSD PTR "

    GuestPhys const module{read<std::uint64_t>(info + 16)};
    GuestPhys const initrd{read<std::uint64_t>(module)};
    EXPECT_EQ(read<std::uint64_t>(module + 8), initrd_.size());
    EXPECT_EQ(initrd.page_offset(), 0U);
    EXPECT_EQ(initrd, GuestPhys{kMemoryBytes - 4 * kPageBytes});
    EXPECT_EQ(read_bytes(initrd, initrd_.size()), initrd_);

    GuestPhys const map{read<std::uint64_t>(info + 40)};
    std::vector<MemoryRange> const ranges = memory_map(kMemoryBytes);
    ASSERT_EQ(read<std::uint32_t>(info + 48), ranges.size());
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        EXPECT_EQ(read<std::uint64_t>(map + 24 * i), ranges[i].start.value());
        EXPECT_EQ(read<std::uint64_t>(map + 24 * i + 8), ranges[i].bytes);
        EXPECT_EQ(read<std::uint32_t>(map + 24 * i + 16), static_cast<std::uint32_t>(ranges[i].kind));
    }
}

TEST_F(BootLoader, LongModeHasEverythingInItsPlace) {
    auto const state = load_kernel({.kernel = kernel_,
                                    .initrd = initrd_,
                                    .command_line = "quiet",
                                    .memory_bytes = kMemoryBytes,
                                    .entry = BootEntry::long64},
                                   memory_);
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_EQ(state->mode, BootMode::long64);
    EXPECT_EQ(state->entry, GuestPhys{0x100'0000});
    EXPECT_EQ(state->rsi, state->start_info.value());
    EXPECT_EQ(state->cr0, 0x8000'0011U);
    EXPECT_EQ(state->cr4, 0x20U);
    EXPECT_EQ(state->efer, 0x500U);
    EXPECT_EQ(state->code.selector, 0x10);
    EXPECT_EQ(state->data.selector, 0x18);

    GuestPhys const params = state->start_info;  // [LinuxBoot] "Zero Page"
    EXPECT_EQ(read<std::uint64_t>(params + 0x70), kAcpiTables.value());
    EXPECT_EQ(read<std::uint32_t>(params + 0x202), 0x5372'6448U);
    EXPECT_EQ(read<std::uint16_t>(params + 0x206), 0x020F);
    EXPECT_EQ(read<std::uint8_t>(params + 0x210), 0xFF);
    EXPECT_EQ(read<std::uint32_t>(params + 0x218), kMemoryBytes - 4 * kPageBytes);
    EXPECT_EQ(read<std::uint32_t>(params + 0x21C), initrd_.size());
    EXPECT_EQ(read<std::uint8_t>(GuestPhys{read<std::uint32_t>(params + 0x228)}), 'q');
    EXPECT_EQ(read<std::uint8_t>(params + 0x1E8), memory_map(kMemoryBytes).size());
    EXPECT_EQ(read<std::uint64_t>(params + 0x2D0 + 8), kConventionalEnd.value());
    EXPECT_EQ(read<std::uint32_t>(params + 0x2D0 + 16), 1U);
}

TEST_F(BootLoader, IdentityMapCoversFourGiB) {
    auto const state =
        load_kernel({.kernel = kernel_, .memory_bytes = kMemoryBytes, .entry = BootEntry::long64}, memory_);
    ASSERT_TRUE(state);
    constexpr std::uint64_t kAddressMask = 0x000F'FFFF'FFFF'F000;
    for (std::uint64_t address : {std::uint64_t{0}, 0x100'0850UL, 0x7FFF'FFFFUL, 0xFEE0'0000UL, 0xFFFF'FFFFUL}) {
        std::uint64_t const top = read<std::uint64_t>(GuestPhys{state->cr3} + (address >> 39) * 8);
        std::uint64_t const middle = read<std::uint64_t>(GuestPhys{top & kAddressMask} + (address >> 30 & 511) * 8);
        std::uint64_t const leaf = read<std::uint64_t>(GuestPhys{middle & kAddressMask} + (address >> 21 & 511) * 8);
        EXPECT_EQ(top & middle & 3, 3U);
        EXPECT_EQ(leaf, (address & ~((2 * kMiB) - 1)) | 0x83) << address;
    }
}

TEST_F(BootLoader, ABareElfGetsAMinimalHeader) {
    KernelImage const kernel = bare({.pvh_entry = {}});
    auto const state = load_kernel({.kernel = kernel, .memory_bytes = kMemoryBytes}, memory_);
    ASSERT_TRUE(state);
    EXPECT_EQ(state->mode, BootMode::long64);  // the only entry there is
    EXPECT_EQ(read<std::uint32_t>(state->start_info + 0x202), 0x5372'6448U);
    EXPECT_EQ(read<std::uint32_t>(state->start_info + 0x218), 0U);
    EXPECT_EQ(read<std::uint32_t>(state->start_info + 0x21C), 0U);
}

TEST_F(BootLoader, WithoutAnInitrdThereIsNoModule) {
    auto const state = load_kernel({.kernel = kernel_, .memory_bytes = kMemoryBytes}, memory_);
    ASSERT_TRUE(state);
    EXPECT_EQ(read<std::uint32_t>(state->start_info + 12), 0U);
    EXPECT_EQ(read<std::uint64_t>(state->start_info + 16), 0U);
}

TEST_F(BootLoader, ZeroesWhatAnEarlierKernelLeft) {
    test::Bytes const dirt(0x4000, std::byte{0xEE});
    ASSERT_TRUE(memory_.write(GuestPhys{0x100'3000}, dirt));
    ASSERT_TRUE(load_kernel({.kernel = kernel_, .memory_bytes = kMemoryBytes}, memory_));
    EXPECT_EQ(read_bytes(GuestPhys{0x100'3000}, 0x1234), test::Bytes(0x1234));
    EXPECT_EQ(read<std::uint8_t>(GuestPhys{0x100'3000 + 0x1234}), 0xEE);  // and nothing more
}

TEST_F(BootLoader, SaysWhatDoesNotFit) {
    test::Bytes const large(60 * kMiB);
    EXPECT_EQ(error_of({.kernel = kernel_, .initrd = large, .memory_bytes = kMemoryBytes}),
              "the initrd of 60 MiB does not fit: the machine has 64 MiB, of which the kernel vmlinuz takes the first "
              "18 MiB");
    test::Bytes const larger(65 * kMiB);
    EXPECT_THAT(error_of({.kernel = kernel_, .initrd = larger, .memory_bytes = kMemoryBytes}),
                HasSubstr("the initrd of 65 MiB does not fit"));
    EXPECT_EQ(error_of({.kernel = bare({.zero_bytes = 100 * kMiB}), .memory_bytes = kMemoryBytes}),
              "vmlinux: does not fit: the kernel takes memory up to 117 MiB, but the machine has 64 MiB");
    EXPECT_EQ(error_of({.kernel = kernel_, .memory_bytes = kMiB}),
              "memory of 1048576 bytes: expected whole MiB from 16 MiB to 255 GiB");
}

TEST_F(BootLoader, LimitsTheCommandLine) {
    std::string const longest(2047, 'a');
    EXPECT_EQ(error_of({.kernel = kernel_, .command_line = longest, .memory_bytes = kMemoryBytes}), "no error");
    std::string const too_long(2048, 'a');
    EXPECT_EQ(error_of({.kernel = kernel_, .command_line = too_long, .memory_bytes = kMemoryBytes}),
              "the command line has 2048 bytes: the kernel vmlinuz takes at most 2047");
    EXPECT_EQ(error_of({.kernel = kernel_, .command_line = {"a\0b", 3}, .memory_bytes = kMemoryBytes}),
              "the command line has a zero byte in it");
}

TEST_F(BootLoader, RefusesAnEntryThatTheKernelHasNot) {
    EXPECT_EQ(error_of({.kernel = bare({.pvh_entry = {}}), .memory_bytes = kMemoryBytes, .entry = BootEntry::pvh}),
              "vmlinux: cannot be started: expected a PVH entry (Xen note 18)");
}

TEST_F(BootLoader, MemoryThatIsNotThereIsAnError) {
    GuestMemory nothing{*pool_};
    EXPECT_FALSE(load_kernel({.kernel = kernel_, .memory_bytes = kMemoryBytes}, nothing));
}

}  // namespace
}  // namespace backplane
