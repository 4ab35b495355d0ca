// Interrupts and exceptions through the IDT, and the way back: IRET, and SYSCALL and SYSRET beside them.
// [SDM3A] chapter 6, [SDM2A] IRET, [SDM2B] SYSCALL, [APM3] SYSRET
#include "cpu/cpu.h"
#include "cpu/descriptor.h"
#include "interrupt/local_apic.h"

namespace backplane {

namespace {

constexpr std::uint32_t kErrorExternal = 1;
constexpr std::uint32_t kErrorIdt = 2;

/// The classes of table 6-5: which second fault makes a double fault.
enum class FaultClass : std::uint8_t { benign, contributory, page };
FaultClass class_of(std::uint8_t vector) {
    switch (static_cast<ExceptionVector>(vector)) {
        case ExceptionVector::divide_error:
        case ExceptionVector::invalid_tss:
        case ExceptionVector::segment_not_present:
        case ExceptionVector::stack_fault:
        case ExceptionVector::general_protection: return FaultClass::contributory;
        case ExceptionVector::page_fault: return FaultClass::page;
        default: return FaultClass::benign;
    }
}
bool makes_double_fault(std::uint8_t first, std::uint8_t second) {
    FaultClass const a = class_of(first);
    FaultClass const b = class_of(second);
    if (a == FaultClass::contributory) return b == FaultClass::contributory;
    return a == FaultClass::page && b != FaultClass::benign;
}

}  // namespace

void Cpu::deliver(std::uint8_t vector, EventSource source, std::optional<std::uint32_t> error_code) {
    pending_link_ = nullptr;  // execution does not go on where the last trace ended
    constexpr auto kDoubleFault = static_cast<std::uint8_t>(ExceptionVector::double_fault);
    // Each turn either delivers or goes one step towards the triple fault.
    for (;;) {
        if (long_mode_active() && deliver_long(vector, source, error_code)) {
            leave_reason_ = Leave::next;
            return;
        }
        if (!long_mode_active()) {
            shutdown_cause_ = "an interrupt or exception outside long mode, which this processor does not deliver yet";
            leave_reason_ = Leave::shutdown;
            return;
        }
        auto const second = static_cast<std::uint8_t>(pending_.vector);
        if (vector == kDoubleFault) {
            shutdown_cause_ = "triple fault";
            leave_reason_ = Leave::shutdown;
            return;
        }
        bool const first_is_exception = source == EventSource::exception;
        if (first_is_exception && makes_double_fault(vector, second)) {
            vector = kDoubleFault;
            error_code = 0;
        } else {
            vector = second;
            error_code = has_error_code(pending_.vector) ? std::optional{pending_.error_code} : std::nullopt;
        }
        source = EventSource::exception;
    }
}

// [SDM3A] 6.14. False: a fault is pending, and nothing has changed.
bool Cpu::deliver_long(std::uint8_t vector, EventSource source, std::optional<std::uint32_t> error_code) {
    std::uint32_t const external = source == EventSource::software ? 0 : kErrorExternal;
    std::uint32_t const gate_code = std::uint32_t{vector} * 8 | kErrorIdt | external;
    if (std::uint32_t{vector} * 16 + 15 > state_.idtr.limit) return fault(ExceptionVector::general_protection, gate_code);
    auto const low = load_system<std::uint64_t>(state_.idtr.base + std::uint64_t{vector} * 16);
    if (!low.ok) return false;
    auto const high = load_system<std::uint64_t>(state_.idtr.base + std::uint64_t{vector} * 16 + 8);
    if (!high.ok) return false;
    auto const type = static_cast<std::uint8_t>(low.value >> 40 & 31);
    auto const gate_dpl = static_cast<unsigned>(low.value >> 45 & 3);
    if (type != kTypeInterruptGate && type != kTypeTrapGate) return fault(ExceptionVector::general_protection, gate_code);
    if (source == EventSource::software && gate_dpl < cpl()) return fault(ExceptionVector::general_protection, gate_code);
    if ((low.value >> 47 & 1) == 0) return fault(ExceptionVector::segment_not_present, gate_code);

    auto const selector = static_cast<std::uint16_t>(low.value >> 16);
    std::uint64_t const target = (low.value & 0xffff) | (low.value >> 48 << 16) | high.value << 32;
    if ((selector & ~3) == 0) return fault(ExceptionVector::general_protection, external);
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) {
        pending_.error_code |= pending_.vector == ExceptionVector::general_protection ? external : 0;
        return false;
    }
    Segment code = segment_from(selector, *descriptor);
    std::uint32_t const selector_code = (selector & ~std::uint32_t{3}) | external;
    if (!is_code(code) || code.dpl > cpl() || !code.long_mode || code.big) return fault(ExceptionVector::general_protection, selector_code);
    if (!code.present) return fault(ExceptionVector::segment_not_present, selector_code);

