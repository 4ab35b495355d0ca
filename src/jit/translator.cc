#include "jit/translator.h"

#define XBYAK_NO_EXCEPTION
#include <sys/mman.h>
#include <xbyak/xbyak.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/host_mapping.h"
#include "bus/bus.h"
#include "cpu/cpu.h"
#include "cpu/mxcsr.h"
#include "cpu/trace_cache.h"
#include "jit/flag_thunks.h"

namespace backplane {

/// What translated code calls, and the only code outside cpu/ that sees a Cpu's members.
class JitRuntime {
  public:
    struct Resolved {
        std::uint64_t addend;
        std::uint64_t ok;
    };

    static jit::Offsets offsets(Cpu& cpu) {
        auto const at = [&](auto const& member) {
            return static_cast<std::int32_t>(reinterpret_cast<char const*>(&member) -
                                             reinterpret_cast<char const*>(&cpu));
        };
        jit::Offsets o{};
        o.slots = at(cpu.slot_);
        o.segment_bases = at(cpu.segment_base_);
        TlbSet* const views[2] = {&cpu.user_tlb_, &cpu.supervisor_tlb_};
        for (unsigned view = 0; view < 2; ++view) {
            o.read_tlb[view] = at(views[view]->read.slot(0));
            o.write_tlb[view] = at(views[view]->write.slot(0));
            o.execute_tlb[view] = at(views[view]->execute.slot(0));
            o.jumps[view] = at(cpu.translated_.jumps[view]);
        }
        o.remaining = at(cpu.remaining_);
        DeferredFlags& flags = cpu.deferred_flags_;
        o.flags_a = at(flags.a), o.flags_b = at(flags.b), o.flags_kind = at(flags.kind);
        o.flags_has_carry = at(flags.has_carry), o.flags_has_overflow = at(flags.has_overflow),
        o.flags_has_zero = at(flags.has_zero);
        o.flags_base_carry = at(flags.base_carry), o.flags_carry = at(flags.carry),
        o.flags_overflow = at(flags.overflow), o.flags_zero = at(flags.zero);
        o.lazy_carry = at(cpu.flags) + static_cast<std::int32_t>(LazyFlags::carry_word_offset());
        o.note_flags = at(cpu.translated_.notes.flags), o.note_carry = at(cpu.translated_.notes.carry);
        o.xmm = at(cpu.state_.xmm);
        o.ymm_high = at(cpu.state_.ymm_high);
        o.rip = at(cpu.rip_);
        o.rflags = at(cpu.state_.rflags);
        o.cpl = at(cpu.cpl_);
        o.gs_base = at(cpu.state_.segments[gs].base);
        o.kernel_gs_base = at(cpu.state_.kernel_gs_base);
        o.page_address = at(cpu.translated_.page_address);
        o.temporary = at(cpu.translated_.temporary);
        o.call_target = at(cpu.translated_.call_target);
        o.temporary_flags = at(cpu.translated_.temporary_flags);
        o.xmm_loaded = at(cpu.translated_.xmm_loaded);
        o.link = at(cpu.translated_.link);
        return o;
    }

    static Translator& translator(Cpu& cpu) { return static_cast<Translator&>(*cpu.tier_); }
    /// The trace that an Op stands in.
    static Trace* trace_of(Op const* op) {
        Op const* const first = op - op->position;
        return reinterpret_cast<Trace*>(const_cast<char*>(reinterpret_cast<char const*>(first)) - offsetof(Trace, ops));
    }
    static void begin(Cpu& cpu, Op const* op) {
        Trace* const trace = trace_of(op);
        cpu.trace_ = trace;
        cpu.slot_[kCodeSlot] = cpu.translated_.page_address + (trace->address & kPageMask);
    }
    static void leave_alone(Cpu& cpu, Op const* op) {
        cpu.ask_to_run_alone();
        (void)cpu.leave(op);
    }

