#include "jit/block.h"

#include <algorithm>

#include "cpu/lower.h"
#include "jit/access_groups.h"
#include "jit/emitter.h"

namespace backplane::jit {

void Emitter::begin(BlockRequest const& request) {
    static_cast<BlockState&>(*this) = {};
    request_ = &request;
    tables_ = view_ = static_cast<unsigned>(request.view);
    page_offset_ = static_cast<std::uint32_t>(request.trace.address & kPageMask);
    next_guess_ = static_cast<unsigned>(request.guesses.size());
    traces_.clear(), instructions_.clear(), lodgers_.clear();
    access_stubs_.clear(), guess_stubs_.clear(), handler_stubs_.clear(), side_exits_.clear(), miss_stubs_.clear(), link_stubs_.clear();
}

BlockCode Emitter::make(BlockRequest const& request, std::size_t at, std::size_t room) {
    begin(request);
    if (!decode_all()) return {nullptr, nullptr, 0, {}, 0};
    setSize(at);
    entry_ = here();
    emit_entry();
    for (index_ = 0; index_ < instructions_.size() && !ended_; ++index_) {
        if (request_->marks != nullptr) request_->marks->instructions.push_back(getSize() - at);
        emit(instructions_[index_]);
    }
    if (!ended_) {
        flush_pending();
        exit_direct(instructions_.back().offset + instructions_.back().op->length);
    }
    if (request_->marks != nullptr) request_->marks->stubs = getSize() - at;
    std::uint8_t const* const exit = emit_stubs();
    if (Xbyak::GetError() != 0 || getSize() - at > room) {
        Xbyak::ClearError();
        return {nullptr, nullptr, 0, {}, 0};
    }
    return {entry_, const_cast<std::uint8_t*>(exit), getSize() - at, traces_, static_cast<std::uint32_t>(instructions_.size())};
}

bool Emitter::decode_all() {
    for (Trace* next = &request_->trace; next != nullptr; next = successor())
        if (!decode(*next)) break;
    if (instructions_.empty()) return false;
    if (!ends_at_its_beginning()) drop_copies();
    auto const count = static_cast<std::uint32_t>(instructions_.size());
    std::uint32_t before = 0;  // in this trace and those before it
    for (Instruction& at : instructions_) {
        if (at.op->position == 0) before += traces_[at.trace]->count;
        at.rest = count - before;
    }
    std::uint64_t const page = request_->trace.address & ~kPageMask;
    group_accesses(instructions_, [&](Instruction const& at) { return request_->code.may_lead(page + at.offset); });
    prepare_loop();
    return true;
}

/// From the first part on that has code of its own: a jump there costs little, but each copy costs time and memory.
void Emitter::drop_copies() {
    auto const copy = std::find_if(traces_.begin() + 1, traces_.end(), [](Trace const* trace) { return trace->code != nullptr; });
    auto const kept = static_cast<std::uint32_t>(copy - traces_.begin());
    traces_.resize(kept);
    std::erase_if(instructions_, [&](Instruction const& at) { return at.trace >= kept; });
}

bool Emitter::decode(Trace& trace) {
    std::vector<std::uint8_t> const bytes = request_->code.bytes_of(trace);
    if (bytes.empty()) return false;
    for (unsigned i = 0; i < trace.count; ++i) {
        Instruction& at = instructions_.emplace_back();
        at.op = &trace.ops[i];
        at.offset = static_cast<std::uint32_t>(trace.address & kPageMask) + at.op->offset;
        at.trace = static_cast<std::uint32_t>(traces_.size());
        at.ends_trace = i + 1U == trace.count;
        decode(at, std::span{bytes}.subspan(at.op->offset));
    }
    traces_.push_back(&trace);
    return true;
}

void Emitter::decode(Instruction& at, std::span<std::uint8_t const> code) {
    bool const same = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_for(CodeMode::bits64), code.data(), code.size(), &at.decoded, at.operands)) &&
                      at.decoded.length == at.op->length;
    std::copy_n(code.begin(), at.op->length, at.bytes);
    if (same)
        at.effects = effects_of(at.decoded, at.operands);
    else
        at.decoded.operand_count = at.decoded.operand_count_visible = 0;
}

Trace* Emitter::successor() {
    Instruction const& last = instructions_.back();
    std::int64_t const behind = last.offset + last.op->length;
    Trace* next = nullptr;
    switch (last.effects.treatment) {
        case Treatment::handler:
        case Treatment::ret:
            break;  // it goes anywhere
        case Treatment::jcc:
            next = more_often(last);
            break;
        case Treatment::jmp:
        case Treatment::call:
            if (last.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) next = warm_trace(branch_target(last));
            break;
        default:
            next = warm_trace(behind);
    }
    bool const fits = next != nullptr && instructions_.size() + next->count <= kMostInstructions;
    return fits && std::find(traces_.begin(), traces_.end(), next) == traces_.end() ? next : nullptr;
}

/// Entries are counted until there is code, and code is made in the order in which that happens. Of equals the one
/// backwards: a loop.
Trace* Emitter::more_often(Instruction const& branch) {
    Trace* const behind = warm_trace(branch.offset + branch.decoded.length);
    Trace* const taken = warm_trace(branch_target(branch));
    if (behind == nullptr || taken == nullptr) return behind != nullptr ? behind : taken;
    if (behind->code != nullptr && taken->code != nullptr) return taken->code < behind->code ? taken : behind;
    bool const is_backwards = branch_target(branch) <= branch.offset;
    return taken->uses > behind->uses || (taken->uses == behind->uses && is_backwards) ? taken : behind;
}

