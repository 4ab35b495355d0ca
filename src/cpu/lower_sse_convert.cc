// SSE and SSE2 conversions ([SDM1] 11.4.4.2), those through MMX registers included.
#include "cpu/simd.h"

namespace backplane {

namespace {

BACKPLANE_FLOAT_OPERATION(Cvtps2pd, "cvtps2pd");
BACKPLANE_FLOAT_OPERATION(Cvtpd2ps, "cvtpd2ps", Arithmetic::narrow, Lanes::four_singles);
BACKPLANE_FLOAT_OPERATION(Cvtss2sd, "cvtss2sd");
BACKPLANE_FLOAT_OPERATION(Cvtsd2ss, "cvtsd2ss", Arithmetic::narrow, Lanes::one_single);
BACKPLANE_FLOAT_OPERATION(Cvtdq2ps, "cvtdq2ps");
BACKPLANE_FLOAT_OPERATION(Cvtdq2pd, "cvtdq2pd");
BACKPLANE_FLOAT_OPERATION(Cvtps2dq, "cvtps2dq");
BACKPLANE_FLOAT_OPERATION(Cvttps2dq, "cvttps2dq");
BACKPLANE_FLOAT_OPERATION(Cvtpd2dq, "cvtpd2dq");
BACKPLANE_FLOAT_OPERATION(Cvttpd2dq, "cvttpd2dq");

template <typename Operation, typename Memory>
void lower_convert(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? float_op<Operation, Memory> : float_op<Operation, FromXmm>;
}

// --- from a general register or integer in memory --------------------------------------------------------------------

template <typename T>
struct FromGpr {
    static Operand read(Cpu& cpu, Op const* op) { return {Vector128{cpu.reg<T>(op->src), 0}, true}; }
};

#define BACKPLANE_FROM_INTEGER(name, mnemonic, modifier)                        \
    struct name {                                                               \
        static constexpr FloatKind kKind{};                                     \
        static Vector128 apply(Vector128 a, Vector128 b) {                      \
            asm volatile(mnemonic " %" modifier "1, %0" : "+x"(a) : "r"(b[0])); \
            return a;                                                           \
        }                                                                       \
    }

BACKPLANE_FROM_INTEGER(Cvtsi2ss32, "cvtsi2ssl", "k");
BACKPLANE_FROM_INTEGER(Cvtsi2ss64, "cvtsi2ssq", "q");
BACKPLANE_FROM_INTEGER(Cvtsi2sd32, "cvtsi2sdl", "k");
BACKPLANE_FROM_INTEGER(Cvtsi2sd64, "cvtsi2sdq", "q");

template <typename Operation32, typename Operation64>
void lower_from_integer(Lowering& l) {
    l.op.dst = l.vector(0);
    if (l.is_memory(1)) {
        l.op.run = l.bytes(1) == 8 ? float_op<Operation64, FromMemory64> : float_op<Operation32, FromMemory32>;
        return;
    }
    l.op.src = l.gpr(1);
    l.op.run =
        l.bytes(1) == 8 ? float_op<Operation64, FromGpr<std::uint64_t>> : float_op<Operation32, FromGpr<std::uint32_t>>;
}

// --- to a general register ----------------------------------------------------------------------------------------

#define BACKPLANE_TO_INTEGER(name, mnemonic)                               \
    template <typename T>                                                  \
    struct name {                                                          \
        static T convert(Vector128 source) {                               \
            T result;                                                      \
            asm volatile(mnemonic " %1, %0" : "=r"(result) : "x"(source)); \
            return result;                                                 \
        }                                                                  \
    }

BACKPLANE_TO_INTEGER(Cvtss2si, "cvtss2si");
BACKPLANE_TO_INTEGER(Cvttss2si, "cvttss2si");
BACKPLANE_TO_INTEGER(Cvtsd2si, "cvtsd2si");
BACKPLANE_TO_INTEGER(Cvttsd2si, "cvttsd2si");

template <template <typename> typename Operation, typename T, typename Source>
Op const* to_integer(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    bool const watched = has_unmasked_simd_exceptions(cpu.raw_state());
    if (watched) [[unlikely]]
        isolate_simd_flags(cpu);
    T const result = Operation<T>::convert(source.value);
    if (watched && !settle_simd_flags(cpu)) [[unlikely]]
        return cpu.leave(op);
    cpu.set_reg<T>(op->dst, result);
    BACKPLANE_NEXT(cpu, op);
}

template <template <typename> typename Operation, typename Memory>
void lower_to_integer(Lowering& l) {
    l.op.dst = l.gpr(0);
    if (l.is_register(1)) l.op.src = l.vector(1);
    bool const wide = l.bytes(0) == 8;
    if (l.is_memory(1)) {
        l.op.run = wide ? to_integer<Operation, std::uint64_t, Memory> : to_integer<Operation, std::uint32_t, Memory>;
    } else {
        l.op.run = wide ? to_integer<Operation, std::uint64_t, FromXmm> : to_integer<Operation, std::uint32_t, FromXmm>;
    }
}

// --- between MMX and XMM registers ----------------------------------------------------------------------------------

/// The low half of an XMM register: the other half must raise nothing.
struct FromLowXmm {
    static Operand read(Cpu& cpu, Op const* op) { return {Vector128{read_xmm(cpu, op->src)[0], 0}, true}; }
};

template <typename Operation, typename Source>
Op const* xmm_to_mmx(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    enter_mmx(cpu);  // even if the conversion raises an exception
    bool const watched = has_unmasked_simd_exceptions(cpu.raw_state());
    if (watched) [[unlikely]]
        isolate_simd_flags(cpu);
    Vector128 const result = Operation::apply(Vector128{}, source.value);
    if (watched && !settle_simd_flags(cpu)) [[unlikely]]
        return cpu.leave(op);
    write_mmx(cpu, op->dst, result[0]);
    BACKPLANE_NEXT(cpu, op);
}

template <typename Operation, typename Register, typename Memory>
void lower_xmm_to_mmx(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? xmm_to_mmx<Operation, Memory> : xmm_to_mmx<Operation, Register>;
}

/// CVTPI2PS keeps the upper half.
struct Cvtpi2ps {
    static constexpr FloatKind kKind{};
    static Vector128 apply(Vector128 a, Vector128 b) { return Vector128{Cvtdq2ps::apply(Vector128{}, b)[0], a[1]}; }
};

/// The form with memory leaves the x87 stack alone; the form with a register does what MMX instructions do to it.
template <typename Operation>
Op const* mmx_to_xmm(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    enter_mmx(cpu);
    bool const watched = has_unmasked_simd_exceptions(cpu.raw_state());
    if (watched) [[unlikely]]
        isolate_simd_flags(cpu);
    Vector128 const result = Operation::apply(read_xmm(cpu, op->dst), FromMmx::read(cpu, op).value);
    if (watched && !settle_simd_flags(cpu)) [[unlikely]]
        return cpu.leave(op);
    write_xmm(cpu, op->dst, result);
    BACKPLANE_NEXT(cpu, op);
}

template <typename Operation>
void lower_mmx_to_xmm(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? float_op<Operation, FromMemory64> : mmx_to_xmm<Operation>;
}

}  // namespace

void lower_sse_convert(LowerTable& table) {
    table[ZYDIS_MNEMONIC_CVTPS2PD] = lower_convert<Cvtps2pd, FromMemory64>;
    table[ZYDIS_MNEMONIC_CVTPD2PS] = lower_convert<Cvtpd2ps, FromMemory128>;
    table[ZYDIS_MNEMONIC_CVTSS2SD] = lower_convert<Cvtss2sd, FromMemory32>;
    table[ZYDIS_MNEMONIC_CVTSD2SS] = lower_convert<Cvtsd2ss, FromMemory64>;
    table[ZYDIS_MNEMONIC_CVTDQ2PS] = lower_convert<Cvtdq2ps, FromMemory128>;
    table[ZYDIS_MNEMONIC_CVTDQ2PD] = lower_convert<Cvtdq2pd, FromMemory64>;
    table[ZYDIS_MNEMONIC_CVTPS2DQ] = lower_convert<Cvtps2dq, FromMemory128>;
    table[ZYDIS_MNEMONIC_CVTTPS2DQ] = lower_convert<Cvttps2dq, FromMemory128>;
    table[ZYDIS_MNEMONIC_CVTPD2DQ] = lower_convert<Cvtpd2dq, FromMemory128>;
    table[ZYDIS_MNEMONIC_CVTTPD2DQ] = lower_convert<Cvttpd2dq, FromMemory128>;

    table[ZYDIS_MNEMONIC_CVTSI2SS] = lower_from_integer<Cvtsi2ss32, Cvtsi2ss64>;
    table[ZYDIS_MNEMONIC_CVTSI2SD] = lower_from_integer<Cvtsi2sd32, Cvtsi2sd64>;
    table[ZYDIS_MNEMONIC_CVTSS2SI] = lower_to_integer<Cvtss2si, FromMemory32>;
    table[ZYDIS_MNEMONIC_CVTTSS2SI] = lower_to_integer<Cvttss2si, FromMemory32>;
    table[ZYDIS_MNEMONIC_CVTSD2SI] = lower_to_integer<Cvtsd2si, FromMemory64>;
    table[ZYDIS_MNEMONIC_CVTTSD2SI] = lower_to_integer<Cvttsd2si, FromMemory64>;

    table[ZYDIS_MNEMONIC_CVTPS2PI] = lower_xmm_to_mmx<Cvtps2dq, FromLowXmm, FromMemory64>;
    table[ZYDIS_MNEMONIC_CVTTPS2PI] = lower_xmm_to_mmx<Cvttps2dq, FromLowXmm, FromMemory64>;
    table[ZYDIS_MNEMONIC_CVTPD2PI] = lower_xmm_to_mmx<Cvtpd2dq, FromXmm, FromMemory128>;
    table[ZYDIS_MNEMONIC_CVTTPD2PI] = lower_xmm_to_mmx<Cvttpd2dq, FromXmm, FromMemory128>;
    table[ZYDIS_MNEMONIC_CVTPI2PS] = lower_mmx_to_xmm<Cvtpi2ps>;
    table[ZYDIS_MNEMONIC_CVTPI2PD] = lower_mmx_to_xmm<Cvtdq2pd>;
}

}  // namespace backplane
