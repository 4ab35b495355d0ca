// The registers of a processor as GDB numbers, names and packs them: one flat table, and target.xml made from it.
//
// The order of the first four features is GDB's own ([GDB] appendix G.5.10); the system registers follow in a feature
// of ours. All registers keep 64-bit mode's layout in every mode, since GDB does not take a change of layout.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cpu/state.h"

namespace backplane {

/// One register: how it is described, read and written.
struct DebugRegister {
    char const* name;
    std::uint8_t bits;
    char const* type;    ///< GDB's type
    char const* group;   ///< GDB's group, or null
    std::uint8_t index;  ///< for the two functions: which of its kind
    /// The value in little-endian order, bits / 8 bytes of it.
    using Value = std::array<std::byte, 16>;
    void (*read)(CpuState const& state, std::uint8_t index, Value& value);
    /// False: this register, or this value, cannot be set from outside; nothing has changed. Null: read-only.
    bool (*write)(CpuState& state, std::uint8_t index, Value const& value);

    [[nodiscard]] std::size_t bytes() const { return bits / 8; }
};

[[nodiscard]] std::span<DebugRegister const> debug_registers();
/// By GDB's name.
[[nodiscard]] DebugRegister const* find_debug_register(std::string_view name);

/// Register contents as hexadecimal digits, lowest byte first: what `p` answers and `P` gives.
[[nodiscard]] std::string register_text(DebugRegister const& reg, CpuState const& state);
/// False when the digits are not exactly the register's, or it cannot be set to them.
[[nodiscard]] bool set_register(DebugRegister const& reg, CpuState& state, std::string_view digits);
/// All of them, as `g` answers and `G` gives; read-only ones are passed over.
[[nodiscard]] std::string all_registers_text(CpuState const& state);
[[nodiscard]] bool set_all_registers(CpuState& state, std::string_view digits);

/// target.xml.
[[nodiscard]] std::string const& target_description();

}  // namespace backplane