    /// A TLB miss of translated code. Not ok: the instruction is given up, with the reason noted.
    static Resolved resolve(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what, AccessKind kind) {
        jit::MissedAccess const access = jit::MissedAccess::unpacked(what);
        Resolved const found = look_up(*cpu, lowest, op, access, kind);
        if (found.ok == 0) cpu->remaining_ += access.rest;  // of the traces behind this one
        return found;
    }
    static Resolved look_up(Cpu& cpu, std::uint64_t lowest, Op const* op, jit::MissedAccess const& access, AccessKind kind) {
        std::uint64_t const address = lowest + access.offset;
        ++translator(cpu).counters_.slow_accesses;
        begin(cpu, op);
        bool const misaligned = access.aligned && (address & (access.bytes - 1U)) != 0;
        bool const crossing = (address & kPageMask) > kPageBytes - access.bytes;
        if (!crossing && access.group_bytes != 0 && (lowest & kPageMask) > kPageBytes - access.group_bytes) {
            translator(cpu).note_crossing(*trace_of(op), *op, executed(cpu));
            cpu.leave_reason_ = Leave::next;
            (void)cpu.leave(op);
            return {0, 0};
        }
        // The present view may be the one with AC, whose tables translated code does not look at.
        // A non-canonical address is #GP or #SS by the operand's segment, which the interpreter knows.
        // Watchpoints are the interpreter's.
        if (!misaligned && !crossing && !cpu.has_watchpoints_ && Cpu::is_canonical(address)) {
            if (auto const target = cpu.translate(address, kind, access.bytes, false)) {
                if (target->host != nullptr && may_follow(cpu, address, access, kind))
                    return {reinterpret_cast<std::uint64_t>(target->host) - address, 1};
                cpu.ask_to_run_alone();
            }
            (void)cpu.leave(op);
            return {0, 0};
        }
        leave_alone(cpu, op);
        return {0, 0};
    }
    /// May those that follow the access take it for theirs? They are in its page, and the TLB holds that. It does not hold
    /// pages that somebody watches or that have code.
    static bool may_follow(Cpu& cpu, std::uint64_t address, jit::MissedAccess const& access, AccessKind kind) {
        TlbSet& set = cpu.set_for(false);
        TlbEntry const& entry = kind == AccessKind::write ? set.write.slot(address) : set.read.slot(address);
        return access.group_bytes == 0 || entry.tag == (address & ~kPageMask);
    }
    static Resolved resolve_read(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what) {
        return resolve(cpu, lowest, op, what, AccessKind::read);
    }
    static Resolved resolve_write(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what) {
        return resolve(cpu, lowest, op, what, AccessKind::write);
    }

    /// Runs one handler. 0: it left the trace.
    static std::uint64_t call_handler(Cpu* cpu, jit::HandlerSite const* site) {
        ++*site->calls;
        begin(*cpu, site->op);
        cpu->deferred_flags_.resolve(cpu->flags);
        cpu->remaining_ += site->rest;
        Op const* const op = site->pair.data();
        if (op->run(*cpu, op) == nullptr) return 0;
        if (cpu->remaining_ < site->rest) {  // a repeated instruction has used it up
            (void)cpu->finish_early(site->op);
            return 0;
        }
        cpu->remaining_ -= site->rest;
        return 1;
    }
    /// Runs the rest of a trace in the interpreter.
    static void run_last(Cpu* cpu, jit::HandlerSite const* site) {
        ++*site->calls;
        Op const* op = site->op;
        begin(*cpu, op);
        cpu->deferred_flags_.resolve(cpu->flags);
        cpu->remaining_ += site->rest;
        while (op != nullptr) op = op->run(*cpu, op);
    }
    static void exit_alone(Cpu* cpu, Op const* op) {
        begin(*cpu, op);
        leave_alone(*cpu, op);
    }
    static std::uint64_t materialize(Cpu* cpu) {
        cpu->deferred_flags_.resolve(cpu->flags);
        return cpu->flags.value() | rflags::kFixed | rflags::kInterrupt;
    }
    static void keep_carry(Cpu* cpu) {
        cpu->deferred_flags_.resolve(cpu->flags);
        cpu->deferred_flags_.base_carry = cpu->flags.carry() ? 1 : 0;
    }
    /// A guess has been wrong kWrong times: when that is more than one time in eight, its code asks the TLB from now on.
    static void weigh_guess(Cpu* cpu, jit::Guess* guess) {
        std::uint64_t const now = executed(*cpu);
        bool const is_bad = now - guess->since < std::uint64_t{8} * jit::Guess::kWrong * guess->loop_instructions;
        if (is_bad) give_up_guess(*guess);
        translator(*cpu).counters_.guesses_given_up += is_bad ? 1 : 0;
        guess->wrong_left = jit::Guess::kWrong;
        guess->since = now;
    }
    static std::uint64_t executed(Cpu const& cpu) { return cpu.instructions_before_run_ + cpu.quota_ - cpu.remaining_; }
    static void give_up_guess(jit::Guess const& guess) {
        Xbyak::CodeGenerator code{guess.bytes, guess.begin};
        code.mov(Xbyak::util::r11, Xbyak::util::qword[Xbyak::util::r15 + Xbyak::util::r10 + guess.addend]);
        code.nop(guess.bytes - code.getSize());
        code.ready();
        check(Xbyak::GetError() == 0, "what asks the TLB is shorter than what guesses");
    }
    /// May the guest's XMM registers be used by host instructions now? If not, the block's first instruction is left.
    static std::uint64_t may_load_xmm(Cpu* cpu, Op const* op) { return may_load(cpu, op, cpu->simd_ok()); }
    static std::uint64_t may_load_ymm(Cpu* cpu, Op const* op) { return may_load(cpu, op, cpu->simd_ok() && cpu->avx_ok()); }
    static std::uint64_t may_load(Cpu* cpu, Op const* op, bool available) {
        bool const masked = (cpu->state_.mxcsr & mxcsr::kMasks) == mxcsr::kMasks;
        if (available && masked) return 1;
        begin(*cpu, op);
        leave_alone(*cpu, op);
        cpu->remaining_ += cpu->trace_->code_count - cpu->trace_->count;  // of the traces behind the first
        return 0;
    }

