// The ACPI tables as firmware puts them into memory itself: two files, and the commands that place, link and sum them.
//
// Source: [QEMU] docs/specs/fw_cfg.txt, and the commands as QEMU's bios-linker-loader documents them
#pragma once

#include <cstddef>
#include <vector>

#include "machine/acpi_tables.h"

namespace backplane {

struct TableLoader {
    static constexpr char const* kRsdpName = "etc/acpi/rsdp";
    static constexpr char const* kTablesName = "etc/acpi/tables";
    std::vector<std::byte> rsdp;
    std::vector<std::byte> tables;    ///< every other table; pointers hold offsets into this file
    std::vector<std::byte> commands;  ///< 128 bytes each
};

[[nodiscard]] TableLoader make_table_loader(AcpiSettings const& settings);

}  // namespace backplane
