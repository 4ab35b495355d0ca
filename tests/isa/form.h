// The forms of instructions: a mnemonic with kinds and sizes of operands, as one opcode encodes them.
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace backplane::isa {

struct Decoded {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

    [[nodiscard]] std::span<ZydisDecodedOperand const> all() const { return {operands, instruction.operand_count}; }
    [[nodiscard]] std::span<ZydisDecodedOperand const> visible() const {
        return {operands, instruction.operand_count_visible};
    }
};
/// False when the bytes are no instruction of 64-bit mode.
[[nodiscard]] bool decode(std::span<std::uint8_t const> bytes, Decoded& decoded);

struct Form {
    std::string name;  ///< such as "ADD r32, m32 [03]"
    ZydisMnemonic mnemonic;
    ZydisISASet isa_set;
    std::uint64_t key;  ///< equal for two instructions exactly if they have the same form
    // How it is encoded.
    std::vector<std::uint8_t> prefixes;
    bool rex_w;
    std::uint8_t map;  ///< 0 none, 1 0F, 2 0F38, 3 0F3A
    bool vex;          ///< the one prefix, if any, is in VEX.pp
    bool vex_long;     ///< VEX.L
    bool vsib;         ///< the index is a vector register
    bool uses_vvvv;    ///< else VEX.vvvv must be all ones
    std::uint8_t opcode;
    bool has_modrm;
    bool memory;  ///< ModRM.mod != 3
    bool fixed_reg;
    std::uint8_t reg;
    bool fixed_rm;
    std::uint8_t rm;
};

/// The key of an instruction's form.
[[nodiscard]] std::uint64_t form_key(Decoded const& decoded);

/// The three bytes of a form's VEX prefix ([SDM2A] 2.3.5): `rex` has REX.RXB, not inverted.
[[nodiscard]] std::array<std::uint8_t, 3> vex_prefix(Form const& form, unsigned rex, unsigned vvvv_inverted);

/// All forms of 64-bit mode for which `wanted` answers yes, found by going through the opcode space.
[[nodiscard]] std::vector<Form> enumerate_forms(std::function<bool(Decoded const&)> const& wanted);

}  // namespace backplane::isa
