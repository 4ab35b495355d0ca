#include "jit/block.h"

#define XBYAK_NO_EXCEPTION
#include <xbyak/xbyak.h>

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "base/address.h"
#include "cpu/condition.h"
#include "cpu/deferred_flags.h"
#include "cpu/lower.h"
#include "cpu/translated_state.h"
#include "jit/effects.h"
#include "mmu/tlb.h"

namespace backplane::jit {

namespace {

using Xbyak::Reg16;
using Xbyak::Reg32;
using Xbyak::Reg64;
using Xbyak::Reg8;

/// Where an input of a flag computation can still be found.
struct Place {
    enum class Kind : std::uint8_t { none, reg, imm, stored } kind{Kind::none};
    std::uint8_t reg{0};
    std::int32_t imm{0};
};

/// Flags that were produced and not written down yet.
struct Pending {
    FlagProducer producer;
    std::uint8_t bytes;
    Place a, b;
};

/// Flags that stand in DeferredFlags, of a kind that is known while code is made.
struct Written {
    FlagProducer producer;
    std::uint8_t bytes;
};

/// Which of the guest's flags RFLAGS holds.
enum class HostFlags : std::uint8_t { stale, carry_only, zero_only, carry_zero, overflow_only, carry_overflow_only, no_overflow, no_carry, all };

struct Instruction {
    ZydisDecodedInstruction decoded;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    Effects effects;
    Op const* op;
    std::uint32_t offset;  // in the page
};

class Emitter : public Xbyak::CodeGenerator {
  public:
    Emitter(BlockRequest const& request, std::uint8_t* where, std::size_t room)
        : CodeGenerator{room, where},
          request_{request},
          o_{request.offsets},
          view_{static_cast<unsigned>(request.view)},
          page_offset_{static_cast<std::uint32_t>(request.trace.address & kPageMask)} {}

    BlockCode make() {
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

  private:
    struct AccessStub {
        Xbyak::Label slow, back;
        Op const* op;
        std::optional<Pending> pending;
        std::uint32_t bytes;
        bool write;
        bool alignment;
    };
    struct MissStub {
        Xbyak::Label label;
        Op const* op;
        std::int32_t undo;  // what the stack pointer gets back
    };
    struct HandlerStub {  // where an instruction goes that its handler has to carry out after all
        Xbyak::Label slow, back;
        Instruction const* at;
    };
    struct LinkStub {
        Xbyak::Label label;
        Link* link;
        std::uint32_t offset;
    };

    // --- small vocabulary -----------------------------------------------------------------------------------------
    Xbyak::Address state64(std::int32_t offset) { return qword[r15 + offset]; }
    Xbyak::Address state32(std::int32_t offset) { return dword[r15 + offset]; }
    Xbyak::Address state8(std::int32_t offset) { return byte[r15 + offset]; }
    std::int32_t slot(unsigned guest) const { return o_.slots + static_cast<std::int32_t>(8 * guest); }
    static Reg64 host(std::uint8_t number) { return Reg64{number}; }

    bool decode_all() {
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
    static bool is_high_byte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }
    static bool names_memory_register(Instruction const& at) {
        for (unsigned i = 0; i < at.decoded.operand_count_visible; ++i) {
            if (at.operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
            ZydisRegister const whole =
                ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, at.operands[i].reg.value);
            if (ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64 &&
                kHostOf[static_cast<std::size_t>(ZydisRegisterGetId(whole))] >= 8)
                return true;
        }
        return false;
    }
    static bool uses_high_byte(Instruction const& at) {
        for (unsigned i = 0; i < at.decoded.operand_count_visible; ++i)
            if (at.operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER && is_high_byte(at.operands[i].reg.value)) return true;
        return false;
    }

    /// May somebody see the flags that instruction i makes: a consumer, a fault, an exit?
    bool is_visible(std::size_t i) const {
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

    // --- flags ----------------------------------------------------------------------------------------------------
    void store_place(std::int32_t where, Place const& place) {
        if (place.kind == Place::Kind::reg) mov(state64(where), host(place.reg));
        if (place.kind == Place::Kind::imm) mov(state64(where), place.imm);
    }
    /// Writes pending flags down; touches no register and no flag.
    void write_down(Pending const& pending) {
        store_place(o_.flags_a, pending.a);
        store_place(o_.flags_b, pending.b);
        mov(state32(o_.flags_kind), DeferredFlags::kind_of(pending.producer, pending.bytes));
    }
    void flush_pending() {
        if (!pending_) return;
        write_down(*pending_);
        written_ = Written{pending_->producer, pending_->bytes};
        pending_.reset();
    }
    static bool covers(HostFlags have, ZydisMnemonic mnemonic) {
        if (have == HostFlags::all) return true;
        unsigned condition = mnemonic == ZYDIS_MNEMONIC_ADOX ? 17 : 0;  // 17: OF, which is not left by a partial producer
        while (condition < 16 && kJumpMnemonics[condition] != mnemonic && kSetMnemonics[condition] != mnemonic &&
               kCmovMnemonics[condition] != mnemonic)
            ++condition;
        bool const carry = condition == 2 || condition == 3 || condition == 16;  // 16: ADC, SBB, INC, DEC need CF alone
        bool const zero = condition == 4 || condition == 5;
        switch (have) {
            case HostFlags::carry_only:
                return carry;
            case HostFlags::zero_only:
                return zero;
            case HostFlags::carry_zero:
                return carry || zero || condition == 6 || condition == 7;
            case HostFlags::overflow_only:
                return condition < 2;
            case HostFlags::carry_overflow_only:
                return carry || condition < 2;
            case HostFlags::no_carry:
                return condition < 2 || condition == 4 || condition == 5 || (condition >= 8 && condition < 16);
            case HostFlags::no_overflow:
                return condition == 16 || (condition >= 2 && condition < 12);
            default:
                return false;
        }
    }
    /// Brings the flags that `mnemonic` needs into RFLAGS.
    void need_flags(ZydisMnemonic mnemonic) {
        if (covers(host_flags_, mnemonic)) return;
        if (pending_ && repeat_comparison(*pending_)) {
            host_flags_ = HostFlags::all;
            return;
        }
        flush_pending();
        if (!recompute()) call(request_.thunks.materialize);
        host_flags_ = HostFlags::all;
    }
    /// Makes RFLAGS from what was written down, through R10.
    bool recompute() {
        if (!written_) return false;
        unsigned const bytes = written_->bytes;
        Xbyak::Reg const value = bytes == 1   ? Xbyak::Reg{r10b}
                                 : bytes == 2 ? Xbyak::Reg{r10w}
                                 : bytes == 4 ? Xbyak::Reg{r10d}
                                              : Xbyak::Reg{r10};
        Xbyak::Address const second = ptr[r15 + o_.flags_b];
        switch (written_->producer) {
            case FlagProducer::cmp:
                mov(r10, state64(o_.flags_a));
                cmp(value, second);
                return true;
            case FlagProducer::logic:
                mov(r10, state64(o_.flags_a));
                or_(value, value);
                return true;
            case FlagProducer::sub:
                mov(r10, state64(o_.flags_a));
                add(value, second);
                sub(value, second);
                return true;
            case FlagProducer::add:
                mov(r10, state64(o_.flags_a));
                sub(value, second);
                add(value, second);
                return true;
            case FlagProducer::inc:
                mov(r10, state64(o_.flags_a));
                dec(value);
                bt(word[r15 + o_.flags_base_carry], 0);
                inc(value);
                return true;
            case FlagProducer::dec:
                mov(r10, state64(o_.flags_a));
                inc(value);
                bt(word[r15 + o_.flags_base_carry], 0);
                dec(value);
                return true;
            default:
                return false;
        }
    }
    /// A comparison whose inputs are still there costs one instruction to repeat.
    bool repeat_comparison(Pending const& pending) {
        if (pending.a.kind != Place::Kind::reg) return false;
        bool const logic = pending.producer == FlagProducer::logic;
        if (!logic && (pending.producer != FlagProducer::cmp || pending.b.kind == Place::Kind::stored ||
                       pending.b.kind == Place::Kind::none))
            return false;
        auto const compare = [&](auto a, auto b) {
            if (logic)
                test(a, a);
            else if (pending.b.kind == Place::Kind::imm)
                cmp(a, static_cast<std::uint32_t>(pending.b.imm));
            else
                cmp(a, b);
        };
        switch (pending.bytes) {
            case 1:
                if (!logic && pending.b.kind == Place::Kind::imm)
                    cmp(reg8(pending.a.reg), static_cast<std::uint8_t>(pending.b.imm));
                else
                    compare8(pending, logic);
                break;
            case 2:
                if (!logic && pending.b.kind == Place::Kind::imm)
                    cmp(Reg16{pending.a.reg}, static_cast<std::uint16_t>(pending.b.imm));
                else
                    compare(Reg16{pending.a.reg}, Reg16{pending.b.reg});
                break;
            case 4:
                compare(Reg32{pending.a.reg}, Reg32{pending.b.reg});
                break;
            default:
                if (!logic && pending.b.kind == Place::Kind::imm)
                    cmp(host(pending.a.reg), pending.b.imm);
                else
                    compare(host(pending.a.reg), host(pending.b.reg));
                break;
        }
        return true;
    }
    static Reg8 reg8(std::uint8_t number) { return Reg8{number, number >= 4 && number < 8}; }
    void compare8(Pending const& pending, bool logic) {
        if (logic)
            test(reg8(pending.a.reg), reg8(pending.a.reg));
        else
            cmp(reg8(pending.a.reg), reg8(pending.b.reg));
    }

    /// Before an instruction that writes host registers: pending flags whose inputs it destroys are written down, or
    /// dropped when the instruction makes new ones.
    void protect_pending(Instruction const& at) {
        if (!pending_) return;
        bool const replaced = at.effects.produces == Produces::all && !at.effects.consumes;
        if (replaced) return;
        for (unsigned i = 0; i < at.decoded.operand_count; ++i) {
            ZydisDecodedOperand const& operand = at.operands[i];
            if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER || (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0)
                continue;
            ZydisRegister const whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value);
            if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64) continue;
            std::uint8_t const number = kHostOf[static_cast<std::size_t>(ZydisRegisterGetId(whole))];
            auto const hit = [&](Place const& place) { return place.kind == Place::Kind::reg && place.reg == number; };
            if (number != kInMemory && (hit(pending_->a) || hit(pending_->b))) return flush_pending();
        }
    }

