#include "machine/multiboot.h"

#include <elf.h>  // the system's: structures and numbers of [ELF]
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "machine/boot_bytes.h"
#include "machine/layout.h"

namespace backplane {

namespace {

// [Multiboot] 3.1.1, 3.1.2.
constexpr std::uint32_t kHeaderMagic = 0x1bad'b002;
constexpr std::uint64_t kSearchedBytes = 8192;
constexpr std::uint32_t kRequirements = 0xffff;  // flags that a loader must understand
constexpr std::uint32_t kUnderstood = 0x7;       // page-aligned modules, memory, video mode (text is there)
constexpr std::uint32_t kHasAddresses = 1U << 16;

struct Header {
    std::uint32_t magic, flags, checksum;
    std::uint32_t header_address, load_address, load_end, bss_end, entry;
};

struct Found {
    Header header;
    std::uint64_t offset;
};

Unexpected<Error> refuse(std::string message) { return Unexpected{bad_input(std::move(message))}; }

std::optional<Found> find_header(ConstByteSpan file) {
    constexpr std::uint64_t kSmallest = 12;
    std::uint64_t const end = std::min<std::uint64_t>(file.size(), kSearchedBytes);
    for (std::uint64_t at = 0; at + kSmallest <= end; at += 4) {
        auto const magic = load<std::uint32_t>(file, at);
        auto const flags = load<std::uint32_t>(file, at + 4);
        auto const checksum = load<std::uint32_t>(file, at + 8);
        if (magic != kHeaderMagic || magic + flags + checksum != 0) continue;
        Header header{};
        std::uint64_t const bytes = std::min<std::uint64_t>(sizeof header, file.size() - at);
        std::ranges::copy(file.subspan(at, bytes), bytes_of(header).begin());
        return Found{header, at};
    }
    return std::nullopt;
}

// [Multiboot] 3.1.3.
Expected<ElfKernel, Error> parse_flat(ConstByteSpan file, Found const& found) {
    Header const& header = found.header;
    if (found.offset + sizeof header > file.size()) return refuse("the multiboot header is truncated");
    if (header.load_address > header.header_address || header.header_address - header.load_address > found.offset)
        return refuse(fmt::format("the multiboot header loads from before the file: load_addr {:#x}, header_addr {:#x}",
                                  header.load_address, header.header_address));
    std::uint64_t const start = found.offset - (header.header_address - header.load_address);
    std::uint64_t const wanted =
        header.load_end != 0 ? std::uint64_t{header.load_end} - header.load_address : file.size() - start;
    if (header.load_end != 0 && (header.load_end < header.load_address || wanted > file.size() - start))
        return refuse("the multiboot image ends beyond the end of the file");
    std::uint64_t const loaded_end = header.load_address + wanted;
    std::uint64_t const end = std::max<std::uint64_t>(loaded_end, header.bss_end);
    if (header.entry < header.load_address || header.entry >= end)
        return refuse("the multiboot entry is outside of the image");
    ElfKernel kernel{};
    kernel.segments.push_back({GuestPhys{header.load_address}, end - header.load_address, start, wanted});
    kernel.entry = GuestPhys{header.entry};
    return kernel;
}

Expected<void, Error> check_header32(ConstByteSpan file, Elf32_Ehdr const& header) {
    constexpr std::uint32_t kMaxProgramHeaders = 256;
    if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_386 || header.e_type != ET_EXEC)
        return refuse("an ELF32 file for another machine, or no kernel: expected EXEC for i386");
    if (header.e_phnum == 0 || header.e_phnum > kMaxProgramHeaders || header.e_phentsize != sizeof(Elf32_Phdr))
        return refuse("an ELF32 file with strange program headers");
    std::uint64_t const table_bytes = header.e_phnum * sizeof(Elf32_Phdr);
    if (header.e_phoff > file.size() || table_bytes > file.size() - header.e_phoff)
        return refuse("the ELF32 program headers are beyond the end of the file");
    return {};
}

Expected<ElfKernel, Error> parse_elf32(ConstByteSpan file) {
    if (file.size() < sizeof(Elf32_Ehdr)) return refuse("the ELF header is truncated");
    auto const header = load<Elf32_Ehdr>(file);
    BACKPLANE_TRY_VOID(check_header32(file, header));
    ElfKernel kernel{};
    bool entry_is_inside = false;
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        auto const segment = load<Elf32_Phdr>(file, header.e_phoff + i * sizeof(Elf32_Phdr));
        if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
        if (segment.p_offset > file.size() || segment.p_filesz > file.size() - segment.p_offset ||
            segment.p_filesz > segment.p_memsz)
            return refuse(fmt::format("the ELF32 segment at {:#x} is beyond the end of the file", segment.p_paddr));
        ElfSegment const placed{GuestPhys{segment.p_paddr}, segment.p_memsz, segment.p_offset, segment.p_filesz};
        kernel.segments.push_back(placed);
        GuestPhys const entry{header.e_entry};
        entry_is_inside = entry_is_inside || (entry >= placed.start && entry < placed.end());
    }
    if (!entry_is_inside)
        return refuse(fmt::format("the ELF32 entry {:#x} is outside of the segments", header.e_entry));
    kernel.entry = GuestPhys{header.e_entry};
    return kernel;
}

