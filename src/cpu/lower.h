// From a Zydis instruction to an Op: one function a mnemonic, registered by the family files (lower_*.cc).
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <cstdint>

#include "cpu/op.h"

namespace backplane {

/// What a lowering function sees and fills. The Op comes prepared: memory operand (base, index, scale, disp, segment,
/// form), length, offset, position, repeat and lock are set, dst/src/imm are zero, run is null.
struct Lowering {
    ZydisDecodedInstruction const& instruction;
    ZydisDecodedOperand const* operands;  ///< all of them, explicit ones first
    CodeMode mode;
    Op& op;
    bool ends_trace{false};  ///< set by functions whose instruction must be the last of its trace

    [[nodiscard]] unsigned visible() const { return instruction.operand_count_visible; }
    [[nodiscard]] ZydisDecodedOperand const& operand(unsigned i) const { return operands[i]; }
    [[nodiscard]] bool is_register(unsigned i) const { return operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER; }
    [[nodiscard]] bool is_memory(unsigned i) const { return operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY; }
    [[nodiscard]] bool is_immediate(unsigned i) const { return operands[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE; }
    /// Size of operand i in bytes.
    [[nodiscard]] unsigned bytes(unsigned i) const { return operands[i].size / 8; }
    /// The immediate of operand i, sign-extended when the encoding says so.
    [[nodiscard]] std::int64_t immediate(unsigned i) const { return operands[i].imm.value.s; }
    /// Byte offset of a general register in the register file (AL, AH, AX, EAX, RAX...).
    [[nodiscard]] std::uint8_t gpr(unsigned i) const { return gpr_slot(operands[i].reg.value); }
    /// Number of a vector register (XMM, MMX, ST): its index.
    [[nodiscard]] std::uint8_t vector(unsigned i) const;
    [[nodiscard]] static std::uint8_t gpr_slot(ZydisRegister reg);
};

/// The decoder of a mode, which knows what our processor has.
[[nodiscard]] ZydisDecoder const& decoder_for(CodeMode mode);

/// Chooses the handler (op.run) and fills the operands. Leaving op.run null means: this form raises #UD.
using LowerFunction = void (*)(Lowering&);
using LowerTable = std::array<LowerFunction, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

/// The table of all mnemonics; null where there is none.
[[nodiscard]] LowerTable const& lower_table();

// The families, each in a file of its own.
void lower_integer(LowerTable& table);
void lower_bits(LowerTable& table);
void lower_move(LowerTable& table);
void lower_shift(LowerTable& table);
void lower_control(LowerTable& table);
void lower_string(LowerTable& table);
void lower_system(LowerTable& table);
void lower_sse(LowerTable& table);
void lower_x87(LowerTable& table);

// MOV, PUSH and POP of segment, control and debug registers, reached through the ordinary mnemonics.
void lower_mov_system(Lowering& lowering);
void lower_push_segment(Lowering& lowering);
void lower_pop_segment(Lowering& lowering);

/// The segment of a string instruction's source: DS, or what a prefix says.
[[nodiscard]] std::uint8_t string_source_segment(Lowering const& lowering);

/// Picks among four instances of a handler template by operand size.
[[nodiscard]] constexpr Handler by_size(unsigned bytes, Handler h1, Handler h2, Handler h4, Handler h8) {
    switch (bytes) {
        case 1: return h1;
        case 2: return h2;
        case 4: return h4;
        case 8: return h8;
        default: return nullptr;
    }
}

}  // namespace backplane