    static void enter(Translator& t, Cpu& cpu, Trace& trace) {
        if (t.wanted_link_ != nullptr && t.wanted_rip_ == cpu.rip_ &&
            t.wanted_link_->physical_page == trace.address >> kPageShift)
            t.make_link(*t.wanted_link_, trace);
        TranslatedState& state = cpu.translated_;
        remember(cpu, trace);
        state.link = nullptr;
        cpu.trace_ = &trace;
        t.exit_ = TranslatorExit::unmapped;
        std::uint64_t const before = cpu.remaining_;
        t.enter_code_(&cpu, trace.code);
        t.counters_.instructions += before - cpu.remaining_;
        ++t.counters_.exits[static_cast<std::size_t>(exit_reason(cpu, t.exit_))];
        cpu.deferred_flags_.resolve(cpu.flags);
        t.wanted_link_ = static_cast<jit::Link*>(state.link);
        t.wanted_rip_ = cpu.rip_;
    }
    static TranslatorExit exit_reason(Cpu const& cpu, TranslatorExit without_other) {
        switch (cpu.leave_reason_) {
            case Leave::fault:
                return TranslatorExit::fault;
            case Leave::alone:
                return TranslatorExit::alone;
            case Leave::next:
                return cpu.attention_ ? TranslatorExit::event : without_other;
            default:
                return TranslatorExit::stopped;
        }
    }
    /// Where translated code goes on after an exit whose reason may be none: the host code at rip, with everything set
    /// for it. Null: the dispatcher has to look (an interrupt, a fault, code not translated, not enough quota).
    static void const* next_code(Cpu* cpu, jit::Link* link) {
        TranslatedState& state = cpu->translated_;
        TranslatorExit& exit = translator(*cpu).exit_;
        state.link = link;
        if (cpu->attention_ || cpu->leave_reason_ != Leave::next || cpu->mode_ != CodeMode::bits64) return nullptr;
        std::uint64_t const rip = cpu->rip_;
        ExecuteTlbEntry const& page = cpu->tlb_->execute.slot(rip);
        exit = TranslatorExit::unmapped;
        if (page.tag != (rip & ~kPageMask)) return nullptr;
        Trace* const trace = cpu->traces_.find(page.page_address | (rip & kPageMask), CodeMode::bits64);
        exit = TranslatorExit::not_hot;
        if (trace == nullptr || trace->code == nullptr) return nullptr;
        exit = TranslatorExit::quota;
        if (cpu->remaining_ < trace->code_count) return nullptr;
        exit = TranslatorExit::not_hot;
        if (Cpu::may_leave_canonical(rip, *trace)) return nullptr;
        unsigned const view = trace->code_view;
        if (cpu->tlb_ != (view == 0 ? &cpu->user_tlb_ : &cpu->supervisor_tlb_)) return nullptr;
        if (link != nullptr && link->physical_page == trace->address >> kPageShift)
            translator(*cpu).make_link(*link, *trace);
        remember(*cpu, *trace);
        cpu->state_.rflags &= ~rflags::kResume;  // as the dispatcher does
        state.link = nullptr;
        return trace->code;
    }
    /// The same behind a handler that ended its block. The block looks at the quota itself.
    static void const* after_handler(Cpu* cpu) {
        TranslatedState& state = cpu->translated_;
        std::uint64_t const rip = cpu->rip_;
        unsigned const view = cpu->tlb_ == &cpu->user_tlb_ ? 0 : 1;
        bool const known_view = view == 0 || cpu->tlb_ == &cpu->supervisor_tlb_;
        JumpEntry const& entry = state.jumps[view][TranslatedState::jump_index(rip)];
        // At the quota's end the instruction at rip is not executed yet, and RF is still its.
        bool const ready = !cpu->attention_ && cpu->leave_reason_ == Leave::next && cpu->mode_ == CodeMode::bits64 &&
                           cpu->remaining_ != 0;
        if (!ready || !known_view || entry.rip != rip || entry.code == nullptr) return next_code(cpu, nullptr);
        state.page_address = rip & ~kPageMask;
        cpu->state_.rflags &= ~rflags::kResume;
        return entry.code;
    }
    /// To be called at the entry of `trace` at rip.
    static void remember(Cpu& cpu, Trace const& trace) {
        TranslatedState& state = cpu.translated_;
        unsigned const view = trace.code_view;
        if (view == 0 || cpu.supervisor_tlb_.execute.holds_global(cpu.rip_)) state.remember(view, cpu.rip_, trace.code);
        state.page_address = cpu.rip_ & ~kPageMask;
    }
    static void forget_code_at(Cpu& cpu, std::uint64_t address) {
        Trace* const trace = cpu.traces_.find(address, CodeMode::bits64);
        if (trace != nullptr && trace->code != nullptr) translator(cpu).forget_code(*trace);
    }
    static TranslatedState& state(Cpu& cpu) { return cpu.translated_; }
    static std::uint64_t rip(Cpu const& cpu) { return cpu.rip_; }
    static Trace* warm_trace(Cpu& cpu, std::uint64_t address) {
        Trace* const trace = cpu.hot_uses_ > 1 ? cpu.traces_.find(address, CodeMode::bits64) : cpu.decode_ahead(address);
        bool const usable = trace != nullptr && trace->cost != Trace::kInvalid && trace->uses != Trace::kGivenUp;
        return usable && 2U * trace->uses >= cpu.hot_uses_ - 1U ? trace : nullptr;
    }
    /// A copy of the trace's guest code, which may lie in two pages. Empty: a part is no RAM.
    static std::vector<std::uint8_t> code(Cpu& cpu, Trace const& trace) {
        std::vector<std::uint8_t> bytes(trace.bytes);
        std::size_t const here = std::min<std::size_t>(trace.bytes, kPageBytes - (trace.address & kPageMask));
        GuestMemory const& memory = cpu.bus_.memory();
        auto const whole = std::as_writable_bytes(std::span{bytes});
        bool ok = memory.read(GuestPhys{trace.address}, whole.first(here));
        if (here != trace.bytes) ok = ok && memory.read(GuestPhys{trace.second_page}, whole.subspan(here));
        if (!ok) bytes.clear();
        return bytes;
    }
};

namespace {

using namespace Xbyak::util;

/// The guest registers that live in host registers, in the order in which they are saved.
constexpr std::array<std::uint8_t, 6> kCallerSaved{rax, rcx, rdx, rsp, rsi, rdi};
constexpr std::array<std::uint8_t, 5> kCalleeSaved{rbx, rbp, r12, r13, r14};

class ThunkMaker : public Xbyak::CodeGenerator {
  public:
    ThunkMaker(std::uint8_t* where, std::size_t room, jit::Offsets const& offsets)
        : CodeGenerator{room, where}, o_{offsets} {}