// [Multiboot] 3.3, as far as we fill it in.
struct Info {
    std::uint32_t flags;
    std::uint32_t memory_lower_kib, memory_upper_kib;
    std::uint32_t boot_device;
    std::uint32_t command_line;
    std::uint32_t module_count, modules;
    std::uint32_t symbols[4];
    std::uint32_t map_bytes, map;
    std::uint32_t drives_bytes, drives;
    std::uint32_t configuration;
    std::uint32_t loader_name;
    std::uint32_t apm;
};
constexpr std::uint32_t kHasMemory = 1U << 0, kHasCommandLine = 1U << 2, kHasModules = 1U << 3, kHasMap = 1U << 6,
                        kHasLoaderName = 1U << 9;
struct Module {
    std::uint32_t start, end, text, reserved;
};
constexpr std::uint32_t kMapEntryBytes = 20;  // without the size field itself
constexpr char kLoaderName[] = "Backplane";

}  // namespace

bool has_multiboot_header(ConstByteSpan file) { return find_header(file).has_value(); }

Expected<ElfKernel, Error> parse_multiboot(ConstByteSpan file) {
    auto const found = find_header(file);
    if (!found) return refuse("no multiboot header in the first 8 KiB");
    std::uint32_t const unmet = found->header.flags & kRequirements & ~kUnderstood;
    if (unmet != 0) return refuse(fmt::format("the multiboot header demands what there is not: flags {:#x}", unmet));
    if ((found->header.flags & kHasAddresses) != 0) return parse_flat(file, *found);
    if (!is_elf(file)) return refuse("a multiboot header without addresses: expected an ELF image");
    bool const is_32_bit = std::to_integer<unsigned>(file[EI_CLASS]) == ELFCLASS32;
    ElfKernel kernel = BACKPLANE_TRY(is_32_bit ? parse_elf32(file) : parse_elf(file));
    if (kernel.entry.value() >> 32 != 0) return refuse("the multiboot entry is above 4 GiB");
    return kernel;
}

std::vector<std::byte> make_multiboot_info(BootItems const& items, GuestPhys address) {
    auto const at = static_cast<std::uint32_t>(address.value());
    std::vector<MemoryRange> const ranges = memory_map(items.memory_bytes);
    bool const has_module = items.initrd_bytes != 0;
    Info info{};
    info.flags = kHasMemory | kHasCommandLine | kHasMap | kHasLoaderName | (has_module ? kHasModules : 0);
    info.memory_lower_kib = static_cast<std::uint32_t>(kConventionalEnd.value() / 1024);
    info.memory_upper_kib = static_cast<std::uint32_t>((low_memory_end(items.memory_bytes) - kHighMemory) / 1024);
    info.command_line = static_cast<std::uint32_t>(items.command_line.value());
    info.module_count = has_module ? 1 : 0;
    info.modules = at + sizeof info;
    info.loader_name = info.modules + sizeof(Module);
    info.map = info.loader_name + sizeof kLoaderName + 2;  // 4-byte aligned
    info.map_bytes = static_cast<std::uint32_t>(ranges.size() * (kMapEntryBytes + 4));
    std::vector<std::byte> bytes;
    append_object(bytes, info);
    auto const start = static_cast<std::uint32_t>(items.initrd.value());
    auto const end = static_cast<std::uint32_t>(items.initrd.value() + items.initrd_bytes);
    // The module's words: none, which is the zero at the end of the loader's name.
    append_object(bytes, Module{start, end, info.loader_name + std::uint32_t{sizeof kLoaderName} - 1, 0});
    append_bytes(bytes, std::as_bytes(std::span{kLoaderName}));
    bytes.resize(info.map - at);
    for (MemoryRange const& range : ranges) {
        append_object(bytes, kMapEntryBytes);
        append_object(bytes, range.start.value());
        append_object(bytes, range.bytes);
        append_object(bytes, static_cast<std::uint32_t>(range.kind));
    }
    return bytes;
}

}  // namespace backplane
