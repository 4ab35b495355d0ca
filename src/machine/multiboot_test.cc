#include "machine/multiboot.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "machine/boot_bytes.h"
#include "machine/layout.h"

namespace backplane {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint32_t kMagic = 0x1bad'b002;
constexpr std::uint32_t kLoad = 0x20'0000;

void append_header(Bytes& file, std::uint32_t flags) {
    append_object(file, kMagic);
    append_object(file, flags);
    append_object(file, 0U - kMagic - flags);
}

/// The header at 0x40, then code; loaded from the header on.
Bytes flat(std::uint32_t load_end = 0, std::uint32_t bss_end = 0, std::uint32_t entry = kLoad + 32) {
    Bytes file(0x40);
    append_header(file, 1U << 16);
    for (std::uint32_t field : {kLoad, kLoad, load_end, bss_end, entry}) append_object(file, field);
    append_object(file, std::uint32_t{0xf4f4'f4f4});
    return file;
}

Bytes elf32() {
    Elf32_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS32;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = EM_386;
    header.e_entry = kLoad + 12;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf32_Phdr);
    header.e_phnum = 1;
    Elf32_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_offset = sizeof header + sizeof segment;
    segment.p_paddr = segment.p_vaddr = kLoad;
    segment.p_filesz = 16;
    segment.p_memsz = 64;
    Bytes file;
    append_object(file, header);
    append_object(file, segment);
    append_header(file, 3);
    append_object(file, std::uint32_t{0xf4f4'f4f4});
    return file;
}

TEST(Multiboot, FlatImages) {
    Bytes const file = flat();
    ASSERT_TRUE(has_multiboot_header(file));
    auto const kernel = parse_multiboot(file);
    ASSERT_TRUE(kernel.has_value()) << kernel.error().message;
    ASSERT_EQ(kernel->segments.size(), 1U);
    EXPECT_EQ(kernel->segments[0].start, GuestPhys{kLoad});
    EXPECT_EQ(kernel->segments[0].file_offset, 0x40U);
    EXPECT_EQ(kernel->segments[0].file_bytes, 36U) << "load_end 0: the rest of the file";
    EXPECT_EQ(kernel->entry, GuestPhys{kLoad + 32});
    EXPECT_EQ(parse_multiboot(flat(kLoad + 34, kLoad + 4096))->segments[0].file_bytes, 34U);
    EXPECT_EQ(parse_multiboot(flat(kLoad + 34, kLoad + 4096))->segments[0].memory_bytes, 4096U);
}

TEST(Multiboot, Elf32Images) {
    auto const kernel = parse_multiboot(elf32());
    ASSERT_TRUE(kernel.has_value()) << kernel.error().message;
    ASSERT_EQ(kernel->segments.size(), 1U);
    EXPECT_EQ(kernel->segments[0].memory_bytes, 64U);
    EXPECT_EQ(kernel->entry, GuestPhys{kLoad + 12});
}

TEST(Multiboot, WhatIsWrongIsRefused) {
    EXPECT_FALSE(has_multiboot_header(Bytes(8192)));
    EXPECT_FALSE(parse_multiboot(Bytes(4)).has_value());
    EXPECT_FALSE(parse_multiboot(flat(kLoad + 4096)).has_value()) << "ends beyond the file";
    EXPECT_FALSE(parse_multiboot(flat(kLoad - 1)).has_value());
    EXPECT_FALSE(parse_multiboot(flat(0, 0, kLoad + 36)).has_value()) << "entry behind the image";
    Bytes demanding(64);
    append_header(demanding, 1U << 3);
    EXPECT_NE(parse_multiboot(demanding).error().message.find("demands"), std::string::npos);
    Bytes no_elf;
    append_header(no_elf, 0);
    EXPECT_NE(parse_multiboot(no_elf).error().message.find("expected an ELF"), std::string::npos);
    Bytes far(8192);
    append_header(far, 1U << 16);
    EXPECT_FALSE(has_multiboot_header(far)) << "beyond 8 KiB";
}

// Every prefix and many damaged images: refused or within the file, never out of bounds.
TEST(Multiboot, AnyFileIsSafe) {
    std::mt19937 random{1};
    for (Bytes const& good : {flat(), elf32()}) {
        for (std::size_t size = 0; size < good.size(); ++size)
            static_cast<void>(parse_multiboot(ConstByteSpan{good}.first(size)));
        for (int i = 0; i < 20'000; ++i) {
            Bytes bad = good;
            for (int n = 0; n < 3; ++n) bad[random() % bad.size()] = static_cast<std::byte>(random());
            auto const kernel = parse_multiboot(bad);
            if (!kernel) continue;
            for (ElfSegment const& segment : kernel->segments)
                EXPECT_LE(segment.file_offset + segment.file_bytes, bad.size());
        }
    }
}

// [Multiboot] 3.3.
TEST(Multiboot, Information) {
    BootItems const items{.memory_bytes = 64 * kMiB,
                          .command_line = kBootCommandLine,
                          .initrd = GuestPhys{0x300'0000},
                          .initrd_bytes = 5000};
    Bytes const info = make_multiboot_info(items, kBootStartInfo);
    auto const at = [&](std::uint32_t address) { return address - static_cast<std::uint32_t>(kBootStartInfo.value()); };
    EXPECT_EQ(load<std::uint32_t>(info, 0), 0x24dU);
    EXPECT_EQ(load<std::uint32_t>(info, 4), 640U);
    EXPECT_EQ(load<std::uint32_t>(info, 8), 63U * 1024);
    EXPECT_EQ(load<std::uint32_t>(info, 16), kBootCommandLine.value());
    ASSERT_EQ(load<std::uint32_t>(info, 20), 1U);
    auto const module = at(load<std::uint32_t>(info, 24));
    EXPECT_EQ(load<std::uint32_t>(info, module), 0x300'0000U);
    EXPECT_EQ(load<std::uint32_t>(info, module + 4), 0x300'0000U + 5000);
    EXPECT_EQ(load<std::uint8_t>(info, at(load<std::uint32_t>(info, module + 8))), 0) << "no words";
    EXPECT_STREQ(reinterpret_cast<char const*>(info.data()) + at(load<std::uint32_t>(info, 64)), "Backplane");
    auto const map = at(load<std::uint32_t>(info, 48));
    EXPECT_EQ(map % 4, 0U);
    EXPECT_EQ(map + load<std::uint32_t>(info, 44), info.size());
    EXPECT_EQ(load<std::uint32_t>(info, map), 20U);
    EXPECT_EQ(load<std::uint64_t>(info, map + 12), kConventionalEnd.value());
    BootItems without = items;
    without.initrd_bytes = 0;
    EXPECT_EQ(load<std::uint32_t>(make_multiboot_info(without, kBootStartInfo), 0), 0x245U);
}

}  // namespace
}  // namespace backplane