/// One that reaches into the next page stays alone.
Trace* Emitter::warm_trace(std::int64_t offset) {
    if (offset < 0 || offset >= static_cast<std::int64_t>(kPageBytes) || request_->trace.second_page != Trace::kNoPage) return nullptr;
    Trace* const trace = request_->code.warm_trace((request_->trace.address & ~kPageMask) + static_cast<std::uint64_t>(offset));
    return trace != nullptr && trace->second_page == Trace::kNoPage ? trace : nullptr;
}

bool Emitter::is_visible_from(std::size_t i) const {
    for (; i < instructions_.size(); ++i) {
        Effects const& next = instructions_[i].effects;
        bool const goes_on = next.treatment == Treatment::jmp && i + 1 < instructions_.size();
        if (!goes_on && !is_blind(instructions_[i])) return true;
        if (next.produces == Produces::all) return false;
    }
    return true;
}

bool Emitter::is_blind(Instruction const& at) {
    if (at.effects.consumes || at.effects.needs_alignment) return false;
    switch (at.effects.treatment) {
        case Treatment::lea:
        case Treatment::nop:
            return true;
        case Treatment::copy:
            return !at.effects.touches_memory || at.operand.follows();
        case Treatment::push:
        case Treatment::pop:
            return at.stack.follows();
        default:
            return false;
    }
}

void Emitter::emit(Instruction const& at) {
    switch (at.effects.treatment) {
        case Treatment::nop:
            return;
        case Treatment::copy:
            if (emit_copy(at)) return;
            if (at.operand.leads()) find_operand(at, *at.memory());
            return emit_handler(at);
        case Treatment::lea:
            return emit_lea(at);
        case Treatment::push:
            return emit_push(at);
        case Treatment::pop:
            return emit_pop(at);
        case Treatment::leave:
            return emit_leave(at);
        case Treatment::divide:
            return emit_divide(at);
        case Treatment::push_memory:
            return emit_push_memory(at);
        case Treatment::bit_string:
            return emit_bit_string(at);
        case Treatment::cli:
            return view_ == 0 ? emit_handler(at) : emit_cli(at);
        case Treatment::sti:  // the shadow of the trace's last one is seen
            return view_ == 0 || at.ends_trace ? emit_handler(at) : emit_sti(at);
        case Treatment::swapgs:
            return view_ == 0 ? emit_handler(at) : emit_swapgs(at);
        case Treatment::access_check:
            return view_ == 0 ? emit_handler(at) : emit_access_check(at);
        case Treatment::time_stamp:
            return request_->places.instruction_is_nanosecond ? emit_time_stamp(at) : emit_handler(at);
        case Treatment::pause:
            return emit_pause(at);
        case Treatment::push_flags:
            return emit_push_flags(at);
        case Treatment::load_control:
            return view_ == 0 ? emit_handler(at) : emit_load_control(at);
        case Treatment::load_selector:
            return emit_load_selector(at);
        case Treatment::fill_or_move:
            return emit_fill_or_move(at);
        case Treatment::x87_control:
            return emit_x87_control(at);
        case Treatment::jcc:
            return emit_jcc(at);
        case Treatment::jmp:
            return emit_jmp(at);
        case Treatment::call:
            return emit_call(at);
        case Treatment::ret:
            return emit_ret(at);
        case Treatment::handler:
            return emit_handler(at);
    }
}

bool Emitter::may_unmask(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_LDMXCSR:
        case ZYDIS_MNEMONIC_VLDMXCSR:
        case ZYDIS_MNEMONIC_FLDCW:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
        case ZYDIS_MNEMONIC_XRSTOR:
        case ZYDIS_MNEMONIC_XRSTOR64:
            return true;
        default:
            return false;
    }
}

void Emitter::emit_handler(Instruction const& at) {
    flush_pending();
    written_.reset();
    host_flags_ = HostFlags::stale;
    tables_ = view_;
    if (!call_handler(at)) ended_ = true;
}

bool Emitter::call_handler(Instruction const& at) {
    HandlerSite& site = request_->sites.emplace_back(
        HandlerSite{{*at.op, Op{}}, at.op, &request_->handler_calls[at.decoded.mnemonic], at.rest});
    mov(r10, reinterpret_cast<std::uint64_t>(&site));
    pin_in_r11_.reset();
    move_out();
    if (at.ends_trace || may_unmask(at.decoded.mnemonic)) {
        // The trace's own end follows it there, so that a jump handler and a plain one both work.
        jmp(request_->thunks.last_handler, T_NEAR);
        return false;
    }
    site.pair[1].run = [](Cpu&, Op const* op) { return op; };
    call(request_->thunks.call_handler);
    if (needs_x87_) call(request_->thunks.reload_x87);
    move_in();
    return true;
}

BlockMaker::BlockMaker(Offsets const& offsets, std::uint8_t* arena, std::size_t bytes) : emitter_{std::make_unique<Emitter>(offsets, arena, bytes)} {}
BlockMaker::~BlockMaker() = default;

BlockCode BlockMaker::make(BlockRequest const& request, std::size_t at, std::size_t room) { return emitter_->make(request, at, room); }

}  // namespace backplane::jit