    // --- memory ---------------------------------------------------------------------------------------------------
    /// R9 = linear address of the explicit memory operand.
    void emit_address(ZydisDecodedOperandMem const& memory, Instruction const& at) {
        std::int64_t displacement = memory.disp.has_displacement ? memory.disp.value : 0;
        if (memory.base == ZYDIS_REGISTER_RIP) {
            mov(r9, state64(o_.page_address));
            std::int64_t const distance = displacement + at.offset + at.decoded.length;
            if (Xbyak::inner::IsInInt32(static_cast<std::uint64_t>(distance))) {
                lea(r9, ptr[r9 + static_cast<std::int32_t>(distance)]);
            } else {
                mov(r10, distance);
                lea(r9, ptr[r9 + r10]);
            }
        } else {
            std::optional<Reg64> base, index;
            if (memory.base != ZYDIS_REGISTER_NONE) base = address_register(memory.base, r9);
            if (memory.index != ZYDIS_REGISTER_NONE) index = address_register(memory.index, r10);
            auto const disp = static_cast<std::int32_t>(displacement);
            if (base && index)
                lea(r9, ptr[*base + *index * memory.scale + disp]);
            else if (base && disp == 0 && base->getIdx() != 9)
                mov(r9, *base);
            else if (base && disp != 0)
                lea(r9, ptr[*base + disp]);
            else if (index)
                lea(r9, ptr[*index * memory.scale + disp]);
            else if (!base)
                mov(r9, static_cast<std::int64_t>(disp));
        }
        if (memory.segment == ZYDIS_REGISTER_FS) add(r9, state64(o_.segment_bases + 8 * backplane::fs));
        if (memory.segment == ZYDIS_REGISTER_GS) add(r9, state64(o_.segment_bases + 8 * backplane::gs));
    }
    Reg64 address_register(ZydisRegister reg, Reg64 const& scratch) {
        auto const guest = static_cast<std::size_t>(ZydisRegisterGetId(reg));
        if (kHostOf[guest] != kInMemory) return host(kHostOf[guest]);
        mov(scratch, state64(slot(static_cast<unsigned>(guest))));
        return scratch;
    }
    /// R9 = linear address: looks it up; R11 = host address minus linear address. The host's flags are lost.
    void emit_lookup(Instruction const& at, std::uint32_t bytes, bool write, bool alignment = false) {
        AccessStub& stub = access_stubs_.emplace_back();
        stub.op = at.op;
        stub.pending = pending_;
        stub.bytes = bytes;
        stub.write = write;
        stub.alignment = alignment;
        std::int32_t const table = write ? o_.write_tlb[view_] : o_.read_tlb[view_];
        mov(r10, r9);
        shr(r10, kPageShift - 4);  // an entry has 16 bytes
        mov(r11, r9);
        and_(r10d, (TlbSet::kEntries - 1) << 4);
        sub(r11, qword[r15 + r10 + table]);
        if (alignment) {
            test(r9d, bytes - 1);
            jnz(stub.slow, T_NEAR);
        }
        cmp(r11, static_cast<std::uint32_t>(kPageBytes - bytes));
        ja(stub.slow, T_NEAR);
        mov(r11, qword[r15 + r10 + (table + 8)]);
        L(stub.back);
        host_flags_ = HostFlags::stale;
    }

