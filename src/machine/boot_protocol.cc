#include "machine/boot_protocol.h"

#include <algorithm>

#include "base/bytes.h"
#include "machine/boot_bytes.h"

namespace backplane {

namespace {

// [PVH] struct hvm_start_info, hvm_modlist_entry, hvm_memmap_table_entry.
struct StartInfo {
    std::uint32_t magic{0x336E'C578};  // "xEn3" with bit 7 of the E set
    std::uint32_t version{1};
    std::uint32_t flags{0};
    std::uint32_t module_count{0};
    std::uint64_t modules{0};
    std::uint64_t command_line{0};
    std::uint64_t rsdp{0};
    std::uint64_t memory_map{0};
    std::uint32_t memory_map_count{0};
    std::uint32_t reserved{0};
};
struct StartModule {
    std::uint64_t address{0};
    std::uint64_t bytes{0};
    std::uint64_t command_line{0};
    std::uint64_t reserved{0};
};
struct StartMemory {
    std::uint64_t address{0};
    std::uint64_t bytes{0};
    std::uint32_t kind{0};
    std::uint32_t reserved{0};
};
static_assert(sizeof(StartInfo) == 56 && sizeof(StartModule) == 32 && sizeof(StartMemory) == 24);

// Offsets in struct boot_params ([LinuxBoot] "Zero Page"); those from 0x1F1 on are the setup header's.
constexpr std::uint64_t kBootParamsBytes = 4096;
constexpr std::uint64_t kVideoMode = 0x006;  // struct screen_info
constexpr std::uint64_t kVideoColumns = 0x007;
constexpr std::uint64_t kVideoMemory = 0x00A;
constexpr std::uint64_t kVideoLines = 0x00E;
constexpr std::uint64_t kVideoIsVga = 0x00F;
constexpr std::uint64_t kVideoPoints = 0x010;
constexpr std::uint64_t kRsdpAddress = 0x070;
constexpr std::uint64_t kMapCount = 0x1E8;
constexpr std::uint64_t kSetupHeader = 0x1F1;
constexpr std::uint64_t kBootFlag = 0x1FE;
constexpr std::uint64_t kSignature = 0x202;
constexpr std::uint64_t kVersion = 0x206;
constexpr std::uint64_t kLoaderType = 0x210;
constexpr std::uint64_t kLoadFlags = 0x211;
constexpr std::uint64_t kInitrdAddress = 0x218;
constexpr std::uint64_t kInitrdBytes = 0x21C;
constexpr std::uint64_t kCommandLine = 0x228;
constexpr std::uint64_t kMap = 0x2D0;
constexpr std::uint64_t kMapEntryBytes = 20;
constexpr std::uint64_t kMapCapacity = 128;

constexpr std::uint8_t kLoaderUnknown = 0xFF;  // no number is assigned to us
constexpr std::uint8_t kLoadedHigh = 0x01;

// [SDM3A] table 4-15 and following: present, writable, and page size in a page directory's entry.
constexpr std::uint64_t kPresentWritable = 0x3;
constexpr std::uint64_t kLargePage = 0x80;
constexpr std::uint64_t kTableEntries = 512;
constexpr std::uint64_t kLargePageBytes = std::uint64_t{2} << 20;
constexpr std::uint64_t kDirectoryCount = 4;  // 1 GiB each

void write_minimal_header(ByteSpan page) {
    store<std::uint16_t>(page, kBootFlag, 0xAA55);
    store<std::uint32_t>(page, kSignature, 0x5372'6448);  // "HdrS"
    store<std::uint16_t>(page, kVersion, 0x020C);
    store<std::uint8_t>(page, kLoadFlags, kLoadedHigh);
}

// As the kernel's real-mode code finds it in mode 3.
void write_screen(ByteSpan page) {
    constexpr std::uint16_t kColourWith256Kib = 3;
    store<std::uint8_t>(page, kVideoMode, 3);
    store<std::uint8_t>(page, kVideoColumns, 80);
    store<std::uint16_t>(page, kVideoMemory, kColourWith256Kib);
    store<std::uint8_t>(page, kVideoLines, 25);
    store<std::uint8_t>(page, kVideoIsVga, 1);
    store<std::uint16_t>(page, kVideoPoints, 16);
}

void write_map(ByteSpan page, std::uint64_t memory_bytes) {
    std::vector<MemoryRange> const ranges = memory_map(memory_bytes);
    std::uint64_t const count = std::min(std::uint64_t{ranges.size()}, kMapCapacity);
    store(page, kMapCount, static_cast<std::uint8_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
        std::uint64_t const at = kMap + i * kMapEntryBytes;
        store(page, at, ranges[i].start.value());
        store(page, at + 8, ranges[i].bytes);
        store(page, at + 16, static_cast<std::uint32_t>(ranges[i].kind));
    }
}

}  // namespace

std::vector<std::byte> make_start_info(BootItems const& items, GuestPhys address) {
    std::vector<MemoryRange> const ranges = memory_map(items.memory_bytes);
    GuestPhys const modules = address + sizeof(StartInfo);
    GuestPhys const map = modules + sizeof(StartModule);
    StartInfo info{};
    info.module_count = items.initrd_bytes != 0 ? 1 : 0;
    info.modules = items.initrd_bytes != 0 ? modules.value() : 0;
    info.command_line = items.command_line.value();
    info.rsdp = items.rsdp.value();
    info.memory_map = map.value();
    info.memory_map_count = static_cast<std::uint32_t>(ranges.size());
    std::vector<std::byte> bytes;
    append_object(bytes, info);
    append_object(bytes, StartModule{items.initrd.value(), items.initrd_bytes, 0, 0});
    for (MemoryRange const& range : ranges) {
        append_object(bytes, StartMemory{range.start.value(), range.bytes, static_cast<std::uint32_t>(range.kind), 0});
    }
    return bytes;
}

std::vector<std::byte> make_boot_params(BootItems const& items, std::optional<LinuxHeader> const& header) {
    std::vector<std::byte> page(kBootParamsBytes);
    if (header) {
        std::ranges::copy(header->bytes, page.begin() + kSetupHeader);
    } else {
        write_minimal_header(page);
    }
    store(page, kRsdpAddress, items.rsdp.value());
    store<std::uint8_t>(page, kLoaderType, kLoaderUnknown);
    store(page, kCommandLine, static_cast<std::uint32_t>(items.command_line.value()));
    store(page, kInitrdAddress, static_cast<std::uint32_t>(items.initrd_bytes != 0 ? items.initrd.value() : 0));
    store(page, kInitrdBytes, static_cast<std::uint32_t>(items.initrd_bytes));
    if (items.has_vga) write_screen(page);
    write_map(page, items.memory_bytes);
    return page;
}

std::vector<std::byte> make_identity_map(GuestPhys address) {
    std::vector<std::byte> tables((2 + kDirectoryCount) * kPageBytes);
    GuestPhys const pointers = address + kPageBytes;
    GuestPhys const directories = address + 2 * kPageBytes;
    store(tables, 0, pointers.value() | kPresentWritable);
    for (std::uint64_t i = 0; i < kDirectoryCount; ++i) {
        store(tables, kPageBytes + i * 8, (directories.value() + i * kPageBytes) | kPresentWritable);
    }
    for (std::uint64_t i = 0; i < kDirectoryCount * kTableEntries; ++i) {
        store(tables, 2 * kPageBytes + i * 8, i * kLargePageBytes | kPresentWritable | kLargePage);
    }
    return tables;
}

}  // namespace backplane
