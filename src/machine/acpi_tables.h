// The machine's ACPI tables: RSDP, XSDT, FADT, MADT, DSDT; two descriptions of one board. The reduced one
// (hardware-reduced ACPI) names what a kernel needs and nothing else: no 8259, 8254, clock or PM timer, no SCI; power
// and reset are single registers. The full one names every device of the PC, and has FACS and MCFG as well.
//
// State:    stable
// Features: processors, I/O APIC, PCI root with windows and interrupt routing, COM1, power off (\_S5), reset; full: PM1
//           registers, PM timer, HPET if the machine has it, power button, interrupt overrides, 8042, clock, 8254, ECAM
// Missing:  power button of the reduced platform (wants a Generic Event Device), processor objects in the namespace,
// sleep
//           states but S5, PCI interrupts by way of the 8259
// Differs from the hardware: the reduced tables are silent about devices that are there
// Source:   [ACPI65] chapters 4.1, 5.2, 6.2.13 and 20; [HPET] 3.2.4
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/address.h"
#include "device/acpi/power_control.h"

namespace backplane {

enum class AcpiPlatform : std::uint8_t { reduced, full };

/// What of the machine the tables describe, beyond the fixed address map of machine/layout.h.
struct AcpiSettings {
    AcpiPlatform platform{AcpiPlatform::reduced};
    bool has_vga{false};
    bool has_hpet{false};
    unsigned processor_count{1};  ///< 1 to kMaxProcessors; processor n has APIC identifier n
    PortNumber sleep_control{kSleepControlPort};
    PortNumber sleep_status{kSleepStatusPort};
    PortNumber reset{kResetPort};
    std::uint8_t reset_value{kResetValue};
    std::uint8_t sleep_type_off{kSleepTypeS5};  ///< SLP_TYP of S5, 0 to 7
};

/// The tables as they stand in memory from `address` on, the RSDP first; at most kAcpiTablesBytes. Checksums are right.
[[nodiscard]] std::vector<std::byte> make_acpi_tables(AcpiSettings const& settings, GuestPhys address);

}  // namespace backplane