    // --- entry and exits ------------------------------------------------------------------------------------------
    void emit_entry() {
        if (request_.trace.second_page != Trace::kNoPage) check_second_page();
        sub(state64(o_.remaining), request_.trace.count);
        jb(no_quota_, T_NEAR);
        for (Instruction const& at : instructions_) {
            if (!at.effects.is_vector || at.effects.treatment != Treatment::copy) continue;
            needs_xmm_ = true;
            needs_ymm_ = needs_ymm_ || at.effects.is_vex;
        }
        if (needs_xmm_) {
            cmp(state8(o_.xmm_loaded), needs_ymm_ ? VectorsLoaded::kYmm : VectorsLoaded::kXmm);
            jb(load_xmm_, T_NEAR);
        }
        L(xmm_ready_);
    }
    /// An instruction that reaches into the next page: that one must be mapped where it was when the code was made.
    void check_second_page() {
        std::int32_t const table = o_.execute_tlb[view_];
        mov(r9, state64(o_.page_address));
        add(r9, static_cast<std::uint32_t>(kPageBytes));
        mov(r10, r9);
        shr(r10, kPageShift - 4);  // an entry has 16 bytes
        and_(r10d, (TlbSet::kExecuteEntries - 1) << 4);
        cmp(r9, qword[r15 + r10 + table]);
        jne(second_page_unknown_, T_NEAR);
        mov(r11, request_.trace.second_page);
        cmp(r11, qword[r15 + r10 + (table + 8)]);
        jne(second_page_unknown_, T_NEAR);
    }
    /// To an address at a known distance from the page's start; pending flags are written down already.
    void exit_direct(std::int64_t offset) {
        if (offset >= 0 && offset < static_cast<std::int64_t>(kPageBytes)) {
            Link& link = request_.links.emplace_back();
            link.physical_page = request_.trace.address >> kPageShift;
            LinkStub& stub = link_stubs_.emplace_back();
            stub.link = &link;
            stub.offset = static_cast<std::uint32_t>(offset);
            link.jump = const_cast<std::uint8_t*>(getCurr());
            jmp(stub.label, T_NEAR);
            return;
        }
        mov(r9, state64(o_.page_address));
        lea(r9, ptr[r9 + static_cast<std::int32_t>(offset)]);
        jump_to_r9(nullptr, 0);
    }
    /// Through the cache of jump targets. A computed target that is not canonical faults on the branch `op` itself,
    /// which the interpreter then repeats with the stack pointer moved back by `undo`.
    void jump_to_r9(Op const* op, std::int32_t undo) {
        imul(r10d, r9d, TranslatedState::kJumpFactor);
        shr(r10d, TranslatedState::kJumpShift - 4);  // an entry has 16 bytes
        and_(r10d, (TranslatedState::kJumpEntries - 1) << 4);
        cmp(r9, qword[r15 + r10 + o_.jumps[view_]]);
        if (op == nullptr) {
            jne(request_.thunks.exit_rip);
        } else {
            MissStub& stub = miss_stubs_.emplace_back();
            stub.op = op;
            stub.undo = undo;
            jne(stub.label, T_NEAR);
        }
        and_(r9, -static_cast<std::int32_t>(kPageBytes));
        mov(state64(o_.page_address), r9);
        jmp(qword[r15 + r10 + (o_.jumps[view_] + 8)]);
    }

    std::uint8_t const* emit_stubs() {
        for (AccessStub& stub : access_stubs_) {
            L(stub.slow);
            if (stub.pending) write_down(*stub.pending);
            mov(r10, reinterpret_cast<std::uint64_t>(stub.op));
            mov(r11d, stub.bytes | (stub.alignment ? 0x100U : 0U));
            call(stub.write ? request_.thunks.slow_write : request_.thunks.slow_read);
            jmp(stub.back, T_NEAR);
        }
        for (HandlerStub& stub : handler_stubs_) {
            L(stub.slow);
            if (call_handler(*stub.at)) jmp(stub.back, T_NEAR);
        }
        for (MissStub& stub : miss_stubs_) {
            L(stub.label);
            mov(r10, r9);
            sar(r10, 47);
            add(r10, 1);
            cmp(r10, 1);
            jbe(request_.thunks.exit_rip);
            if (stub.undo != 0) lea(r8, ptr[r8 + stub.undo]);
            mov(r10, reinterpret_cast<std::uint64_t>(stub.op));
            jmp(request_.thunks.exit_alone, T_NEAR);
        }
        for (LinkStub& stub : link_stubs_) {
            L(stub.label);
            mov(r9, state64(o_.page_address));
            if (stub.offset != 0) add(r9, stub.offset);
            mov(r10, reinterpret_cast<std::uint64_t>(stub.link));
            jmp(request_.thunks.exit_link, T_NEAR);
        }
        if (needs_xmm_) {
            L(load_xmm_);
            mov(r9, state64(o_.page_address));
            if (page_offset_ != 0) add(r9, page_offset_);
            mov(r10, reinterpret_cast<std::uint64_t>(&request_.trace.ops[0]));
            call(needs_ymm_ ? request_.thunks.load_ymm : request_.thunks.load_xmm);
            jmp(xmm_ready_, T_NEAR);
        }
        if (request_.trace.second_page != Trace::kNoPage) {
            L(second_page_unknown_);
            mov(r9, state64(o_.page_address));
            add(r9, page_offset_);
            jmp(request_.thunks.exit_dispatch, T_NEAR);
        }
        L(no_quota_);
        add(state64(o_.remaining), request_.trace.count);
        std::uint8_t const* const exit = getCurr();
        mov(r9, state64(o_.page_address));
        if (page_offset_ != 0) add(r9, page_offset_);
        jmp(request_.thunks.exit_rip, T_NEAR);
        return exit;
    }

