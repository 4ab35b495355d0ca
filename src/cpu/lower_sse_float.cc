// SSE and SSE2 floating point: arithmetic, comparison, bitwise logic.
#include "cpu/lower_sse.h"
#include "cpu/simd.h"

namespace backplane {

namespace {

template <typename Operation, typename Memory>
void lower_float(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? float_op<Operation, Memory> : float_op<Operation, FromXmm>;
}
template <typename Operation, typename Memory>
void lower_vector(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? vector_op<Operation, Memory> : vector_op<Operation, FromXmm>;
}

// The four types of an operation.
#define BACKPLANE_FOUR_TYPES(name, mnemonic, arithmetic)                                 \
    BACKPLANE_FLOAT_OPERATION(name##Ps, mnemonic "ps", arithmetic, Lanes::four_singles); \
    BACKPLANE_FLOAT_OPERATION(name##Ss, mnemonic "ss", arithmetic, Lanes::one_single);   \
    BACKPLANE_FLOAT_OPERATION(name##Pd, mnemonic "pd", arithmetic, Lanes::two_doubles);  \
    BACKPLANE_FLOAT_OPERATION(name##Sd, mnemonic "sd", arithmetic, Lanes::one_double)

BACKPLANE_FOUR_TYPES(Add, "add", Arithmetic::add);
BACKPLANE_FOUR_TYPES(Sub, "sub", Arithmetic::subtract);
BACKPLANE_FOUR_TYPES(Mul, "mul", Arithmetic::multiply);
BACKPLANE_FOUR_TYPES(Div, "div", Arithmetic::divide);
BACKPLANE_FOUR_TYPES(Sqrt, "sqrt", Arithmetic::exact);
BACKPLANE_FOUR_TYPES(Min, "min", Arithmetic::exact);
BACKPLANE_FOUR_TYPES(Max, "max", Arithmetic::exact);

#define BACKPLANE_LOWER_FOUR_TYPES(NAME, name)                               \
    table[ZYDIS_MNEMONIC_##NAME##PS] = lower_float<name##Ps, FromMemory128>; \
    table[ZYDIS_MNEMONIC_##NAME##SS] = lower_float<name##Ss, FromMemory32>;  \
    table[ZYDIS_MNEMONIC_##NAME##PD] = lower_float<name##Pd, FromMemory128>; \
    table[ZYDIS_MNEMONIC_##NAME##SD] = lower_float<name##Sd, FromMemory64>

struct And {
    static Vector128 apply(Vector128 a, Vector128 b) { return a & b; }
};
struct AndNot {
    static Vector128 apply(Vector128 a, Vector128 b) { return ~a & b; }
};
struct Or {
    static Vector128 apply(Vector128 a, Vector128 b) { return a | b; }
};
struct Xor {
    static Vector128 apply(Vector128 a, Vector128 b) { return a ^ b; }
};

// --- CMPxx with a predicate ---------------------------------------------------------------------------------------

#define BACKPLANE_COMPARE(name, mnemonic)                                             \
    template <unsigned kPredicate>                                                    \
    struct name {                                                                     \
        static constexpr FloatKind kKind{};                                           \
        static Vector128 apply(Vector128 a, Vector128 b) {                            \
            asm volatile(mnemonic " %2, %1, %0" : "+x"(a) : "x"(b), "i"(kPredicate)); \
            return a;                                                                 \
        }                                                                             \
    }

BACKPLANE_COMPARE(CompareSinglesPacked, "cmpps");
BACKPLANE_COMPARE(CompareSingle, "cmpss");
BACKPLANE_COMPARE(CompareDoublesPacked, "cmppd");
BACKPLANE_COMPARE(CompareDouble, "cmpsd");

template <template <unsigned> typename Compare, typename Source>
constexpr Handler kCompareHandlers[8] = {
    float_op<Compare<0>, Source>, float_op<Compare<1>, Source>, float_op<Compare<2>, Source>,
    float_op<Compare<3>, Source>, float_op<Compare<4>, Source>, float_op<Compare<5>, Source>,
    float_op<Compare<6>, Source>, float_op<Compare<7>, Source>,
};

// Bits 7:3 of the predicate are reserved and ignored.
template <template <unsigned> typename Compare, typename Memory>
void lower_compare(Lowering& l) {
    take_vector_operands(l);
    auto const predicate = static_cast<std::uint64_t>(l.immediate(2)) & 7;
    l.op.run =
        l.is_memory(1) ? kCompareHandlers<Compare, Memory>[predicate] : kCompareHandlers<Compare, FromXmm>[predicate];
}

// --- COMISx, UCOMISx: to the flags ---------------------------------------------------------------------------------

#define BACKPLANE_COMPARE_FLAGS(name, mnemonic)                                                        \
    struct name {                                                                                      \
        static std::uint64_t compare(Vector128 a, Vector128 b) {                                       \
            bool zf, pf, cf;                                                                           \
            asm volatile(mnemonic " %4, %3" : "=@ccz"(zf), "=@ccp"(pf), "=@ccc"(cf) : "x"(a), "x"(b)); \
            return (zf ? rflags::kZero : 0) | (pf ? rflags::kParity : 0) | (cf ? rflags::kCarry : 0);  \
        }                                                                                              \
    }

BACKPLANE_COMPARE_FLAGS(Comiss, "comiss");
BACKPLANE_COMPARE_FLAGS(Comisd, "comisd");
BACKPLANE_COMPARE_FLAGS(Ucomiss, "ucomiss");
BACKPLANE_COMPARE_FLAGS(Ucomisd, "ucomisd");

template <typename Operation, typename Source>
Op const* compare_flags(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    bool const watched = has_unmasked_simd_exceptions(cpu.raw_state());
    if (watched) [[unlikely]]
        isolate_simd_flags(cpu);
    std::uint64_t const flags = Operation::compare(read_xmm(cpu, op->dst), source.value);
    if (watched && !settle_simd_flags(cpu)) [[unlikely]]
        return cpu.leave(op);
    cpu.flags.set(flags);
    BACKPLANE_NEXT(cpu, op);
}

template <typename Operation, typename Memory>
void lower_compare_flags(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? compare_flags<Operation, Memory> : compare_flags<Operation, FromXmm>;
}

void lower_cmpsd(Lowering& l) {
    is_string_instruction(l) ? lower_string_cmpsd(l) : lower_compare<CompareDouble, FromMemory64>(l);
}

}  // namespace

void lower_sse_float(LowerTable& table) {
    BACKPLANE_LOWER_FOUR_TYPES(ADD, Add);
    BACKPLANE_LOWER_FOUR_TYPES(SUB, Sub);
    BACKPLANE_LOWER_FOUR_TYPES(MUL, Mul);
    BACKPLANE_LOWER_FOUR_TYPES(DIV, Div);
    BACKPLANE_LOWER_FOUR_TYPES(SQRT, Sqrt);
    BACKPLANE_LOWER_FOUR_TYPES(MIN, Min);
    BACKPLANE_LOWER_FOUR_TYPES(MAX, Max);

    table[ZYDIS_MNEMONIC_ANDPS] = table[ZYDIS_MNEMONIC_ANDPD] = lower_vector<And, FromMemory128>;
    table[ZYDIS_MNEMONIC_ANDNPS] = table[ZYDIS_MNEMONIC_ANDNPD] = lower_vector<AndNot, FromMemory128>;
    table[ZYDIS_MNEMONIC_ORPS] = table[ZYDIS_MNEMONIC_ORPD] = lower_vector<Or, FromMemory128>;
    table[ZYDIS_MNEMONIC_XORPS] = table[ZYDIS_MNEMONIC_XORPD] = lower_vector<Xor, FromMemory128>;

    table[ZYDIS_MNEMONIC_CMPPS] = lower_compare<CompareSinglesPacked, FromMemory128>;
    table[ZYDIS_MNEMONIC_CMPSS] = lower_compare<CompareSingle, FromMemory32>;
    table[ZYDIS_MNEMONIC_CMPPD] = lower_compare<CompareDoublesPacked, FromMemory128>;
    table[ZYDIS_MNEMONIC_CMPSD] = lower_cmpsd;

    table[ZYDIS_MNEMONIC_COMISS] = lower_compare_flags<Comiss, FromMemory32>;
    table[ZYDIS_MNEMONIC_COMISD] = lower_compare_flags<Comisd, FromMemory64>;
    table[ZYDIS_MNEMONIC_UCOMISS] = lower_compare_flags<Ucomiss, FromMemory32>;
    table[ZYDIS_MNEMONIC_UCOMISD] = lower_compare_flags<Ucomisd, FromMemory64>;
}

}  // namespace backplane
