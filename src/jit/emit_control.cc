#include "jit/emitter.h"

#include <algorithm>

#include "cpu/lower.h"
#include "cpu/translated_state.h"
#include "mmu/tlb.h"

namespace backplane::jit {

void Emitter::emit_entry() {
    if (request_->trace.second_page != Trace::kNoPage) check_second_page();
    sub(state64(o_.remaining), static_cast<std::uint32_t>(instructions_.size()));
    no_quota_[0] = jump_ahead_if(Condition::b);
    for (Instruction const& at : instructions_) {
        needs_x87_ = needs_x87_ || at.effects.is_x87;
        if (!at.effects.is_vector || at.effects.treatment != Treatment::copy) continue;
        needs_xmm_ = true;
        needs_ymm_ = needs_ymm_ || at.effects.is_vex;
    }
    if (needs_xmm_) {
        cmp(state8(o_.xmm_loaded), needs_ymm_ ? VectorsLoaded::kYmm : VectorsLoaded::kXmm);
        load_xmm_ = jump_ahead_if(Condition::b);
        vectors_loaded_ = getCurr();
    }
    if (needs_x87_) {
        cmp(state8(o_.x87_loaded), 0);
        load_x87_ = jump_ahead_if(Condition::z);
        x87_loaded_ = getCurr();
    }
    enter_loop();
}

void Emitter::check_second_page() {
    std::int32_t const table = o_.execute_tlb[view_];
    mov(r9, state64(o_.page_address));
    add(r9, static_cast<std::uint32_t>(kPageBytes));
    mov(r10, r9);
    shr(r10, kPageShift - 4);  // an entry has 16 bytes
    and_(r10d, (TlbSet::kExecuteEntries - 1) << 4);
    cmp(r9, qword[r15 + r10 + table]);
    second_page_unknown_[0] = jump_ahead_if(Condition::nz);
    mov(r11, request_->trace.second_page);
    cmp(r11, qword[r15 + r10 + (table + 8)]);
    second_page_unknown_[1] = jump_ahead_if(Condition::nz);
}

void Emitter::exit_direct(std::int64_t offset) {
    if (offset >= 0 && offset < static_cast<std::int64_t>(kPageBytes)) {
        Link& link = request_->links.emplace_back();
        link.physical_page = request_->trace.address >> kPageShift;
        LinkStub& stub = link_stubs_.emplace_back();
        stub.link = &link;
        stub.offset = static_cast<std::uint32_t>(offset);
        link.jump = here();
        stub.from = jump_ahead();
        return;
    }
    mov(r9, state64(o_.page_address));
    lea(r9, ptr[r9 + static_cast<std::int32_t>(offset)]);
    jump_to_r9(nullptr, 0);
}

void Emitter::jump_to_r9(Op const* op, std::int32_t undo) {
    imul(r10d, r9d, TranslatedState::kJumpFactor);
    shr(r10d, TranslatedState::kJumpShift - 4);  // an entry has 16 bytes
    and_(r10d, (TranslatedState::kJumpEntries - 1) << 4);
    cmp(r9, qword[r15 + r10 + o_.jumps[view_]]);
    if (op == nullptr) {
        jne(request_->thunks.look_again[view_]);
    } else {
        MissStub& stub = miss_stubs_.emplace_back();
        stub.op = op;
        stub.undo = undo;
        stub.from = jump_ahead_if(Condition::nz);
    }
    and_(r9, -static_cast<std::int32_t>(kPageBytes));
    mov(state64(o_.page_address), r9);
    jmp(qword[r15 + r10 + (o_.jumps[view_] + 8)]);
}

std::uint8_t const* Emitter::emit_stubs() {
    for (GuessStub const& stub : guess_stubs_) emit_guess_stub(stub);
    for (AccessStub& stub : access_stubs_) {
        land(stub.slow);
        if (stub.pending) write_down(*stub.pending);
        move_out();
        mov(r10, reinterpret_cast<std::uint64_t>(stub.op));
        mov(r11, stub.what.packed());
        call(stub.write ? request_->thunks.slow_write : request_->thunks.slow_read);
        move_in();
        jmp(static_cast<void const*>(stub.back), T_NEAR);
    }
    for (SideExit& exit : side_exits_) {
        land(exit.from);
        if (exit.pending) write_down(*exit.pending);
        move_out();
        if (exit.rest != 0) add(state64(o_.remaining), exit.rest);
        exit_direct(exit.offset);
    }
    for (HandlerStub& stub : handler_stubs_) {
        for (Jump const from : stub.slow) land(from);
        if (stub.pending) write_down(*stub.pending);
        if (call_handler(*stub.at)) jmp(static_cast<void const*>(stub.back), T_NEAR);
    }
    for (MissStub& stub : miss_stubs_) {
        land(stub.from);
        mov(r10, r9);
        sar(r10, 47);
        add(r10, 1);
        cmp(r10, 1);
        jbe(request_->thunks.look_again[view_]);
        if (stub.undo != 0) lea(r8, ptr[r8 + stub.undo]);
        mov(r10, reinterpret_cast<std::uint64_t>(stub.op));
        jmp(request_->thunks.exit_alone, T_NEAR);
    }
    for (LinkStub& stub : link_stubs_) {
        land(stub.from);
        mov(r9, state64(o_.page_address));
        if (stub.offset != 0) add(r9, stub.offset);
        mov(r10, reinterpret_cast<std::uint64_t>(stub.link));
        jmp(request_->thunks.exit_link, T_NEAR);
    }
    auto const load_first = [&](Jump from, std::uint8_t const* thunk, std::uint8_t const* back) {
        land(from);
        mov(r9, state64(o_.page_address));
        if (page_offset_ != 0) add(r9, page_offset_);
        mov(r10, reinterpret_cast<std::uint64_t>(&request_->trace.ops[0]));
        call(thunk);
        jmp(static_cast<void const*>(back), T_NEAR);
    };
    if (needs_xmm_) load_first(load_xmm_, needs_ymm_ ? request_->thunks.load_ymm : request_->thunks.load_xmm, vectors_loaded_);
    if (needs_x87_) load_first(load_x87_, request_->thunks.load_x87, x87_loaded_);
    if (request_->trace.second_page != Trace::kNoPage) {
        for (Jump const from : second_page_unknown_) land(from);
        mov(r9, state64(o_.page_address));
        add(r9, page_offset_);
        jmp(request_->thunks.exit_dispatch, T_NEAR);
    }
    for (Jump const from : no_quota_) land(from);
    add(state64(o_.remaining), static_cast<std::uint32_t>(instructions_.size()));
    std::uint8_t const* const exit = getCurr();
    mov(r9, state64(o_.page_address));
    if (page_offset_ != 0) add(r9, page_offset_);
    jmp(request_->thunks.exit_rip, T_NEAR);
    return exit;
}

std::int64_t Emitter::branch_target(Instruction const& at) const {
    return static_cast<std::int64_t>(at.offset) + at.decoded.length + at.operands[0].imm.value.s;
}

void Emitter::emit_jcc(Instruction const& at) {
    need_flags(at.decoded.mnemonic);
    auto const found = std::find(kJumpMnemonics.begin(), kJumpMnemonics.end(), at.decoded.mnemonic);
    auto const condition = static_cast<Condition>(found - kJumpMnemonics.begin());
    if (is_last()) return end_with_jcc(at, condition);
    std::int64_t const behind = static_cast<std::int64_t>(at.offset) + at.decoded.length;
    bool const falls_through = instructions_[index_ + 1].offset == behind;
    falls_through ? side_exit(at, condition, branch_target(at)) : side_exit(at, opposite(condition), behind);
}

void Emitter::end_with_jcc(Instruction const& at, Condition condition) {
    ended_ = true;
    std::int64_t const behind = static_cast<std::int64_t>(at.offset) + at.decoded.length;
    bool const to_itself = branch_target(at) == page_offset_;
    if (to_itself || behind == page_offset_) {
        to_itself ? side_exit(at, opposite(condition), behind) : side_exit(at, condition, branch_target(at));
        return loop();
    }
    flush_pending();
    Jump const taken = jump_ahead_if(condition);
    exit_direct(behind);
    land(taken);
    exit_direct(branch_target(at));
}

void Emitter::side_exit(Instruction const& at, Condition condition, std::int64_t offset) {
    SideExit& exit = side_exits_.emplace_back();
    exit.pending = pending_;
    exit.rest = at.rest;
    exit.offset = offset;
    exit.from = jump_ahead_if(condition);
}

bool Emitter::emit_indirect_target(Instruction const& at) {
    if (at.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
        mov(r9, qword[find_operand(at, at.operands[0])]);
        return true;
    }
    load_general(r9, at.operands[0].reg.value);
    return true;
}

void Emitter::emit_jmp(Instruction const& at) {
    bool const direct = at.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    if (direct && !is_last()) return;
    ended_ = true;
    if (direct && branch_target(at) == page_offset_) return loop();
    if (direct) {
        flush_pending();
        return exit_direct(branch_target(at));
    }
    emit_indirect_target(at);
    flush_pending();
    jump_to_r9(at.op, 0);
}

void Emitter::emit_call(Instruction const& at) {
    bool const direct = at.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    bool const stays_in_register = at.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && at.operands[0].reg.value != ZYDIS_REGISTER_RSP;
    ended_ = is_last();
    if (!direct) {
        emit_indirect_target(at);
        // A target that is not canonical faults before anything is pushed.
        MissStub& stub = miss_stubs_.emplace_back();
        stub.op = at.op;
        mov(r10, r9);
        sar(r10, 47);
        add(r10, 1);
        cmp(r10, 1);
        stub.from = jump_ahead_if(Condition::nbe);
        if (!stays_in_register) mov(state64(o_.call_target), r9);
        host_flags_ = HostFlags::stale;
    }
    Xbyak::RegExp const place = find_stack(at, -8, true);
    ended_ ? flush_pending() : protect_pending(at);
    mov(r10, state64(o_.page_address));
    lea(r10, ptr[r10 + static_cast<std::int32_t>(at.offset + at.decoded.length)]);
    mov(qword[place], r10);
    lea(r8, ptr[r8 - 8]);
    if (!ended_) return;
    if (direct) return exit_direct(branch_target(at));
    stays_in_register ? load_general(r9, at.operands[0].reg.value) : mov(r9, state64(o_.call_target));
    jump_to_r9(nullptr, 0);
}

void Emitter::emit_ret(Instruction const& at) {
    ended_ = true;
    pop_return(at);
    jump_to_r9(at.op, -return_bytes(at));
}

void Emitter::pop_return(Instruction const& at) {
    Xbyak::RegExp const place = find_stack(at, 0, false);
    flush_pending();  // they may follow from RSP
    mov(r9, qword[place]);
    move_stack(return_bytes(at));
}

std::int32_t Emitter::return_bytes(Instruction const& at) {
    bool const takes_arguments = at.decoded.operand_count_visible != 0;
    return 8 + (takes_arguments ? static_cast<std::int32_t>(at.operands[0].imm.value.u & 0xffff) : 0);
}

}  // namespace backplane::jit
