// Control transfers between code segments: far JMP, CALL and RET, directly, through call gates and to tasks.
// [SDM3A] 5.8, [SDM2A] CALL, JMP, [SDM2B] RET
//
// What a transfer needs is checked first, then pushed with a stack pointer of its own, then taken over: a fault leaves
// everything as it was.
#include "cpu/cpu.h"
#include "cpu/descriptor.h"

namespace backplane {

bool Cpu::is_in_code(Segment const& code, std::uint64_t target) const {
    return long_mode_active() && code.long_mode ? is_canonical(target) : target <= code.limit;
}

// [SDM2A] JMP, "CONFORMING-CODE-SEGMENT" and "NONCONFORMING-CODE-SEGMENT".
std::optional<Segment> Cpu::code_segment_for(std::uint16_t selector, std::uint64_t descriptor) {
    std::uint32_t const code = error_code_of(selector);
    Segment segment = segment_from(selector, descriptor);
    bool const allowed =
        is_code(segment) &&
        (is_conforming(segment) ? segment.dpl <= cpl() : segment.dpl == cpl() && rpl_of(selector) <= cpl());
    bool const both_sizes = long_mode_active() && segment.long_mode && segment.big;
    if (!allowed || both_sizes) {
        fault(ExceptionVector::general_protection, code);
        return {};
    }
    if (!segment.present) {
        fault(ExceptionVector::segment_not_present, code);
        return {};
    }
    mark_accessed(selector, descriptor);
    segment.selector = static_cast<std::uint16_t>((selector & ~3) | cpl());
    return segment;
}

Op const* Cpu::far_jump(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes) {
    return far_transfer(op, selector, offset, operand_bytes, FarKind::jump);
}
Op const* Cpu::far_call(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes) {
    return far_transfer(op, selector, offset, operand_bytes, FarKind::call);
}

Op const* Cpu::far_transfer(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes,
                            FarKind kind) {
    if (real_addressing()) return far_transfer_real(op, selector, offset, operand_bytes, kind);
    if (is_null(selector)) return raise(op, ExceptionVector::general_protection);
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return leave(op);
    Segment const target = segment_from(selector, *descriptor);
    if (!target.code_or_data) return through_system_descriptor(op, selector, *descriptor, kind);
    auto const code = code_segment_for(selector, *descriptor);
    if (!code) return leave(op);
    if (kind == FarKind::call) return call_same(op, *code, offset, operand_bytes);
    if (!is_in_code(*code, offset)) return raise(op, ExceptionVector::general_protection);
    set_segment(cs, *code);
    return jump(op, offset);
}

// [SDM3A] 20.1.1. The limit is that of the cached descriptor, as for every fetch.
Op const* Cpu::far_transfer_real(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes,
                                 FarKind kind) {
    if (offset > state_.segments[cs].limit) return raise(op, ExceptionVector::general_protection);
    if (kind == FarKind::call) {
        Stack stack = current_stack();
        if (!push_to(stack, state_.segments[cs].selector, operand_bytes) ||
            !push_to(stack, next_rip(op), operand_bytes))
            return leave(op);
        adopt_stack(stack);
    }
    set_real_segment(cs, selector);
    mode_changed();
    return jump(op, offset);
}

/// Pushes CS and RIP onto the current stack.
Op const* Cpu::call_same(Op const* op, Segment const& code, std::uint64_t target, unsigned bytes) {
    Stack stack = current_stack();
    if (!push_to(stack, state_.segments[cs].selector, bytes) || !push_to(stack, next_rip(op), bytes)) return leave(op);
    if (!is_in_code(code, target)) return raise(op, ExceptionVector::general_protection);
    state_.segments[cs] = code;
    adopt_stack(stack);
    return jump(op, target);
}

// Call gates, task gates and TSS ([SDM2A] JMP, "CASE type OF"). In long mode call gates alone.
Op const* Cpu::through_system_descriptor(Op const* op, std::uint16_t selector, std::uint64_t descriptor, FarKind kind) {
    Gate const gate = gate_from(descriptor);
    Segment const system = segment_from(selector, descriptor);
    std::uint32_t const code = error_code_of(selector);
    bool const privileged_enough = gate.dpl >= cpl() && gate.dpl >= rpl_of(selector);
    bool const is_gate = gate.type == kTypeCallGate || (gate.type == kTypeCallGate16 && !long_mode_active());
    bool const is_task = !long_mode_active() && (gate.type == kTypeTaskGate || is_available_tss(system));
    if ((!is_gate && !is_task) || !privileged_enough) return raise(op, ExceptionVector::general_protection, code);
    if (!gate.present) return raise(op, ExceptionVector::segment_not_present, code);
    if (is_gate) return through_call_gate(op, selector, gate, kind);
    if (gate.type != kTypeTaskGate) return through_task(op, selector, kind);
    if (is_local(gate.selector)) return raise(op, ExceptionVector::general_protection, error_code_of(gate.selector));
    return through_task(op, gate.selector, kind);
}

// [SDM3A] 5.8.3, 5.8.4; in long mode 5.8.3.1.
Op const* Cpu::through_call_gate(Op const* op, std::uint16_t gate_selector, Gate const& gate, FarKind kind) {
    std::uint64_t target = gate.offset;
    if (long_mode_active()) {
        auto const high = read_descriptor_high(gate_selector);
        if (!high) return leave(op);
        if ((*high >> 40 & 31) != 0)
            return raise(op, ExceptionVector::general_protection, error_code_of(gate_selector));
        target |= *high << 32;
    } else if (gate.type == kTypeCallGate16) {
        target &= 0xffff;
    }
    if (is_null(gate.selector)) return raise(op, ExceptionVector::general_protection);
    auto const descriptor = read_descriptor(gate.selector, ExceptionVector::general_protection);
    if (!descriptor) return leave(op);
    Segment code = segment_from(gate.selector, *descriptor);
    bool const inward = !is_conforming(code) && code.dpl < cpl();
    bool const size_fits = !long_mode_active() || (code.long_mode && !code.big);
    if (!is_code(code) || code.dpl > cpl() || !size_fits || (inward && kind == FarKind::jump))
        return raise(op, ExceptionVector::general_protection, error_code_of(gate.selector));
    if (!code.present) return raise(op, ExceptionVector::segment_not_present, error_code_of(gate.selector));
    mark_accessed(gate.selector, *descriptor);
    unsigned const bytes = long_mode_active() ? 8 : gate.type == kTypeCallGate ? 4 : 2;
    if (inward) return call_inner(op, gate, code, target, bytes);
    code.selector = static_cast<std::uint16_t>((gate.selector & ~3) | cpl());
    if (kind == FarKind::call) return call_same(op, code, target, bytes);
    if (!is_in_code(code, target)) return raise(op, ExceptionVector::general_protection);
    set_segment(cs, code);
    return jump(op, target);
}

// The inner level's stack gets the old SS and rSP, the parameters (not in long mode), the old CS and rIP.
Op const* Cpu::call_inner(Op const* op, Gate const& gate, Segment code, std::uint64_t target, unsigned bytes) {
    auto inner = long_mode_active() ? inner_stack_long(code.dpl) : inner_stack(code.dpl, 0);
    if (!inner) return leave(op);
    if (!is_in_code(code, target)) return raise(op, ExceptionVector::general_protection);
    auto const push = [&](std::uint64_t value) { return push_to(*inner, value, bytes); };
    if (!push(state_.segments[ss].selector) || !push(slot_[rsp])) return leave(op);
    if (!long_mode_active()) {
        for (unsigned i = gate.parameter_count; i-- != 0;) {
            std::uint32_t parameter = 0;
            if (!load_bytes(stack_address(stack_pointer_plus(std::uint64_t{i} * bytes), bytes), &parameter, bytes))
                return leave_stack(op);
            if (!push(parameter)) return leave(op);
        }
    }
    if (!push(state_.segments[cs].selector) || !push(next_rip(op))) return leave(op);
    code.selector = static_cast<std::uint16_t>((gate.selector & ~3) | code.dpl);
    state_.segments[cs] = code;
    adopt_stack(*inner);
    return jump(op, target);
}

/// [SDM3A] 5.8.5.1: RSP from the TSS, SS null.
std::optional<Cpu::Stack> Cpu::inner_stack_long(unsigned level) {
    std::uint64_t const offset = 4 + level * 8;
    if (offset + 7 > state_.tr.limit) {
        fault(ExceptionVector::invalid_tss, error_code_of(state_.tr.selector));
        return {};
    }
    auto const pointer = load_system<std::uint64_t>(state_.tr.base + offset);
    if (!pointer.ok) return {};
    Segment null_stack;
    null_stack.selector = static_cast<std::uint16_t>(level);
    null_stack.dpl = static_cast<std::uint8_t>(level);
    return Stack{.segment = null_stack, .pointer = pointer.value, .error_code = 0, .wide = true, .system = true};
}

Op const* Cpu::through_task(Op const* op, std::uint16_t selector, FarKind kind) {
    rip_ = rip_of(op);
    if (!switch_task(selector, kind == FarKind::call ? TaskCause::call : TaskCause::jump, next_rip(op), 0))
        return leave(op);
    return nullptr;
}

// --- the way back -------------------------------------------------------------------------------------------------

bool Cpu::check_return_code(std::uint16_t selector, Segment& code) {
    if (is_null(selector)) return fault(ExceptionVector::general_protection);
    std::uint32_t const error = error_code_of(selector);
    unsigned const level = rpl_of(selector);
    if (level < cpl()) return fault(ExceptionVector::general_protection, error);
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return false;
    code = segment_from(selector, *descriptor);
    bool const allowed = is_code(code) && (is_conforming(code) ? code.dpl <= level : code.dpl == level);
    if (!allowed || (long_mode_active() && code.long_mode && code.big))
        return fault(ExceptionVector::general_protection, error);
    if (!code.present) return fault(ExceptionVector::segment_not_present, error);
    mark_accessed(selector, *descriptor);
    return true;
}

// A null SS is allowed for 64-bit code of levels 0 to 2 ([SDM2B] RET, "RETURN-TO-OUTER-PRIVILEGE-LEVEL").
bool Cpu::check_return_stack(std::uint16_t selector, Segment const& code, Segment& stack) {
    unsigned const level = rpl_of(code.selector);
    if (is_null(selector)) {
        bool const to_64 = long_mode_active() && code.long_mode;
        if (!to_64 || level == 3 || rpl_of(selector) != level) return fault(ExceptionVector::general_protection);
        stack = Segment{};
        stack.selector = selector;
        stack.dpl = static_cast<std::uint8_t>(level);
        return true;
    }
    std::uint32_t const error = error_code_of(selector);
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return false;
    stack = segment_from(selector, *descriptor);
    if (rpl_of(selector) != level || !is_writable_data(stack) || stack.dpl != level)
        return fault(ExceptionVector::general_protection, error);
    if (!stack.present) return fault(ExceptionVector::stack_fault, error);
    mark_accessed(selector, *descriptor);
    return true;
}

// [SDM2A] IRET and [SDM2B] RET, return to an outer privilege: segments that the outer level may not use become null. A
// null selector with an RPL becomes 0; a base that an MSR has set stays.
void Cpu::drop_inner_segments() {
    for (SegmentName const name : {es, ds, fs, gs}) {
        Segment& segment = state_.segments[name];
        if (segment.present && segment.dpl < cpl() && !is_conforming(segment)) segment = Segment{};
        if (!segment.present && is_null(segment.selector)) segment.selector = 0;
    }
    mode_changed();
}

// [SDM2B] RET, far; to the same or an outer privilege.
Op const* Cpu::far_return(Op const* op, unsigned operand_bytes, std::uint64_t extra_bytes) {
    std::uint64_t frame[4]{};  // rip, cs, rsp, ss
    auto const pop = [&](unsigned first, unsigned count) {
        for (unsigned i = first; i < first + count; ++i) {
            std::uint64_t const offset = stack_pointer_plus(i * operand_bytes + (i >= 2 ? extra_bytes : 0));
            if (!load_bytes(stack_address(offset, operand_bytes), &frame[i], operand_bytes)) return false;
        }
        return true;
    };
    if (!pop(0, 2)) return leave_stack(op);
    auto const selector = static_cast<std::uint16_t>(frame[1]);
    std::uint64_t const top = stack_pointer_plus(2 * operand_bytes + extra_bytes);
    if (real_addressing()) {
        if (frame[0] > state_.segments[cs].limit) return raise(op, ExceptionVector::general_protection);
        set_stack_pointer(top);
        set_real_segment(cs, selector);
        mode_changed();
        return jump(op, frame[0]);
    }
    Segment code;
    if (!check_return_code(selector, code)) return leave(op);
    if (rpl_of(selector) == cpl()) {
        if (!is_in_code(code, frame[0])) return raise(op, ExceptionVector::general_protection);
        set_stack_pointer(top);
        set_segment(cs, code);
        return jump(op, frame[0]);
    }
    Segment stack;
    if (!pop(2, 2)) return leave_stack(op);
    if (!check_return_stack(static_cast<std::uint16_t>(frame[3]), code, stack)) return leave(op);
    if (!is_in_code(code, frame[0])) return raise(op, ExceptionVector::general_protection);
    state_.segments[cs] = code;
    state_.segments[ss] = stack;
    mode_changed();
    set_stack_pointer(stack_masked(frame[2] + extra_bytes));
    drop_inner_segments();
    return jump(op, frame[0]);
}

}  // namespace backplane
