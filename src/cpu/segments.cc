// Loading segment registers and transferring control between code segments ([SDM3A] chapter 5).
//
// Call gates, task gates and segment limits come with the breadth of the processor; a far transfer through a gate is
// #GP(selector) until then (docs/quirks.md).
#include "cpu/cpu.h"
#include "cpu/descriptor.h"

namespace backplane {

namespace {
constexpr std::uint16_t kRplMask = 3;
constexpr std::uint16_t kTableIndicator = 4;
constexpr unsigned rpl_of(std::uint16_t selector) { return selector & kRplMask; }
constexpr std::uint32_t error_code_of(std::uint16_t selector) { return selector & ~std::uint32_t{kRplMask}; }
constexpr bool is_null(std::uint16_t selector) { return (selector & ~kRplMask) == 0; }
}  // namespace

std::optional<std::uint64_t> Cpu::read_descriptor(std::uint16_t selector, ExceptionVector vector) {
    bool const local = (selector & kTableIndicator) != 0;
    std::uint64_t const base = local ? state_.ldtr.base : state_.gdtr.base;
    std::uint32_t const limit = local ? (state_.ldtr.present ? state_.ldtr.limit : 0) : state_.gdtr.limit;
    std::uint32_t const offset = selector & ~std::uint32_t{7};
    if (offset + 7 > limit) {
        fault(vector, error_code_of(selector));
        return {};
    }
    auto const descriptor = load_system<std::uint64_t>(base + offset);
    if (!descriptor.ok) return {};
    return descriptor.value;
}

void Cpu::mark_accessed(std::uint16_t selector, std::uint64_t descriptor) {
    constexpr std::uint64_t kAccessed = std::uint64_t{1} << 40;
    if ((descriptor & kAccessed) != 0) return;
    std::uint64_t const base = (selector & kTableIndicator) != 0 ? state_.ldtr.base : state_.gdtr.base;
    (void)store_system<std::uint64_t>(base + (selector & ~std::uint64_t{7}), descriptor | kAccessed);
}

// [SDM2A] MOV: "Loading the segment register".
bool Cpu::load_segment(SegmentName name, std::uint16_t selector) {
    bool const real = !protected_mode() || (state_.rflags & rflags::kVirtual8086) != 0;
    if (real) {
        Segment segment = state_.segments[name];
        segment.selector = selector;
        segment.base = std::uint64_t{selector} << 4;
        set_segment(name, segment);
        return true;
    }
    if (is_null(selector)) {
        if (name == ss && !(in_64_bit_mode() && cpl() != 3 && rpl_of(selector) == cpl()))
            return fault(ExceptionVector::general_protection);
        Segment segment{};
        segment.selector = selector;
        if (name == ss) segment.dpl = static_cast<std::uint8_t>(cpl());
        set_segment(name, segment);
        return true;
    }
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return false;
    Segment const segment = segment_from(selector, *descriptor);
    std::uint32_t const code = error_code_of(selector);
    if (name == ss) {
        if (rpl_of(selector) != cpl() || !is_writable_data(segment) || segment.dpl != cpl())
            return fault(ExceptionVector::general_protection, code);
        if (!segment.present) return fault(ExceptionVector::stack_fault, code);
    } else {
        if (!is_readable(segment)) return fault(ExceptionVector::general_protection, code);
        if (!is_conforming(segment) && (rpl_of(selector) > segment.dpl || cpl() > segment.dpl))
            return fault(ExceptionVector::general_protection, code);
        if (!segment.present) return fault(ExceptionVector::segment_not_present, code);
    }
    mark_accessed(selector, *descriptor);
    set_segment(name, segment);
    return true;
}

bool Cpu::load_ldtr(std::uint16_t selector) {
    if (is_null(selector)) {
        state_.ldtr = Segment{};
        state_.ldtr.selector = selector;
        return true;
    }
    if ((selector & kTableIndicator) != 0) return fault(ExceptionVector::general_protection, error_code_of(selector));
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return false;
    Segment segment = segment_from(selector, *descriptor);
    if (segment.code_or_data || segment.type != kTypeLdt) return fault(ExceptionVector::general_protection, error_code_of(selector));
    if (!segment.present) return fault(ExceptionVector::segment_not_present, error_code_of(selector));
    if (long_mode_active()) {
        auto const high = load_system<std::uint64_t>(state_.gdtr.base + (selector & ~std::uint64_t{7}) + 8);
        if (!high.ok) return false;
        segment.base |= high.value << 32;
    }
    state_.ldtr = segment;
    return true;
}

bool Cpu::load_tr(std::uint16_t selector) {
    std::uint32_t const code = error_code_of(selector);
    if (is_null(selector)) return fault(ExceptionVector::general_protection);
    if ((selector & kTableIndicator) != 0) return fault(ExceptionVector::general_protection, code);
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return false;
    Segment segment = segment_from(selector, *descriptor);
    if (segment.code_or_data || segment.type != kTypeTssAvailable) return fault(ExceptionVector::general_protection, code);
    if (!segment.present) return fault(ExceptionVector::segment_not_present, code);
    std::uint64_t const where = state_.gdtr.base + (selector & ~std::uint64_t{7});
    if (long_mode_active()) {
        auto const high = load_system<std::uint64_t>(where + 8);
        if (!high.ok) return false;
        segment.base |= high.value << 32;
    }
    if (!store_system<std::uint64_t>(where, *descriptor | std::uint64_t{2} << 40)) return false;
    segment.type = kTypeTssBusy;
    state_.tr = segment;
    return true;
}

// [SDM2A] JMP, "GO TO CONFORMING/NONCONFORMING CODE SEGMENT".
std::optional<Segment> Cpu::code_segment_for(std::uint16_t selector) {
    std::uint32_t const code = error_code_of(selector);
    if (is_null(selector)) {
        fault(ExceptionVector::general_protection);
        return {};
    }
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return {};
    Segment segment = segment_from(selector, *descriptor);
    bool const allowed = is_code(segment) && (is_conforming(segment) ? segment.dpl <= cpl() : segment.dpl == cpl() && rpl_of(selector) <= cpl());
    bool const both_sizes = long_mode_active() && segment.long_mode && segment.big;
    if (!allowed || both_sizes) {
        fault(ExceptionVector::general_protection, code);
        return {};
    }
    if (!segment.present) {
        fault(ExceptionVector::segment_not_present, code);
        return {};
    }
    mark_accessed(selector, *descriptor);
    segment.selector = static_cast<std::uint16_t>((selector & ~kRplMask) | cpl());
    return segment;
}

Op const* Cpu::far_jump(Op const* op, std::uint16_t selector, std::uint64_t offset) {
    if (!protected_mode()) {
        if (!load_segment(cs, selector)) return leave(op);
        return jump(op, offset);
    }
    auto const segment = code_segment_for(selector);
    if (!segment) return leave(op);
    set_segment(cs, *segment);
    return jump(op, mode_ == CodeMode::bits64 ? offset : static_cast<std::uint32_t>(offset));
}

Op const* Cpu::far_call(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes) {
    std::optional<Segment> segment = state_.segments[cs];
    if (protected_mode()) {
        segment = code_segment_for(selector);
        if (!segment) return leave(op);
    }
    std::uint64_t const old[2] = {next_rip(op), state_.segments[cs].selector};
    std::uint64_t const top = stack_pointer_minus(2 * operand_bytes);
    std::byte frame[16];
    std::memcpy(frame, &old[0], operand_bytes);
    std::memcpy(frame + operand_bytes, &old[1], operand_bytes);
    if (!store_bytes(stack_address(top), frame, 2 * operand_bytes)) return leave_stack(op);
    set_stack_pointer(top);
    if (!protected_mode()) return far_jump(op, selector, offset);
    set_segment(cs, *segment);
    return jump(op, mode_ == CodeMode::bits64 ? offset : static_cast<std::uint32_t>(offset));
}

// [SDM2B] RET, far; to the same or an outer privilege.
Op const* Cpu::far_return(Op const* op, unsigned operand_bytes, std::uint64_t extra_bytes) {
    std::uint64_t frame[4]{};
    auto const pop = [&](unsigned first, unsigned count) {
        for (unsigned i = first; i < first + count; ++i)
            if (!load_bytes(stack_address(stack_pointer_plus(i * operand_bytes + (i >= 2 ? extra_bytes : 0))), &frame[i], operand_bytes)) return false;
        return true;
    };
    if (!pop(0, 2)) return leave_stack(op);
    auto const selector = static_cast<std::uint16_t>(frame[1]);
    if (!protected_mode()) {
        set_stack_pointer(stack_pointer_plus(2 * operand_bytes + extra_bytes));
        return far_jump(op, selector, frame[0]);
    }
    unsigned const new_cpl = rpl_of(selector);
    if (is_null(selector)) return raise(op, ExceptionVector::general_protection);
    if (new_cpl < cpl()) return raise(op, ExceptionVector::general_protection, error_code_of(selector));
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return leave(op);
    Segment const code = segment_from(selector, *descriptor);
    bool const allowed = is_code(code) && (is_conforming(code) ? code.dpl <= new_cpl : code.dpl == new_cpl);
    if (!allowed) return raise(op, ExceptionVector::general_protection, error_code_of(selector));
    if (!code.present) return raise(op, ExceptionVector::segment_not_present, error_code_of(selector));
    if (new_cpl == cpl()) {
        set_stack_pointer(stack_pointer_plus(2 * operand_bytes + extra_bytes));
        set_segment(cs, code);
        return jump(op, frame[0]);
    }
    if (!pop(2, 2)) return leave_stack(op);
    auto const stack_selector = static_cast<std::uint16_t>(frame[3]);
    Segment stack = flat_data(stack_selector, new_cpl);
    if (!is_null(stack_selector) || !code.long_mode || new_cpl == 3) {
        if (is_null(stack_selector)) return raise(op, ExceptionVector::general_protection);
        auto const stack_descriptor = read_descriptor(stack_selector, ExceptionVector::general_protection);
        if (!stack_descriptor) return leave(op);
        stack = segment_from(stack_selector, *stack_descriptor);
        if (rpl_of(stack_selector) != new_cpl || !is_writable_data(stack) || stack.dpl != new_cpl)
            return raise(op, ExceptionVector::general_protection, error_code_of(stack_selector));
        if (!stack.present) return raise(op, ExceptionVector::stack_fault, error_code_of(stack_selector));
    }
    state_.segments[cs] = code;
    set_segment(ss, stack);
    set_stack_pointer(stack_masked(frame[2] + extra_bytes));
    return jump(op, frame[0]);
}

}  // namespace backplane
