// In which registers and pages two machines differ that should be in the same state, as lists and as text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "machine/machine.h"

namespace backplane {

/// Registers of one processor that differ, by GDB's names (debug/registers.h).
[[nodiscard]] std::vector<std::string> different_registers(CpuState const& one, CpuState const& other);
/// A register's value: "0x1f" or flags as "0x246 [ IF ZF PF ]".
[[nodiscard]] std::string register_value(CpuState const& state, std::string const& name);
/// All general registers and flags in a few lines.
[[nodiscard]] std::string general_registers(CpuState const& state);

/// Pages of RAM that differ: a look at all memory.
[[nodiscard]] std::vector<GuestPage> different_pages(Machine const& one, Machine const& other);
[[nodiscard]] bool is_same_page(Machine const& one, Machine const& other, GuestPage page);
/// What can be read of a page; empty: it is no RAM.
[[nodiscard]] std::vector<std::byte> copy_of_page(Machine const& machine, GuestPage page);

}  // namespace backplane