    unsigned const new_cpl = is_conforming(code) ? cpl() : code.dpl;
    auto const stack_index = static_cast<unsigned>(low.value >> 32 & 7);
    std::uint64_t stack = slot_[rsp];
    if (stack_index != 0 || new_cpl != cpl()) {
        std::uint64_t const offset = stack_index != 0 ? 0x24 + (stack_index - 1) * 8 : 4 + new_cpl * 8;
        if (offset + 7 > state_.tr.limit) return fault(ExceptionVector::invalid_tss, (state_.tr.selector & ~std::uint32_t{3}) | external);
        auto const pointer = load_system<std::uint64_t>(state_.tr.base + offset);
        if (!pointer.ok) return false;
        stack = pointer.value;
    }
    if (!is_canonical(stack)) return fault(ExceptionVector::stack_fault, external);
    if (!is_canonical(target)) return fault(ExceptionVector::general_protection, external);
    stack &= ~std::uint64_t{15};

    std::uint64_t flags_image = rflags();
    // RF in the image: set for faults, so that the instruction is not stopped by the same breakpoint again (6.8.3).
    if (source == EventSource::exception && vector != static_cast<std::uint8_t>(ExceptionVector::debug)) flags_image |= rflags::kResume;
    std::uint64_t const frame[6] = {error_code.value_or(0), rip_, state_.segments[cs].selector, flags_image, slot_[rsp], state_.segments[ss].selector};
    unsigned const skipped = error_code ? 0 : 1;
    std::uint32_t const bytes = (6 - skipped) * 8;
    stack -= bytes;
    if (!store_pieces(stack, &frame[skipped], bytes, true)) {
        if (non_canonical_) pending_ = {ExceptionVector::stack_fault, external};
        non_canonical_ = false;
        return false;
    }
    code.selector = static_cast<std::uint16_t>((selector & ~3) | new_cpl);
    if (new_cpl != cpl()) {
        state_.segments[ss] = Segment{};
        state_.segments[ss].selector = static_cast<std::uint16_t>(new_cpl);
        state_.segments[ss].dpl = static_cast<std::uint8_t>(new_cpl);
    }
    mark_accessed(selector, *descriptor);
    state_.segments[cs] = code;
    slot_[rsp] = stack;
    rip_ = target;
    std::uint64_t cleared = rflags::kTrap | rflags::kNestedTask | rflags::kResume | rflags::kVirtual8086;
    if (type == kTypeInterruptGate) cleared |= rflags::kInterrupt;
    state_.rflags &= ~cleared;
    mode_changed();
    return true;
}

Op const* Cpu::software_interrupt(Op const* op, std::uint8_t vector) {
    if (!long_mode_active()) return raise(op, ExceptionVector::general_protection, std::uint32_t{vector} * 8 + kErrorIdt);
    std::uint64_t const here = rip_of(op);
    rip_ = next_rip(op);
    // INT1 ([SDM2A]) is not subject to the gate's DPL.
    EventSource const source = vector == static_cast<std::uint8_t>(ExceptionVector::debug) ? EventSource::external : EventSource::software;
    leave_reason_ = Leave::next;
    if (deliver_long(vector, source, {})) return nullptr;
    rip_ = here;
    remaining_ += 1;  // the instruction faulted, so it does not count; it is the last of its trace
    return nullptr;
}

