// The dispatcher: finds or decodes the trace at rip, runs it, and between traces looks at interrupts and the quota.
#include <algorithm>
#include <utility>

#include "cpu/cpu.h"
#include "cpu/decode.h"
#include "cpu/decode_cache.h"
#include "cpu/mxcsr.h"
#include "cpu/trace_cache.h"
#include "interrupt/local_apic.h"

namespace backplane {

namespace {
constexpr std::uint32_t kMaxTraceInstructions = 32;
constexpr std::uint64_t kMaxQuota = 1U << 31;  // so that a trace's kInvalid cost is never affordable
constexpr std::size_t kInstructionBytes = 15;
}  // namespace

/// The guest-physical address behind a linear address of code; empty: a page fault is pending.
std::optional<std::uint64_t> Cpu::fetch_page(std::uint64_t address) {
    ExecuteTlbEntry const& entry = tlb_->execute.slot(address);
    if (entry.tag == (address & ~kPageMask)) return entry.page_address;
    if (mode_ == CodeMode::bits64 && !is_canonical(address)) {
        fault(ExceptionVector::general_protection);
        return {};
    }
    auto const translation = walk(address, AccessKind::execute, false);
    if (!translation) {
        page_fault(address, translation.error().error_code);
        return {};
    }
    std::uint64_t const page_address = address_of(translation->page).value();
    tlb_->note_page_size(address, translation->page_bits);
    tlb_->execute.insert(address, page_address, translation->global);
    return page_address;
}

Cpu::Found Cpu::find_trace(std::uint64_t rip) {
    std::uint64_t linear = rip + segment_base_[cs];
    if (mode_ != CodeMode::bits64) {
        if (rip > code_limit_) {
            fault(ExceptionVector::general_protection);
            return {};
        }
        linear = static_cast<std::uint32_t>(linear);
    }
    auto const page = fetch_page(linear);
    if (!page) return {};
    std::uint64_t const physical = *page | (linear & kPageMask);
    Trace* trace = traces_.find(physical, mode_);
    if (trace != nullptr && trace->second_page != Trace::kNoPage) [[unlikely]] {
        auto const second = fetch_page((linear & ~kPageMask) + kPageBytes);
        if (!second) return {};
        if (*second != trace->second_page) return {decode_at(linear, physical, *second, 1)};
    }
    if (trace != nullptr) return {trace};
    bool const is_translated_soon = tier_ != nullptr && hot_uses_ <= TraceCache::kMostRests;
    bool const may_be_rest = !is_translated_soon && mode_ == CodeMode::bits64 && !has_code_breakpoints_ && debug_ == nullptr && code_limit_ - rip >= kPageBytes;
    if (TraceCache::Rest const rest = may_be_rest ? traces_.find_rest(physical, mode_) : TraceCache::Rest{}; rest.trace != nullptr)
        return {rest.trace, rest.first};
    return {decode_at(linear, physical, Trace::kNoPage, kMaxTraceInstructions)};
}

/// Decodes at most `most` instructions at `physical`. With a `second_page` given, one that crosses into it.
Trace* Cpu::decode_at(std::uint64_t linear, std::uint64_t physical, std::uint64_t second_page, std::uint32_t most) {
    Op ops[kMaxTraceInstructions + 1];
    std::uint32_t count = 0;
    std::uint32_t bytes = 0;
    bool open = true;
    std::uint64_t const in_page = kPageBytes - (physical & kPageMask);
    ConstByteSpan const code = bus_.memory().readable(GuestPhys{physical}, in_page);
    while (open && count < most) {
        DecodeCache::Bytes buffer;
        std::uint64_t const here = std::min<std::uint64_t>(kInstructionBytes, in_page - bytes);
        // What is no RAM (a hole, a device) reads as ones, and FF FF is no instruction.
        buffer.fill(0xff);
        if (!code.empty()) std::memcpy(buffer.data(), code.data() + bytes, here);
        DecodeStatus status = decoded_->decode(buffer, here, mode_, bytes, count, ops[count]);
        if (status == DecodeStatus::needs_more_bytes) {
            if (count != 0) break;  // the crossing instruction gets a trace of its own
            if (second_page == Trace::kNoPage) {
                auto const next = fetch_page((linear & ~kPageMask) + kPageBytes);
                if (!next) return nullptr;
                second_page = *next;
            }
            std::uint64_t const there = kInstructionBytes - here;
            (void)bus_.memory().read(GuestPhys{second_page}, std::as_writable_bytes(std::span{buffer}.subspan(here, there)));
            status = decoded_->decode(buffer, kInstructionBytes, mode_, bytes, count, ops[count]);
            open = false;
        }
        open = open && status == DecodeStatus::ok;
        bytes += ops[count].length;
        ++count;
        if (bytes >= in_page) open = false;
    }
    if (bytes <= in_page) second_page = Trace::kNoPage;
    ops[count] = end_of_trace(bytes, count);

    ++counters_.traces_decoded;
    Trace* trace = traces_.allocate(count + 1);
    if (trace == nullptr) {
        traces_.flush();
        trace = traces_.allocate(count + 1);
    }
    pending_link_ = nullptr;  // it may point into what was flushed, and a new trace is found again soon enough
    trace->address = physical;
    trace->second_page = second_page;
    trace->cost = count;
    trace->bytes = std::max(bytes, 1U);
    trace->mode = mode_;
    trace->count = static_cast<std::uint8_t>(count);
    std::copy_n(ops, count + 1, trace->ops);
    traces_.insert(trace);
    return trace;
}

Trace* Cpu::decode_ahead(std::uint64_t physical) {
    if (Trace* const trace = traces_.find(physical, mode_)) return trace;
    bool const may_cross = (physical & kPageMask) > kPageBytes - kInstructionBytes;
    if (may_cross || !traces_.has_room_for(kMaxTraceInstructions + 1)) return nullptr;
    return decode_at(physical, physical, Trace::kNoPage, kMaxTraceInstructions);
}

/// `count` instructions of a trace, from `first` on, to be run once. Their offsets stay those from the trace's start.
Trace* Cpu::scratch_copy(Trace const& trace, std::uint32_t first, std::uint32_t count) {
    auto* const copy = reinterpret_cast<Trace*>(scratch_trace_);
    copy->address = trace.address;
    copy->second_page = trace.second_page;
    copy->cost = Trace::kInvalid;
    copy->bytes = trace.bytes;
    copy->mode = trace.mode;
    copy->count = static_cast<std::uint8_t>(count);
    copy->links[0] = copy->links[1] = traces_.nowhere();
    std::copy_n(trace.ops + first, count + 1, copy->ops);
    for (std::uint32_t i = 0; first != 0 && i <= count; ++i) copy->ops[i].position = static_cast<std::uint8_t>(i);
    if (first + count != trace.count) copy->ops[count] = end_of_trace(trace.ops[first + count].offset, count);
    return copy;
}

/// The instructions of a trace at rip that end within the code segment's limit.
std::uint32_t Cpu::count_in_segment(Trace const& trace) const {
    std::uint64_t const room = code_limit_ - rip_ + 1;
    std::uint32_t count = 0;
    while (count < trace.count && trace.ops[count].offset + std::uint64_t{trace.ops[count].length} <= room) ++count;
    return count;
}

/// True when the trace has host code for the present view; counts towards that otherwise.
bool Cpu::is_hot(Trace& trace) {
    CodeView const view = tlb_ == &user_tlb_ ? CodeView::user : tlb_ == &supervisor_tlb_ ? CodeView::supervisor : CodeView::other;
    if (may_leave_canonical(rip_, trace)) [[unlikely]] return false;
    if (trace.code != nullptr) return trace.code_view == static_cast<std::uint8_t>(view) && remaining_ >= trace.code_count;
    if (trace.uses == Trace::kGivenUp || ++trace.uses < hot_uses_ || view == CodeView::other || mode_ != CodeMode::bits64) return false;
    if (tier_->translate(trace, view)) return true;
    if (tier_->is_full())
        attention_ = true;  // the dispatcher flushes before the next trace
    else
        trace.uses = Trace::kGivenUp;
    return false;
}

/// The same, of which the rest is likely to be run next.
Trace* Cpu::part_of(Trace& trace, std::uint32_t first, std::uint32_t count) {
    if (first + count != trace.count && mode_ == CodeMode::bits64) traces_.note_cut(trace, first + count);
    return scratch_copy(trace, first, count);
}

void Cpu::run_trace(Trace* trace) {
    remaining_ -= trace->count;
    trace_ = trace;
    slot_[kCodeSlot] = rip_ - trace->ops[0].offset;
    leave_reason_ = Leave::next;
    Op const* op = trace->ops;
    do {
        op = op->run(*this, op);
    } while (op != nullptr);
}

bool Cpu::has_wake_event() const {
    if (state_.waits_for_startup) return false;
    return has_machine_check_ || (apic_.nmi_pending() && !state_.nmi_blocked) || ((state_.rflags & rflags::kInterrupt) != 0 && apic_.interrupt_ready());
}

void Cpu::raise_machine_check(std::uint64_t status, std::uint64_t address) {
    constexpr std::uint64_t kValid = std::uint64_t{1} << 63;
    constexpr std::uint64_t kOverflow = std::uint64_t{1} << 62;
    constexpr std::uint64_t kAddressValid = std::uint64_t{1} << 58;
    bool const is_second = (msrs_.bank[1] & kValid) != 0;
    status |= kValid | (is_second ? kOverflow : 0);
    msrs_.bank[1] = status;
    if ((status & kAddressValid) != 0) msrs_.bank[2] = address;
    has_machine_check_ = true;
    attention_ = true;
}

/// The instruction before is complete: RIP can be returned to (RIPV). The error has nothing to do with it (no EIPV).
void Cpu::take_machine_check() {
    constexpr std::uint64_t kRestartValid = 1U << 0;
    constexpr std::uint64_t kInProgress = 1U << 2;
    has_machine_check_ = false;
    state_.halted = false;
    if ((state_.cr4 & cr4::kMachineCheck) == 0 || (msrs_.machine_check_status & kInProgress) != 0) {
        shutdown_cause_ = "machine check";
        leave_reason_ = Leave::shutdown;
        return;
    }
    msrs_.machine_check_status = kRestartValid | kInProgress;
    note_interrupt(static_cast<std::uint8_t>(ExceptionVector::machine_check));
    deliver(static_cast<std::uint8_t>(ExceptionVector::machine_check), EventSource::external, {});
    look_for_interrupts();  // an NMI may wait
}

/// Interrupts that may be taken now. True when one was delivered.
bool Cpu::take_events() {
    if (debug_ != nullptr && debug_->points.hold_interrupts && !state_.halted) [[unlikely]] return false;
    if (has_machine_check_) [[unlikely]] {  // before everything else ([SDM3A] table 6-2)
        take_machine_check();
        return true;
    }
    if (apic_.nmi_pending() && !state_.nmi_blocked) {
        apic_.take_nmi();
        state_.nmi_blocked = true;
        state_.halted = false;
        note_interrupt(static_cast<std::uint8_t>(ExceptionVector::nmi));
        deliver(static_cast<std::uint8_t>(ExceptionVector::nmi), EventSource::external, {});
        return true;
    }
    if ((state_.rflags & rflags::kInterrupt) != 0 && apic_.interrupt_ready()) {
        ++counters_.interrupts;
        state_.halted = false;
        std::uint8_t const vector = apic_.acknowledge().value();
        note_interrupt(vector);
        deliver(vector, EventSource::external, {});
        return true;
    }
    return false;
}

Cpu::RunResult Cpu::run(std::uint64_t quota) {
    quota = std::min(quota, kMaxQuota);
    quota_ = remaining_ = quota;
    instructions_before_run_ = instructions_;
    trace_ = traces_.nowhere();
    device_touched_ = false;
    pending_link_ = nullptr;
    load_host_mxcsr(state_);
    Leave reason = Leave::next;
    bool alone = false;
    while (reason == Leave::next) {
        bool step = alone;
        if (attention_) [[unlikely]] {
            if (debug_ != nullptr && debug_->hit) {
                debug_->last_stop = *std::exchange(debug_->hit, std::nullopt);
                reason = Leave::debug;
                break;
            }
            if (device_touched_) {
                device_touched_ = false;
                reason = Leave::device;
                break;
            }
            if (tier_ != nullptr && tier_->is_full()) {
                pending_link_ = nullptr;
                traces_.flush();
            }
            bool const shadow = state_.interrupt_shadow;
            bool const trap = (state_.rflags & rflags::kTrap) != 0;
            attention_ = shadow || trap || has_code_breakpoints_ || debug_ != nullptr;
            if (!alone) {
                trace_ = traces_.nowhere();
                leave_reason_ = Leave::next;
                bool const traps = state_.pending_debug != 0 && !state_.trap_shadow;
                if (traps) deliver_debug_trap();
                if (traps || (!shadow && take_events())) {
                    if (leave_reason_ == Leave::shutdown) reason = Leave::shutdown;
                    continue;
                }
            }
            step = step || shadow || trap || (debug_ != nullptr && debug_->on_instruction);
        }
        if (state_.halted) {
            reason = Leave::halt;
            break;
        }
        if (remaining_ == 0) break;
        if (debug_ != nullptr && take_debug_stop()) [[unlikely]] {
            reason = Leave::debug;
            break;
        }
        trace_ = traces_.nowhere();
        leave_reason_ = Leave::next;
        // RF is for one instruction; one that does not complete keeps it ([SDM3B] 17.3.1.1).
        std::uint64_t const resume = state_.rflags & rflags::kResume;
        bool const stops = has_code_breakpoints_ && resume == 0 && stops_at(rip_);
        if (stops) note_breakpoint_fault();
        state_.rflags &= ~resume;
        auto const [trace, first] = stops ? Found{} : find_trace(rip_);
        if (trace == nullptr) {
            alone = false;
        } else {
            if (pending_link_ != nullptr && first == 0 && trace->second_page == Trace::kNoPage) *pending_link_ = trace;
            pending_link_ = nullptr;
            bool const was_shadow = state_.interrupt_shadow;
            bool const was_trap = step && (state_.rflags & rflags::kTrap) != 0;
            std::uint64_t most = step ? 1 : remaining_;
            if (debug_ != nullptr) [[unlikely]] most = std::min(most, debug_->instructions_before_breakpoint(*trace, segment_linear_of_code(rip_)));
            alone = false;
            auto part = static_cast<std::uint32_t>(std::min<std::uint64_t>(most, trace->count - first));
            if (code_limit_ - rip_ < trace->bytes) [[unlikely]] part = std::min(part, count_in_segment(*trace));
            if (has_code_breakpoints_) part = std::min(part, count_before_breakpoint(*trace));
            bool const whole = !step && part == trace->count && !has_code_breakpoints_ && debug_ == nullptr;
            std::uint64_t const linear_before = segment_linear_of_code(rip_);
            unsigned const privilege_before = cpl_;
            if (part == 0)
                fault(ExceptionVector::general_protection);  // the instruction reaches beyond the code segment
            else if (whole && tier_ != nullptr && !has_watchpoints_ && is_hot(*trace))
                tier_->enter(*this, *trace);
            else
                run_trace(whole ? trace : part_of(*trace, first, part));
            if (debug_ != nullptr) [[unlikely]] report_retired(linear_before, privilege_before);
            if (leave_reason_ == Leave::alone || leave_reason_ == Leave::fault) state_.rflags |= resume;
            if (was_shadow && leave_reason_ != Leave::alone) {
                // A second STI in the shadow does not extend it ([SDM2] STI).
                state_.interrupt_shadow = state_.trap_shadow = false;
                attention_ = true;
            }
            bool const completed = leave_reason_ == Leave::next || leave_reason_ == Leave::halt || leave_reason_ == Leave::pause;
            if (was_trap && completed && !trap_dropped_ && !state_.trap_shadow) note_debug_trap(dr6::kSingleStep);
            trap_dropped_ = false;
        }
        switch (leave_reason_) {
            case Leave::next: break;
            case Leave::alone:
                alone = true;
                break;
            case Leave::fault:
                if (fault_hook_ && fault_hook_(pending_, rip_)) {
                    reason = Leave::fault;
                    break;
                }
                ++counters_.exceptions;
                // A fault counts as an instruction: a guest whose handlers fault at once still uses its quota up.
                --remaining_;
                trace_ = traces_.nowhere();
                deliver(static_cast<std::uint8_t>(pending_.vector), EventSource::exception,
                        has_error_code(pending_.vector) ? std::optional{pending_.error_code} : std::nullopt);
                break;
            case Leave::halt:
                state_.halted = true;
                attention_ = true;
                break;
            case Leave::shutdown:
            case Leave::debug:
            case Leave::pause:
            case Leave::device: reason = leave_reason_; break;
        }
        if (leave_reason_ == Leave::shutdown) reason = Leave::shutdown;
    }
    save_host_mxcsr(state_);
    std::uint64_t const executed = quota - remaining_;
    instructions_ += executed;
    clock_to(instructions_);
    attention_ = attention_ || state_.halted;
    return {reason, executed};
}

}  // namespace backplane
