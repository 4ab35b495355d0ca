#include "cpu/simd.h"

namespace backplane {

Op const* raise_simd_unavailable(Cpu& cpu, Op const* op) {
    CpuState const& state = cpu.raw_state();
    if ((state.cr0 & cr0::kEmulation) != 0 || (state.cr4 & cr4::kFxsave) == 0)
        return cpu.raise(op, ExceptionVector::invalid_opcode);
    return cpu.raise(op, ExceptionVector::device_not_available);
}

// [SDM2A] 2.4.1: unlike legacy SSE, VEX does not look at CR0.EM and CR4.OSFXSR.
Op const* raise_avx_unavailable(Cpu& cpu, Op const* op) {
    CpuState const& state = cpu.raw_state();
    constexpr std::uint64_t kNeeded = xcr0::kSse | xcr0::kAvx;
    bool const exists = !cpu.real_addressing() && (state.cr4 & cr4::kXsave) != 0 && (state.xcr0 & kNeeded) == kNeeded;
    return cpu.raise(op, exists ? ExceptionVector::device_not_available : ExceptionVector::invalid_opcode);
}

Op const* raise_mmx_unavailable(Cpu& cpu, Op const* op) {
    if ((cpu.raw_state().cr0 & cr0::kEmulation) != 0) return cpu.raise(op, ExceptionVector::invalid_opcode);
    if ((cpu.raw_state().cr0 & cr0::kTaskSwitched) != 0) return cpu.raise(op, ExceptionVector::device_not_available);
    return cpu.raise(op, ExceptionVector::x87_error);
}

Operand load_vector_slow(Cpu& cpu, std::uint64_t address) {
    Operand operand{Vector128{}, false};
    operand.ok = cpu.load_bytes(address, &operand.value, 16);
    return operand;
}

bool store_vector_slow(Cpu& cpu, std::uint64_t address, Vector128 value) {
    return cpu.store_bytes(address, &value, 16);
}

bool note_misaligned(Cpu& cpu) { return cpu.fault(ExceptionVector::general_protection); }

void note_misaligned_image(Cpu& cpu, Op const* op, std::uint64_t address) {
    bool const beyond = cpu.in_64_bit_mode() && !Cpu::is_canonical(address);
    cpu.fault(beyond && op->stack != 0 ? ExceptionVector::stack_fault : ExceptionVector::general_protection);
}

// --- unmasked exceptions --------------------------------------------------------------------------------------------

void isolate_simd_flags(Cpu& cpu) {
    CpuState& state = cpu.raw_state();
    gather_host_flags(state);
    std::uint32_t modes = (state.mxcsr & ~mxcsr::kFlags) | mxcsr::kMasks;
    // Flushing to zero is the masked answer to an underflow; unmasked, there is none.
    if ((state.mxcsr & mxcsr::kUnderflow << mxcsr::kMaskShift) == 0) modes &= ~mxcsr::kFlushToZero;
    write_host_mxcsr(modes);
}

namespace {

constexpr std::uint32_t kOperandExceptions = mxcsr::kInvalid | mxcsr::kDenormal | mxcsr::kDivideByZero;

constexpr bool is_denormal_single(std::uint32_t bits) { return (bits & 0x7f80'0000) == 0 && (bits & 0x007f'ffff) != 0; }
constexpr bool is_denormal_double(std::uint64_t bits) {
    return (bits & 0x7ff0'0000'0000'0000) == 0 && (bits & 0x000f'ffff'ffff'ffff) != 0;
}

[[nodiscard]] constexpr unsigned count_of(Lanes lanes) {
    return lanes == Lanes::four_singles ? 4 : lanes == Lanes::two_doubles ? 2 : 1;
}
[[nodiscard]] constexpr bool is_single(Lanes lanes) {
    return lanes == Lanes::one_single || lanes == Lanes::four_singles;
}
[[nodiscard]] std::uint32_t single_in(Vector128 value, unsigned lane) {
    return static_cast<std::uint32_t>(value[lane / 2] >> 32 * (lane % 2));
}

bool has_tiny_half(Vector128 result) {
    for (unsigned lane = 0; lane < 8; ++lane) {
        auto const bits = static_cast<std::uint16_t>(result[lane / 4] >> 16 * (lane % 4));
        if ((bits & 0x7c00) == 0 && (bits & 0x3ff) != 0) return true;
    }
    return false;
}

bool has_tiny_result(Vector128 result, FloatKind kind) {
    if (kind.arithmetic == Arithmetic::halves) return has_tiny_half(result);
    Lanes const lanes = kind.lanes;
    for (unsigned lane = 0; lane < count_of(lanes); ++lane)
        if (is_single(lanes) ? is_denormal_single(single_in(result, lane)) : is_denormal_double(result[lane]))
            return true;
    return false;
}

/// The same operation on the host's x87, rounded to the same precision but with 15 bits of exponent: true when it is
/// inexact even so, which is what the precision exception means once overflow or underflow is unmasked.
bool is_inexact_unbounded(Arithmetic arithmetic, double a, double b, std::uint16_t control) {
    std::uint16_t status = 0;
#define BACKPLANE_UNBOUNDED(text)                                                                                 \
    asm volatile("fninit\n\tfldcw %[control]\n\tfldl %[b]\n\tfldl %[a]\n\t" text "\n\tfnstsw %[status]\n\tfninit" \
                 : [status] "=m"(status)                                                                          \
                 : [control] "m"(control), [a] "m"(a), [b] "m"(b)                                                 \
                 : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc")
    switch (arithmetic) {
        case Arithmetic::exact:
        case Arithmetic::none:
        case Arithmetic::fused:
        case Arithmetic::halves:
            return false;
        case Arithmetic::add:
            BACKPLANE_UNBOUNDED("fadd %%st(1), %%st");
            break;
        case Arithmetic::subtract:
            BACKPLANE_UNBOUNDED("fsub %%st(1), %%st");
            break;
        case Arithmetic::multiply:
            BACKPLANE_UNBOUNDED("fmul %%st(1), %%st");
            break;
        case Arithmetic::divide:
            BACKPLANE_UNBOUNDED("fdiv %%st(1), %%st");
            break;
        case Arithmetic::narrow:
            BACKPLANE_UNBOUNDED("fldz\n\tfaddp %%st, %%st(2)");
            break;  // b + 0: rounding alone
    }
#undef BACKPLANE_UNBOUNDED
    return (status & mxcsr::kPrecision) != 0;
}

/// An element as a double, as DAZ lets the operation see it. Every single is a double exactly.
double element(Vector128 value, unsigned lane, bool single, bool denormals_are_zeros) {
    double result = 0;
    if (single) {
        std::uint32_t bits = single_in(value, lane);
        if (denormals_are_zeros && is_denormal_single(bits)) bits &= 0x8000'0000;
        // Through the x87, which has no DAZ and whose flags nobody reads.
        asm volatile("flds %1\n\tfstpl %0" : "=m"(result) : "m"(bits) : "st");
    } else {
        std::uint64_t bits = value[lane];
        if (denormals_are_zeros && is_denormal_double(bits)) bits &= 0x8000'0000'0000'0000;
        std::memcpy(&result, &bits, sizeof result);
    }
    return result;
}

bool any_inexact_unbounded(std::uint32_t modes, FloatKind kind, FloatOutcome const& outcome) {
    bool const narrowing = kind.arithmetic == Arithmetic::narrow;
    bool const single = is_single(kind.lanes);
    bool const zeros = (modes & mxcsr::kDenormalsAreZeros) != 0;
    auto const rounding = static_cast<std::uint16_t>((modes >> 13 & 3) << 10);
    auto const control = static_cast<std::uint16_t>(0x3f | (single ? 0 : 0x200) | rounding);
    // CVTPD2PS fills two of its four elements.
    unsigned const count = narrowing && count_of(kind.lanes) == 4 ? 2 : count_of(kind.lanes);
    bool inexact = false;
    for (unsigned lane = 0; lane < count; ++lane) {
        double const a = narrowing ? 0 : element(outcome.destination, lane, single, zeros);
        double const b = element(outcome.source, lane, single && !narrowing, zeros);
        inexact = inexact || is_inexact_unbounded(kind.arithmetic, a, b, control);
    }
    return inexact;
}

bool settle(Cpu& cpu, std::uint32_t raised) {
    CpuState& state = cpu.raw_state();
    std::uint32_t const unmasked = ~state.mxcsr >> mxcsr::kMaskShift & mxcsr::kFlags;
    // An unmasked exception of the operands keeps those of the result from being looked for ([SDM1] 11.5.4).
    if ((raised & unmasked & kOperandExceptions) != 0) raised &= kOperandExceptions;
    state.mxcsr |= raised;
    load_host_mxcsr(state);
    if ((raised & unmasked) == 0) return true;
    return cpu.fault((state.cr4 & cr4::kSimdExceptions) != 0 ? ExceptionVector::simd_error
                                                             : ExceptionVector::invalid_opcode);
}

}  // namespace

bool settle_simd_flags(Cpu& cpu) { return settle(cpu, read_host_mxcsr() & mxcsr::kFlags); }

bool settle_simd_flags(Cpu& cpu, FloatKind kind, FloatOutcome const& outcome) {
    return settle_simd_flags(cpu, kind, outcome, FloatOutcome{});
}

bool settle_simd_flags(Cpu& cpu, FloatKind kind, FloatOutcome const& low, FloatOutcome const& high) {
    if (kind.arithmetic == Arithmetic::exact) return settle_simd_flags(cpu);
    std::uint32_t const modes = cpu.raw_state().mxcsr;
    std::uint32_t const unmasked = ~modes >> mxcsr::kMaskShift & mxcsr::kFlags;
    std::uint32_t raised = read_host_mxcsr() & mxcsr::kFlags;
    // Unmasked underflow reports a tiny result even if it is exact ([SDM1] 4.9.1.5).
    bool const tiny = (unmasked & mxcsr::kUnderflow) != 0 && (has_tiny_result(low.result, kind) || has_tiny_result(high.result, kind));
    bool const huge = (unmasked & raised & mxcsr::kOverflow) != 0;
    if (tiny) raised |= mxcsr::kUnderflow;
    bool const knows_unbounded = kind.arithmetic != Arithmetic::fused && kind.arithmetic != Arithmetic::halves;
    if ((tiny || huge) && knows_unbounded) {
        bool const masked_overflow = (raised & ~unmasked & mxcsr::kOverflow) != 0;
        bool const inexact =
            masked_overflow || any_inexact_unbounded(modes, kind, low) || any_inexact_unbounded(modes, kind, high);
        raised = inexact ? raised | mxcsr::kPrecision : raised & ~mxcsr::kPrecision;
    }
    return settle(cpu, raised);
}

}  // namespace backplane