    using Code = std::uint8_t const*;

    /// void enter(Cpu* rdi, void* code rsi)
    Code make_enter() {
        Code const start = here();
        for (auto const& reg : kHostSaved) push(reg);
        sub(Xbyak::util::rsp, kFrameBytes);
        mov(state_, Xbyak::util::rdi);
        mov(address_, Xbyak::util::rsi);
        load(kCallerSaved), load(kCalleeSaved);
        jmp(address_);
        return start;
    }
    /// The registers are in memory already.
    Code make_return() {
        Code const start = here();
        add(Xbyak::util::rsp, kFrameBytes);
        for (auto reg = kHostSaved.rbegin(); reg != kHostSaved.rend(); ++reg) pop(*reg);
        ret();
        return start;
    }
    /// R9 = rip; with_link: R10 = Link.
    Code make_exit(Code leave, bool with_link) {
        Code const start = here();
        mov(qword[state_ + o_.rip], address_);
        save(kCallerSaved);
        save_xmm_if_loaded();
        mov(Xbyak::util::rdi, state_);
        if (with_link)
            mov(Xbyak::util::rsi, Xbyak::util::r10);
        else
            xor_(Xbyak::util::esi, Xbyak::util::esi);
        go_on(leave, &JitRuntime::next_code, Registers::caller_saved);
        return start;
    }
    /// To the address at `offset` in the running page, through a link.
    void make_forward(std::uint32_t offset, jit::Link const& link, Code exit_link) {
        mov(address_, qword[state_ + o_.page_address]);
        if (offset != 0) add(address_, offset);
        mov(Xbyak::util::r10, reinterpret_cast<std::uint64_t>(&link));
        jmp(exit_link, T_NEAR);
    }
    /// R9 = rip; always to the dispatcher.
    Code make_exit_dispatch(Code leave) {
        Code const start = here();
        mov(qword[state_ + o_.rip], address_);
        save(kCallerSaved), save(kCalleeSaved);
        give_up_xmm();
        jmp(leave);
        return start;
    }
    /// To the code at rip, if `next_code` knows it, else to the dispatcher. Its arguments are set, XMM registers are saved,
    /// and so are the caller-saved of the guest's; `lost` says which have to be loaded again.
    enum class Registers : std::uint8_t { caller_saved, all };
    template <typename Function>
    void go_on(Code leave, Function* next_code, Registers lost) {
        Xbyak::Label out;
        mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(next_code));
        call(Xbyak::util::rax);
        test(Xbyak::util::rax, Xbyak::util::rax);
        jz(out, T_NEAR);
        mov(address_, Xbyak::util::rax);
        load_xmm_if_loaded();
        load(kCallerSaved);
        if (lost == Registers::all) load(kCalleeSaved);
        jmp(address_);
        L(out);
        if (lost == Registers::caller_saved) save(kCalleeSaved);
        mov(byte[state_ + o_.xmm_loaded], 0);
        jmp(leave);
    }
    /// R9 = linear address, R10 = Op, R11 = MissedAccess. Returns with R11 = host minus linear.
    Code make_slow(JitRuntime::Resolved (*function)(Cpu*, std::uint64_t, Op const*, std::uint64_t), Code leave) {
        Code const start = here();
        Xbyak::Label failed;
        save(kCallerSaved);
        save_xmm_if_loaded();
        mov(qword[state_ + o_.temporary], address_);
        mov(Xbyak::util::rdi, state_);
        mov(Xbyak::util::rsi, address_);
        mov(Xbyak::util::rdx, Xbyak::util::r10);
        mov(Xbyak::util::rcx, Xbyak::util::r11);
        call_aligned(reinterpret_cast<void const*>(function));
        test(Xbyak::util::rdx, Xbyak::util::rdx);
        jz(failed, T_NEAR);
        mov(Xbyak::util::r11, Xbyak::util::rax);
        load_xmm_if_loaded();
        mov(address_, qword[state_ + o_.temporary]);
        load(kCallerSaved);
        ret();
        L(failed);
        add(Xbyak::util::rsp, 8);
        mov(Xbyak::util::rdi, state_);
        go_on(leave, &JitRuntime::after_handler, Registers::caller_saved);
        return start;
    }
    /// R10 = HandlerSite.
    Code make_call_handler(Code leave) {
        Code const start = here();
        Xbyak::Label failed;
        save(kCallerSaved), save(kCalleeSaved);
        save_xmm_if_loaded();
        mov(Xbyak::util::rdi, state_);
        mov(Xbyak::util::rsi, Xbyak::util::r10);
        call_aligned(reinterpret_cast<void const*>(&JitRuntime::call_handler));
        test(Xbyak::util::rax, Xbyak::util::rax);
        jz(failed, T_NEAR);
        load_xmm_if_loaded();
        load(kCallerSaved), load(kCalleeSaved);
        ret();
        L(failed);
        leave_from_call(leave, false);
        return start;
    }
    /// R10 = its second argument; jumped to: runs a function that ends the block, and goes on at rip.
    template <typename Argument>
    Code make_last(void (*function)(Cpu*, Argument), Code leave) {
        Code const start = here();
        save(kCallerSaved), save(kCalleeSaved);
        give_up_xmm();
        mov(Xbyak::util::rdi, state_);
        mov(Xbyak::util::rsi, Xbyak::util::r10);
        mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(function));
        call(Xbyak::util::rax);
        mov(Xbyak::util::rdi, state_);
        go_on(leave, &JitRuntime::after_handler, Registers::all);
        return start;
    }
    Code make_materialize() {
        Code const start = here();
        save(kCallerSaved);
        save_xmm_if_loaded();
        push(Xbyak::util::r9), push(Xbyak::util::r10), push(Xbyak::util::r11);
        mov(Xbyak::util::rdi, state_);
        mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(&JitRuntime::materialize));
        call(Xbyak::util::rax);  // aligned: the return address and three registers
        mov(qword[state_ + o_.temporary_flags], Xbyak::util::rax);
        load_xmm_if_loaded();
        pop(Xbyak::util::r11), pop(Xbyak::util::r10), pop(Xbyak::util::r9);
        load(kCallerSaved);
        push(qword[state_ + o_.temporary_flags]);
        popfq();
        ret();
        return start;
    }
    /// Calls a function and changes no register. R10 = its second argument, if it has one.
    template <typename... Arguments>
    Code make_quiet_call(void (*function)(Cpu*, Arguments...)) {
        Code const start = here();
        save(kCallerSaved);
        save_xmm_if_loaded();
        push(Xbyak::util::r9), push(Xbyak::util::r10), push(Xbyak::util::r11);
        mov(Xbyak::util::rdi, state_);
        mov(Xbyak::util::rsi, Xbyak::util::r10);
        mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(function));
        call(Xbyak::util::rax);
        load_xmm_if_loaded();
        pop(Xbyak::util::r11), pop(Xbyak::util::r10), pop(Xbyak::util::r9);
        load(kCallerSaved);
        ret();
        return start;
    }
    /// R10 = the block's first Op.
    Code make_load_xmm(Code leave) {
        Code const start = here();
        Xbyak::Label failed;
        save(kCallerSaved);
        mov(Xbyak::util::rdi, state_);
        mov(Xbyak::util::rsi, Xbyak::util::r10);
        call_aligned(reinterpret_cast<void const*>(&JitRuntime::may_load_xmm));
        test(Xbyak::util::rax, Xbyak::util::rax);
        jz(failed, T_NEAR);
        mov(byte[state_ + o_.xmm_loaded], VectorsLoaded::kXmm);
        load_xmm();
        load(kCallerSaved);
        ret();
        L(failed);
        leave_from_call(leave, true);
        return start;
    }
    Code make_load_ymm(Code leave) {
        Code const start = here();
        Xbyak::Label failed;
        save(kCallerSaved);
        save_xmm_if_loaded();
        mov(Xbyak::util::rdi, state_);
        mov(Xbyak::util::rsi, Xbyak::util::r10);
        call_aligned(reinterpret_cast<void const*>(&JitRuntime::may_load_ymm));
        test(Xbyak::util::rax, Xbyak::util::rax);
        jz(failed, T_NEAR);
        mov(byte[state_ + o_.xmm_loaded], VectorsLoaded::kYmm);
        load_xmm();
        load_high();
        load(kCallerSaved);
        ret();
        L(failed);
        leave_from_call(leave, true);
        return start;
    }

  private:
    Code here() {
        align(16);
        return getCurr();
    }
    template <std::size_t N>
    void save(std::array<std::uint8_t, N> const& guests) {
        for (std::uint8_t const guest : guests)
            mov(qword[state_ + (o_.slots + 8 * guest)], Xbyak::Reg64{jit::kHostOf[guest]});
    }
    template <std::size_t N>
    void load(std::array<std::uint8_t, N> const& guests) {
        for (std::uint8_t const guest : guests)
            mov(Xbyak::Reg64{jit::kHostOf[guest]}, qword[state_ + (o_.slots + 8 * guest)]);
    }
    void load_xmm() {
        for (int i = 0; i < 16; ++i) movaps(Xbyak::Xmm{i}, xword[state_ + (o_.xmm + 16 * i)]);
    }
    void load_high() {
        for (int i = 0; i < 16; ++i) vinsertf128(Xbyak::Ymm{i}, Xbyak::Ymm{i}, xword[state_ + (o_.ymm_high + 16 * i)], 1);
    }
    void load_xmm_if_loaded() {
        Xbyak::Label done;
        cmp(byte[state_ + o_.xmm_loaded], VectorsLoaded::kXmm);
        jb(done, T_NEAR);
        load_xmm();  // no flag changes
        je(done, T_NEAR);
        load_high();
        L(done);
    }
    void save_xmm_if_loaded() {
        Xbyak::Label done;
        cmp(byte[state_ + o_.xmm_loaded], VectorsLoaded::kXmm);
        jb(done, T_NEAR);
        for (int i = 0; i < 16; ++i) movaps(xword[state_ + (o_.xmm + 16 * i)], Xbyak::Xmm{i});
        je(done, T_NEAR);
        for (int i = 0; i < 16; ++i) vextractf128(xword[state_ + (o_.ymm_high + 16 * i)], Xbyak::Ymm{i}, 1);
        vzeroupper();  // our own code is SSE
        L(done);
    }
    void give_up_xmm() {
        save_xmm_if_loaded();
        mov(byte[state_ + o_.xmm_loaded], 0);
    }
    /// From inside a called thunk, where the stack is off by the return address.
    void call_aligned(void const* function) {
        sub(Xbyak::util::rsp, 8);
        mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(function));
        call(Xbyak::util::rax);
        add(Xbyak::util::rsp, 8);
    }
    /// Out of a called thunk to the dispatcher; XMM registers were saved before the call.
    void leave_from_call(Code leave, bool save_callee_saved) {
        add(Xbyak::util::rsp, 8);
        if (save_callee_saved) save(kCalleeSaved);
        mov(byte[state_ + o_.xmm_loaded], 0);
        jmp(leave);
    }

    static constexpr std::uint32_t kFrameBytes = 8 * (jit::kPins + jit::kGuesses);
    static inline std::array<Xbyak::Reg64, 6> const kHostSaved{Xbyak::util::rbx, Xbyak::util::rbp, Xbyak::util::r12,
                                                               Xbyak::util::r13, Xbyak::util::r14, Xbyak::util::r15};
    jit::Offsets const& o_;
    Xbyak::Reg64 const state_{jit::kState};
    Xbyak::Reg64 const address_{jit::kScratchA};
};

