#include "jit/emitter.h"

#include <algorithm>

namespace backplane::jit {

bool Emitter::emit_direct_lea(Instruction const& at) {
    ZydisDecodedOperandMem const& memory = at.operands[1].mem;
    ZydisRegister const into = at.operands[0].reg.value;
    if (at.operands[0].size == 16 || !is_in_register(into)) return false;
    if (memory.base == ZYDIS_REGISTER_NONE || memory.base == ZYDIS_REGISTER_RIP || !is_in_register(memory.base))
        return false;
    if (memory.index != ZYDIS_REGISTER_NONE && !is_in_register(memory.index)) return false;
    std::uint8_t const number = host_of_[guest_of(into)];
    Reg64 const base = address_register(memory.base, r9);
    auto const disp = static_cast<std::int32_t>(memory.disp.has_displacement ? memory.disp.value : 0);
    Xbyak::RegExp const address = memory.index == ZYDIS_REGISTER_NONE
                                      ? base + disp
                                      : base + address_register(memory.index, r10) * memory.scale + disp;
    at.operands[0].size == 64 ? lea(host(number), ptr[address]) : lea(Reg32{number}, ptr[address]);
    return true;
}

void Emitter::emit_lea(Instruction const& at) {
    protect_pending(at);
    if (emit_direct_lea(at)) return;
    ZydisDecodedOperandMem memory = at.operands[1].mem;
    memory.segment = ZYDIS_REGISTER_NONE;
    emit_address(memory, at);
    unsigned const guest = guest_of(at.operands[0].reg.value);
    std::uint8_t const number = host_of_[guest];
    switch (at.operands[0].size) {
        case 64:
            number == kInMemory ? mov(state64(slot(guest)), r9) : mov(host(number), r9);
            break;
        case 32:
            if (number == kInMemory) {
                mov(r9d, r9d);
                mov(state64(slot(guest)), r9);
            } else {
                mov(Reg32{number}, r9d);
            }
            break;
        default:
            number == kInMemory ? mov(word[r15 + slot(guest)], r9w) : mov(Reg16{number}, r9w);
            break;
    }
}

void Emitter::emit_push(Instruction const& at) {
    Xbyak::RegExp const place = find_stack(at, -8, true);
    protect_pending(at);
    push_value(at, qword[place]);
    move_stack(-8);
}

/// A pushed RSP must be up to date.
bool Emitter::is_stack_follower(std::size_t i) const {
    Instruction const& at = instructions_[i];
    bool const pushes_rsp = at.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && at.operands[0].reg.value == ZYDIS_REGISTER_RSP;
    bool const is_one = at.effects.treatment == Treatment::push || at.effects.treatment == Treatment::pop || at.effects.treatment == Treatment::ret;
    return is_one && at.stack.follows() && !pushes_rsp;
}

void Emitter::move_stack(std::int32_t bytes) {
    stack_moved_ += bytes;
    if (!is_last() && is_stack_follower(index_ + 1)) return;
    if (stack_moved_ != 0) lea(r8, ptr[r8 + stack_moved_]);
    stack_moved_ = 0;
}

void Emitter::push_value(Instruction const& at, Xbyak::Address const& to) {
    if (at.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return mov(to, static_cast<std::int32_t>(at.operands[0].imm.value.s));
    auto const guest = static_cast<unsigned>(ZydisRegisterGetId(at.operands[0].reg.value));
    if (host_of_[guest] != kInMemory) return mov(to, host(host_of_[guest]));
    mov(r10, state64(slot(guest)));
    mov(to, r10);
}

void Emitter::emit_pop(Instruction const& at) {
    Xbyak::RegExp const place = find_stack(at, 0, false);
    protect_pending(at);
    pop_value(at, qword[place]);
    if (at.operands[0].reg.value != ZYDIS_REGISTER_RSP) move_stack(8);
}

void Emitter::pop_value(Instruction const& at, Xbyak::Address const& from) {
    auto const guest = static_cast<unsigned>(ZydisRegisterGetId(at.operands[0].reg.value));
    if (host_of_[guest] != kInMemory) return mov(host(host_of_[guest]), from);
    mov(r10, from);
    mov(state64(slot(guest)), r10);
}

void Emitter::emit_leave(Instruction const& at) {
    if (!at.stack.follows()) lea(r9, ptr[rbp - at.stack.offset]);
    Xbyak::RegExp const place = at.stack.follows() ? pinned(at.stack) : find(at, at.stack, 8, false);
    protect_pending(at);
    lea(r8, ptr[rbp + 8]);
    mov(rbp, qword[place]);
}

void Emitter::emit_divide(Instruction const& at) {
    unsigned const bits = at.operands[0].size;
    flush_pending();
    pin_in_r11_.reset();
    HandlerStub& stub = handler_stubs_.emplace_back();
    stub.at = &at;
    if (at.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
        load_value(bits, find_operand(at, at.operands[0]));
    } else {
        load_general(r10, at.operands[0].reg.value);
    }
    auto const divide = [&](auto const& divisor, auto const& low, auto const& high, auto const& spare) {
        if (at.decoded.mnemonic == ZYDIS_MNEMONIC_DIV) {
            cmp(high, divisor);
            stub.slow[0] = jump_ahead_if(Condition::nb);  // too large, or by 0
            div(divisor);
            return;
        }
        // The usual dividend is sign-extended: then only 0 and -1 can fail.
        mov(spare, low);
        sar(spare, static_cast<int>(bits - 1));
        cmp(spare, high);
        stub.slow[0] = jump_ahead_if(Condition::nz);
        lea(spare, ptr[r10 + 1]);
        cmp(spare, 1);
        stub.slow[1] = jump_ahead_if(Condition::be);
        idiv(divisor);
    };
    bits == 64 ? divide(r10, rax, rdx, r11) : divide(r10d, eax, edx, r11d);
    stub.back = getCurr();
    host_flags_ = HostFlags::stale;
}

void Emitter::emit_push_memory(Instruction const& at) {
    mov(r10, qword[find_operand(at, at.operands[0])]);
    bool const looks = !at.stack.follows();
    if (looks) mov(state64(o_.call_target), r10);
    Xbyak::RegExp const place = find_stack(at, -8, true);
    protect_pending(at);
    if (looks) mov(r10, state64(o_.call_target));
    mov(qword[place], r10);
    lea(r8, ptr[r8 - 8]);
}

void Emitter::emit_bit_string(Instruction const& at) {
    unsigned const bits = at.operands[0].size;
    bool const write = at.decoded.mnemonic != ZYDIS_MNEMONIC_BT;
    bool const visible = is_visible(index_);
    emit_address(at.operands[0].mem, at);
    load_general(r10, at.operands[1].reg.value);
    if (bits == 32) movsxd(r10, r10d);
    sar(r10, bits == 64 ? 6 : 5);
    lea(r9, ptr[r9 + r10 * static_cast<int>(bits / 8)]);
    Xbyak::RegExp const place = find(at, at.operand, bits / 8, write);
    if (visible) flush_pending();
    written_.reset();
    lea(r9, ptr[place]);
    load_general(r11, at.operands[1].reg.value);
    load_value(bits, r9);
    auto const test_bit = [&](auto const& value, auto const& offset) {
        switch (at.decoded.mnemonic) {
            case ZYDIS_MNEMONIC_BTS:
                return bts(value, offset);
            case ZYDIS_MNEMONIC_BTR:
                return btr(value, offset);
            case ZYDIS_MNEMONIC_BTC:
                return btc(value, offset);
            default:
                return bt(value, offset);
        }
    };
    bits == 64 ? test_bit(r10, r11) : test_bit(r10d, r11d);
    if (write) store_value(bits, r9);
    host_flags_ = HostFlags::carry_only;
    if (!visible) return;
    setc(state8(o_.flags_carry));
    mov(state8(o_.flags_has_carry), 1);
}

}  // namespace backplane::jit
