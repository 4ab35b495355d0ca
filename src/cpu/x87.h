// The vocabulary of x87 instruction handlers ([SDM1] chapter 8): the register stack, its exceptions, and the host's
// x87, which computes.
//
// The host runs each operation with the guest's own control word, unmasked exceptions included: an x87 exception is
// reported only by the next waiting instruction, and between the operation and the reading of its status there are none
// of those. So results, flags and the biased results of unmasked overflow are the hardware's. The host's x87 is empty
// and in its initial state before and after. Stack faults, TOP and tags are decided here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/cpu.h"
#include "cpu/lower.h"
#include "cpu/simd.h"

namespace backplane {

static_assert(offsetof(X87Register, significand) == 0 && offsetof(X87Register, sign_exponent) == 8,
              "FLD m80 reads an X87Register in place");

namespace x87 {
inline constexpr std::uint16_t kInvalid = 1 << 0, kDenormal = 1 << 1, kDivideByZero = 1 << 2, kOverflow = 1 << 3,
                               kUnderflow = 1 << 4, kPrecision = 1 << 5, kStackFault = 1 << 6, kSummary = 1 << 7,
                               kC0 = 1 << 8, kC1 = 1 << 9, kC2 = 1 << 10, kC3 = 1 << 14, kBusy = 1 << 15;
inline constexpr std::uint16_t kExceptions = 0x3f;
/// Unmasked, these keep an operation from writing; the last two only if it writes to memory ([SDM1] 8.4).
inline constexpr std::uint16_t kBefore = kInvalid | kDenormal | kDivideByZero;
inline constexpr std::uint16_t kBeforeStore = kBefore | kOverflow | kUnderflow;
inline constexpr std::uint16_t kConditions = kC0 | kC1 | kC2 | kC3;
/// The default quiet NaN, answer to masked invalid operations.
inline constexpr X87Register kIndefinite{0xc000'0000'0000'0000, 0xffff};
}  // namespace x87

// --- the register stack -------------------------------------------------------------------------------------------

[[nodiscard]] inline unsigned stack_top(X87State const& state) { return state.status >> 11 & 7; }
inline void set_stack_top(X87State& state, unsigned top) {
    state.status = static_cast<std::uint16_t>((state.status & ~0x3800) | (top & 7) << 11);
}
/// The physical number of ST(i); ST(-1) is where a push goes.
[[nodiscard]] inline unsigned physical(X87State const& state, int i) {
    return (stack_top(state) + static_cast<unsigned>(i)) & 7;
}
[[nodiscard]] inline bool is_empty(X87State const& state, int i) {
    return (state.valid >> physical(state, i) & 1) == 0;
}
[[nodiscard]] inline X87Register const& read_st(X87State const& state, int i) {
    return state.registers[physical(state, i)];
}
inline void write_st(X87State& state, int i, X87Register const& value) {
    unsigned const number = physical(state, i);
    state.registers[number] = value;
    state.valid = static_cast<std::uint8_t>(state.valid | 1u << number);
}
inline void free_st(X87State& state, int i) {
    state.valid = static_cast<std::uint8_t>(state.valid & ~(1u << physical(state, i)));
}
inline void pop(X87State& state) {
    free_st(state, 0);
    set_stack_top(state, stack_top(state) + 1);
}
inline void push(X87State& state, X87Register const& value) {
    set_stack_top(state, stack_top(state) - 1);
    write_st(state, 0, value);
}

// --- exceptions ---------------------------------------------------------------------------------------------------

inline void clear_conditions(X87State& state, std::uint16_t conditions) {
    state.status = static_cast<std::uint16_t>(state.status & ~conditions);
}
/// Sets exception flags, and the summary when one of them is unmasked.
inline void add_exceptions(X87State& state, std::uint16_t flags) {
    bool const unmasked = (flags & ~state.control & x87::kExceptions) != 0;
    state.status = static_cast<std::uint16_t>(state.status | flags | (unmasked ? x87::kSummary | x87::kBusy : 0));
}
enum class Response : std::uint8_t { masked, unmasked };
/// An empty register was read. Masked: the operation goes on with the indefinite value.
inline Response stack_underflow(X87State& state) {
    clear_conditions(state, x87::kC1);
    add_exceptions(state, x87::kInvalid | x87::kStackFault);
    return (state.control & x87::kInvalid) != 0 ? Response::masked : Response::unmasked;
}
/// A full register was to be pushed upon.
inline Response stack_overflow(X87State& state) {
    add_exceptions(state, x87::kInvalid | x87::kStackFault | x87::kC1);
    return (state.control & x87::kInvalid) != 0 ? Response::masked : Response::unmasked;
}

// --- the host -----------------------------------------------------------------------------------------------------

/// The operands of one operation, before and after it.
struct HostX87 {
    X87Register st0{};
    X87Register st1{};
    X87Register memory{};  ///< a memory operand of up to 10 bytes
    std::uint16_t control{0};
    std::uint16_t status{0};