constexpr std::size_t kThunkRoom = 16384;
constexpr std::size_t kForwardBytes = 48;
constexpr std::size_t kMostBlockBytes = 24000;

class CodeOf final : public jit::GuestCode {
  public:
    explicit CodeOf(Cpu& cpu) : cpu_{cpu} {}
    std::vector<std::uint8_t> bytes_of(Trace const& trace) override { return JitRuntime::code(cpu_, trace); }
    Trace* warm_trace(std::uint64_t address) override { return JitRuntime::warm_trace(cpu_, address); }
    bool may_lead(std::uint64_t address) override { return JitRuntime::translator(cpu_).may_lead(address); }

  private:
    Cpu& cpu_;
};

}  // namespace

Expected<std::unique_ptr<Translator>, Error> Translator::create(Cpu& cpu, std::size_t bytes) {
    static_assert(kThunkRoom + 2 * kMostBlockBytes + kForwardBytes <= kLeastBytes);
    if (bytes < kLeastBytes || bytes > kMostBytes)
        return Unexpected{bad_input("a buffer of " + std::to_string(bytes) + " bytes for translated code; expected " +
                                    std::to_string(kLeastBytes) + " to " + std::to_string(kMostBytes))};
    void* const arena =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) return Unexpected{host_error("no memory for translated code", errno)};
    advise_huge_pages({static_cast<std::byte*>(arena), bytes});
    std::unique_ptr<Translator> translator{new Translator{cpu, static_cast<std::uint8_t*>(arena), bytes}};
    translator->make_thunks();
    cpu.set_tier(translator.get());
    return translator;
}

