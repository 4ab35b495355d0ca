// Puts a kernel, an initrd, a command line and the ACPI tables into a machine's memory, and says with which
// registers its first processor starts. Two ways in:
//
//   PVH        32-bit protected mode, paging off, EBX = hvm_start_info. The kernel builds its own page tables.
//   long mode  startup_64 with identity-mapped page tables, RSI = Linux' struct boot_params.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "machine/acpi_tables.h"
#include "machine/kernel_image.h"
#include "memory/guest_memory.h"

namespace backplane {

enum class BootMode : std::uint8_t {
    pvh,     ///< [PVH] "x86 boot ABI"
    long64,  ///< [LinuxBoot] "64-bit Boot Protocol"
    multiboot,  ///< [Multiboot] 3.2: 32-bit protected mode, EAX = magic number, EBX = information
};

/// A segment register at the start: the selector, and its 8-byte descriptor as it stands in the GDT ([SDM3A] 3.4.5).
struct BootSegment {
    std::uint16_t selector;
    std::uint64_t descriptor;
};

/// The first processor's registers. What is not named here has its value after power-on; all segments are flat.
struct BootState {
    BootMode mode;
    GuestPhys entry;       ///< RIP, physical = linear
    GuestPhys start_info;  ///< hvm_start_info (pvh: in RBX) or boot_params (long64: in RSI)
    std::uint64_t rax;
    std::uint64_t rbx;
    std::uint64_t rsi;
    std::uint64_t rsp;
    std::uint64_t rflags;  ///< interrupts off
    std::uint64_t cr0;     ///< pvh: PE; long64: PE and PG
    std::uint64_t cr3;     ///< long64: identity map of the first 4 GiB with 2 MiB pages; pvh: 0
    std::uint64_t cr4;     ///< long64: PAE
    std::uint64_t efer;    ///< long64: LME and LMA
    GuestPhys gdt_base;
    std::uint16_t gdt_limit;
    BootSegment code;  ///< CS
    BootSegment data;  ///< DS, ES, SS; for pvh and long64 also FS and GS may hold it
    BootSegment task;  ///< TR: a busy 32-bit (pvh) or 64-bit (long64) TSS at base 0 with limit 0x67
};

/// automatic: what the image was loaded for, else pvh if the kernel has it
enum class BootEntry : std::uint8_t { automatic, pvh, long64 };

struct BootRequest {
    KernelImage const& kernel;
    ConstByteSpan initrd{};  ///< empty: none
    std::string_view command_line{};
    std::uint64_t memory_bytes;
    AcpiSettings acpi{};
    BootEntry entry{BootEntry::automatic};
};

/// `memory` has RAM in ram_ranges(request.memory_bytes). May be called again for a machine that was reset: everything
/// that the kernel relies on is written, zeros too.
/// Errors, each naming the kernel or the sizes: memory size refused by check_memory_size(); kernel, initrd or command
/// line do not fit; the kernel has not the entry that was asked for; zero bytes in the command line.
/// On an error the memory's contents are unspecified.
[[nodiscard]] Expected<BootState, Error> load_kernel(BootRequest const& request, GuestMemory& memory);

}  // namespace backplane
