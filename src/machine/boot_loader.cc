#include "machine/boot_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "device/acpi/power_control.h"
#include "machine/boot_protocol.h"
#include "machine/layout.h"
#include "machine/multiboot.h"

namespace backplane {

namespace {

// The GDT that both entries share ([SDM3A] 3.4.5): flat 4 GiB segments with the accessed bit set, so that loading
// them writes nothing. 0x10 and 0x18 are the selectors that [LinuxBoot] asks for.
constexpr BootSegment kCode32{0x08, 0x00CF'9B00'0000'FFFF};
constexpr BootSegment kCode64{0x10, 0x00AF'9B00'0000'FFFF};
constexpr BootSegment kData{0x18, 0x00CF'9300'0000'FFFF};
constexpr BootSegment kTask{0x20, 0x0000'8B00'0000'0067};  // the upper half that long mode adds is zero
constexpr std::array<std::uint64_t, 6> kGdt{
    0, kCode32.descriptor, kCode64.descriptor, kData.descriptor, kTask.descriptor, 0};

constexpr std::uint64_t kRflagsReserved = 0x2;     // bit 1 is always one
constexpr std::uint64_t kCr0ProtectedMode = 0x11;  // PE, and ET, which is always one
constexpr std::uint64_t kCr0Paging = 0x8000'0000;
constexpr std::uint64_t kCr4Pae = 0x20;
constexpr std::uint64_t kEferLongMode = 0x500;  // LME, LMA

// For a bare ELF, which states no limits: Linux' COMMAND_LINE_SIZE on x86, and its usual initrd_addr_max.
constexpr std::uint64_t kDefaultCommandLineBytes = 2047;
constexpr GuestPhys kDefaultHighestInitrd{0x7FFF'FFFF};

constexpr std::uint64_t round_up_mib(std::uint64_t bytes) { return (bytes + kMiB - 1) / kMiB; }

Unexpected<Error> refuse(std::string message) { return Unexpected{bad_input(std::move(message))}; }

/// The caller has checked that the range is RAM by the machine's layout, so a refusal is our host's or our own doing.
Expected<void, Error> put(GuestMemory& memory, GuestPhys start, ConstByteSpan bytes) {
    if (memory.write(start, bytes)) return {};
    return refuse(fmt::format("cannot write {} bytes at {:#x} of the machine's memory", bytes.size(), start.value()));
}

bool is_zero(ConstByteSpan bytes) {
    return bytes.empty() ||
           (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// Zeroes a range, leaving alone what is zero: a fresh machine's untouched frames stay without host memory.
Expected<void, Error> clear(GuestMemory& memory, GuestPhys start, std::uint64_t bytes) {
    for (GuestPhys const end = start + bytes; start < end;) {
        std::uint64_t const wanted = std::min(end - start, kPageBytes - start.page_offset());
        ByteSpan const piece = memory.writable(start, wanted);
        if (piece.empty()) return refuse(fmt::format("no memory at {:#x} of the machine", start.value()));
        if (!is_zero(piece)) {
            std::ranges::fill(piece, std::byte{0});
            memory.wrote(start, piece.size());
        }
        start = start + piece.size();
    }
    return {};
}

Expected<void, Error> load_segments(KernelImage const& kernel, std::uint64_t memory_bytes, GuestMemory& memory) {
    for (ElfSegment const& segment : kernel.segments()) {
        if (segment.end() > low_memory_end(memory_bytes)) {
            return refuse(
                fmt::format("{}: does not fit: the kernel takes memory up to {} MiB, but the machine has {} MiB",
                            kernel.name(), round_up_mib(segment.end().value()), memory_bytes / kMiB));
        }
        BACKPLANE_TRY_VOID(put(memory, segment.start, kernel.contents(segment)));
        BACKPLANE_TRY_VOID(
            clear(memory, segment.start + segment.file_bytes, segment.memory_bytes - segment.file_bytes));
    }
    return {};
}

/// As high as the kernel can reach it, so that it is out of the way of what the kernel unpacks and allocates first.
Expected<GuestPhys, Error> place_initrd(BootRequest const& request) {
    GuestPhys const highest =
        request.kernel.linux_header() ? request.kernel.linux_header()->highest_initrd : kDefaultHighestInitrd;
    std::uint64_t const end = std::min(low_memory_end(request.memory_bytes).value(), highest.value() + 1);
    std::uint64_t const first = request.kernel.end().value();
    std::uint64_t const bytes = request.initrd.size();
    std::uint64_t const start = bytes > end ? 0 : (end - bytes) & ~kPageMask;
    if (start >= first) return GuestPhys{start};
    return refuse(fmt::format(
        "the initrd of {} MiB does not fit: the machine has {} MiB, of which the kernel {} takes the first {} MiB",
        round_up_mib(bytes), request.memory_bytes / kMiB, request.kernel.name(), round_up_mib(first)));
}

Expected<void, Error> load_command_line(BootRequest const& request, GuestMemory& memory) {
    std::string_view const text = request.command_line;
    std::uint64_t const stated_bytes =
        request.kernel.linux_header() ? request.kernel.linux_header()->command_line_bytes : kDefaultCommandLineBytes;
    std::uint64_t const most_bytes = std::min(stated_bytes, kBootCommandLineBytes - 1);
    if (text.size() > most_bytes) {
        return refuse(fmt::format("the command line has {} bytes: the kernel {} takes at most {}", text.size(),
                                  request.kernel.name(), most_bytes));
    }
    if (text.find('\0') != std::string_view::npos) return refuse("the command line has a zero byte in it");
    std::string const terminated{text};
    return put(memory, kBootCommandLine, std::as_bytes(std::span{terminated.c_str(), terminated.size() + 1}));
}

Expected<BootMode, Error> choose_mode(BootRequest const& request) {
    KernelImage const& kernel = request.kernel;
    if (kernel.multiboot_entry()) return BootMode::multiboot;
    // PVH has no way to say that there is a screen.
    bool const prefers_long64 = request.acpi.has_vga && request.entry == BootEntry::automatic && kernel.long_mode_entry();
    if (kernel.pvh_entry() && request.entry != BootEntry::long64 && !prefers_long64) return BootMode::pvh;
    if (kernel.long_mode_entry() && request.entry != BootEntry::pvh) return BootMode::long64;
    std::string_view const wanted = request.entry == BootEntry::pvh      ? "a PVH entry (Xen note 18)"
                                    : request.entry == BootEntry::long64 ? "a 64-bit entry (xloadflags bit 0)"
                                                                         : "a PVH entry or a 64-bit entry";
    return refuse(fmt::format("{}: cannot be started: expected {}", kernel.name(), wanted));
}

BootState pvh_state(KernelImage const& kernel) {
    BootState state{};
    state.mode = BootMode::pvh;
    state.entry = *kernel.pvh_entry();
    state.start_info = kBootStartInfo;
    state.rbx = kBootStartInfo.value();
    state.cr0 = kCr0ProtectedMode;
    state.code = kCode32;
    return state;
}

BootState multiboot_state(KernelImage const& kernel) {
    BootState state{};
    state.mode = BootMode::multiboot;
    state.entry = *kernel.multiboot_entry();
    state.start_info = kBootStartInfo;
    state.rax = kMultibootMagic;
    state.rbx = kBootStartInfo.value();
    state.cr0 = kCr0ProtectedMode;
    state.code = kCode32;
    return state;
}

BootState long_mode_state(KernelImage const& kernel) {
    BootState state{};
    state.mode = BootMode::long64;
    state.entry = *kernel.long_mode_entry();
    state.start_info = kBootParams;
    state.rsi = kBootParams.value();
    state.cr0 = kCr0ProtectedMode | kCr0Paging;
    state.cr3 = kBootPageTables.value();
    state.cr4 = kCr4Pae;
    state.efer = kEferLongMode;
    state.code = kCode64;
    return state;
}

BootState make_state(KernelImage const& kernel, BootMode mode) {
    BootState state = mode == BootMode::pvh         ? pvh_state(kernel)
                      : mode == BootMode::multiboot ? multiboot_state(kernel)
                                                    : long_mode_state(kernel);
    state.rsp = kBootStackTop.value();
    state.rflags = kRflagsReserved;
    state.gdt_base = kBootGdt;
    state.gdt_limit = sizeof(kGdt) - 1;
    state.data = kData;
    state.task = kTask;
    return state;
}

/// Without firmware nobody is at F000:FFF0, but that is where a kernel jumps to in real mode when it knows no better way
/// to restart (Linux does with hardware-reduced ACPI: it would rather ask EFI, which is not there). So: a reset.
constexpr std::array<std::uint8_t, 9> kRestartCode{
    0xB0, kResetValue,                                           // mov al, 6
    0xBA, kResetPort.value() & 0xff, kResetPort.value() >> 8,    // mov dx, 0xcf9
    0xEE,                                                        // out dx, al
    0xF4, 0xEB, 0xFD,                                            // hlt; jmp to it
};

Expected<void, Error> load_structures(BootRequest const& request, BootItems const& items, BootMode mode,
                                      GuestMemory& memory) {
    BACKPLANE_TRY_VOID(put(memory, kBootGdt, std::as_bytes(std::span{kGdt})));
    BACKPLANE_TRY_VOID(put(memory, kAcpiTables, make_acpi_tables(request.acpi, kAcpiTables)));
    BACKPLANE_TRY_VOID(put(memory, kRestartEntry, std::as_bytes(std::span{kRestartCode})));
    if (mode == BootMode::pvh) return put(memory, kBootStartInfo, make_start_info(items, kBootStartInfo));
    if (mode == BootMode::multiboot) return put(memory, kBootStartInfo, make_multiboot_info(items, kBootStartInfo));
    BACKPLANE_TRY_VOID(put(memory, kBootPageTables, make_identity_map(kBootPageTables)));
    return put(memory, kBootParams, make_boot_params(items, request.kernel.linux_header()));
}

}  // namespace

Expected<BootState, Error> load_kernel(BootRequest const& request, GuestMemory& memory) {
    BACKPLANE_TRY_VOID(check_memory_size(request.memory_bytes));
    BootMode const mode = BACKPLANE_TRY(choose_mode(request));
    BootItems items{.memory_bytes = request.memory_bytes, .command_line = kBootCommandLine, .rsdp = kAcpiTables,
                    .has_vga = request.acpi.has_vga};
    BACKPLANE_TRY_VOID(load_segments(request.kernel, request.memory_bytes, memory));
    if (!request.initrd.empty()) {
        items.initrd = BACKPLANE_TRY(place_initrd(request));
        items.initrd_bytes = request.initrd.size();
        BACKPLANE_TRY_VOID(put(memory, items.initrd, request.initrd));
    }
    BACKPLANE_TRY_VOID(load_command_line(request, memory));
    BACKPLANE_TRY_VOID(load_structures(request, items, mode, memory));
    return make_state(request.kernel, mode);
}

}  // namespace backplane