    // --- instructions ---------------------------------------------------------------------------------------------
    void emit(Instruction const& at) {
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

    bool is_last(Instruction const& at) const { return at.op == &request_.trace.ops[request_.trace.count - 1]; }

    /// What may make SIMD exceptions visible, so that what follows must be looked at anew.
    static bool may_unmask(ZydisMnemonic mnemonic) {
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
    void emit_handler(Instruction const& at) {
        flush_pending();
        written_.reset();
        host_flags_ = HostFlags::stale;
        if (!call_handler(at)) ended_ = true;
    }
    /// Flags are written down. False: it jumped to the handler, and what follows is not reached.
    bool call_handler(Instruction const& at) {
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

    static ZydisRegister register_of(std::uint8_t number, unsigned bits) {
        switch (bits) {
            case 8:
                return static_cast<ZydisRegister>(number < 4 ? ZYDIS_REGISTER_AL + number
                                                             : ZYDIS_REGISTER_SPL + number - 4);
            case 16:
                return static_cast<ZydisRegister>(ZYDIS_REGISTER_AX + number);
            case 32:
                return static_cast<ZydisRegister>(ZYDIS_REGISTER_EAX + number);
            default:
                return static_cast<ZydisRegister>(ZYDIS_REGISTER_RAX + number);
        }
    }

    struct Resident {  // a guest register that lives in memory, in scratch for this instruction
        unsigned guest;
        std::uint8_t scratch;
        bool high;  // AH to BH: in a register of the host, but not where REX prefixes reach it
        bool written;
    };
    /// No flag is touched.
    void load_resident(Resident const& resident) {
        if (!resident.high) return mov(host(resident.scratch), state64(slot(resident.guest)));
        mov(state64(o_.temporary), host(kHostOf[resident.guest]));
        movzx(Reg32{resident.scratch}, state8(o_.temporary + 1));
    }
    void store_resident(Resident const& resident) {
        if (!resident.high) return mov(state64(slot(resident.guest)), host(resident.scratch));
        mov(state64(o_.temporary), host(kHostOf[resident.guest]));
        mov(state8(o_.temporary + 1), Reg8{resident.scratch});
        mov(host(kHostOf[resident.guest]), state64(o_.temporary));
    }

    static bool is_written(ZydisDecodedOperand const& operand) {
        return (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    }

    bool emit_copy(Instruction const& at) {
        ZydisDecodedInstruction const& decoded = at.decoded;
        unsigned const count = decoded.operand_count_visible;
        ZydisEncoderRequest encoded;
        if (!ZYAN_SUCCESS(ZydisEncoderDecodedInstructionToEncoderRequest(&decoded, at.operands, count, &encoded)))
            return false;
        encoded.prefixes = 0;
        encoded.branch_type = ZYDIS_BRANCH_TYPE_NONE;
        encoded.branch_width = ZYDIS_BRANCH_WIDTH_NONE;
        encoded.allowed_encodings = decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? ZYDIS_ENCODABLE_ENCODING_VEX
                                                                                        : ZYDIS_ENCODABLE_ENCODING_LEGACY;

        bool const visible = at.effects.produces != Produces::nothing && is_visible(index_);
        int memory = -1;
        std::array<Resident, 2> residents{};
        unsigned resident_count = 0;
        for (unsigned i = 0; i < count; ++i) {
            if (at.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) memory = static_cast<int>(i);
        }
        // AH to BH cannot stand beside an address in R9 (no REX), and notes of flags know whole registers only; of a
        // logical operation the note is easily made afterwards.
        bool const notes_high_byte = at.effects.producer == FlagProducer::logic &&
                                     is_high_byte(at.operands[0].reg.value) && is_written(at.operands[0]);
        bool const stays_high =
            uses_high_byte(at) && memory < 0 && (!visible || notes_high_byte) && !names_memory_register(at);
        for (unsigned i = 0; i < count; ++i) {
            if (at.operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
            ZydisRegister const reg = at.operands[i].reg.value;
            ZydisRegisterClass const kind = ZydisRegisterGetClass(reg);
            bool const high = is_high_byte(reg);
            if (high && stays_high) continue;
            if (kind == ZYDIS_REGCLASS_XMM || kind == ZYDIS_REGCLASS_YMM) continue;
            ZydisRegister const whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
            auto const guest = static_cast<unsigned>(ZydisRegisterGetId(whole));
            std::uint8_t number = kHostOf[guest];
            if (number == kInMemory || high) {
                unsigned r = 0;
                while (r < resident_count && (residents[r].guest != guest || residents[r].high != high)) ++r;
                if (r == resident_count) {
                    if (resident_count == 2 || (memory >= 0 && resident_count == 1)) return false;
                    std::uint8_t const scratch = memory >= 0 ? 11 : resident_count == 0 ? 9 : 10;
                    residents[resident_count++] = {guest, scratch, high, false};
                }
                residents[r].written |= is_written(at.operands[i]);
                number = residents[r].scratch;
            }
            encoded.operands[i].reg.value = register_of(number, at.operands[i].size);
        }

        // With flags that somebody may see, a memory operand's value is needed afterwards: it goes through R10.
        bool const arithmetic = at.effects.produces == Produces::all;
        bool const by_count =
            at.effects.produces == Produces::all_if_count || at.effects.produces == Produces::carry_overflow_if_count;
        bool const is_double = decoded.mnemonic == ZYDIS_MNEMONIC_SHLD || decoded.mnemonic == ZYDIS_MNEMONIC_SHRD;
        if (visible && is_double && memory >= 0) return false;
        bool const needs_value = memory >= 0 && visible && (arithmetic || by_count) && !at.effects.is_vector &&
                                 (memory == 0 || at.effects.producer == FlagProducer::add ||
                                  at.effects.producer == FlagProducer::sub || at.effects.producer == FlagProducer::cmp);
        bool const combined = memory >= 0 && resident_count != 0;
        ZydisEncoderOperand memory_operand{};
        if (memory >= 0) {
            memory_operand = encoded.operands[memory];
            memory_operand.mem.base = ZYDIS_REGISTER_R9;
            memory_operand.mem.index = combined ? ZYDIS_REGISTER_NONE : ZYDIS_REGISTER_R11;
            memory_operand.mem.scale = combined ? 0 : 1;
            memory_operand.mem.displacement = 0;
            encoded.operands[memory] = memory_operand;
            if (needs_value) {
                encoded.operands[memory].type = ZYDIS_OPERAND_TYPE_REGISTER;
                encoded.operands[memory].reg.value = register_of(10, at.operands[memory].size);
                encoded.operands[memory].reg.is4 = ZYAN_FALSE;
            }
        }
        // TEST leaves its result nowhere: with visible flags it becomes AND in R10.
        bool const is_test = decoded.mnemonic == ZYDIS_MNEMONIC_TEST && visible;
        bool const same_operands = is_test && memory < 0 && at.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                                   at.operands[0].reg.value == at.operands[1].reg.value;
        bool const as_and = is_test && !same_operands;
        std::uint8_t test_source = 0;
        if (as_and) {
            if (memory < 0 && resident_count == 2) return false;
            encoded.mnemonic = ZYDIS_MNEMONIC_AND;
            if (memory < 0) {
                test_source = number_of(encoded.operands[0]);
                encoded.operands[0].reg.value = register_of(10, at.operands[0].size);
            }
        }
        // OF after a rotation by more than one is undefined, and ours is that of its last step.
        std::uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH], first_bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
        ZyanUSize length = sizeof(bytes), first_length = 0;
        if (visible && at.effects.produces == Produces::carry_overflow) {
            unsigned const steps = at.operands[1].imm.value.u & (at.operands[0].size == 64 ? 63 : 31);
            encoded.operands[1].imm.u = steps - 1;
            first_length = steps == 1 ? 0 : sizeof(first_bytes);
            if (steps != 1 && !ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&encoded, first_bytes, &first_length)))
                return false;
            encoded.operands[1].imm.u = 1;
        }
        if (!ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&encoded, bytes, &length))) return false;

        // From here on it is emitted.
        if (memory >= 0) {
            emit_address(at.operands[memory].mem, at);
            emit_lookup(at, at.operands[memory].size / 8, is_written(at.operands[memory]), at.effects.needs_alignment);
            if (combined) lea(r9, ptr[r9 + r11]);
        }
        protect_pending(at);
        bool const partial = at.effects.produces != Produces::nothing && at.effects.produces != Produces::all;
        if (visible && partial) flush_pending();
        bool const only_keeps_carry =
            at.effects.producer == FlagProducer::inc || at.effects.producer == FlagProducer::dec;
        if (at.effects.consumes && (visible || !only_keeps_carry)) need_flags_for(at);
        carry_in_host_ = covers(host_flags_, ZYDIS_MNEMONIC_INC);
        if (at.effects.produces == Produces::all) pending_.reset();
        if (at.effects.produces != Produces::nothing) written_.reset();
        for (unsigned r = 0; r < resident_count; ++r) load_resident(residents[r]);
        if (needs_value) load_value(at.operands[memory].size, combined);
        if (as_and && memory < 0) mov(r10, host(test_source));
        if (visible && arithmetic) before_arithmetic(at, encoded, memory, needs_value);
        if (visible && is_double) mov(r11, host(number_of(encoded.operands[0])));
        db(first_bytes, first_length);
        db(bytes, length);
        if (needs_value && is_written(at.operands[memory])) store_value(at.operands[memory].size, combined);
        for (unsigned r = 0; r < resident_count; ++r)
            if (residents[r].written) store_resident(residents[r]);
        if (is_double && at.effects.produces != Produces::nothing) {
            after_double_shift(at, encoded, visible);
            return true;
        }
        after(at, encoded, visible, memory, needs_value);
        return true;
    }

