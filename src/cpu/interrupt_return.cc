// IRET in its five forms: real mode, virtual-8086 mode, to it, from a nested task, and to the same or an outer
// privilege. [SDM2A] IRET/IRETD/IRETQ
#include "cpu/cpu.h"
#include "cpu/descriptor.h"

namespace backplane {

namespace {
constexpr std::uint64_t kAlwaysLoaded = rflags::kArithmetic | rflags::kTrap | rflags::kDirection | rflags::kNestedTask |
                                        rflags::kResume | rflags::kAlignmentCheck | rflags::kIdentification;

/// Flags that a return outside of real and virtual-8086 mode loads.
std::uint64_t loadable_flags(unsigned cpl, std::uint64_t now) {
    std::uint64_t loadable = kAlwaysLoaded;
    if (cpl == 0) loadable |= rflags::kIopl;
    if (cpl <= (now & rflags::kIopl) >> 12) loadable |= rflags::kInterrupt;
    return loadable;
}

/// Pops count values of `bytes` without moving the stack pointer. False: a fault is pending.
bool peek(Cpu& cpu, std::uint64_t* into, unsigned first, unsigned count, unsigned bytes) {
    for (unsigned i = first; i < first + count; ++i) {
        std::uint64_t const offset = cpu.stack_pointer_plus(std::uint64_t{i} * bytes);
        if (!cpu.load_bytes(cpu.stack_address(offset, bytes), &into[i], bytes)) return false;
    }
    return true;
}
}  // namespace

Op const* Cpu::interrupt_return(Op const* op, unsigned operand_bytes) {
    bool const low_iopl = (state_.rflags & rflags::kIopl) != rflags::kIopl;
    if (virtual_8086() && low_iopl) return raise(op, ExceptionVector::general_protection);
    bool const nested = protected_mode() && !virtual_8086() && (state_.rflags & rflags::kNestedTask) != 0;
    if (nested && long_mode_active()) return raise(op, ExceptionVector::general_protection);
    state_.nmi_blocked = false;  // even if it faults below ([SDM3A] 6.7.1)
    look_for_interrupts();
    if (nested) return return_from_task(op);
    std::uint64_t frame[5]{};  // rip, cs, rflags, rsp, ss
    if (in_64_bit_mode() && operand_bytes == 8) {
        std::uint64_t const top = slot_[rsp];
        TlbEntry const& entry = tlb_->read.slot(top);
        if (top - entry.tag <= kPageBytes - sizeof(frame)) {
            std::memcpy(frame, reinterpret_cast<void const*>(top + entry.addend), sizeof(frame));
            if (return_plainly(frame)) return jump(op, frame[0]);
        }
    }
    if (!peek(*this, frame, 0, 3, operand_bytes)) return leave_stack(op);
    if (real_addressing()) return return_in_real_mode(op, {frame[0], frame[1], frame[2]}, operand_bytes);
    bool const to_8086 =
        !long_mode_active() && cpl() == 0 && operand_bytes == 4 && (frame[2] & rflags::kVirtual8086) != 0;
    if (to_8086) return return_to_virtual_8086(op, {frame[0], frame[1], frame[2]});

    auto const selector = static_cast<std::uint16_t>(frame[1]);
    unsigned const level = rpl_of(selector);
    Segment code;
    if (!check_return_code(selector, code)) return leave(op);
    bool const outward = level != cpl();
    bool const with_stack = in_64_bit_mode() || outward;
    Segment stack = state_.segments[ss];
    if (with_stack) {
        if (!peek(*this, frame, 3, 2, operand_bytes)) return leave_stack(op);
        if (!check_return_stack(static_cast<std::uint16_t>(frame[4]), code, stack)) return leave(op);
    }
    if (!is_in_code(code, frame[0])) return raise(op, ExceptionVector::general_protection);

    std::uint64_t writable = loadable_flags(cpl(), state_.rflags);
    if (operand_bytes == 2) writable &= 0xffff;
    std::uint64_t const new_flags = (rflags() & ~writable) | (frame[2] & writable);
    std::uint64_t const old_top = stack_pointer_plus(3 * std::uint64_t{operand_bytes});
    if (!with_stack) set_stack_pointer(old_top);
    state_.segments[ss] = stack;
    state_.segments[cs] = code;
    mode_changed();  // the stack's width is the new one's from here on
    if (with_stack) set_stack_pointer(in_64_bit_mode() ? frame[3] : stack_masked(frame[3]));
    if (outward) drop_inner_segments();
    set_rflags(new_flags);
    return jump(op, frame[0]);
}

/// Of the GDT, if the TLB holds it.
std::optional<std::uint64_t> Cpu::known_descriptor(std::uint16_t selector) {
    std::uint32_t const offset = selector & ~std::uint32_t{7};
    std::uint64_t const address = state_.gdtr.base + offset;
    TlbEntry const& entry = supervisor_tlb_.read.slot(address);
    std::uint64_t descriptor = 0;
    bool const is_known = !is_null(selector) && !is_local(selector) && offset + 7 <= state_.gdtr.limit && address - entry.tag <= kPageBytes - sizeof(descriptor);
    if (!is_known) return {};
    std::memcpy(&descriptor, reinterpret_cast<void const*>(address + entry.addend), sizeof(descriptor));
    return descriptor;
}

/// What nearly all returns are: from 64-bit code to 64-bit code, through segments that have been used before, to which no
/// segment has to be given up. False: it is not one of these, and nothing has happened.
bool Cpu::return_plainly(std::uint64_t const* frame) {
    constexpr std::uint64_t kAccessed = std::uint64_t{1} << 40, kWritable = std::uint64_t{1} << 41, kConforming = std::uint64_t{1} << 42,
                            kCode = std::uint64_t{1} << 43, kCodeOrData = std::uint64_t{1} << 44, kPresent = std::uint64_t{1} << 47,
                            kLong = std::uint64_t{1} << 53, kBig = std::uint64_t{1} << 54;
    constexpr unsigned kDplShift = 45;
    constexpr std::uint64_t kDpl = std::uint64_t{3} << kDplShift;
    auto const code_selector = static_cast<std::uint16_t>(frame[1]), stack_selector = static_cast<std::uint16_t>(frame[4]);
    unsigned const level = rpl_of(code_selector);
    if (level < cpl() || rpl_of(stack_selector) != level || !is_canonical(frame[0])) return false;
    auto const code = known_descriptor(code_selector);
    constexpr std::uint64_t kWantedCode = kAccessed | kCode | kCodeOrData | kPresent | kLong;
    if (!code || (*code & (kWantedCode | kConforming | kBig | kDpl)) != (kWantedCode | std::uint64_t{level} << kDplShift)) return false;
    Segment stack{.selector = stack_selector, .dpl = static_cast<std::uint8_t>(level)};
    if (!is_null(stack_selector)) {
        auto const data = known_descriptor(stack_selector);
        constexpr std::uint64_t kWantedData = kAccessed | kWritable | kCodeOrData | kPresent;
        if (!data || (*data & (kWantedData | kCode | kDpl)) != (kWantedData | std::uint64_t{level} << kDplShift)) return false;
        stack = segment_from(stack_selector, *data);
    } else if (level == 3) {
        return false;
    }
    constexpr SegmentName kOthers[]{es, ds, fs, gs};
    bool const outward = level != cpl();
    if (outward)
        for (SegmentName const name : kOthers)
            if (state_.segments[name].present && state_.segments[name].dpl < level) return false;

    std::uint64_t const writable = loadable_flags(cpl(), state_.rflags);
    if (outward)
        for (SegmentName const name : kOthers)
            if (!state_.segments[name].present && is_null(state_.segments[name].selector)) state_.segments[name].selector = 0;
    state_.segments[cs] = segment_from(code_selector, *code);
    state_.segments[ss] = stack;
    cpl_ = static_cast<std::uint8_t>(level);
    slot_[rsp] = frame[3];
    set_rflags((state_.rflags & ~writable) | (frame[2] & writable));
    choose_view();
    return true;
}

// Also in virtual-8086 mode with IOPL 3, where IOPL stays.
Op const* Cpu::return_in_real_mode(Op const* op, std::array<std::uint64_t, 3> const& frame, unsigned operand_bytes) {
    if (frame[0] > state_.segments[cs].limit) return raise(op, ExceptionVector::general_protection);
    std::uint64_t writable = kAlwaysLoaded | rflags::kInterrupt;
    if (!virtual_8086()) writable |= rflags::kIopl;
    if (operand_bytes == 2) writable &= 0xffff;
    set_stack_pointer(stack_pointer_plus(3 * std::uint64_t{operand_bytes}));
    set_real_segment(cs, static_cast<std::uint16_t>(frame[1]));
    mode_changed();
    set_rflags((rflags() & ~writable) | (frame[2] & writable));
    return jump(op, frame[0]);
}

// [SDM3A] 20.2.5: EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS.
Op const* Cpu::return_to_virtual_8086(Op const* op, std::array<std::uint64_t, 3> const& frame) {
    std::uint64_t rest[9]{};
    if (!peek(*this, rest, 3, 6, 4)) return leave_stack(op);
    if (frame[0] > 0xffff) return raise(op, ExceptionVector::general_protection);
    constexpr std::uint64_t kLoaded = kAlwaysLoaded | rflags::kInterrupt | rflags::kIopl | rflags::kVirtual8086;
    set_rflags(frame[2] & kLoaded);
    set_real_segment(cs, static_cast<std::uint16_t>(frame[1]));
    constexpr SegmentName kNames[] = {ss, es, ds, fs, gs};
    for (unsigned i = 0; i < 5; ++i) set_real_segment(kNames[i], static_cast<std::uint16_t>(rest[4 + i]));
    slot_[rsp] = rest[3];
    mode_changed();
    return jump(op, frame[0]);
}

// [SDM3A] 7.4: back to the task that the link in this one's TSS names.
Op const* Cpu::return_from_task(Op const* op) {
    auto const link = load_system<std::uint16_t>(state_.tr.base);
    if (!link.ok) return leave(op);
    rip_ = rip_of(op);
    if (!switch_task(link.value, TaskCause::iret, next_rip(op), 0)) return leave(op);
    return nullptr;
}

}  // namespace backplane
