// What the handler files share: choosing a handler by operand form and size.
#pragma once

#include <cstdint>

#include "cpu/cpu.h"
#include "cpu/lower.h"

namespace backplane {

/// Where the operands of a two-operand instruction are: destination first.
enum class Form : std::uint8_t { reg_reg, reg_imm, reg_mem, mem_reg, mem_imm };

/// The form of an instruction's first two operands, with op.dst, op.src and op.imm filled in.
inline Form fill_two_operands(Lowering& lowering) {
    Op& op = lowering.op;
    if (lowering.is_memory(0)) {
        if (lowering.is_immediate(1)) {
            op.imm = lowering.immediate(1);
            return Form::mem_imm;
        }
        op.src = lowering.gpr(1);
        return Form::mem_reg;
    }
    op.dst = lowering.gpr(0);
    if (lowering.is_immediate(1)) {
        op.imm = lowering.immediate(1);
        return Form::reg_imm;
    }
    if (lowering.is_memory(1)) return Form::reg_mem;
    op.src = lowering.gpr(1);
    return Form::reg_reg;
}

/// `MAKE(T, F)` names a handler; picks by size in bytes and Form.
#define BACKPLANE_PICK(MAKE, bytes, form)                                                                          \
    (bytes) == 1   ? BACKPLANE_PICK_FORM(MAKE, std::uint8_t, form)                                                 \
    : (bytes) == 2 ? BACKPLANE_PICK_FORM(MAKE, std::uint16_t, form)                                                \
    : (bytes) == 4 ? BACKPLANE_PICK_FORM(MAKE, std::uint32_t, form)                                                \
                   : BACKPLANE_PICK_FORM(MAKE, std::uint64_t, form)
#define BACKPLANE_PICK_FORM(MAKE, T, form)                   \
    ((form) == Form::reg_reg   ? MAKE(T, Form::reg_reg)      \
     : (form) == Form::reg_imm ? MAKE(T, Form::reg_imm)      \
     : (form) == Form::reg_mem ? MAKE(T, Form::reg_mem)      \
     : (form) == Form::mem_reg ? MAKE(T, Form::mem_reg)      \
                               : MAKE(T, Form::mem_imm))

}  // namespace backplane