    /// INC and DEC keep CF: it is put where their note looks for it. After another INC or DEC it stands there already.
    void keep_carry() {
        auto const known = pending_   ? std::optional{pending_->producer}
                           : written_ ? std::optional{written_->producer}
                                      : std::nullopt;
        if (known == FlagProducer::inc || known == FlagProducer::dec) return;
        if (known == FlagProducer::logic) return mov(state8(o_.flags_base_carry), 0);
        if (known || covers(host_flags_, ZYDIS_MNEMONIC_INC)) {
            need_flags(ZYDIS_MNEMONIC_INC);
            return setc(state8(o_.flags_base_carry));
        }
        call(request_.thunks.keep_carry);
        host_flags_ = HostFlags::stale;
    }
    void need_flags_for(Instruction const& at) {
        if (at.effects.producer == FlagProducer::inc || at.effects.producer == FlagProducer::dec) return keep_carry();
        need_flags(at.decoded.mnemonic);
    }

    Xbyak::RegExp pointer(bool combined) { return combined ? Xbyak::RegExp{r9} : r9 + r11; }
    void load_value(unsigned bits, bool combined) {
        switch (bits) {
            case 8:
                movzx(r10d, byte[pointer(combined)]);
                break;
            case 16:
                movzx(r10d, word[pointer(combined)]);
                break;
            case 32:
                mov(r10d, dword[pointer(combined)]);
                break;
            default:
                mov(r10, qword[pointer(combined)]);
                break;
        }
    }
    void store_value(unsigned bits, bool combined) {
        switch (bits) {
            case 8:
                mov(byte[pointer(combined)], r10b);
                break;
            case 16:
                mov(word[pointer(combined)], r10w);
                break;
            case 32:
                mov(dword[pointer(combined)], r10d);
                break;
            default:
                mov(qword[pointer(combined)], r10);
                break;
        }
    }

    static std::uint8_t number_of(ZydisEncoderOperand const& operand) {
        ZydisRegister const whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value);
        return static_cast<std::uint8_t>(ZydisRegisterGetId(whole));
    }
    static bool is_scratch(std::uint8_t number) { return number >= 9 && number <= 11; }
    static bool two_inputs(FlagProducer producer) {
        return producer == FlagProducer::add || producer == FlagProducer::sub || producer == FlagProducer::cmp;
    }

