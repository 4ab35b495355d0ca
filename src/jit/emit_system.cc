// Instructions of the system that a kernel uses all the time. Each asks inline whether there is anything special about it, and
// calls its handler if there is.
#include "cpu/flags.h"
#include "cpu/state.h"
#include "jit/emitter.h"

namespace backplane::jit {

Emitter::HandlerStub& Emitter::handler_behind(Instruction const& at) {
    HandlerStub& stub = handler_stubs_.emplace_back();
    stub.at = &at;
    stub.pending = pending_;
    host_flags_ = HostFlags::stale;
    return stub;
}

Emitter::HandlerStub& Emitter::if_not_kernel(Instruction const& at) {
    HandlerStub& stub = handler_behind(at);
    cmp(state8(o_.cpl), 0);
    stub.slow[0] = jump_ahead_if(Condition::nz);
    return stub;
}

void Emitter::emit_cli(Instruction const& at) {
    HandlerStub& stub = if_not_kernel(at);
    and_(state32(o_.rflags), ~static_cast<std::uint32_t>(rflags::kInterrupt));
    stub.back = getCurr();
}

/// An interrupt that waits comes behind the next instruction.
void Emitter::emit_sti(Instruction const& at) {
    HandlerStub& stub = if_not_kernel(at);
    mov(r9, reinterpret_cast<std::uint64_t>(request_->places.interrupt_ready));
    mov(r10, reinterpret_cast<std::uint64_t>(request_->places.nmi_pending));
    cmp(byte[r9], 0);
    stub.slow[1] = jump_ahead_if(Condition::nz);
    cmp(byte[r10], 0);
    stub.slow[2] = jump_ahead_if(Condition::nz);
    cmp(state8(o_.has_machine_check), 0);
    stub.slow[3] = jump_ahead_if(Condition::nz);
    or_(state32(o_.rflags), static_cast<std::uint32_t>(rflags::kInterrupt));
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

void Emitter::emit_access_check(Instruction const& at) {
    bool const set = at.decoded.mnemonic == ZYDIS_MNEMONIC_STAC;
    HandlerStub& stub = if_not_kernel(at);
    auto const use = [&](unsigned view) {
        lea(r9, ptr[r15 + o_.tlb_sets[view]]);
        mov(state64(o_.tlb), r9);
    };
    constexpr auto kCheck = static_cast<std::uint32_t>(rflags::kAlignmentCheck);
    set ? or_(state32(o_.rflags), kCheck) : and_(state32(o_.rflags), ~kCheck);
    if (set) {
        test(state32(o_.cr4), static_cast<std::uint32_t>(cr4::kSmap));
        Jump const same = jump_ahead_if(Condition::z);
        use(2);
        land(same);
    } else {
        use(view_);
    }
    stub.back = getCurr();
    tables_ = set ? 2 : view_;
}

void Emitter::emit_time_stamp(Instruction const& at) {
    HandlerStub& stub = handler_behind(at);
    test(state32(o_.cr4), static_cast<std::uint32_t>(cr4::kTimeStampDisable));
    stub.slow[0] = jump_ahead_if(Condition::nz);
    stub.back = getCurr();
    protect_pending(at);
    pin_in_r11_.reset();
    // The time of the instructions before this one, which ends its trace.
    mov(r9, state64(o_.instructions_before_run));
    add(r9, state64(o_.quota));
    sub(r9, state64(o_.remaining));
    sub(r9, state64(o_.clock_base_instructions));
    add(r9, state64(o_.clock_base));
    sub(r9, at.rest + 1);
    mov(r10, reinterpret_cast<std::uint64_t>(request_->places.clock));
    mov(r11, qword[r10]);
    cmp(r9, r11);
    cmovb(r9, r11);
    mov(qword[r10], r9);
    mov(r10, reinterpret_cast<std::uint64_t>(request_->places.time_stamp_offset));
    add(r9, qword[r10]);
    mov(eax, r9d);
    shr(r9, 32);
    mov(edx, r9d);
    if (at.decoded.mnemonic == ZYDIS_MNEMONIC_RDTSCP) mov(ecx, state32(o_.tsc_aux));
}

void Emitter::emit_pause(Instruction const& at) {
    HandlerStub& stub = handler_behind(at);
    cmp(state8(o_.yields), 0);
    stub.slow[0] = jump_ahead_if(Condition::nz);
    stub.back = getCurr();
}

void Emitter::emit_push_flags(Instruction const& at) {
    flush_pending();
    Xbyak::RegExp const place = find_stack(at, -8, true);
    call_quietly(request_->thunks.flags_image);
    host_flags_ = HostFlags::stale;
    mov(qword[place], r10);
    lea(r8, ptr[r8 - 8]);
}

void Emitter::store_general(ZydisRegister reg, Reg64 const& value) {
    std::uint8_t const number = host_of_[guest_of(reg)];
    number == kInMemory ? mov(state64(slot(guest_of(reg))), value) : mov(host(number), value);
}

/// No other handler is called than one that raises #GP.
void Emitter::emit_load_control(Instruction const& at) {
    HandlerStub& stub = if_not_kernel(at);
    protect_pending(at);
    std::int32_t const from = [&] {
        switch (at.operands[1].reg.value) {
            case ZYDIS_REGISTER_CR0:
                return o_.cr0;
            case ZYDIS_REGISTER_CR2:
                return o_.cr2;
            case ZYDIS_REGISTER_CR3:
                return o_.cr3;
            default:
                return o_.cr4;
        }
    }();
    mov(r9, state64(from));
    store_general(at.operands[0].reg.value, r9);
    stub.back = getCurr();
}

void Emitter::emit_load_selector(Instruction const& at) {
    protect_pending(at);
    auto const segment = static_cast<unsigned>(ZydisRegisterGetId(at.operands[1].reg.value));
    movzx(r9d, word[r15 + o_.selectors[segment]]);
    store_general(at.operands[0].reg.value, r9);
}

void Emitter::find_page(HandlerStub& stub, unsigned number, std::uint32_t bytes, bool write) {
    stub.slow[number] = look_up(1, write, false).page;
    mov(r10d, r9d);
    and_(r10d, static_cast<std::uint32_t>(kPageMask));
    lea(r10, ptr[r10 + rcx * static_cast<int>(bytes)]);
    cmp(r10, static_cast<std::uint32_t>(kPageBytes));
    stub.slow[number + 1] = jump_ahead_if(Condition::nbe);
}

/// Each iteration counts as an instruction. What the handler does with a copy onto itself is what the host does as well.
void Emitter::emit_fill_or_move(Instruction const& at) {
    auto const bytes = static_cast<std::uint32_t>(at.operands[0].size / 8U);
    bool const moves = at.operands[1].type == ZYDIS_OPERAND_TYPE_MEMORY;
    HandlerStub stub = handler_behind(at);
    std::size_t const number = handler_stubs_.size() - 1;
    test(state32(o_.rflags), static_cast<std::uint32_t>(rflags::kDirection));
    stub.slow[0] = jump_ahead_if(Condition::nz);
    lea(r10, ptr[rcx - 1]);  // none at all is left to the handler
    cmp(r10, static_cast<std::uint32_t>(kPageBytes / bytes));
    stub.slow[6] = jump_ahead_if(Condition::nb);
    cmp(r10, state64(o_.remaining));
    stub.slow[1] = jump_ahead_if(Condition::nbe);
    if (moves) {
        mov(r9, rsi);
        find_page(stub, 2, bytes, false);
        mov(state64(o_.temporary), r11);
    }
    mov(r9, rdi);
    find_page(stub, 4, bytes, true);
    stub.back = getCurr();
    handler_stubs_[number] = stub;
    protect_pending(at);
    lea(r10, ptr[rcx - 1]);
    sub(state64(o_.remaining), r10);
    add(rdi, r11);
    if (moves) {
        mov(r9, state64(o_.temporary));
        add(rsi, r9);
    }
    rep();
    switch (bytes) {
        case 1:
            moves ? movsb() : stosb();
            break;
        case 2:
            moves ? movsw() : stosw();
            break;
        case 4:
            moves ? movsd() : stosd();
            break;
        default:
            moves ? movsq() : stosq();
            break;
    }
    sub(rdi, r11);
    if (moves) sub(rsi, r9);
    host_flags_ = HostFlags::stale;
    pin_in_r11_.reset();
}

}  // namespace backplane::jit
