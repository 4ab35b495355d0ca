// SYSCALL, SYSRET, SYSENTER, SYSEXIT, as AMD has them: the first two in long and protected mode, the others in
// protected mode alone. [APM3] SYSCALL, SYSRET, SYSENTER, SYSEXIT
#include "cpu/cpu.h"
#include "cpu/descriptor.h"

namespace backplane {

namespace {
constexpr std::uint16_t with_rpl(std::uint64_t selector, unsigned level) {
    return static_cast<std::uint16_t>((selector & 0xfffc) | level);
}
}  // namespace

Op const* Cpu::syscall(Op const* op) {
    if ((state_.efer & efer::kSyscall) == 0) return raise(op, ExceptionVector::invalid_opcode);
    std::uint64_t const base = state_.star >> 32;
    std::uint64_t target = state_.star & 0xffff'ffff;
    bool const long_mode = long_mode_active();
    if (long_mode) {
        target = in_64_bit_mode() ? state_.lstar : state_.cstar;
        slot_[rcx] = next_rip(op);
        slot_[r11] = rflags();
    } else {
        slot_[rcx] = static_cast<std::uint32_t>(next_rip(op));
    }
    state_.segments[cs] = flat_code(with_rpl(base, 0), 0, long_mode);
    state_.segments[ss] = flat_data(static_cast<std::uint16_t>(with_rpl(base, 0) + 8), 0);
    std::uint64_t const cleared = long_mode ? state_.sfmask : rflags::kInterrupt | rflags::kVirtual8086;
    set_rflags(rflags() & ~(cleared | rflags::kResume));
    mode_changed();
    trap_dropped_ = (state_.rflags & rflags::kTrap) == 0;
    return jump(op, target);
}

// As AMD does it, the target is not checked here; a non-canonical one faults when it is fetched ([APM3] SYSRET).
Op const* Cpu::sysret(Op const* op, unsigned operand_bytes) {
    if ((state_.efer & efer::kSyscall) == 0 || !protected_mode()) return raise(op, ExceptionVector::invalid_opcode);
    if (cpl() != 0) return raise(op, ExceptionVector::general_protection);
    std::uint64_t const base = state_.star >> 48;
    bool const long_mode = long_mode_active();
    bool const to_64 = operand_bytes == 8;
    state_.segments[cs] = flat_code(with_rpl(to_64 ? base + 16 : base, 3), 3, to_64);
    state_.segments[ss] = flat_data(with_rpl(base + 8, 3), 3);
    constexpr std::uint64_t kLoaded = 0x3c'7fd7;
    set_rflags(long_mode ? (slot_[r11] & kLoaded) | rflags::kFixed : rflags() | rflags::kInterrupt);
    mode_changed();
    return jump(op, to_64 ? slot_[rcx] : static_cast<std::uint32_t>(slot_[rcx]));
}

// In long mode, compatibility mode included, AMD's processors do not have these two.
Op const* Cpu::sysenter(Op const* op) {
    if (long_mode_active()) return raise(op, ExceptionVector::invalid_opcode);
    if (!protected_mode() || (state_.sysenter_cs & 0xfffc) == 0) return raise(op, ExceptionVector::general_protection);
    state_.segments[cs] = flat_code(with_rpl(state_.sysenter_cs, 0), 0, false);
    state_.segments[ss] = flat_data(static_cast<std::uint16_t>(with_rpl(state_.sysenter_cs, 0) + 8), 0);
    set_rflags(rflags() & ~(rflags::kInterrupt | rflags::kVirtual8086 | rflags::kResume));
    slot_[rsp] = static_cast<std::uint32_t>(state_.sysenter_esp);
    mode_changed();
    return jump(op, static_cast<std::uint32_t>(state_.sysenter_eip));
}

Op const* Cpu::sysexit(Op const* op) {
    if (long_mode_active()) return raise(op, ExceptionVector::invalid_opcode);
    bool const allowed = protected_mode() && cpl() == 0 && (state_.sysenter_cs & 0xfffc) != 0;
    if (!allowed) return raise(op, ExceptionVector::general_protection);
    state_.segments[cs] = flat_code(with_rpl(state_.sysenter_cs + 16, 3), 3, false);
    state_.segments[ss] = flat_data(with_rpl(state_.sysenter_cs + 24, 3), 3);
    slot_[rsp] = static_cast<std::uint32_t>(slot_[rcx]);
    mode_changed();
    return jump(op, static_cast<std::uint32_t>(slot_[rdx]));
}

}  // namespace backplane