    /// Inputs that will not be there afterwards are stored now. No flag is touched.
    void before_arithmetic(Instruction const& at, ZydisEncoderRequest const& encoded, int memory, bool needs_value) {
        if (!two_inputs(at.effects.producer)) return;
        ZydisEncoderOperand const& b = encoded.operands[1];
        if (b.type == ZYDIS_OPERAND_TYPE_REGISTER) {
            std::uint8_t const number = number_of(b);
            bool const same =
                encoded.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && number_of(encoded.operands[0]) == number;
            if (is_scratch(number) || same) mov(state64(o_.flags_b), host(number));
        }
        if (at.effects.producer == FlagProducer::cmp && encoded.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            is_scratch(number_of(encoded.operands[0])))
            mov(state64(o_.flags_a), host(number_of(encoded.operands[0])));
        (void)memory;
        (void)needs_value;
    }

    Place place_of(ZydisEncoderOperand const& operand) {
        if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            return {Place::Kind::imm, 0, static_cast<std::int32_t>(operand.imm.s)};
        std::uint8_t const number = number_of(operand);
        if (is_scratch(number)) return {Place::Kind::stored, 0, 0};
        return {Place::Kind::reg, number, 0};
    }

    void after(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible, int memory, bool needs_value) {
        switch (at.effects.produces) {
            case Produces::nothing:
                return;
            case Produces::all:
                return after_arithmetic(at, encoded, visible);
            case Produces::carry:
                host_flags_ = HostFlags::carry_only;
                if (!visible) return;
                setc(state8(o_.flags_carry));
                mov(state8(o_.flags_has_carry), 1);
                return;
            case Produces::overflow:
                host_flags_ = HostFlags::overflow_only;
                if (!visible) return;
                seto(state8(o_.flags_overflow));
                mov(state8(o_.flags_has_overflow), 1);
                return;
            case Produces::carry_overflow:
                host_flags_ = HostFlags::carry_overflow_only;
                if (!visible) return;
                setc(state8(o_.flags_carry));
                seto(state8(o_.flags_overflow));
                mov(state8(o_.flags_has_carry), 1);
                mov(state8(o_.flags_has_overflow), 1);
                return;
            case Produces::zero:
                host_flags_ = HostFlags::zero_only;
                if (!visible) return;
                setz(state8(o_.flags_zero));
                mov(state8(o_.flags_has_zero), 1);
                return;
            case Produces::all_if_count:
                return after_shift_by_cl(at, encoded, visible);
            case Produces::carry_overflow_if_count:
                return after_rotate_by_cl(at, encoded, visible);
        }
        (void)memory;
        (void)needs_value;
    }

    void after_arithmetic(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
        host_flags_ = HostFlags::all;
        FlagProducer const producer = at.effects.producer;
        // Shifts and multiplications define fewer flags than the host happens to set, so RFLAGS cannot be trusted for
        // those that the interpreter defines its own way; a consumer of the others is served by the written form.
        bool const exact = producer != FlagProducer::multiply && producer != FlagProducer::shl &&
                           producer != FlagProducer::shr && producer != FlagProducer::sar && producer != FlagProducer::bits;
        if (!visible) {
            pending_.reset();
            return;
        }
        if ((producer == FlagProducer::inc || producer == FlagProducer::dec) && !carry_in_host_)
            host_flags_ = HostFlags::no_carry;
        if (producer == FlagProducer::raw) return store_raw();
        if (producer == FlagProducer::multiply || producer == FlagProducer::shl || producer == FlagProducer::shr ||
            producer == FlagProducer::sar || producer == FlagProducer::bits)
            setc(state8(o_.flags_base_carry));
        Pending made{producer, static_cast<std::uint8_t>(at.operands[0].size / 8), {}, {}};
        bool const one_operand_multiply = producer == FlagProducer::multiply && at.decoded.operand_count_visible == 1;
        if (one_operand_multiply) {
            made.a = {Place::Kind::reg, 0, 0};
        } else {
            made.a = place_of(encoded.operands[0]);
            if (is_high_byte(encoded.operands[0].reg.value)) {
                mov(state64(o_.temporary), host(number_of(encoded.operands[0])));
                movzx(r10d, state8(o_.temporary + 1));
                mov(state64(o_.flags_a), r10);
                pending_ = Pending{producer, 1, {Place::Kind::stored, 0, 0}, {}};
                return;
            }
            if (made.a.kind == Place::Kind::stored && producer != FlagProducer::cmp)
                mov(state64(o_.flags_a), host(number_of(encoded.operands[0])));
        }
        if (two_inputs(producer)) {
            made.b = place_of(encoded.operands[1]);
            bool const same =
                made.a.kind == Place::Kind::reg && made.b.kind == Place::Kind::reg && made.a.reg == made.b.reg;
            if (same) made.b = {Place::Kind::stored, 0, 0};
        }
        pending_ = made;
        if (!exact)
            host_flags_ = producer == FlagProducer::multiply ? HostFlags::carry_overflow_only
                          : producer == FlagProducer::bits   ? HostFlags::carry_zero
                                                             : HostFlags::no_overflow;
    }

    /// LAHF and SETO through the guest's RAX.
    void store_raw() {
        mov(r9, rax);
        lahf();
        seto(al);
        mov(state64(o_.flags_a), rax);
        mov(rax, r9);
        mov(state32(o_.flags_kind), DeferredFlags::kind_of(FlagProducer::raw, 8));
        pending_.reset();
    }

    void after_shift_by_cl(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
        host_flags_ = HostFlags::stale;
        if (!visible) return;
        Xbyak::Label unchanged;
        setc(r11b);
        test(cl, at.operands[0].size == 64 ? 63 : 31);
        jz(unchanged);
        mov(state8(o_.flags_base_carry), r11b);
        mov(state64(o_.flags_a), host(number_of(encoded.operands[0])));
        mov(state32(o_.flags_kind), DeferredFlags::kind_of(at.effects.producer, at.operands[0].size / 8));
        L(unchanged);
    }