Translator::Translator(Cpu& cpu, std::uint8_t* arena, std::size_t bytes)
    : cpu_{cpu},
      arena_{arena},
      arena_bytes_{bytes},
      offsets_{JitRuntime::offsets(cpu)},
      handler_calls_(ZYDIS_MNEMONIC_MAX_VALUE + 1) {}

Translator::~Translator() {
    cpu_.set_tier(nullptr);
    ::munmap(arena_, arena_bytes_);
}

void Translator::make_thunks() {
    ThunkMaker maker{arena_, kThunkRoom, offsets_};
    // What `call_aligned` leaves on the stack: the return address and 8 bytes.
    constexpr std::uint8_t kCalled = 16, kCalledWithRegisters = 32;
    auto const named = [&](std::string_view name, std::uint8_t const* start, std::uint8_t pushed_bytes = 0) {
        named_thunks_.push_back({name, {start, maker.getCurr()}, pushed_bytes});
        return start;
    };
    auto const enter = named("enter", maker.make_enter());
    auto const leave = named("return", maker.make_return());
    thunks_.exit_rip = named("exit_rip", maker.make_exit(leave, false));
    thunks_.exit_dispatch = named("exit_dispatch", maker.make_exit_dispatch(leave));
    thunks_.exit_link = named("exit_link", maker.make_exit(leave, true));
    thunks_.slow_read = named("slow_read", maker.make_slow(&JitRuntime::resolve_read, leave), kCalled);
    thunks_.slow_write = named("slow_write", maker.make_slow(&JitRuntime::resolve_write, leave), kCalled);
    thunks_.call_handler = named("call_handler", maker.make_call_handler(leave), kCalled);
    thunks_.last_handler = named("last_handler", maker.make_last(&JitRuntime::run_last, leave));
    thunks_.exit_alone = named("exit_alone", maker.make_last(&JitRuntime::exit_alone, leave));
    jit::FlagThunks const slow{named("resolve_flags", maker.make_materialize(), kCalledWithRegisters),
                               named("resolve_carry", maker.make_quiet_call(&JitRuntime::keep_carry), kCalledWithRegisters)};
    jit::FlagThunks const fast = make_flag_thunks(maker, offsets_, slow, JitRuntime::state(cpu_).notes);
    thunks_.materialize = fast.materialize;
    thunks_.keep_carry = named("flags", fast.keep_carry);
    thunks_.weigh_guess = named("weigh_guess", maker.make_quiet_call(&JitRuntime::weigh_guess), kCalledWithRegisters);
    thunks_.load_xmm = named("load_xmm", maker.make_load_xmm(leave), kCalled);
    thunks_.load_ymm = named("load_ymm", maker.make_load_ymm(leave), kCalled);
    maker.ready();
    check(Xbyak::GetError() == 0, "the translator's own code assembles");
    enter_code_ = reinterpret_cast<void (*)(Cpu*, void*)>(reinterpret_cast<std::uintptr_t>(enter));
    thunk_bytes_ = used_ = kThunkRoom;
}

