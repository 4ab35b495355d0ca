#include "jit/emitter.h"

#include <algorithm>

#include "cpu/flags.h"

namespace backplane::jit {

bool Emitter::emit_direct_lea(Instruction const& at) {
    ZydisDecodedOperandMem const& memory = at.operands[1].mem;
    ZydisRegister const into = at.operands[0].reg.value;
    if (at.operands[0].size == 16 || !is_in_register(into)) return false;
    if (memory.base == ZYDIS_REGISTER_NONE || memory.base == ZYDIS_REGISTER_RIP || !is_in_register(memory.base))
        return false;
    if (memory.index != ZYDIS_REGISTER_NONE && !is_in_register(memory.index)) return false;
    std::uint8_t const number = kHostOf[guest_of(into)];
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
    std::uint8_t const number = kHostOf[guest];
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

bool Emitter::emit_stack_run(Instruction const& at) {
    StackRun const run = stack_run();
    if (run.words() < 2) return false;
    bool const pushes = at.effects.treatment == Treatment::push;
    if (pending_ && std::any_of(&at, &at + run.count, [&](Instruction const& each) { return destroys_pending(each); }))
        flush_pending();
    StackStub& stub = stack_stubs_.emplace_back();
    stub.run = run;
    stub.pending = pending_;
    auto const bytes = static_cast<std::uint32_t>(8 * run.words());
    pushes ? lea(r9, ptr[r8 - bytes]) : mov(r9, r8);
    stub.slow = look_up(bytes, pushes, false);
    pushes ? emit_pushes(run) : emit_pops(run);
    stub.back = getCurr();
    index_ += run.words() - 1;
    if (!run.returns) return true;
    ended_ = true;
    flush_pending();
    jump_to_r9(instructions_[index_].op, -return_bytes(instructions_[index_]));
    return true;
}

/// Within a trace, since what is behind it counts towards the quota otherwise. A pushed RSP is another at each step.
Emitter::StackRun Emitter::stack_run() const {
    StackRun run{index_, 0, false};
    Treatment const kind = instructions_[index_].effects.treatment;
    for (std::size_t i = index_; i < instructions_.size(); ++i) {
        Instruction const& at = instructions_[i];
        bool const is_return = kind == Treatment::pop && at.effects.treatment == Treatment::ret;
        bool const pushes_rsp = at.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && at.operands[0].reg.value == ZYDIS_REGISTER_RSP;
        run.returns = is_return;
        if (at.effects.treatment != kind || pushes_rsp) break;
        ++run.count;
        if (at.ends_trace) break;
    }
    return run;
}

void Emitter::emit_pushes(StackRun const& run) {
    for (std::size_t i = 0; i < run.count; ++i) {
        if (i != 0 && request_.marks != nullptr) request_.marks->instructions.push_back(getSize());
        push_value(instructions_[run.first + i], qword[r9 + r11 + 8 * (run.count - 1 - i)]);
    }
    mov(r8, r9);
}

void Emitter::emit_pops(StackRun const& run) {
    for (std::size_t i = 0; i < run.count; ++i) {
        if (i != 0 && request_.marks != nullptr) request_.marks->instructions.push_back(getSize());
        pop_value(instructions_[run.first + i], qword[r9 + r11 + 8 * i]);
    }
    auto const popped = static_cast<std::int32_t>(8 * run.count);
    if (!run.returns) return lea(r8, ptr[r8 + popped]);
    if (request_.marks != nullptr) request_.marks->instructions.push_back(getSize());
    mov(r9, qword[r9 + r11 + 8 * run.count]);
    lea(r8, ptr[r8 + (popped + return_bytes(instructions_[run.first + run.count]))]);
}

void Emitter::emit_stack_stub(StackStub& stub) {
    land(stub.slow);
    pending_ = stub.pending;
    for (std::size_t i = 0; i < stub.run.count; ++i) {
        index_ = stub.run.first + i;
        Instruction const& at = instructions_[index_];
        at.effects.treatment == Treatment::push ? emit_push(at) : emit_pop(at);
    }
    if (stub.run.returns) pop_return(instructions_[stub.run.first + stub.run.count]);
    jmp(static_cast<void const*>(stub.back), T_NEAR);
}

void Emitter::emit_push(Instruction const& at) {
    lea(r9, ptr[r8 - 8]);
    emit_lookup(at, 8, true);
    protect_pending(at);
    push_value(at, qword[r9 + r11]);
    mov(r8, r9);
}

void Emitter::push_value(Instruction const& at, Xbyak::Address const& to) {
    if (at.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return mov(to, static_cast<std::int32_t>(at.operands[0].imm.value.s));
    auto const guest = static_cast<unsigned>(ZydisRegisterGetId(at.operands[0].reg.value));
    if (kHostOf[guest] != kInMemory) return mov(to, host(kHostOf[guest]));
    mov(r10, state64(slot(guest)));
    mov(to, r10);
}

void Emitter::emit_pop(Instruction const& at) {
    mov(r9, r8);
    emit_lookup(at, 8, false);
    protect_pending(at);
    pop_value(at, qword[r9 + r11]);
    lea(r8, ptr[r9 + 8]);
}

void Emitter::pop_value(Instruction const& at, Xbyak::Address const& from) {
    auto const guest = static_cast<unsigned>(ZydisRegisterGetId(at.operands[0].reg.value));
    if (kHostOf[guest] != kInMemory) return mov(host(kHostOf[guest]), from);
    mov(r10, from);
    mov(state64(slot(guest)), r10);
}

void Emitter::emit_leave(Instruction const& at) {
    mov(r9, rbp);
    emit_lookup(at, 8, false);
    protect_pending(at);
    mov(rbp, qword[r9 + r11]);
    lea(r8, ptr[r9 + 8]);
}

void Emitter::emit_divide(Instruction const& at) {
    unsigned const bits = at.operands[0].size;
    flush_pending();
    HandlerStub& stub = handler_stubs_.emplace_back();
    stub.at = &at;
    if (at.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
        emit_address(at.operands[0].mem, at);
        emit_lookup(at, bits / 8, false);
        load_value(bits, false);
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
    emit_address(at.operands[0].mem, at);
    emit_lookup(at, 8, false);
    mov(r10, qword[r9 + r11]);
    mov(state64(o_.call_target), r10);
    lea(r9, ptr[r8 - 8]);
    emit_lookup(at, 8, true);
    protect_pending(at);
    mov(r10, state64(o_.call_target));
    mov(qword[r9 + r11], r10);
    mov(r8, r9);
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
    emit_lookup(at, bits / 8, write);
    if (visible) flush_pending();
    written_.reset();
    lea(r9, ptr[r9 + r11]);
    load_general(r11, at.operands[1].reg.value);
    load_value(bits, true);
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
    if (write) store_value(bits, true);
    host_flags_ = HostFlags::carry_only;
    if (!visible) return;
    setc(state8(o_.flags_carry));
    mov(state8(o_.flags_has_carry), 1);
}

Emitter::HandlerStub& Emitter::if_not_kernel(Instruction const& at) {
    flush_pending();
    HandlerStub& stub = handler_stubs_.emplace_back();
    stub.at = &at;
    cmp(state8(o_.cpl), 0);
    stub.slow[0] = jump_ahead_if(Condition::nz);
    host_flags_ = HostFlags::stale;
    return stub;
}

void Emitter::emit_cli(Instruction const& at) {
    HandlerStub& stub = if_not_kernel(at);
    and_(state32(o_.rflags), ~static_cast<std::uint32_t>(rflags::kInterrupt));
    stub.back = getCurr();
}

void Emitter::emit_swapgs(Instruction const& at) {
    HandlerStub& stub = if_not_kernel(at);
    mov(r9, state64(o_.gs_base));
    mov(r10, state64(o_.kernel_gs_base));
    mov(state64(o_.gs_base), r10);
    mov(state64(o_.segment_bases + 8 * backplane::gs), r10);
    mov(state64(o_.kernel_gs_base), r9);
    stub.back = getCurr();
}

}  // namespace backplane::jit
