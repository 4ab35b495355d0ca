// Interrupts and exceptions: through the interrupt vector table in real mode, through the IDT else. [SDM3A] chapter 6
// (real mode: 20.1.4; virtual-8086 mode: 20.3), [SDM2A] INT n
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
    state_.interrupt_shadow = state_.trap_shadow = false;  // the instruction they were for faulted, or is the handler's
    if (vector == static_cast<std::uint8_t>(ExceptionVector::debug)) {
        state_.dr7 &= ~dr7::kGeneralDetect;
        // One #DB is for all that waits: a second one at its handler's first instruction would take the same stack of
        // the IST.
        state_.pending_debug = 0;
    }
    constexpr auto kDoubleFault = static_cast<std::uint8_t>(ExceptionVector::double_fault);
    // Each turn either delivers or goes one step towards the triple fault.
    for (;;) {
        leave_reason_ = Leave::next;
        // A task switch can succeed and leave a fault of the new task behind.
        if (deliver_once(vector, source, error_code) && leave_reason_ == Leave::next) return;
        non_canonical_ = false;
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

bool Cpu::deliver_once(std::uint8_t vector, EventSource source, ErrorCode error_code) {
    if (long_mode_active()) return deliver_long(vector, source, error_code);
    return protected_mode() ? deliver_protected(vector, source, error_code) : deliver_real(vector);
}

// RF in the image: set for faults, so that the instruction is not stopped by the same breakpoint again ([SDM3A] 6.8.3).
std::uint64_t Cpu::flags_to_push(std::uint8_t vector, EventSource source) const {
    bool const is_fault = source == EventSource::exception && vector != static_cast<std::uint8_t>(ExceptionVector::debug);
    return is_fault ? rflags() | rflags::kResume : rflags();
}

// [SDM3A] 20.1.4: FLAGS, CS and IP, and no error code.
bool Cpu::deliver_real(std::uint8_t vector) {
    if (std::uint32_t{vector} * 4 + 3 > state_.idtr.limit) return fault(ExceptionVector::general_protection);
    auto const pointer = load_system<std::uint32_t>(state_.idtr.base + std::uint64_t{vector} * 4);
    if (!pointer.ok) return false;
    Stack stack = current_stack();
    for (std::uint64_t const value : {rflags(), std::uint64_t{state_.segments[cs].selector}, rip_})
        if (!push_to(stack, static_cast<std::uint16_t>(value), 2)) return false;
    state_.rflags &= ~(rflags::kInterrupt | rflags::kTrap | rflags::kAlignmentCheck | rflags::kResume);
    set_real_segment(cs, static_cast<std::uint16_t>(pointer.value >> 16));
    adopt_stack(stack);
    rip_ = pointer.value & 0xffff;
    return true;
}

// --- 32-bit protected mode ----------------------------------------------------------------------------------------

// [SDM3A] 6.11, 6.12.
bool Cpu::deliver_protected(std::uint8_t vector, EventSource source, ErrorCode error_code) {
    std::uint32_t const external = source == EventSource::software ? 0 : kErrorExternal;
    std::uint32_t const gate_code = std::uint32_t{vector} * 8 | kErrorIdt | external;
    if (std::uint32_t{vector} * 8 + 7 > state_.idtr.limit) return fault(ExceptionVector::general_protection, gate_code);
    auto const descriptor = load_system<std::uint64_t>(state_.idtr.base + std::uint64_t{vector} * 8);
    if (!descriptor.ok) return false;
    Gate const gate = gate_from(descriptor.value);
    bool const known = gate.type == kTypeTaskGate || gate.type == kTypeInterruptGate || gate.type == kTypeTrapGate ||
                       gate.type == kTypeInterruptGate16 || gate.type == kTypeTrapGate16;
    if (!known) return fault(ExceptionVector::general_protection, gate_code);
    if (source == EventSource::software && gate.dpl < cpl()) return fault(ExceptionVector::general_protection, gate_code);
    if (!gate.present) return fault(ExceptionVector::segment_not_present, gate_code);
    if (gate.type == kTypeTaskGate) return deliver_to_task(gate.selector, error_code, external);
    return deliver_through_gate(gate, error_code, flags_to_push(vector, source), external);
}

// [SDM3A] 6.12.2; the error code goes onto the new task's stack.
bool Cpu::deliver_to_task(std::uint16_t selector, ErrorCode error_code, std::uint32_t external) {
    std::uint32_t const code = error_code_of(selector) | external;
    if (is_local(selector)) return fault(ExceptionVector::general_protection, code);
    if (!switch_task(selector, TaskCause::interrupt, rip_, external)) return false;
    if (leave_reason_ != Leave::next || !error_code) return true;
    Stack stack = current_stack();
    stack.error_code = external;
    if (!push_to(stack, *error_code, (state_.tr.type & kTypeTss32) != 0 ? 4 : 2)) return false;
    adopt_stack(stack);
    return true;
}

// [SDM3A] 6.12.1, and 20.3.1 from virtual-8086 mode, whose segments are saved and made null.
bool Cpu::deliver_through_gate(Gate const& gate, ErrorCode error_code, std::uint64_t flags_image, std::uint32_t external) {
    if (is_null(gate.selector)) return fault(ExceptionVector::general_protection, external);
    auto const descriptor = read_descriptor(gate.selector, ExceptionVector::general_protection);
    if (!descriptor) {
        if (pending_.vector == ExceptionVector::general_protection) pending_.error_code |= external;
        return false;
    }
    Segment code = segment_from(gate.selector, *descriptor);
    std::uint32_t const selector_code = error_code_of(gate.selector) | external;
    if (!is_code(code) || code.dpl > cpl()) return fault(ExceptionVector::general_protection, selector_code);
    if (!code.present) return fault(ExceptionVector::segment_not_present, selector_code);
    unsigned const level = is_conforming(code) ? cpl() : code.dpl;
    bool const from_8086 = virtual_8086();
    if (from_8086 && level != 0) return fault(ExceptionVector::general_protection, selector_code);

    Stack stack = current_stack();
    stack.error_code = external;
    if (level != cpl()) {
        auto const inner = inner_stack(level, external);
        if (!inner) return false;
        stack = *inner;
    }
    if (gate.offset > code.limit) return fault(ExceptionVector::general_protection, external);
    unsigned const bytes = (gate.type & 8) != 0 ? 4 : 2;
    auto const push = [&](std::uint64_t value) { return push_to(stack, value, bytes); };
    if (from_8086)
        for (SegmentName const name : {gs, fs, ds, es})
            if (!push(state_.segments[name].selector)) return false;
    if (level != cpl() && (!push(state_.segments[ss].selector) || !push(slot_[rsp]))) return false;
    if (!push(flags_image) || !push(state_.segments[cs].selector) || !push(rip_)) return false;
    if (error_code && !push(*error_code)) return false;

    mark_accessed(gate.selector, *descriptor);
    code.selector = static_cast<std::uint16_t>((gate.selector & ~3) | level);
    std::uint64_t cleared = rflags::kTrap | rflags::kNestedTask | rflags::kResume | rflags::kVirtual8086;
    if ((gate.type & 1) == 0) cleared |= rflags::kInterrupt;
    state_.rflags &= ~cleared;
    if (from_8086)
        for (SegmentName const name : {es, ds, fs, gs}) state_.segments[name] = Segment{};
    state_.segments[cs] = code;
    adopt_stack(stack);
    rip_ = (gate.type & 8) != 0 ? gate.offset : gate.offset & 0xffff;
    return true;
}

// --- stacks of other levels ---------------------------------------------------------------------------------------

Cpu::Stack Cpu::current_stack() const {
    return {.segment = state_.segments[ss], .pointer = slot_[rsp], .error_code = 0, .wide = in_64_bit_mode(), .system = cpl() != 3};
}

// [SDM3A] 6.12.1 and 5.8.5; outside long mode.
std::optional<Cpu::Stack> Cpu::inner_stack(unsigned level, std::uint32_t external) {
    bool const is_32 = (state_.tr.type & kTypeTss32) != 0;
    unsigned const pointer_bytes = is_32 ? 4 : 2;
    std::uint32_t const offset = is_32 ? 4 + level * 8 : 2 + level * 4;
    auto const bad_task = [&](std::uint16_t selector) {
        fault(ExceptionVector::invalid_tss, error_code_of(selector) | external);
        return std::nullopt;
    };
    if (offset + pointer_bytes + 1 > state_.tr.limit) return bad_task(state_.tr.selector);
    std::uint32_t pointer = 0;
    std::uint16_t selector = 0;
    if (!load_pieces(state_.tr.base + offset, &pointer, pointer_bytes, true)) return {};
    if (!load_pieces(state_.tr.base + offset + pointer_bytes, &selector, 2, true)) return {};
    if (is_null(selector)) return bad_task(0);
    auto const descriptor = read_descriptor(selector, ExceptionVector::invalid_tss);
    if (!descriptor) {
        if (pending_.vector == ExceptionVector::invalid_tss) pending_.error_code |= external;
        return {};
    }
    Segment const segment = segment_from(selector, *descriptor);
    if (rpl_of(selector) != level || segment.dpl != level || !is_writable_data(segment)) return bad_task(selector);
    std::uint32_t const stack_code = error_code_of(selector) | external;
    if (!segment.present) {
        fault(ExceptionVector::stack_fault, stack_code);
        return {};
    }
    mark_accessed(selector, *descriptor);
    return Stack{.segment = segment, .pointer = pointer, .error_code = stack_code, .wide = false, .system = true};
}

bool Cpu::push_to(Stack& stack, std::uint64_t value, unsigned bytes) {
    std::uint64_t const mask = stack.wide ? ~std::uint64_t{0} : stack.segment.big ? 0xffff'ffff : 0xffff;
    std::uint64_t const top = (stack.pointer - bytes) & mask;
    std::uint64_t address = top;
    if (!stack.wide) {
        SegmentWindow const window = window_of(stack.segment);
        if (top < window.first || top + bytes - 1 > window.last) return fault(ExceptionVector::stack_fault, stack.error_code);
        address = static_cast<std::uint32_t>(top + stack.segment.base);
    }
    if (!store_pieces(address, &value, bytes, stack.system)) {
        if (non_canonical_) pending_ = {ExceptionVector::stack_fault, stack.error_code};
        non_canonical_ = false;
        return false;
    }
    stack.pointer = (stack.pointer & ~mask) | top;
    return true;
}

void Cpu::adopt_stack(Stack const& stack) {
    state_.segments[ss] = stack.segment;
    mode_changed();
    slot_[rsp] = stack.wide ? stack.pointer : static_cast<std::uint32_t>(stack.pointer);
}

// --- long mode ----------------------------------------------------------------------------------------------------

// [SDM3A] 6.14.
bool Cpu::deliver_long(std::uint8_t vector, EventSource source, ErrorCode error_code) {
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

    std::uint64_t const frame[6] = {error_code.value_or(0), rip_, state_.segments[cs].selector, flags_to_push(vector, source), slot_[rsp], state_.segments[ss].selector};
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

// --- INT n, INT3, INTO, INT1 --------------------------------------------------------------------------------------

// [SDM2A] INT n. In virtual-8086 mode INT n alone needs IOPL 3 ([SDM3A] table 20-2).
Op const* Cpu::software_interrupt(Op const* op, std::uint8_t vector, IntKind kind) {
    bool const low_iopl = (state_.rflags & rflags::kIopl) != rflags::kIopl;
    if (virtual_8086() && kind == IntKind::by_number && low_iopl) return raise(op, ExceptionVector::general_protection);
    std::uint64_t const here = rip_of(op);
    rip_ = next_rip(op);
    // INT1 is not subject to the gate's DPL.
    EventSource const source = kind == IntKind::debug_trap ? EventSource::external : EventSource::software;
    leave_reason_ = Leave::next;
    if (deliver_once(vector, source, {})) {
        trap_dropped_ = true;
        if (kind == IntKind::debug_trap) state_.pending_debug = 0;  // what MOV SS met is forgotten, as in deliver()
        return nullptr;
    }
    non_canonical_ = false;
    rip_ = here;
    remaining_ += 1;  // the instruction faulted, so it does not count; it is the last of its trace
    return nullptr;
}

}  // namespace backplane