bool Translator::translate(Trace& trace, CodeView view) {
    if (used_ + kMostBlockBytes > arena_bytes_) {
        full_ = true;
        return false;
    }
    CodeOf code{cpu_};
    std::size_t const links_before = links_.size();
    jit::BlockMarks marks{};
    jit::BlockCode const made = jit::make_block({.trace = trace,
                                                 .view = view,
                                                 .code = code,
                                                 .offsets = offsets_,
                                                 .thunks = thunks_,
                                                 .links = links_,
                                                 .sites = sites_,
                                                 .guesses = guesses_,
                                                 .handler_calls = handler_calls_.data(),
                                                 .marks = listeners_.empty() ? nullptr : &marks},
                                                arena_ + used_, kMostBlockBytes);
    if (made.bytes == 0) return false;
    used_ += (made.bytes + 15) & ~std::size_t{15};
    trace.code = made.entry;
    trace.code_exit = made.exit;
    trace.code_view = static_cast<std::uint8_t>(view);
    trace.code_count = static_cast<std::uint8_t>(made.count);
    ++counters_.blocks;
    counters_.guest_instructions += made.count;
    for (Trace* const part : made.traces) {
        counters_.guest_bytes += part->bytes;
        if (part == &trace) continue;
        part->is_in_others = true;
        users_[part].push_back(&trace);
    }
    counters_.host_bytes += made.bytes;
    counters_.direct_jumps += links_.size() - links_before;
    if (!listeners_.empty()) tell_block(made, view, marks);
    return true;
}

