#include "jit/runtime.h"

#define XBYAK_NO_EXCEPTION
#include <xbyak/xbyak.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "base/check.h"
#include "bus/bus.h"
#include "cpu/mxcsr.h"
#include "cpu/trace_cache.h"
#include "interrupt/local_apic.h"

namespace backplane {

namespace {

/// Unmasked exceptions would be the host's.
bool masks_all(std::uint32_t mxcsr) { return (mxcsr & mxcsr::kMasks) == mxcsr::kMasks; }

}  // namespace

jit::Offsets JitRuntime::offsets(Cpu& cpu) {
    auto const at = [&](auto const& member) {
        return static_cast<std::int32_t>(reinterpret_cast<char const*>(&member) -
                                         reinterpret_cast<char const*>(&cpu));
    };
    jit::Offsets o{};
    o.slots = at(cpu.slot_);
    o.segment_bases = at(cpu.segment_base_);
    TlbSet* const views[3] = {&cpu.user_tlb_, &cpu.supervisor_tlb_, &cpu.supervisor_ac_tlb_};
    for (unsigned view = 0; view < 3; ++view) {
        o.read_tlb[view] = at(views[view]->read.slot(0));
        o.write_tlb[view] = at(views[view]->write.slot(0));
        o.tlb_sets[view] = at(*views[view]);
    }
    for (unsigned view = 0; view < 2; ++view) {
        o.execute_tlb[view] = at(views[view]->execute.slot(0));
        o.jumps[view] = at(cpu.translated_.jumps[view]);
    }
    o.tlb = at(cpu.tlb_);
    o.quota = at(cpu.quota_);
    o.instructions_before_run = at(cpu.instructions_before_run_);
    o.clock_base = at(cpu.clock_base_);
    o.clock_base_instructions = at(cpu.clock_base_instructions_);
    o.cr0 = at(cpu.state_.cr0), o.cr2 = at(cpu.state_.cr2), o.cr3 = at(cpu.state_.cr3), o.cr4 = at(cpu.state_.cr4);
    for (unsigned i = 0; i < 6; ++i) o.selectors[i] = at(cpu.state_.segments[i].selector);
    o.tsc_aux = at(cpu.state_.tsc_aux);
    o.yields = at(cpu.yields_);
    o.has_machine_check = at(cpu.has_machine_check_);
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
    o.x87_loaded = at(cpu.translated_.x87_loaded);
    o.x87_instruction = at(cpu.state_.x87.last_instruction);
    o.x87_data = at(cpu.state_.x87.last_data);
    o.x87_opcode = at(cpu.state_.x87.last_opcode);
    o.link = at(cpu.translated_.link);
    return o;
}

jit::Places JitRuntime::places(Cpu& cpu) {
    return {cpu.clock_.now_word(), cpu.tsc_.offset_word(), cpu.apic_.interrupt_ready_flag(), cpu.apic_.nmi_pending_flag(),
            cpu.instructions_per_second_ == 1'000'000'000};
}

Trace* JitRuntime::trace_of(Op const* op) {
    Op const* const first = op - op->position;
    return reinterpret_cast<Trace*>(const_cast<char*>(reinterpret_cast<char const*>(first)) - offsetof(Trace, ops));
}

void JitRuntime::begin(Cpu& cpu, Op const* op) {
    Trace* const trace = trace_of(op);
    cpu.trace_ = trace;
    cpu.slot_[kCodeSlot] = cpu.translated_.page_address + (trace->address & kPageMask);
}

void JitRuntime::leave_alone(Cpu& cpu, Op const* op) {
    cpu.ask_to_run_alone();
    (void)cpu.leave(op);
}

JitRuntime::Resolved JitRuntime::resolve(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what, AccessKind kind) {
    jit::MissedAccess const access = jit::MissedAccess::unpacked(what);
    Resolved const found = look_up(*cpu, lowest, op, access, kind);
    if (found.ok == 0) cpu->remaining_ += access.rest;  // of the traces behind this one
    return found;
}

JitRuntime::Resolved JitRuntime::look_up(Cpu& cpu, std::uint64_t lowest, Op const* op, jit::MissedAccess const& access, AccessKind kind) {
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

bool JitRuntime::may_follow(Cpu& cpu, std::uint64_t address, jit::MissedAccess const& access, AccessKind kind) {
    TlbSet& set = cpu.set_for(false);
    TlbEntry const& entry = kind == AccessKind::write ? set.write.slot(address) : set.read.slot(address);
    return access.group_bytes == 0 || entry.tag == (address & ~kPageMask);
}

JitRuntime::Resolved JitRuntime::resolve_read(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what) {
    return resolve(cpu, lowest, op, what, AccessKind::read);
}

JitRuntime::Resolved JitRuntime::resolve_write(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what) {
    return resolve(cpu, lowest, op, what, AccessKind::write);
}

std::uint64_t JitRuntime::call_handler(Cpu* cpu, jit::HandlerSite const* site) {
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

void JitRuntime::run_last(Cpu* cpu, jit::HandlerSite const* site) {
    ++*site->calls;
    Op const* op = site->op;
    begin(*cpu, op);
    cpu->deferred_flags_.resolve(cpu->flags);
    cpu->remaining_ += site->rest;
    while (op != nullptr) op = op->run(*cpu, op);
}

void JitRuntime::exit_alone(Cpu* cpu, Op const* op) {
    begin(*cpu, op);
    leave_alone(*cpu, op);
}

std::uint64_t JitRuntime::materialize(Cpu* cpu) {
    cpu->deferred_flags_.resolve(cpu->flags);
    return cpu->flags.value() | rflags::kFixed | rflags::kInterrupt;
}

void JitRuntime::keep_carry(Cpu* cpu) {
    cpu->deferred_flags_.resolve(cpu->flags);
    cpu->deferred_flags_.base_carry = cpu->flags.carry() ? 1 : 0;
}

void JitRuntime::weigh_guess(Cpu* cpu, jit::Guess* guess) {
    std::uint64_t const now = executed(*cpu);
    bool const is_bad = now - guess->since < std::uint64_t{8} * jit::Guess::kWrong * guess->loop_instructions;
    if (is_bad) give_up_guess(*guess);
    translator(*cpu).counters_.guesses_given_up += is_bad ? 1 : 0;
    guess->wrong_left = jit::Guess::kWrong;
    guess->since = now;
}

std::uint64_t JitRuntime::executed(Cpu const& cpu) { return cpu.instructions_before_run_ + cpu.quota_ - cpu.remaining_; }

void JitRuntime::give_up_guess(jit::Guess const& guess) {
    Xbyak::CodeGenerator code{guess.bytes, guess.begin};
    code.mov(Xbyak::util::r11, Xbyak::util::qword[Xbyak::util::r15 + Xbyak::util::r10 + guess.addend]);
    code.nop(guess.bytes - code.getSize());
    code.ready();
    check(Xbyak::GetError() == 0, "what asks the TLB is shorter than what guesses");
}

std::uint64_t JitRuntime::may_load_xmm(Cpu* cpu, Op const* op) { return may_load(cpu, op, cpu->simd_ok() && masks_all(cpu->state_.mxcsr)); }

std::uint64_t JitRuntime::may_load_ymm(Cpu* cpu, Op const* op) {
    return may_load(cpu, op, cpu->simd_ok() && cpu->avx_ok() && masks_all(cpu->state_.mxcsr));
}

std::uint64_t JitRuntime::may_load(Cpu* cpu, Op const* op, bool may) {
    if (may) return 1;
    begin(*cpu, op);
    leave_alone(*cpu, op);
    cpu->remaining_ += cpu->trace_->code_count - cpu->trace_->count;  // of the traces behind the first
    return 0;
}

void JitRuntime::enter(Translator& t, Cpu& cpu, Trace& trace) {
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
    cpu.pending_link_ = nullptr;  // where a handler would have gone on; translated code has followed it
    t.wanted_link_ = static_cast<jit::Link*>(state.link);
    t.wanted_rip_ = cpu.rip_;
}

TranslatorExit JitRuntime::exit_reason(Cpu const& cpu, TranslatorExit without_other) {
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

void const* JitRuntime::next_code(Cpu* cpu, jit::Link* link) {
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

void const* JitRuntime::after_handler(Cpu* cpu) {
    TranslatedState& state = cpu->translated_;
    std::uint64_t const rip = cpu->rip_;
    unsigned const view = cpu->tlb_ == &cpu->user_tlb_ ? 0 : 1;
    bool const known_view = view == 0 || cpu->tlb_ == &cpu->supervisor_tlb_;
    // At the quota's end the instruction at rip is not executed yet, and RF is still its.
    bool const ready = !cpu->attention_ && cpu->leave_reason_ == Leave::next && cpu->mode_ == CodeMode::bits64 &&
                       cpu->remaining_ != 0;
    void const* const code = ready && known_view ? state.find(view, rip) : nullptr;
    if (code == nullptr) return next_code(cpu, nullptr);
    state.page_address = rip & ~kPageMask;
    cpu->state_.rflags &= ~rflags::kResume;
    return code;
}

void JitRuntime::remember(Cpu& cpu, Trace const& trace) {
    TranslatedState& state = cpu.translated_;
    unsigned const view = trace.code_view;
    if (view == 0 || cpu.supervisor_tlb_.execute.holds_global(cpu.rip_)) state.remember(view, cpu.rip_, trace.code);
    state.page_address = cpu.rip_ & ~kPageMask;
}

void JitRuntime::forget_code_at(Cpu& cpu, std::uint64_t address) {
    Trace* const trace = cpu.traces_.find(address, CodeMode::bits64);
    if (trace != nullptr && trace->code != nullptr) translator(cpu).forget_code(*trace);
}

Trace* JitRuntime::warm_trace(Cpu& cpu, std::uint64_t address) {
    Trace* const trace = cpu.hot_uses_ > 1 ? cpu.traces_.find(address, CodeMode::bits64) : cpu.decode_ahead(address);
    bool const usable = trace != nullptr && trace->cost != Trace::kInvalid && trace->uses != Trace::kGivenUp;
    return usable && 2U * trace->uses >= cpu.hot_uses_ - 1U ? trace : nullptr;
}

std::vector<std::uint8_t> JitRuntime::code(Cpu& cpu, Trace const& trace) {
    std::vector<std::uint8_t> bytes(trace.bytes);
    std::size_t const here = std::min<std::size_t>(trace.bytes, kPageBytes - (trace.address & kPageMask));
    GuestMemory const& memory = cpu.bus_.memory();
    auto const whole = std::as_writable_bytes(std::span{bytes});
    bool ok = memory.read(GuestPhys{trace.address}, whole.first(here));
    if (here != trace.bytes) ok = ok && memory.read(GuestPhys{trace.second_page}, whole.subspan(here));
    if (!ok) bytes.clear();
    return bytes;
}

}  // namespace backplane
