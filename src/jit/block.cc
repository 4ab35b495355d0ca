#include "jit/block.h"

#include "cpu/lower.h"
#include "jit/emitter.h"

namespace backplane::jit {

BlockCode Emitter::make() {
    if (!decode_all()) return {nullptr, nullptr, 0};
    std::uint8_t* const entry = const_cast<std::uint8_t*>(getCurr());
    emit_entry();
    for (index_ = 0; index_ < instructions_.size() && !ended_; ++index_) {
        if (request_.marks != nullptr) request_.marks->instructions.push_back(getSize());
        emit(instructions_[index_]);
    }
    if (!ended_) {
        flush_pending();
        exit_direct(page_offset_ + request_.trace.bytes);
    }
    if (request_.marks != nullptr) request_.marks->stubs = getSize();
    std::uint8_t const* const exit = emit_stubs();
    ready();
    if (Xbyak::GetError() != 0) {
        Xbyak::ClearError();
        return {nullptr, nullptr, 0};
    }
    return {entry, const_cast<std::uint8_t*>(exit), getSize()};
}

bool Emitter::decode_all() {
    ZydisDecoder const& decoder = decoder_for(CodeMode::bits64);
    instructions_.resize(request_.trace.count);
    for (std::size_t i = 0; i < instructions_.size(); ++i) {
        Instruction& at = instructions_[i];
        at.op = &request_.trace.ops[i];
        at.offset = page_offset_ + at.op->offset;
        auto const code = request_.bytes.subspan(at.op->offset);
        at.decoded = {};
        at.effects = {};
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &at.decoded, at.operands)) &&
            at.decoded.length == at.op->length)
            at.effects = effects_of(at.decoded, at.operands);
        else
            at.decoded.operand_count = at.decoded.operand_count_visible = 0;
    }
    return !instructions_.empty();
}

bool Emitter::is_visible(std::size_t i) const {
    for (std::size_t j = i + 1; j < instructions_.size(); ++j) {
        Effects const& next = instructions_[j].effects;
        if (next.treatment == Treatment::handler || next.touches_memory || next.consumes || next.needs_alignment)
            return true;
        if (next.treatment != Treatment::copy && next.treatment != Treatment::lea &&
            next.treatment != Treatment::nop)
            return true;
        if (next.produces == Produces::all) return false;
    }
    return true;
}

void Emitter::emit(Instruction const& at) {
    switch (at.effects.treatment) {
        case Treatment::nop:
            return;
        case Treatment::copy:
            if (emit_copy(at)) return;
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
        case Treatment::swapgs:
            return view_ == 0 ? emit_handler(at) : emit_swapgs(at);
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
    if (!call_handler(at)) ended_ = true;
}

bool Emitter::call_handler(Instruction const& at) {
    HandlerSite& site = request_.sites.emplace_back(
        HandlerSite{{*at.op, Op{}}, at.op, &request_.handler_calls[at.decoded.mnemonic]});
    mov(r10, reinterpret_cast<std::uint64_t>(&site));
    if (is_last(at) || may_unmask(at.decoded.mnemonic)) {
        // The trace's own end follows it there, so that a jump handler and a plain one both work.
        jmp(request_.thunks.last_handler, T_NEAR);
        return false;
    }
    site.pair[1].run = [](Cpu&, Op const* op) { return op; };
    call(request_.thunks.call_handler);
    return true;
}

BlockCode make_block(BlockRequest const& request, std::uint8_t* where, std::size_t room) {
    Emitter emitter{request, where, room};
    return emitter.make();
}

}  // namespace backplane::jit