// [SDM2A] IRET/IRETD/IRETQ; to the same or an outer privilege, in long mode.
Op const* Cpu::interrupt_return(Op const* op, unsigned operand_bytes) {
    if (!protected_mode() || (state_.rflags & rflags::kVirtual8086) != 0) return raise(op, ExceptionVector::general_protection);
    if (long_mode_active() && (state_.rflags & rflags::kNestedTask) != 0) return raise(op, ExceptionVector::general_protection);
    std::uint64_t frame[5]{};  // rip, cs, rflags, rsp, ss
    auto const pop = [&](unsigned first, unsigned count) {
        for (unsigned i = first; i < first + count; ++i)
            if (!load_bytes(stack_address(stack_pointer_plus(std::uint64_t{i} * operand_bytes)), &frame[i], operand_bytes)) return false;
        return true;
    };
    if (!pop(0, 3)) return leave_stack(op);
    auto const selector = static_cast<std::uint16_t>(frame[1]);
    unsigned const new_cpl = selector & 3;
    std::uint32_t const code_error = selector & ~std::uint32_t{3};
    if (code_error == 0) return raise(op, ExceptionVector::general_protection);
    if (new_cpl < cpl()) return raise(op, ExceptionVector::general_protection, code_error);
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return leave(op);
    Segment const code = segment_from(selector, *descriptor);
    bool const allowed = is_code(code) && (is_conforming(code) ? code.dpl <= new_cpl : code.dpl == new_cpl);
    if (!allowed || (long_mode_active() && code.long_mode && code.big)) return raise(op, ExceptionVector::general_protection, code_error);
    if (!code.present) return raise(op, ExceptionVector::segment_not_present, code_error);
    bool const with_stack = in_64_bit_mode() || new_cpl != cpl();
    Segment stack = state_.segments[ss];
    if (with_stack) {
        if (!pop(3, 2)) return leave_stack(op);
        auto const stack_selector = static_cast<std::uint16_t>(frame[4]);
        std::uint32_t const stack_error = stack_selector & ~std::uint32_t{3};
        if (stack_error == 0) {
            if (!code.long_mode || !long_mode_active() || new_cpl == 3 || (stack_selector & 3) != new_cpl) return raise(op, ExceptionVector::general_protection);
            stack = Segment{};
            stack.selector = stack_selector;
            stack.dpl = static_cast<std::uint8_t>(new_cpl);
        } else {
            auto const stack_descriptor = read_descriptor(stack_selector, ExceptionVector::general_protection);
            if (!stack_descriptor) return leave(op);
            stack = segment_from(stack_selector, *stack_descriptor);
            if ((stack_selector & 3u) != new_cpl || !is_writable_data(stack) || stack.dpl != new_cpl) return raise(op, ExceptionVector::general_protection, stack_error);
            if (!stack.present) return raise(op, ExceptionVector::stack_fault, stack_error);
        }
    }
    bool const to_64 = long_mode_active() && code.long_mode;
    if (to_64 && !is_canonical(frame[0])) return raise(op, ExceptionVector::general_protection);

    std::uint64_t writable = rflags::kArithmetic | rflags::kTrap | rflags::kDirection | rflags::kNestedTask | rflags::kResume | rflags::kAlignmentCheck | rflags::kIdentification;
    if (cpl() == 0) writable |= rflags::kIopl;
    if (cpl() <= (state_.rflags & rflags::kIopl) >> 12) writable |= rflags::kInterrupt;
    if (operand_bytes == 2) writable &= 0xffff;
    std::uint64_t const new_flags = (rflags() & ~writable) | (frame[2] & writable);

    bool const outward = new_cpl != cpl();
    if (with_stack)
        state_.segments[ss] = stack;
    state_.segments[cs] = code;
    mode_changed();  // the stack's width is the new one's from here on
    if (with_stack)
        set_stack_pointer(to_64 ? frame[3] : stack_masked(frame[3]));
    else
        set_stack_pointer(stack_pointer_plus(3 * std::uint64_t{operand_bytes}));
    if (outward) {
        // Segments that the outer level may not use become null ([SDM2A] IRET, RETURN-TO-OUTER-PRIVILEGE-LEVEL).
        for (SegmentName const name : {es, ds, fs, gs}) {
            Segment& segment = state_.segments[name];
            if (segment.present && segment.dpl < new_cpl && !is_conforming(segment)) segment = Segment{};
        }
    }
    set_rflags(new_flags);
    mode_changed();
    attention_ = true;
    return jump(op, to_64 ? frame[0] : static_cast<std::uint32_t>(frame[0]));
}

Op const* Cpu::syscall(Op const* op) {
    if ((state_.efer & efer::kSyscall) == 0 || !long_mode_active()) return raise(op, ExceptionVector::invalid_opcode);
    slot_[rcx] = next_rip(op);
    slot_[r11] = rflags();
    std::uint64_t const target = in_64_bit_mode() ? state_.lstar : state_.cstar;
    auto const selector = static_cast<std::uint16_t>(state_.star >> 32);
    state_.segments[cs] = flat_code(static_cast<std::uint16_t>(selector & ~3), 0, true);
    state_.segments[ss] = flat_data(static_cast<std::uint16_t>((selector & ~3) + 8), 0);
    set_rflags(rflags() & ~(state_.sfmask | rflags::kResume));
    mode_changed();
    return jump(op, target);
}

// As AMD does it, the target is not checked here; a non-canonical one faults when it is fetched ([APM3] SYSRET).
Op const* Cpu::sysret(Op const* op, unsigned operand_bytes) {
    if ((state_.efer & efer::kSyscall) == 0 || !long_mode_active()) return raise(op, ExceptionVector::invalid_opcode);
    if (cpl() != 0) return raise(op, ExceptionVector::general_protection);
    auto const selector = static_cast<std::uint16_t>(state_.star >> 48);
    bool const to_64 = operand_bytes == 8;
    state_.segments[cs] = flat_code(static_cast<std::uint16_t>((to_64 ? selector + 16 : selector) | 3), 3, to_64);
    state_.segments[ss] = flat_data(static_cast<std::uint16_t>((selector + 8) | 3), 3);
    constexpr std::uint64_t kLoaded = 0x3c'7fd7;
    set_rflags((slot_[r11] & kLoaded) | rflags::kFixed);
    mode_changed();
    attention_ = true;
    return jump(op, to_64 ? slot_[rcx] : static_cast<std::uint32_t>(slot_[rcx]));
}

}  // namespace backplane
