#include "jit/emitter.h"

namespace backplane::jit {

/// What the next instruction notes over before anybody can look is not noted.
void Emitter::note_x87(Instruction const& at) {
    Instruction const* const next = is_last() ? nullptr : &instructions_[index_ + 1];
    bool const next_faults = next == nullptr || !next->effects.is_noted || (next->effects.touches_memory && !next->operand.follows());
    if (ZydisDecodedOperand const* const operand = at.memory(); operand != nullptr && (next_faults || !next->effects.touches_memory)) {
        emit_address(operand->mem, at);
        mov(state64(o_.x87_data), r9);
    }
    if (!next_faults) return;
    mov(r10, state64(o_.page_address));
    if (at.offset != 0) lea(r10, ptr[r10 + at.offset]);
    mov(state64(o_.x87_instruction), r10);
    mov(word[r15 + o_.x87_opcode], static_cast<std::uint16_t>(at.op->imm));  // where lowering put it
}

/// The word is copied once: the guest may change it meanwhile.
void Emitter::emit_x87_control(Instruction const& at) {
    constexpr std::uint32_t kMasks = 0x3f;  // [SDM1] 8.1.5
    Xbyak::RegExp const place = find_operand(at, *at.memory());
    flush_pending();
    movzx(r10d, word[place]);
    mov(state64(o_.temporary), r10);
    not_(r10d);
    test(r10d, kMasks);
    HandlerStub& stub = handler_behind(at);
    stub.slow[0] = jump_ahead_if(Condition::nz);
    fldcw(word[r15 + o_.temporary]);
    stub.back = getCurr();
}

}  // namespace backplane::jit