    /// The value rotated there and back by one has the flags of the last step.
    void after_rotate_by_cl(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
        host_flags_ = HostFlags::stale;
        if (!visible) return;
        Xbyak::Label unchanged;
        unsigned const bits = at.operands[0].size;
        test(cl, bits == 64 ? 63 : 31);
        jz(unchanged);
        mov(r11, host(number_of(encoded.operands[0])));
        Xbyak::Reg const value = bits == 8    ? Xbyak::Reg{r11b}
                                 : bits == 16 ? Xbyak::Reg{r11w}
                                 : bits == 32 ? Xbyak::Reg{r11d}
                                              : Xbyak::Reg{r11};
        if (at.decoded.mnemonic == ZYDIS_MNEMONIC_ROL) {
            ror(value, 1);
            rol(value, 1);
        } else {
            rol(value, 1);
            ror(value, 1);
        }
        setc(state8(o_.flags_carry));
        seto(state8(o_.flags_overflow));
        mov(state8(o_.flags_has_carry), 1);
        mov(state8(o_.flags_has_overflow), 1);
        L(unchanged);
    }

    /// R11 = the value before. OF: has the sign changed?
    void after_double_shift(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
        host_flags_ = HostFlags::stale;
        if (!visible) return pending_.reset();
        Xbyak::Label unchanged;
        unsigned const bits = at.operands[0].size;
        std::uint8_t const result = number_of(encoded.operands[0]);
        setc(state8(o_.temporary));
        if (at.effects.produces == Produces::all_if_count) {
            test(cl, bits == 64 ? 63 : 31);
            jz(unchanged);
        }
        mov(state64(o_.flags_a), host(result));
        xor_(r11, host(result));
        shr(r11, static_cast<int>(bits - 1));
        and_(r11d, 1);
        mov(state8(o_.flags_overflow), r11b);
        mov(r11b, state8(o_.temporary));
        mov(state8(o_.flags_base_carry), r11b);
        static_assert(offsetof(DeferredFlags, has_overflow) == offsetof(DeferredFlags, kind) + 2);
        mov(state32(o_.flags_kind), DeferredFlags::kind_of(FlagProducer::bits, bits / 8) | 1U << 16);
        L(unchanged);
    }

    static bool is_in_register(ZydisRegister reg) {
        return kHostOf[static_cast<std::size_t>(ZydisRegisterGetId(reg))] != kInMemory;
    }

    /// Straight into the destination, where that and the address are in registers.
    bool emit_direct_lea(Instruction const& at) {
        ZydisDecodedOperandMem const& memory = at.operands[1].mem;
        ZydisRegister const whole =
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, at.operands[0].reg.value);
        if (at.operands[0].size == 16 || !is_in_register(whole)) return false;
        if (memory.base == ZYDIS_REGISTER_NONE || memory.base == ZYDIS_REGISTER_RIP || !is_in_register(memory.base))
            return false;
        if (memory.index != ZYDIS_REGISTER_NONE && !is_in_register(memory.index)) return false;
        std::uint8_t const number = kHostOf[static_cast<std::size_t>(ZydisRegisterGetId(whole))];
        Reg64 const base = address_register(memory.base, r9);
        auto const disp = static_cast<std::int32_t>(memory.disp.has_displacement ? memory.disp.value : 0);
        Xbyak::RegExp const address = memory.index == ZYDIS_REGISTER_NONE
                                          ? base + disp
                                          : base + address_register(memory.index, r10) * memory.scale + disp;
        at.operands[0].size == 64 ? lea(host(number), ptr[address]) : lea(Reg32{number}, ptr[address]);
        return true;
    }

    void emit_lea(Instruction const& at) {
        protect_pending(at);
        if (emit_direct_lea(at)) return;
        ZydisDecodedOperandMem memory = at.operands[1].mem;
        memory.segment = ZYDIS_REGISTER_NONE;
        emit_address(memory, at);
        ZydisRegister const whole =
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, at.operands[0].reg.value);
        auto const guest = static_cast<unsigned>(ZydisRegisterGetId(whole));
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

    void emit_push(Instruction const& at) {
        lea(r9, ptr[r8 - 8]);
        emit_lookup(at, 8, true);
        protect_pending(at);
        if (at.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            mov(qword[r9 + r11], static_cast<std::int32_t>(at.operands[0].imm.value.s));
        } else {
            auto const guest = static_cast<unsigned>(ZydisRegisterGetId(at.operands[0].reg.value));
            Reg64 value = r10;
            if (kHostOf[guest] == kInMemory)
                mov(r10, state64(slot(guest)));
            else
                value = host(kHostOf[guest]);
            mov(qword[r9 + r11], value);
        }
        mov(r8, r9);
    }
    void emit_pop(Instruction const& at) {
        mov(r9, r8);
        emit_lookup(at, 8, false);
        protect_pending(at);
        auto const guest = static_cast<unsigned>(ZydisRegisterGetId(at.operands[0].reg.value));
        if (kHostOf[guest] == kInMemory) {
            mov(r10, qword[r9 + r11]);
            mov(state64(slot(guest)), r10);
        } else {
            mov(host(kHostOf[guest]), qword[r9 + r11]);
        }
        lea(r8, ptr[r9 + 8]);
    }
    void emit_leave(Instruction const& at) {
        mov(r9, rbp);
        emit_lookup(at, 8, false);
        protect_pending(at);
        mov(rbp, qword[r9 + r11]);
        lea(r8, ptr[r9 + 8]);
    }

