// SSE3, SSSE3 and SSE4.1: what they add to the packed integers and to floating point ([SDM1] chapter 12). Strings and
// CRC32 of SSE4.2 are in lower_sse4_string.cc.
#include <array>
#include <bit>
#include <utility>

#include "cpu/dot_product.h"
#include "cpu/simd.h"

namespace backplane {

namespace {

template <typename Operation, typename MmxOperation = Operation>
void lower_packed(Lowering& l) {
    take_vector_operands(l);
    if (is_mmx(l, 0))
        l.op.run = l.is_memory(1) ? mmx_op<MmxOperation, FromMemory64> : mmx_op<MmxOperation, FromMmx>;
    else
        l.op.run = l.is_memory(1) ? vector_op<Operation, FromMemory128> : vector_op<Operation, FromXmm>;
}
template <typename Operation, typename Memory>
void lower_from(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? vector_op<Operation, Memory> : vector_op<Operation, FromXmm>;
}

// --- integers: the host's instruction -----------------------------------------------------------------------------

#define BACKPLANE_SAME(name) BACKPLANE_VECTOR_OPERATION(name, #name)
BACKPLANE_SAME(pabsb);
BACKPLANE_SAME(pabsw);
BACKPLANE_SAME(pabsd);
BACKPLANE_SAME(psignb);
BACKPLANE_SAME(psignw);
BACKPLANE_SAME(psignd);
BACKPLANE_SAME(pshufb);
BACKPLANE_SAME(phaddw);
BACKPLANE_SAME(phaddd);
BACKPLANE_SAME(phaddsw);
BACKPLANE_SAME(phsubw);
BACKPLANE_SAME(phsubd);
BACKPLANE_SAME(phsubsw);
BACKPLANE_SAME(pmaddubsw);
BACKPLANE_SAME(pmulhrsw);
BACKPLANE_SAME(pmulld);
BACKPLANE_SAME(pmuldq);
BACKPLANE_SAME(pminsb);
BACKPLANE_SAME(pmaxsb);
BACKPLANE_SAME(pminuw);
BACKPLANE_SAME(pmaxuw);
BACKPLANE_SAME(pminsd);
BACKPLANE_SAME(pmaxsd);
BACKPLANE_SAME(pminud);
BACKPLANE_SAME(pmaxud);
BACKPLANE_SAME(packusdw);
BACKPLANE_SAME(pcmpeqq);
BACKPLANE_SAME(pcmpgtq);
BACKPLANE_SAME(phminposuw);
BACKPLANE_SAME(pmovsxbw);
BACKPLANE_SAME(pmovsxbd);
BACKPLANE_SAME(pmovsxbq);
BACKPLANE_SAME(pmovsxwd);
BACKPLANE_SAME(pmovsxwq);
BACKPLANE_SAME(pmovsxdq);
BACKPLANE_SAME(pmovzxbw);
BACKPLANE_SAME(pmovzxbd);
BACKPLANE_SAME(pmovzxbq);
BACKPLANE_SAME(pmovzxwd);
BACKPLANE_SAME(pmovzxwq);
BACKPLANE_SAME(pmovzxdq);
BACKPLANE_SAME(movshdup);
BACKPLANE_SAME(movsldup);
BACKPLANE_SAME(movddup);

struct Move {
    static Vector128 apply(Vector128, Vector128 b) { return b; }
};
/// Horizontal operations on 8 bytes: both operands' pairs lie in one register.
template <typename Operation>
struct MmxHorizontal {
    static Vector128 apply(Vector128 a, Vector128 b) { return Operation::apply(Vector128{a[0], b[0]}, Vector128{}); }
};
/// PSHUFB chooses among 8 bytes by three bits.
struct MmxShuffleBytes {
    static Vector128 apply(Vector128 a, Vector128 b) {
        constexpr std::uint64_t kUsed = 0x8787'8787'8787'8787;
        return pshufb::apply(a, Vector128{b[0] & kUsed, 0});
    }
};

// --- operations with an immediate -----------------------------------------------------------------------------------

/// xmm = Operation(xmm, source, immediate).
template <typename Operation, typename Source>
Op const* immediate_op(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    auto const immediate = static_cast<std::uint8_t>(op->imm);
    write_xmm(cpu, op->dst, Operation::apply(read_xmm(cpu, op->dst), source.value, immediate));
    BACKPLANE_NEXT(cpu, op);
}
template <typename Operation, typename Memory = FromMemory128>
void lower_immediate(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? immediate_op<Operation, Memory> : immediate_op<Operation, FromXmm>;
}

/// Elements of `kBits` bits from b where the immediate has a one, from a elsewhere.
template <unsigned kBits>
struct Blend {
    static Vector128 apply(Vector128 a, Vector128 b, unsigned choice) {
        constexpr unsigned kPerHalf = 64 / kBits;
        constexpr std::uint64_t kElement = kBits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << kBits % 64) - 1;
        Vector128 mask{};
        for (unsigned i = 0; i < 2 * kPerHalf; ++i)
            if ((choice >> i & 1) != 0) mask[i / kPerHalf] |= kElement << i % kPerHalf * kBits;
        return (a & ~mask) | (b & mask);
    }
};

[[nodiscard]] std::uint32_t dword_of(Vector128 value, unsigned index) {
    return static_cast<std::uint32_t>(value[index >> 1 & 1] >> 32 * (index & 1));
}
void set_dword(Vector128& value, unsigned index, std::uint32_t dword) {
    unsigned const shift = 32 * (index & 1);
    std::uint64_t& half = reinterpret_cast<std::uint64_t*>(&value)[index >> 1 & 1];
    half = (half & ~(std::uint64_t{0xffff'ffff} << shift)) | std::uint64_t{dword} << shift;
}

/// INSERTPS: from a register, bits 7:6 choose the source's element; bits 5:4 the destination's, 3:0 are cleared.
template <bool kFromMemory>
struct InsertSingle {
    static Vector128 apply(Vector128 a, Vector128 b, unsigned control) {
        set_dword(a, control >> 4 & 3, dword_of(b, kFromMemory ? 0 : control >> 6 & 3));
        for (unsigned i = 0; i < 4; ++i)
            if ((control >> i & 1) != 0) set_dword(a, i, 0);
        return a;
    }
};
void lower_insertps(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? immediate_op<InsertSingle<true>, FromMemory32>
                              : immediate_op<InsertSingle<false>, FromXmm>;
}

/// The 2 * kBytes bytes of a and b, b below, shifted right by `count` bytes.
template <unsigned kBytes>
struct AlignRight {
    static Vector128 apply(Vector128 a, Vector128 b, unsigned count) {
        std::uint8_t both[3 * kBytes + kBytes]{};
        std::memcpy(both, &b, kBytes);
        std::memcpy(both + kBytes, &a, kBytes);
        Vector128 result{};
        if (count < 2 * kBytes) std::memcpy(&result, both + count, kBytes);
        return result;
    }
};
template <typename Source>
Op const* palignr_mmx(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    enter_mmx(cpu);
    Vector128 const destination{read_mmx(cpu, op->dst), 0};
    write_mmx(cpu, op->dst, AlignRight<8>::apply(destination, source.value, static_cast<std::uint8_t>(op->imm))[0]);
    BACKPLANE_NEXT(cpu, op);
}
void lower_palignr(Lowering& l) {
    take_vector_operands(l);
    if (is_mmx(l, 0))
        l.op.run = l.is_memory(1) ? palignr_mmx<FromMemory64> : palignr_mmx<FromMmx>;
    else
        l.op.run = l.is_memory(1) ? immediate_op<AlignRight<16>, FromMemory128> : immediate_op<AlignRight<16>, FromXmm>;
}

/// A host instruction whose immediate is part of its code: one function for each value.
template <template <unsigned> typename Instance, unsigned kCount>
struct ByImmediate {
    using Function = Vector128 (*)(Vector128, Vector128);
    static Vector128 apply(Vector128 a, Vector128 b, unsigned immediate) {
        static constexpr std::array<Function, kCount> kTable = []<std::size_t... kValues>(
                                                                   std::index_sequence<kValues...>) {
            return std::array<Function, kCount>{Instance<kValues>::apply...};
        }(std::make_index_sequence<kCount>{});
        return kTable[immediate % kCount](a, b);
    }
};
#define BACKPLANE_IMMEDIATE_INSTANCE(name, mnemonic)                                           \
    template <unsigned kImmediate>                                                             \
    struct name {                                                                              \
        static Vector128 apply(Vector128 a, Vector128 b) {                                     \
            asm volatile(mnemonic " %2, %1, %0" : "+x"(a) : "x"(b), "i"(kImmediate)); \
            return a;                                                                          \
        }                                                                                      \
    }
BACKPLANE_IMMEDIATE_INSTANCE(SumOfDifferences, "mpsadbw");
BACKPLANE_IMMEDIATE_INSTANCE(RoundSingles, "roundps");
BACKPLANE_IMMEDIATE_INSTANCE(RoundSingle, "roundss");
BACKPLANE_IMMEDIATE_INSTANCE(RoundDoubles, "roundpd");
BACKPLANE_IMMEDIATE_INSTANCE(RoundDouble, "roundsd");

// --- floating point -------------------------------------------------------------------------------------------------

/// xmm = Operation(xmm, source, immediate) with floating-point exceptions.
template <typename Operation, typename Source>
Op const* float_immediate_op(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    bool const watched = has_unmasked_simd_exceptions(cpu.raw_state());
    if (watched) [[unlikely]]
        isolate_simd_flags(cpu);
    auto const immediate = static_cast<std::uint8_t>(op->imm);
    Vector128 const result = Operation::apply(read_xmm(cpu, op->dst), source.value, immediate);
    if (watched && !settle_simd_flags(cpu)) [[unlikely]]
        return cpu.leave(op);
    write_xmm(cpu, op->dst, result);
    BACKPLANE_NEXT(cpu, op);
}
template <template <unsigned> typename Instance, unsigned kCount, typename Memory>
void lower_float_immediate(Lowering& l) {
    using Operation = ByImmediate<Instance, kCount>;
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? float_immediate_op<Operation, Memory> : float_immediate_op<Operation, FromXmm>;
}

BACKPLANE_FLOAT_OPERATION(AddSingles, "addps", Arithmetic::add, Lanes::four_singles);
BACKPLANE_FLOAT_OPERATION(SubtractSingles, "subps", Arithmetic::subtract, Lanes::four_singles);
BACKPLANE_FLOAT_OPERATION(AddDoubles, "addpd", Arithmetic::add, Lanes::two_doubles);
BACKPLANE_FLOAT_OPERATION(SubtractDoubles, "subpd", Arithmetic::subtract, Lanes::two_doubles);
BACKPLANE_FLOAT_OPERATION(AlternateSingles, "addsubps", Arithmetic::add, Lanes::four_singles);
BACKPLANE_FLOAT_OPERATION(AlternateDoubles, "addsubpd", Arithmetic::add, Lanes::two_doubles);

BACKPLANE_FLOAT_OPERATION(MultiplySingles, "mulps", Arithmetic::multiply, Lanes::four_singles);
BACKPLANE_FLOAT_OPERATION(MultiplyDoubles, "mulpd", Arithmetic::multiply, Lanes::two_doubles);

/// The elements with even numbers of a, then of b; and those with odd ones.
template <bool kSingles>
Vector128 even_elements(Vector128 a, Vector128 b) {
    if constexpr (!kSingles) return Vector128{a[0], b[0]};
    return Vector128{dword_of(a, 0) | std::uint64_t{dword_of(a, 2)} << 32,
                     dword_of(b, 0) | std::uint64_t{dword_of(b, 2)} << 32};
}
template <bool kSingles>
Vector128 odd_elements(Vector128 a, Vector128 b) {
    if constexpr (!kSingles) return Vector128{a[1], b[1]};
    return Vector128{dword_of(a, 1) | std::uint64_t{dword_of(a, 3)} << 32,
                     dword_of(b, 1) | std::uint64_t{dword_of(b, 3)} << 32};
}

/// Operands of a vertical operation that has the same result and the same exceptions.
struct Vertical {
    Vector128 a, b;
};
template <bool kSingles>
struct Horizontal {
    static Vertical operands(Vector128 a, Vector128 b) {
        return {even_elements<kSingles>(a, b), odd_elements<kSingles>(a, b)};
    }
};
/// ADDSUB is computed as it is; for its exceptions it is an addition, the even elements of b negated.
template <bool kSingles>
struct Alternate {
    static Vertical operands(Vector128 a, Vector128 b) { return {a, b}; }
    static Vector128 addend(Vector128 b) {
        std::uint64_t const signs = kSingles ? 0x8000'0000 : std::uint64_t{1} << 63;
        return b ^ (kSingles ? Vector128{signs, signs} : Vector128{signs, 0});
    }
};

/// Runs one step of a dot product: false when it raised an exception that is not masked.
template <typename Operation>
bool dot_step(Cpu* watched, Vector128 a, Vector128 b, Vector128& result) {
    if (watched != nullptr) isolate_simd_flags(*watched);
    result = Operation::apply(a, b);
    return watched == nullptr || settle_simd_flags(*watched, Operation::kKind, {a, b, result});
}
template <bool kSingles>
bool dot(Cpu* watched, Vector128 a, Vector128 b, unsigned immediate, Vector128& result) {
    using Multiply = std::conditional_t<kSingles, MultiplySingles, MultiplyDoubles>;
    using Add = std::conditional_t<kSingles, AddSingles, AddDoubles>;
    using Choose = Blend<kSingles ? 32 : 64>;
    Vector128 const chosen = Choose::apply(Vector128{}, ~Vector128{}, immediate >> 4);
    Vector128 sums{};
    if (!dot_step<Multiply>(watched, a & chosen, b & chosen, sums)) return false;
    for (unsigned step = 0; step < (kSingles ? 2 : 1); ++step) {
        Vector128 const even = even_elements<kSingles>(sums, Vector128{});
        Vector128 const odd = odd_elements<kSingles>(sums, Vector128{});
        if (!dot_step<Add>(watched, even, odd, sums)) return false;
    }
    std::uint64_t const sum = kSingles ? dword_of(sums, 0) | std::uint64_t{dword_of(sums, 0)} << 32 : sums[0];
    result = Choose::apply(Vector128{}, Vector128{sum, sum}, immediate);
    return true;
}
template <bool kSingles, typename Source>
Op const* dot_product(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    Cpu* const watched = has_unmasked_simd_exceptions(cpu.raw_state()) ? &cpu : nullptr;
    Vector128 result{};
    auto const compute = kSingles ? dot_singles : dot_doubles;
    if (!compute(watched, read_xmm(cpu, op->dst), source.value, static_cast<std::uint8_t>(op->imm), result)) [[unlikely]]
        return cpu.leave(op);
    write_xmm(cpu, op->dst, result);
    BACKPLANE_NEXT(cpu, op);
}
template <bool kSingles>
void lower_dot_product(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? dot_product<kSingles, FromMemory128> : dot_product<kSingles, FromXmm>;
}

template <typename Arrange, typename Operation, typename Source>
Op const* arranged_op(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    bool const watched = has_unmasked_simd_exceptions(cpu.raw_state());
    if (watched) [[unlikely]]
        isolate_simd_flags(cpu);
    Vertical const operands = Arrange::operands(read_xmm(cpu, op->dst), source.value);
    Vector128 const result = Operation::apply(operands.a, operands.b);
    Vector128 second = operands.b;
    if constexpr (requires { Arrange::addend(second); }) second = Arrange::addend(second);
    if (watched && !settle_simd_flags(cpu, Operation::kKind, {operands.a, second, result})) [[unlikely]]
        return cpu.leave(op);
    write_xmm(cpu, op->dst, result);
    BACKPLANE_NEXT(cpu, op);
}
template <typename Arrange, typename Operation>
void lower_arranged(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? arranged_op<Arrange, Operation, FromMemory128> : arranged_op<Arrange, Operation, FromXmm>;
}

// --- selection by the signs of XMM0 -----------------------------------------------------------------------------------

template <unsigned kBits>
Vector128 signs_spread(Vector128 value) {
    Vector128 result = value;
    if constexpr (kBits == 8) {
        asm("pxor %0, %0\n\tpcmpgtb %1, %0" : "=&x"(result) : "x"(value));
    } else if constexpr (kBits == 32) {
        asm("psrad $31, %0" : "+x"(result));
    } else {
        asm("psrad $31, %0\n\tpshufd $0xf5, %0, %0" : "+x"(result));
    }
    return result;
}
template <unsigned kBits, typename Source>
Op const* select_by_sign(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    Vector128 const mask = signs_spread<kBits>(read_xmm(cpu, 0));
    write_xmm(cpu, op->dst, (read_xmm(cpu, op->dst) & ~mask) | (source.value & mask));
    BACKPLANE_NEXT(cpu, op);
}
template <unsigned kBits>
void lower_select(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? select_by_sign<kBits, FromMemory128> : select_by_sign<kBits, FromXmm>;
}

// --- PTEST ------------------------------------------------------------------------------------------------------------

template <typename Source>
Op const* ptest(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    Vector128 const a = read_xmm(cpu, op->dst);
    Vector128 const both = source.value & a;
    Vector128 const beyond = source.value & ~a;
    cpu.flags.set(((both[0] | both[1]) == 0 ? rflags::kZero : 0) | ((beyond[0] | beyond[1]) == 0 ? rflags::kCarry : 0));
    BACKPLANE_NEXT(cpu, op);
}
void lower_ptest(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? ptest<FromMemory128> : ptest<FromXmm>;
}

// --- single elements: PINSRx, PEXTRx, EXTRACTPS -----------------------------------------------------------------------

template <typename T>
struct FromGeneral {
    static Operand read(Cpu& cpu, Op const* op) { return {Vector128{cpu.reg<T>(op->src), 0}, true}; }
};
template <typename T>
constexpr unsigned kElements = 16 / sizeof(T);

template <typename T, typename Source>
Op const* insert_element(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    auto const value = static_cast<T>(source.value[0]);
    std::memcpy(reinterpret_cast<T*>(cpu.xmm(op->dst).words.data()) + op->imm % kElements<T>, &value, sizeof value);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
void lower_insert(Lowering& l) {
    l.op.dst = l.vector(0);
    l.op.imm = static_cast<std::uint8_t>(l.immediate(2));
    if (!l.is_memory(1)) l.op.src = Lowering::gpr_slot(l.operand(1).reg.value);
    l.op.run = l.is_memory(1) ? insert_element<T, FromMemory<T>> : insert_element<T, FromGeneral<T>>;
}

template <typename T>
T element_of(Cpu& cpu, Op const* op) {
    T value;
    std::memcpy(&value, reinterpret_cast<T const*>(cpu.xmm(op->src).words.data()) + op->imm % kElements<T>, sizeof value);
    return value;
}
template <typename T>
Op const* extract_to_register(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    cpu.set_reg<std::uint64_t>(op->dst, element_of<T>(cpu, op));
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* extract_to_memory(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    if (!cpu.store<T>(cpu.address(op), element_of<T>(cpu, op))) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
void lower_extract(Lowering& l) {
    if (!l.is_memory(0)) l.op.dst = l.gpr(0);
    l.op.src = l.vector(1);
    l.op.imm = static_cast<std::uint8_t>(l.immediate(2));
    l.op.run = l.is_memory(0) ? extract_to_memory<T> : extract_to_register<T>;
}

}  // namespace

bool dot_singles(Cpu* watched, Vector128 a, Vector128 b, unsigned immediate, Vector128& result) {
    return dot<true>(watched, a, b, immediate, result);
}
bool dot_doubles(Cpu* watched, Vector128 a, Vector128 b, unsigned immediate, Vector128& result) {
    return dot<false>(watched, a, b, immediate, result);
}

void lower_pextrw_to_memory(Lowering& l) { lower_extract<std::uint16_t>(l); }

void lower_sse4(LowerTable& table) {
    // SSE3
    table[ZYDIS_MNEMONIC_ADDSUBPS] = lower_arranged<Alternate<true>, AlternateSingles>;
    table[ZYDIS_MNEMONIC_ADDSUBPD] = lower_arranged<Alternate<false>, AlternateDoubles>;
    table[ZYDIS_MNEMONIC_HADDPS] = lower_arranged<Horizontal<true>, AddSingles>;
    table[ZYDIS_MNEMONIC_HADDPD] = lower_arranged<Horizontal<false>, AddDoubles>;
    table[ZYDIS_MNEMONIC_HSUBPS] = lower_arranged<Horizontal<true>, SubtractSingles>;
    table[ZYDIS_MNEMONIC_HSUBPD] = lower_arranged<Horizontal<false>, SubtractDoubles>;
    table[ZYDIS_MNEMONIC_MOVSHDUP] = lower_from<movshdup, FromMemory128>;
    table[ZYDIS_MNEMONIC_MOVSLDUP] = lower_from<movsldup, FromMemory128>;
    table[ZYDIS_MNEMONIC_MOVDDUP] = lower_from<movddup, FromMemory64>;
    table[ZYDIS_MNEMONIC_LDDQU] = lower_from<Move, FromMemoryUnaligned>;

    // SSSE3
    table[ZYDIS_MNEMONIC_PABSB] = lower_packed<pabsb>;
    table[ZYDIS_MNEMONIC_PABSW] = lower_packed<pabsw>;
    table[ZYDIS_MNEMONIC_PABSD] = lower_packed<pabsd>;
    table[ZYDIS_MNEMONIC_PSIGNB] = lower_packed<psignb>;
    table[ZYDIS_MNEMONIC_PSIGNW] = lower_packed<psignw>;
    table[ZYDIS_MNEMONIC_PSIGND] = lower_packed<psignd>;
    table[ZYDIS_MNEMONIC_PSHUFB] = lower_packed<pshufb, MmxShuffleBytes>;
    table[ZYDIS_MNEMONIC_PHADDW] = lower_packed<phaddw, MmxHorizontal<phaddw>>;
    table[ZYDIS_MNEMONIC_PHADDD] = lower_packed<phaddd, MmxHorizontal<phaddd>>;
    table[ZYDIS_MNEMONIC_PHADDSW] = lower_packed<phaddsw, MmxHorizontal<phaddsw>>;
    table[ZYDIS_MNEMONIC_PHSUBW] = lower_packed<phsubw, MmxHorizontal<phsubw>>;
    table[ZYDIS_MNEMONIC_PHSUBD] = lower_packed<phsubd, MmxHorizontal<phsubd>>;
    table[ZYDIS_MNEMONIC_PHSUBSW] = lower_packed<phsubsw, MmxHorizontal<phsubsw>>;
    table[ZYDIS_MNEMONIC_PMADDUBSW] = lower_packed<pmaddubsw>;
    table[ZYDIS_MNEMONIC_PMULHRSW] = lower_packed<pmulhrsw>;
    table[ZYDIS_MNEMONIC_PALIGNR] = lower_palignr;

    // SSE4.1 and PCMPGTQ of SSE4.2
    table[ZYDIS_MNEMONIC_PMULLD] = lower_packed<pmulld>;
    table[ZYDIS_MNEMONIC_PMULDQ] = lower_packed<pmuldq>;
    table[ZYDIS_MNEMONIC_PMINSB] = lower_packed<pminsb>;
    table[ZYDIS_MNEMONIC_PMAXSB] = lower_packed<pmaxsb>;
    table[ZYDIS_MNEMONIC_PMINUW] = lower_packed<pminuw>;
    table[ZYDIS_MNEMONIC_PMAXUW] = lower_packed<pmaxuw>;
    table[ZYDIS_MNEMONIC_PMINSD] = lower_packed<pminsd>;
    table[ZYDIS_MNEMONIC_PMAXSD] = lower_packed<pmaxsd>;
    table[ZYDIS_MNEMONIC_PMINUD] = lower_packed<pminud>;
    table[ZYDIS_MNEMONIC_PMAXUD] = lower_packed<pmaxud>;
    table[ZYDIS_MNEMONIC_PACKUSDW] = lower_packed<packusdw>;
    table[ZYDIS_MNEMONIC_PCMPEQQ] = lower_packed<pcmpeqq>;
    table[ZYDIS_MNEMONIC_PCMPGTQ] = lower_packed<pcmpgtq>;
    table[ZYDIS_MNEMONIC_PHMINPOSUW] = lower_packed<phminposuw>;
    table[ZYDIS_MNEMONIC_PMOVSXBW] = lower_from<pmovsxbw, FromMemory64>;
    table[ZYDIS_MNEMONIC_PMOVSXBD] = lower_from<pmovsxbd, FromMemory32>;
    table[ZYDIS_MNEMONIC_PMOVSXBQ] = lower_from<pmovsxbq, FromMemory<std::uint16_t>>;
    table[ZYDIS_MNEMONIC_PMOVSXWD] = lower_from<pmovsxwd, FromMemory64>;
    table[ZYDIS_MNEMONIC_PMOVSXWQ] = lower_from<pmovsxwq, FromMemory32>;
    table[ZYDIS_MNEMONIC_PMOVSXDQ] = lower_from<pmovsxdq, FromMemory64>;
    table[ZYDIS_MNEMONIC_PMOVZXBW] = lower_from<pmovzxbw, FromMemory64>;
    table[ZYDIS_MNEMONIC_PMOVZXBD] = lower_from<pmovzxbd, FromMemory32>;
    table[ZYDIS_MNEMONIC_PMOVZXBQ] = lower_from<pmovzxbq, FromMemory<std::uint16_t>>;
    table[ZYDIS_MNEMONIC_PMOVZXWD] = lower_from<pmovzxwd, FromMemory64>;
    table[ZYDIS_MNEMONIC_PMOVZXWQ] = lower_from<pmovzxwq, FromMemory32>;
    table[ZYDIS_MNEMONIC_PMOVZXDQ] = lower_from<pmovzxdq, FromMemory64>;
    table[ZYDIS_MNEMONIC_MOVNTDQA] = lower_from<Move, FromMemory128>;
    table[ZYDIS_MNEMONIC_PTEST] = lower_ptest;
    table[ZYDIS_MNEMONIC_PBLENDW] = lower_immediate<Blend<16>>;
    table[ZYDIS_MNEMONIC_BLENDPS] = lower_immediate<Blend<32>>;
    table[ZYDIS_MNEMONIC_BLENDPD] = lower_immediate<Blend<64>>;
    table[ZYDIS_MNEMONIC_PBLENDVB] = lower_select<8>;
    table[ZYDIS_MNEMONIC_BLENDVPS] = lower_select<32>;
    table[ZYDIS_MNEMONIC_BLENDVPD] = lower_select<64>;
    table[ZYDIS_MNEMONIC_INSERTPS] = lower_insertps;
    table[ZYDIS_MNEMONIC_MPSADBW] = lower_immediate<ByImmediate<SumOfDifferences, 8>>;
    table[ZYDIS_MNEMONIC_DPPS] = lower_dot_product<true>;
    table[ZYDIS_MNEMONIC_DPPD] = lower_dot_product<false>;
    table[ZYDIS_MNEMONIC_ROUNDPS] = lower_float_immediate<RoundSingles, 16, FromMemory128>;
    table[ZYDIS_MNEMONIC_ROUNDSS] = lower_float_immediate<RoundSingle, 16, FromMemory32>;
    table[ZYDIS_MNEMONIC_ROUNDPD] = lower_float_immediate<RoundDoubles, 16, FromMemory128>;
    table[ZYDIS_MNEMONIC_ROUNDSD] = lower_float_immediate<RoundDouble, 16, FromMemory64>;
    table[ZYDIS_MNEMONIC_PINSRB] = lower_insert<std::uint8_t>;
    table[ZYDIS_MNEMONIC_PINSRD] = lower_insert<std::uint32_t>;
    table[ZYDIS_MNEMONIC_PINSRQ] = lower_insert<std::uint64_t>;
    table[ZYDIS_MNEMONIC_PEXTRB] = lower_extract<std::uint8_t>;
    table[ZYDIS_MNEMONIC_PEXTRD] = lower_extract<std::uint32_t>;
    table[ZYDIS_MNEMONIC_PEXTRQ] = lower_extract<std::uint64_t>;
    table[ZYDIS_MNEMONIC_EXTRACTPS] = lower_extract<std::uint32_t>;
}

}  // namespace backplane