void Translator::tell_block(jit::BlockCode const& made, CodeView view, jit::BlockMarks const& marks) {
    std::vector<std::uint8_t> guest;
    for (Trace const* const part : made.traces) {
        std::vector<std::uint8_t> const bytes = JitRuntime::code(cpu_, *part);
        guest.insert(guest.end(), bytes.begin(), bytes.end());
    }
    NewBlock const block{JitRuntime::rip(cpu_), view, made.traces, guest, {made.entry, made.bytes}, marks};
    for (CodeListener* const listener : listeners_) listener->made_block(block);
}

void Translator::add_listener(CodeListener& listener) {
    listeners_.push_back(&listener);
    for (Thunk const& thunk : named_thunks_) listener.made_thunk(thunk);
}

void Translator::make_link(jit::Link& link, Trace const& target) {
    auto const distance = static_cast<std::int32_t>(static_cast<std::uint8_t const*>(target.code) - (link.jump + 5));
    std::memcpy(link.jump + 1, &distance, 4);
    if (!std::exchange(link.is_made, true)) ++counters_.chained;
}

std::vector<Translator::HandlerCalls> Translator::handler_calls() const {
    std::vector<HandlerCalls> calls;
    for (std::size_t i = 0; i < handler_calls_.size(); ++i)
        if (handler_calls_[i] != 0)
            calls.push_back({ZydisMnemonicGetString(static_cast<ZydisMnemonic>(i)), handler_calls_[i]});
    std::stable_sort(calls.begin(), calls.end(), [](auto const& a, auto const& b) { return a.calls > b.calls; });
    return calls;
}

std::string_view translator_exit_text(TranslatorExit exit) {
    switch (exit) {
        case TranslatorExit::event:
            return "event";
        case TranslatorExit::fault:
            return "fault";
        case TranslatorExit::alone:
            return "alone";
        case TranslatorExit::stopped:
            return "stopped";
        case TranslatorExit::unmapped:
            return "unmapped";
        case TranslatorExit::not_hot:
            return "not hot";
        case TranslatorExit::quota:
            return "quota";
    }
    return "";
}

void Translator::enter(Cpu& cpu, Trace& trace) {
    ++counters_.entries;
    JitRuntime::enter(*this, cpu, trace);
}

// Whatever jumps to the code goes to its exit, and once there is new code for the address, on to that: the entry has
// become a link.
void Translator::forget(Trace& trace) {
    if (trace.code != nullptr) forget_code(trace);
    if (!trace.is_in_others) return;
    trace.is_in_others = false;
    auto const users = users_.extract(&trace);
    if (users.empty()) return;
    for (Trace* const user : users.mapped())
        if (user->code != nullptr) forget_code(*user);
}

void Translator::forget_code(Trace& trace) {
    auto* const entry = static_cast<std::uint8_t*>(trace.code);
    auto* exit = static_cast<std::uint8_t*>(trace.code_exit);
    if (used_ + kForwardBytes <= arena_bytes_) {
        jit::Link& link = links_.emplace_back(jit::Link{entry, trace.address >> kPageShift, true});
        exit = arena_ + used_;
        used_ += kForwardBytes;
        ThunkMaker maker{exit, kForwardBytes, offsets_};
        maker.make_forward(static_cast<std::uint32_t>(trace.address & kPageMask), link, thunks_.exit_link);
        maker.ready();
        check(Xbyak::GetError() == 0, "a forward has room");
    }
    auto const distance = static_cast<std::int32_t>(exit - (entry + 5));
    entry[0] = 0xe9;
    std::memcpy(entry + 1, &distance, 4);
    trace.code = nullptr;
    wanted_link_ = nullptr;
    HostCode const forward{exit, exit == trace.code_exit ? 0 : kForwardBytes};
    for (CodeListener* const listener : listeners_) listener->forgot_block(entry, trace.address, forward);
}

void Translator::note_crossing(Trace& trace, Op const& op, std::uint64_t executed) {
    auto const [at, is_first] = crossings_.try_emplace(trace.address + op.offset, Crossings{0, executed});
    Crossings& crossings = at->second;
    ++counters_.split_groups;
    if (is_first) JitRuntime::forget_code_at(cpu_, at->first);
    if (++crossings.count % kMostCrossings != 0) return;
    if (executed - crossings.since < std::uint64_t{kMostCrossings} * kRareCrossing) forget(trace);
    crossings.since = executed;
}

void Translator::forget_all() {
    used_ = thunk_bytes_;
    full_ = false;
    links_.clear();
    sites_.clear();
    guesses_.clear();
    users_.clear();
    crossings_.clear();
    wanted_link_ = nullptr;
    ++counters_.flushes;
    JitRuntime::state(cpu_).forget_all();
    for (CodeListener* const listener : listeners_) listener->flushed();
}

void Translator::page_unmapped(std::uint64_t address) { JitRuntime::state(cpu_).forget_page(address); }

void Translator::view_unmapped(CodeView view) { JitRuntime::state(cpu_).forget_view(static_cast<unsigned>(view)); }

}  // namespace backplane