    /// The flags keep what they were, as the interpreter has it.
    void emit_divide(Instruction const& at) {
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
                jae(stub.slow, T_NEAR);  // too large, or by 0
                div(divisor);
                return;
            }
            // The usual dividend is sign-extended: then only 0 and -1 can fail.
            mov(spare, low);
            sar(spare, static_cast<int>(bits - 1));
            cmp(spare, high);
            jne(stub.slow, T_NEAR);
            lea(spare, ptr[r10 + 1]);
            cmp(spare, 1);
            jbe(stub.slow, T_NEAR);
            idiv(divisor);
        };
        bits == 64 ? divide(r10, rax, rdx, r11) : divide(r10d, eax, edx, r11d);
        L(stub.back);
        host_flags_ = HostFlags::stale;
    }
    void load_general(Reg64 const& into, ZydisRegister reg) {
        ZydisRegister const whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
        Reg64 const from = address_register(whole, into);
        if (from != into) mov(into, from);
    }

    void emit_push_memory(Instruction const& at) {
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

    /// The offset, in bits and signed, chooses the operand-sized piece of memory.
    void emit_bit_string(Instruction const& at) {
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

    /// At CPL 0; elsewhere IOPL decides.
    HandlerStub& if_not_kernel(Instruction const& at) {
        flush_pending();
        HandlerStub& stub = handler_stubs_.emplace_back();
        stub.at = &at;
        cmp(state8(o_.cpl), 0);
        jne(stub.slow, T_NEAR);
        host_flags_ = HostFlags::stale;
        return stub;
    }
    void emit_cli(Instruction const& at) {
        HandlerStub& stub = if_not_kernel(at);
        and_(state32(o_.rflags), ~static_cast<std::uint32_t>(rflags::kInterrupt));
        L(stub.back);
    }
    /// In 64-bit mode the base of GS is all that the processor's derived state has of it.
    void emit_swapgs(Instruction const& at) {
        HandlerStub& stub = if_not_kernel(at);
        mov(r9, state64(o_.gs_base));
        mov(r10, state64(o_.kernel_gs_base));
        mov(state64(o_.gs_base), r10);
        mov(state64(o_.segment_bases + 8 * backplane::gs), r10);
        mov(state64(o_.kernel_gs_base), r9);
        L(stub.back);
    }

    std::int64_t branch_target(Instruction const& at) const {
        return static_cast<std::int64_t>(at.offset) + at.decoded.length + at.operands[0].imm.value.s;
    }

    void emit_jcc(Instruction const& at) {
        ended_ = true;
        need_flags(at.decoded.mnemonic);
        flush_pending();
        Xbyak::Label taken;
        unsigned condition = 0;
        while (condition < 16 && kJumpMnemonics[condition] != at.decoded.mnemonic) ++condition;
        emit_jump_on(condition, taken);
        exit_direct(static_cast<std::int64_t>(at.offset) + at.decoded.length);
        L(taken);
        exit_direct(branch_target(at));
    }
    void emit_jump_on(unsigned condition, Xbyak::Label const& label) {
        switch (condition) {
            case 0:
                jo(label, T_NEAR);
                break;
            case 1:
                jno(label, T_NEAR);
                break;
            case 2:
                jb(label, T_NEAR);
                break;
            case 3:
                jnb(label, T_NEAR);
                break;
            case 4:
                jz(label, T_NEAR);
                break;
            case 5:
                jnz(label, T_NEAR);
                break;
            case 6:
                jbe(label, T_NEAR);
                break;
            case 7:
                jnbe(label, T_NEAR);
                break;
            case 8:
                js(label, T_NEAR);
                break;
            case 9:
                jns(label, T_NEAR);
                break;
            case 10:
                jp(label, T_NEAR);
                break;
            case 11:
                jnp(label, T_NEAR);
                break;
            case 12:
                jl(label, T_NEAR);
                break;
            case 13:
                jnl(label, T_NEAR);
                break;
            case 14:
                jle(label, T_NEAR);
                break;
            default:
                jnle(label, T_NEAR);
                break;
        }
    }

    /// R9 = the target of an indirect branch. False: a form for the handler.
    bool emit_indirect_target(Instruction const& at) {
        if (at.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
            emit_address(at.operands[0].mem, at);
            emit_lookup(at, 8, false);
            mov(r9, qword[r9 + r11]);
            return true;
        }
        auto const guest = static_cast<unsigned>(ZydisRegisterGetId(at.operands[0].reg.value));
        kHostOf[guest] == kInMemory ? mov(r9, state64(slot(guest))) : mov(r9, host(kHostOf[guest]));
        return true;
    }

    void emit_jmp(Instruction const& at) {
        ended_ = true;
        if (at.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            flush_pending();
            return exit_direct(branch_target(at));
        }
        emit_indirect_target(at);
        flush_pending();
        jump_to_r9(at.op, 0);
    }

    void emit_call(Instruction const& at) {
        ended_ = true;
        bool const direct = at.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
        if (!direct) {
            emit_indirect_target(at);
            // A target that is not canonical faults before anything is pushed.
            MissStub& stub = miss_stubs_.emplace_back();
            stub.op = at.op;
            mov(r10, r9);
            sar(r10, 47);
            add(r10, 1);
            cmp(r10, 1);
            ja(stub.label, T_NEAR);
            mov(state64(o_.call_target), r9);
        }
        lea(r9, ptr[r8 - 8]);
        emit_lookup(at, 8, true);
        flush_pending();
        mov(r10, state64(o_.page_address));
        add(r10, static_cast<std::uint32_t>(at.offset + at.decoded.length));
        mov(qword[r9 + r11], r10);
        mov(r8, r9);
        if (direct) return exit_direct(branch_target(at));
        mov(r9, state64(o_.call_target));
        jump_to_r9(nullptr, 0);
    }

    void emit_ret(Instruction const& at) {
        ended_ = true;
        std::int32_t const extra =
            at.decoded.operand_count_visible != 0 ? static_cast<std::int32_t>(at.operands[0].imm.value.u & 0xffff) : 0;
        mov(r9, r8);
        emit_lookup(at, 8, false);
        flush_pending();
        mov(r9, qword[r9 + r11]);
        lea(r8, ptr[r8 + (8 + extra)]);
        jump_to_r9(at.op, -(8 + extra));
    }

    BlockRequest const& request_;
    Offsets const& o_;
    unsigned view_;
    std::uint32_t page_offset_;
    std::vector<Instruction> instructions_;
    std::size_t index_{0};
    bool ended_{false};
    bool needs_xmm_{false};
    bool needs_ymm_{false};
    std::optional<Pending> pending_;
    std::optional<Written> written_;
    HostFlags host_flags_{HostFlags::stale};
    bool carry_in_host_{false};  // before the instruction that is being emitted
    std::deque<AccessStub> access_stubs_;
    std::deque<HandlerStub> handler_stubs_;
    std::deque<MissStub> miss_stubs_;
    std::deque<LinkStub> link_stubs_;
    Xbyak::Label second_page_unknown_, no_quota_, load_xmm_, xmm_ready_;
};

}  // namespace

BlockCode make_block(BlockRequest const& request, std::uint8_t* where, std::size_t room) {
    Emitter emitter{request, where, room};
    return emitter.make();
}

}  // namespace backplane::jit
