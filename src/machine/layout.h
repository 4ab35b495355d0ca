// The address map of a machine: what lives where in guest-physical memory, and why.
//
//   0x0000'0000  RAM, 640 KiB        boot structures below (kBoot...), real-mode memory for starting processors
//   0x000A'0000  nothing, or RAM     VGA memory
//   0x000C'0000  RAM, reserved       where a PC has option ROMs and firmware; ACPI tables from 0x000E'0000
//   0x0010'0000  RAM                 up to 3 GiB
//   0xC000'0000  PCI window, 32 bit  BARs of devices
//   0xFEC0'0000  I/O APIC
//   0xFED0'0000  HPET, if asked for
//   0xFEE0'0000  local APICs
//   0xFEF0'0000  PCI configuration (ECAM)
//   0x1'0000'0000 RAM                what did not fit below 3 GiB
//   0x40'0000'0000 PCI window, 64 bit
#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/expected.h"

namespace backplane {

inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// RAM. The first 640 KiB and the hole above are a PC's; kernels expect them.
inline constexpr GuestPhys kConventionalEnd{0xA'0000};
inline constexpr GuestPhys kRomArea{0xC'0000};
inline constexpr std::uint64_t kRomAreaBytes = 0x4'0000;
inline constexpr GuestPhys kAcpiTables{0xE'0000};  ///< a kernel also searches the RSDP from here on ([ACPI65] 5.2.5.1)
inline constexpr std::uint64_t kAcpiTablesBytes = 0x1'FFF0;
inline constexpr GuestPhys kRestartEntry{0xF'FFF0};  ///< F000:FFF0, where "reboot through the BIOS" jumps
inline constexpr GuestPhys kHighMemory{0x10'0000};
/// RAM below 4 GiB ends here at the latest; the last GiB is left to devices, which need 32-bit addresses.
inline constexpr GuestPhys kLowMemoryLimit{0xC000'0000};
inline constexpr GuestPhys kMemoryAbove4GiB{0x1'0000'0000};

// Devices.
inline constexpr GuestPhys kPciWindow32{0xC000'0000};
inline constexpr std::uint64_t kPciWindow32Bytes = 0x3EC0'0000;  // up to the I/O APIC; SeaBIOS fills it from above
inline constexpr GuestPhys kPciEcam{0xFEF0'0000};                // bus 0: PciHost::kEcamBytes
inline constexpr std::uint64_t kPciEcamBytes = 0x10'0000;
inline constexpr GuestPhys kIoApic{0xFEC0'0000};                 // [82093AA] 3.0
inline constexpr std::uint64_t kIoApicBytes = 0x1000;
inline constexpr GuestPhys kHpet{0xFED0'0000};  // [HPET] 3.2.4 gives it away; chipsets have it here
inline constexpr GuestPhys kLocalApic{0xFEE0'0000};  // [SDM3A] "Local APIC Status and Location"
inline constexpr std::uint64_t kLocalApicBytes = 0x1000;
/// The upper half of the 39-bit guest-physical space (PageMap::kAddressBits) is left to large BARs.
inline constexpr GuestPhys kPciWindow64{0x40'0000'0000};
inline constexpr std::uint64_t kPciWindow64Bytes = 0x40'0000'0000;

/// What the tables can describe: PVH and the kernel need some MiB, and RAM must end below the 64-bit PCI window.
inline constexpr std::uint64_t kMinMemoryBytes = 16 * kMiB;
inline constexpr std::uint64_t kMaxMemoryBytes = kPciWindow64.value() - (kMemoryAbove4GiB - kLowMemoryLimit);
/// xAPIC identifiers are 0 to 254; 255 is the broadcast ([SDM3A] "Determining IPI Destination").
inline constexpr unsigned kMaxProcessors = 255;

// Interrupt inputs of the I/O APIC.
inline constexpr unsigned kIoApicId = 0;
inline constexpr unsigned kTimerInput = 2;  ///< where interrupt 0 of the ISA bus is; the others have their own numbers
inline constexpr unsigned kTimerInterrupt = 0;
inline constexpr unsigned kKeyboardInterrupt = 1;
inline constexpr unsigned kClockInterrupt = 8;
inline constexpr unsigned kAcpiInterrupt = 9;    ///< SCI, level-triggered, active high
inline constexpr unsigned kSerialInterrupt = 4;  ///< COM1, edge-triggered and active high, as on a PC
// INTA of a PCI slot: IntxRouter::input_of() in device/pci/host.h; level-triggered, active low in the tables' terms.

// Ports.
inline constexpr PortNumber kSerialPorts{0x3F8};
inline constexpr std::uint16_t kSerialPortCount = 8;
// PCI configuration: PciHost::kPorts; power and reset: device/acpi/power_control.h.

// What the loader leaves in conventional memory for the kernel's first instructions. A kernel copies what it needs
// and then uses the memory as it likes.
inline constexpr GuestPhys kBootGdt{0x500};
inline constexpr GuestPhys kBootStartInfo{0x6000};   ///< hvm_start_info, module list, memory map
inline constexpr GuestPhys kBootParams{0x7000};      ///< Linux' struct boot_params, 4 KiB
inline constexpr GuestPhys kBootStackTop{0x8FF0};    ///< grows down to 0x8000
inline constexpr GuestPhys kBootPageTables{0x9000};  ///< PML4, PDPT, four page directories
inline constexpr GuestPhys kBootCommandLine{0x2'0000};
inline constexpr std::uint64_t kBootCommandLineBytes = 0x1'0000;

/// A piece of guest-physical memory and what the machine says about it.
struct MemoryRange {
    enum class Kind : std::uint32_t { ram = 1, reserved = 2 };  ///< values of [ACPI65] table 15.1
    GuestPhys start;
    std::uint64_t bytes;
    Kind kind;
};

/// Says no to a memory size that is outside of [kMinMemoryBytes, kMaxMemoryBytes] or no multiple of 1 MiB.
[[nodiscard]] Expected<void, Error> check_memory_size(std::uint64_t memory_bytes);

/// What is backed by frames in a machine of this size, ascending: RAM proper, and the reserved range of the ROM area
/// with the ACPI tables. `memory_bytes` has passed check_memory_size(). The holes below 1 MiB count as RAM, as they do on a PC.
[[nodiscard]] std::vector<MemoryRange> ram_ranges(std::uint64_t memory_bytes);

/// What the kernel is told: ram_ranges() and the reserved ranges of the interrupt controllers, ascending, disjoint.
[[nodiscard]] std::vector<MemoryRange> memory_map(std::uint64_t memory_bytes);

/// Where RAM below 4 GiB ends.
[[nodiscard]] GuestPhys low_memory_end(std::uint64_t memory_bytes);

}  // namespace backplane
