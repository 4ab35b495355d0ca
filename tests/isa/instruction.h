// One instruction of a form, with random registers, address and immediates.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "case.h"
#include "form.h"
#include "random.h"

namespace backplane::isa {

struct Instruction {
    Form const* form{nullptr};
    std::array<std::uint8_t, 15> bytes{};
    std::uint8_t length{0};
    Decoded decoded;

    /// Writes a displacement or immediate where the encoding has it, and decodes again.
    void patch(unsigned offset, unsigned size, std::uint64_t value);
    void patch_displacement(std::uint64_t value) {
        patch(decoded.instruction.raw.disp.offset, decoded.instruction.raw.disp.size / 8, value);
    }
    void patch_immediate(std::uint64_t value) {
        patch(decoded.instruction.raw.imm[0].offset, decoded.instruction.raw.imm[0].size / 8, value);
    }
    [[nodiscard]] bool is_string() const { return decoded.instruction.meta.category == ZYDIS_CATEGORY_STRINGOP; }
    [[nodiscard]] bool is_branch() const;
    [[nodiscard]] bool has_repeat() const {
        return (decoded.instruction.attributes &
                (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
    }
};

/// Number of the general register that a register is (part of), if it is one.
[[nodiscard]] std::optional<unsigned> gpr_number(ZydisRegister reg);
/// The general registers an instruction may write, one bit each.
[[nodiscard]] std::uint32_t written_gprs(Decoded const& decoded);

/// Registers that addresses are to be formed with; all of them when empty.
struct AddressRegisters {
    std::span<std::uint8_t const> bases{};
    std::span<std::uint8_t const> indexes{};
};

/// Empty when the dice gave no instruction of this form (a prefix changed its meaning, say) many times over.
[[nodiscard]] std::optional<Instruction> make_instruction(Form const& form, Rng& rng,
                                                          AddressRegisters const& registers);

/// The linear address of a memory operand of an instruction at `rip`, in a state.
[[nodiscard]] std::uint64_t linear_address(Instruction const& instruction, ZydisDecodedOperand const& operand,
                                           UserState const& state, std::uint64_t rip);

}  // namespace backplane::isa
