// The machine's ACPI tables: RSDP, XSDT, FADT, MADT, DSDT. A hardware-reduced platform: no PM timer, no SCI, no SMI
// port; power and reset are single registers.
//
// State:    stable
// Features: processors, I/O APIC, PCI root with windows and interrupt routing, COM1, power off (\_S5), reset
// Missing:  power button (wants a Generic Event Device), processor objects in the namespace, MCFG, sleep states but S5
// Differs from the hardware: no 8042, VGA, CMOS clock, 8259, 8254 and HPET, and the tables say so
// Source:   [ACPI65] chapters 4.1, 5.2, 6.2.13 and 20
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/address.h"
#include "device/acpi/power_control.h"

namespace backplane {

/// What of the machine the tables describe, beyond the fixed address map of machine/layout.h.
struct AcpiSettings {
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