    /// True when an unmasked exception kept the operation from writing its result.
    [[nodiscard]] bool refused(std::uint16_t exceptions = x87::kBefore) const {
        return (status & ~control & exceptions) != 0;
    }
};

#define BACKPLANE_HOST_X87(host, before, operation, after)                                                           \
    asm volatile(                                                                                                    \
        "fninit\n\tfldcw %[control]\n\t" before operation "\n\tfnstsw %[status]\n\tfnclex\n\t" after "fninit"        \
        : [st0] "+m"((host).st0), [st1] "+m"((host).st1), [memory] "+m"((host).memory), [status] "=m"((host).status) \
        : [control] "m"((host).control)                                                                              \
        : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc")

/// Takes the exceptions and C1 of an operation, and the other condition codes that it defines.
inline void take_status(X87State& state, HostX87 const& host, std::uint16_t conditions = 0) {
    auto const taken = static_cast<std::uint16_t>(conditions | x87::kC1);
    clear_conditions(state, taken);
    auto const news = x87::kExceptions | x87::kSummary | x87::kBusy | taken;
    state.status = static_cast<std::uint16_t>(state.status | (host.status & news));
}

// --- what each handler begins and ends with
// ---------------------------------------------------------------------------

/// False when a waiting x87 instruction must not run: CR0, or an exception of an earlier one.
[[nodiscard]] inline bool x87_ready(Cpu& cpu) { return cpu.x87_ok() && !x87_exception_waits(cpu); }
[[nodiscard, gnu::cold]] Op const* raise_x87_unavailable(Cpu& cpu, Op const* op);

/// Remembers the last non-control instruction (FIP, FOP) for exception handlers. Lowering put the opcode in op->imm.
inline void note_instruction(Cpu& cpu, Op const* op) {
    cpu.x87().last_instruction = cpu.rip_of(op);
    cpu.x87().last_opcode = static_cast<std::uint16_t>(op->imm);
}
inline void note_memory_instruction(Cpu& cpu, Op const* op) {
    note_instruction(cpu, op);
    cpu.x87().last_data = cpu.effective_address(op);
}

// --- lowering -----------------------------------------------------------------------------------------------------

/// The 11 bits of FOP ([SDM1] 8.1.9): low bits of the first opcode byte, then ModRM.
[[nodiscard]] inline std::int64_t fop_of(Lowering const& l) {
    auto const& modrm = l.instruction.raw.modrm;
    return (l.instruction.opcode & 7) << 8 | modrm.mod << 6 | modrm.reg << 3 | modrm.rm;
}
/// The i of ST(i) as the encoding has it.
[[nodiscard]] inline std::uint8_t stack_index(Lowering const& l) { return l.instruction.raw.modrm.rm; }

template <Handler kHandler>
void lower_x87_as(Lowering& l) {
    l.op.imm = fop_of(l);
    l.op.src = stack_index(l);
    l.op.run = kHandler;
}

// The parts of lower_x87().
void lower_x87_arithmetic(LowerTable& table);
void lower_x87_compare(LowerTable& table);
void lower_x87_move(LowerTable& table);
void lower_x87_function(LowerTable& table);
void lower_x87_control(LowerTable& table);

}  // namespace backplane
