// The vocabulary of vector instruction handlers: 16-byte values, their memory operands, and handler templates that turn
// one host instruction into the forms a guest can write.
//
// An operation is a struct with `static Vector128 apply(Vector128 destination, Vector128 source)`, one host
// instruction; a source is a struct with `static Operand read(Cpu&, Op const*)`. NaN choice, rounding and denormals are
// exact because the host's own instruction decides them.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/cpu.h"
#include "cpu/lower.h"
#include "cpu/mxcsr.h"

namespace backplane {

using Vector128 = std::uint64_t __attribute__((vector_size(16)));

struct Operand {
    Vector128 value;
    bool ok;
};

/// #UD or #NM, as CR0 and CR4 say ([SDM3A] tables 2-3 and 13-1).
[[nodiscard, gnu::cold]] Op const* raise_simd_unavailable(Cpu& cpu, Op const* op);
[[nodiscard, gnu::cold]] Op const* raise_avx_unavailable(Cpu& cpu, Op const* op);
[[nodiscard, gnu::cold]] Op const* raise_mmx_unavailable(Cpu& cpu, Op const* op);

// --- registers ----------------------------------------------------------------------------------------------------

[[nodiscard]] inline Vector128 read_xmm(Cpu& cpu, std::uint8_t number) {
    Vector128 value;
    std::memcpy(&value, cpu.xmm(number).words.data(), sizeof value);
    return value;
}
inline void write_xmm(Cpu& cpu, std::uint8_t number, Vector128 value) {
    std::memcpy(cpu.xmm(number).words.data(), &value, sizeof value);
}

/// True when an unmasked x87 exception waits to be reported by the next x87 or MMX instruction. With CR0.NE clear the
/// processor would assert FERR#; that pin leads nowhere here, so the exception then stays in the status word.
[[nodiscard]] inline bool x87_exception_waits(Cpu& cpu) {
    return (cpu.x87().status & 0x80) != 0 && (cpu.raw_state().cr0 & cr0::kNumericError) != 0;
}

/// False when an MMX instruction must not run now: CR0, or an x87 exception waits.
[[nodiscard]] inline bool mmx_ok(Cpu& cpu) { return cpu.x87_ok() && !x87_exception_waits(cpu); }

/// What every MMX instruction but EMMS does to the x87 stack ([SDM1] 9.5.1): TOP = 0, all tags valid.
inline void enter_mmx(Cpu& cpu) {
    cpu.x87().status &= 0xc7ff;
    cpu.x87().valid = 0xff;
}
[[nodiscard]] inline std::uint64_t read_mmx(Cpu& cpu, std::uint8_t number) {
    return cpu.x87().registers[number].significand;
}
/// MMX register n is the significand of R(n); sign and exponent become all ones.
inline void write_mmx(Cpu& cpu, std::uint8_t number, std::uint64_t value) {
    cpu.x87().registers[number] = {value, 0xffff};
}

// --- memory -------------------------------------------------------------------------------------------------------

[[nodiscard, gnu::cold]] Operand load_vector_slow(Cpu& cpu, std::uint64_t address);
[[nodiscard, gnu::cold]] bool store_vector_slow(Cpu& cpu, std::uint64_t address, Vector128 value);
/// Notes the fault of an operand that is not aligned to 16 bytes: #GP(0), whatever the segment.
[[gnu::cold]] bool note_misaligned(Cpu& cpu);
/// The same for the image of FXSAVE or XSAVE: unlike other operands it is first looked at for a non-canonical stack
/// address.
[[gnu::cold]] void note_misaligned_image(Cpu& cpu, Op const* op, std::uint64_t address);
/// MASKMOVDQU. False: a fault is noted.
[[nodiscard]] bool store_selected_bytes(Cpu& cpu, std::uint64_t address, Vector128 data, Vector128 mask);

/// For the images of FXSAVE, FNSAVE and the like: the processor (AMD's) touches the last byte first, which shows in the
/// address of a page fault. False: a fault or `alone` is noted.
[[nodiscard]] inline bool may_load_end(Cpu& cpu, std::uint64_t address, std::uint32_t bytes) {
    return cpu.load<std::uint8_t>(address + bytes - 1).ok;
}
[[nodiscard]] inline bool may_store_end(Cpu& cpu, std::uint64_t address, std::uint32_t bytes) {
    return cpu.may_store(address + bytes - 1, 1);
}

[[nodiscard]] inline Operand load_vector(Cpu& cpu, std::uint64_t address) {
    std::byte const* const host = cpu.read_pointer(address);
    Vector128 value;
    bool ok = true;
    if (host != nullptr && (address & kPageMask) <= kPageBytes - 16) [[likely]] {
        std::memcpy(&value, host, 16);
    } else {
        Operand const slow = load_vector_slow(cpu, address);
        value = slow.value;
        ok = slow.ok;
    }
    return {value, ok};
}
[[nodiscard]] inline bool store_vector(Cpu& cpu, std::uint64_t address, Vector128 value) {
    std::byte* const host = cpu.write_pointer(address);
    if (host == nullptr || (address & kPageMask) > kPageBytes - 16) [[unlikely]]
        return store_vector_slow(cpu, address, value);
    std::memcpy(host, &value, 16);
    return true;
}

// --- sources ------------------------------------------------------------------------------------------------------

struct FromXmm {
    static Operand read(Cpu& cpu, Op const* op) { return {read_xmm(cpu, op->src), true}; }
};
struct FromMmx {
    static Operand read(Cpu& cpu, Op const* op) { return {Vector128{read_mmx(cpu, op->src), 0}, true}; }
};
/// 16 bytes, which must be aligned.
struct FromMemory128 {
    static Operand read(Cpu& cpu, Op const* op) {
        std::uint64_t const address = cpu.address(op);
        if ((address & 15) != 0) [[unlikely]] {
            note_misaligned(cpu);
            return {Vector128{}, false};
        }
        return load_vector(cpu, address);
    }
};
struct FromMemoryUnaligned {
    static Operand read(Cpu& cpu, Op const* op) { return load_vector(cpu, cpu.address(op)); }
};
/// sizeof(T) bytes, zero-extended.
template <typename T>
struct FromMemory {
    static Operand read(Cpu& cpu, Op const* op) {
        auto const loaded = cpu.load<T>(cpu.address(op));
        return {Vector128{loaded.value, 0}, loaded.ok};
    }
};
using FromMemory64 = FromMemory<std::uint64_t>;
using FromMemory32 = FromMemory<std::uint32_t>;
/// The immediate, as a shift count.
struct FromImmediate {
    static Operand read(Cpu&, Op const* op) { return {Vector128{static_cast<std::uint8_t>(op->imm), 0}, true}; }
};

// --- handlers -----------------------------------------------------------------------------------------------------

/// xmm = Operation(xmm, source), where no floating-point exception can arise.
template <typename Operation, typename Source>
Op const* vector_op(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    write_xmm(cpu, op->dst, Operation::apply(read_xmm(cpu, op->dst), source.value));
    BACKPLANE_NEXT(cpu, op);
}

/// mm = Operation(mm, source) in the low 8 bytes.
template <typename Operation, typename Source>
Op const* mmx_op(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    enter_mmx(cpu);
    write_mmx(cpu, op->dst, Operation::apply(Vector128{read_mmx(cpu, op->dst), 0}, source.value)[0]);
    BACKPLANE_NEXT(cpu, op);
}

/// How a floating-point result can overflow or be tiny: by which operation, in which elements. Needed when these
/// exceptions are unmasked, since the host, which has them masked, then reports them differently.
/// `fused`: more than one rounding or operation, so that PE stays what the host says. `halves`: results of 16 bits.
/// `none`: raises nothing at all.
enum class Arithmetic : std::uint8_t { exact, add, subtract, multiply, divide, narrow, fused, halves, none };
enum class Lanes : std::uint8_t { one_single, four_singles, one_double, two_doubles };
struct FloatKind {
    Arithmetic arithmetic{Arithmetic::exact};
    Lanes lanes{Lanes::one_single};
};

/// What an operation took and made.
struct FloatOutcome {
    Vector128 destination;
    Vector128 source;
    Vector128 result;
};

/// Before an operation whose exceptions may reach the guest: the host's flags move into the guest's word.
[[gnu::cold]] void isolate_simd_flags(Cpu& cpu);
/// After it: false when an unmasked exception arose (#XM or #UD is noted); nothing may be written then.
[[nodiscard, gnu::cold]] bool settle_simd_flags(Cpu& cpu);
[[nodiscard, gnu::cold]] bool settle_simd_flags(Cpu& cpu, FloatKind kind, FloatOutcome const& outcome);
/// The same for an operation on 256 bits; the second half may be zeros.
[[nodiscard, gnu::cold]] bool settle_simd_flags(Cpu& cpu, FloatKind kind, FloatOutcome const& low, FloatOutcome const& high);

/// xmm = Operation(xmm, source) with floating-point exceptions ([SDM1] 11.5).
template <typename Operation, typename Source>
Op const* float_op(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    bool const watched = has_unmasked_simd_exceptions(cpu.raw_state());
    if (watched) [[unlikely]]
        isolate_simd_flags(cpu);
    Vector128 const destination = read_xmm(cpu, op->dst);
    Vector128 const result = Operation::apply(destination, source.value);
    if (watched && !settle_simd_flags(cpu, Operation::kKind, {destination, source.value, result})) [[unlikely]]
        return cpu.leave(op);
    write_xmm(cpu, op->dst, result);
    BACKPLANE_NEXT(cpu, op);
}

// --- lowering -----------------------------------------------------------------------------------------------------

[[nodiscard]] inline bool is_mmx(Lowering const& l, unsigned i) {
    return l.is_register(i) && ZydisRegisterGetClass(l.operand(i).reg.value) == ZYDIS_REGCLASS_MMX;
}
/// The segment of MASKMOVQ's and MASKMOVDQU's destination.
[[nodiscard]] std::uint8_t segment_of_hidden_operand(Lowering const& l);

[[nodiscard]] inline bool is_xmm(Lowering const& l, unsigned i) {
    return l.is_register(i) && ZydisRegisterGetClass(l.operand(i).reg.value) == ZYDIS_REGCLASS_XMM;
}

/// Destination register, then register or memory source.
inline void take_vector_operands(Lowering& l) {
    l.op.dst = l.vector(0);
    if (l.is_register(1)) l.op.src = l.vector(1);
    if (l.visible() > 2 && l.is_immediate(2)) l.op.imm = l.immediate(2);
}

/// A host instruction "mnemonic source, destination" that raises no floating-point exception.
#define BACKPLANE_VECTOR_OPERATION(name, mnemonic)                        \
    struct name {                                                         \
        static Vector128 apply(Vector128 destination, Vector128 source) { \
            asm(mnemonic " %1, %0" : "+x"(destination) : "x"(source));    \
            return destination;                                           \
        }                                                                 \
    }

/// One that may raise one: it must stay where it is relative to reads and writes of MXCSR.
#define BACKPLANE_FLOAT_OPERATION(name, mnemonic, ...)                          \
    struct name {                                                               \
        static constexpr FloatKind kKind{__VA_ARGS__};                          \
        static Vector128 apply(Vector128 destination, Vector128 source) {       \
            asm volatile(mnemonic " %1, %0" : "+x"(destination) : "x"(source)); \
            return destination;                                                 \
        }                                                                       \
    }

// The parts of lower_sse().
void lower_sse_float(LowerTable& table);
void lower_sse_convert(LowerTable& table);
void lower_sse_integer(LowerTable& table);
void lower_sse_shuffle(LowerTable& table);
void lower_sse_move(LowerTable& table);
void lower_sse_state(LowerTable& table);
void lower_sse4(LowerTable& table);
void lower_sse4_string(LowerTable& table);
void lower_crypto(LowerTable& table);
/// PEXTRW with a memory operand, which is SSE4.1.
void lower_pextrw_to_memory(Lowering& l);
void lower_xsave(LowerTable& table);
void lower_avx(LowerTable& table);
void lower_approximate(LowerTable& table);
void lower_avx_move(LowerTable& table);

}  // namespace backplane
