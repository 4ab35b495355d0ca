#include "machine/elf.h"

#include <elf.h>  // the system's: structures and numbers of [ELF]
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "memory/page_map.h"

namespace backplane {

namespace {

constexpr std::uint64_t kMaxProgramHeaders = 256;  // Linux has 5
constexpr std::uint64_t kPhysicalEnd = std::uint64_t{1} << PageMap::kAddressBits;

// [PVH]: note of name "Xen" and this type; the descriptor is the physical entry address, 4 or 8 bytes.
constexpr std::uint32_t kXenPhys32Entry = 18;
constexpr std::string_view kXenName{"Xen\0", 4};

Unexpected<Error> refuse(std::string message) { return Unexpected{bad_input(std::move(message))}; }

/// The bytes [offset, offset + count) of the file, or nothing when a part of them is not there.
std::optional<ConstByteSpan> piece(ConstByteSpan file, std::uint64_t offset, std::uint64_t count) {
    if (offset > file.size() || count > file.size() - offset) return std::nullopt;
    return file.subspan(offset, count);
}

Expected<Elf64_Ehdr, Error> read_header(ConstByteSpan file) {
    if (file.size() < sizeof(Elf64_Ehdr)) return refuse("the ELF header is truncated");
    auto const header = load<Elf64_Ehdr>(file);
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_X86_64) {
        return refuse("an ELF file for another machine: expected ELF64 for x86-64");
    }
    if (header.e_type != ET_EXEC) return refuse("an ELF file that is no kernel: expected the type EXEC");
    if (header.e_phnum == 0 || header.e_phnum > kMaxProgramHeaders || header.e_phentsize != sizeof(Elf64_Phdr)) {
        return refuse(fmt::format("an ELF file with {} program headers of {} bytes: expected 1 to {} of {}",
                                  header.e_phnum, header.e_phentsize, kMaxProgramHeaders, sizeof(Elf64_Phdr)));
    }
    return header;
}

Expected<std::vector<Elf64_Phdr>, Error> read_program_headers(ConstByteSpan file) {
    Elf64_Ehdr const header = BACKPLANE_TRY(read_header(file));
    auto const table = piece(file, header.e_phoff, std::uint64_t{header.e_phnum} * sizeof(Elf64_Phdr));
    if (!table) return refuse("the ELF program headers are beyond the end of the file");
    std::vector<Elf64_Phdr> headers(header.e_phnum);
    std::memcpy(headers.data(), table->data(), table->size());
    return headers;
}

Expected<void, Error> check_segment(ConstByteSpan file, Elf64_Phdr const& header) {
    if (!piece(file, header.p_offset, header.p_filesz)) {
        return refuse(
            fmt::format("the ELF segment at {:#x} has {} bytes at {:#x}, beyond the end of the file of {} bytes",
                        header.p_paddr, header.p_filesz, header.p_offset, file.size()));
    }
    if (header.p_filesz > header.p_memsz) {
        return refuse(fmt::format("the ELF segment at {:#x} has {} bytes in the file, but {} in memory", header.p_paddr,
                                  header.p_filesz, header.p_memsz));
    }
    if (header.p_paddr > kPhysicalEnd || header.p_memsz > kPhysicalEnd - header.p_paddr) {
        return refuse(fmt::format("the ELF segment of {} bytes at {:#x} is outside of any machine's memory",
                                  header.p_memsz, header.p_paddr));
    }
    return {};
}

bool is_inside(std::vector<ElfSegment> const& segments, GuestPhys address) {
    return std::ranges::any_of(
        segments, [&](ElfSegment const& segment) { return address >= segment.start && address < segment.end(); });
}

/// The physical address of e_entry, which some kernels give as a virtual one.
std::optional<GuestPhys> physical_entry(std::vector<Elf64_Phdr> const& headers, std::vector<ElfSegment> const& segments,
                                        std::uint64_t entry) {
    if (is_inside(segments, GuestPhys{entry})) return GuestPhys{entry};
    for (Elf64_Phdr const& header : headers) {
        bool const holds = entry >= header.p_vaddr && entry - header.p_vaddr < header.p_memsz;
        if (header.p_type == PT_LOAD && holds) return GuestPhys{header.p_paddr + (entry - header.p_vaddr)};
    }
    return std::nullopt;
}

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

/// Looks through one note segment. A note that does not fit ends the search: notes are advice, not structure.
std::optional<GuestPhys> find_pvh_note(ConstByteSpan notes, std::uint64_t alignment) {
    std::uint64_t at = 0;
    while (auto const head = piece(notes, at, sizeof(Elf64_Nhdr))) {
        auto const note = load<Elf64_Nhdr>(*head);
        std::uint64_t const name_at = at + sizeof(Elf64_Nhdr);
        std::uint64_t const value_at = round_up(name_at + note.n_namesz, alignment);
        auto const name = piece(notes, name_at, note.n_namesz);
        auto const value = piece(notes, value_at, note.n_descsz);
        if (!name || !value) return std::nullopt;
        std::string_view const text{reinterpret_cast<char const*>(name->data()), name->size()};
        if (note.n_type == kXenPhys32Entry && text == kXenName) {
            if (value->size() == sizeof(std::uint64_t)) return GuestPhys{load<std::uint64_t>(*value)};
            if (value->size() == sizeof(std::uint32_t)) return GuestPhys{load<std::uint32_t>(*value)};
        }
        at = round_up(value_at + note.n_descsz, alignment);
    }
    return std::nullopt;
}

std::optional<GuestPhys> find_pvh_entry(ConstByteSpan file, std::vector<Elf64_Phdr> const& headers) {
    for (Elf64_Phdr const& header : headers) {
        if (header.p_type != PT_NOTE) continue;
        auto const notes = piece(file, header.p_offset, header.p_filesz);
        if (!notes) continue;
        if (auto const entry = find_pvh_note(*notes, header.p_align == 8 ? 8 : 4)) return entry;
    }
    return std::nullopt;
}

}  // namespace

bool is_elf(ConstByteSpan file) { return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0; }

Expected<ElfKernel, Error> parse_elf(ConstByteSpan file) {
    if (!is_elf(file)) return refuse("not an ELF file");
    std::vector<Elf64_Phdr> const headers = BACKPLANE_TRY(read_program_headers(file));
    ElfKernel kernel{};
    for (Elf64_Phdr const& header : headers) {
        if (header.p_type == PT_INTERP || header.p_type == PT_TLS || header.p_type == PT_DYNAMIC) {
            return refuse("a program for an operating system: expected a kernel");
        }
        if (header.p_type != PT_LOAD || header.p_memsz == 0) continue;
        BACKPLANE_TRY_VOID(check_segment(file, header));
        kernel.segments.push_back({GuestPhys{header.p_paddr}, header.p_memsz, header.p_offset, header.p_filesz});
    }
    if (kernel.segments.empty()) return refuse("an ELF file that loads nothing");
    auto const header = load<Elf64_Ehdr>(file);
    auto const entry = physical_entry(headers, kernel.segments, header.e_entry);
    if (!entry) return refuse(fmt::format("the ELF entry {:#x} is outside of the segments", header.e_entry));
    kernel.entry = *entry;
    kernel.pvh_entry = find_pvh_entry(file, headers);
    // The PVH entry runs with 32-bit addresses.
    if (kernel.pvh_entry && (!is_inside(kernel.segments, *kernel.pvh_entry) || kernel.pvh_entry->value() >> 32 != 0)) {
        return refuse(fmt::format("the PVH entry {:#x} is outside of the segments", kernel.pvh_entry->value()));
    }
    return kernel;
}

}  // namespace backplane
