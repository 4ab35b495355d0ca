// Shuffles by an immediate, insertion and extraction of words, sign masks ([SDM1] 10.4.4, 11.4.1.4).
#include "cpu/simd.h"

namespace backplane {

namespace {

[[nodiscard]] std::uint32_t dword_of(Vector128 value, unsigned index) {
    return static_cast<std::uint32_t>(value[index >> 1 & 1] >> 32 * (index & 1));
}
[[nodiscard]] constexpr std::uint64_t pair(std::uint32_t low, std::uint32_t high) {
    return low | std::uint64_t{high} << 32;
}
/// The four words of `value`, each chosen by two bits of `order`.
[[nodiscard]] constexpr std::uint64_t shuffle_words(std::uint64_t value, unsigned order) {
    std::uint64_t result = 0;
    for (unsigned i = 0; i < 4; ++i) result |= (value >> 16 * (order >> 2 * i & 3) & 0xffff) << 16 * i;
    return result;
}

// Shuffles: apply(destination, source, order).
struct Pshufd {
    static Vector128 apply(Vector128, Vector128 b, unsigned order) {
        return Vector128{pair(dword_of(b, order & 3), dword_of(b, order >> 2 & 3)),
                         pair(dword_of(b, order >> 4 & 3), dword_of(b, order >> 6 & 3))};
    }
};
struct Pshuflw {
    static Vector128 apply(Vector128, Vector128 b, unsigned order) {
        return Vector128{shuffle_words(b[0], order), b[1]};
    }
};
struct Pshufhw {
    static Vector128 apply(Vector128, Vector128 b, unsigned order) {
        return Vector128{b[0], shuffle_words(b[1], order)};
    }
};
struct Shufps {
    static Vector128 apply(Vector128 a, Vector128 b, unsigned order) {
        return Vector128{pair(dword_of(a, order & 3), dword_of(a, order >> 2 & 3)),
                         pair(dword_of(b, order >> 4 & 3), dword_of(b, order >> 6 & 3))};
    }
};
struct Shufpd {
    static Vector128 apply(Vector128 a, Vector128 b, unsigned order) {
        return Vector128{a[order & 1], b[order >> 1 & 1]};
    }
};

template <typename Operation, typename Source>
Op const* shuffle(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    auto const order = static_cast<std::uint8_t>(op->imm);
    write_xmm(cpu, op->dst, Operation::apply(read_xmm(cpu, op->dst), source.value, order));
    BACKPLANE_NEXT(cpu, op);
}

template <typename Operation>
void lower_shuffle(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? shuffle<Operation, FromMemory128> : shuffle<Operation, FromXmm>;
}

template <typename Source>
Op const* pshufw(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    enter_mmx(cpu);
    write_mmx(cpu, op->dst, shuffle_words(source.value[0], static_cast<std::uint8_t>(op->imm)));
    BACKPLANE_NEXT(cpu, op);
}

void lower_pshufw(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? pshufw<FromMemory64> : pshufw<FromMmx>;
}

// --- PINSRW, PEXTRW -----------------------------------------------------------------------------------------------

[[nodiscard]] constexpr std::uint64_t insert_word(std::uint64_t into, unsigned index, std::uint64_t word) {
    unsigned const shift = 16 * (index & 3);
    return (into & ~(std::uint64_t{0xffff} << shift)) | word << shift;
}

struct FromGprWord {
    static Operand read(Cpu& cpu, Op const* op) { return {Vector128{cpu.reg<std::uint16_t>(op->src), 0}, true}; }
};

template <typename Source>
Op const* pinsrw_xmm(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    auto const index = static_cast<unsigned>(op->imm) & 7;
    std::uint64_t& half = cpu.xmm(op->dst).words[index / 4];
    half = insert_word(half, index, source.value[0]);
    BACKPLANE_NEXT(cpu, op);
}

template <typename Source>
Op const* pinsrw_mmx(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    enter_mmx(cpu);
    write_mmx(cpu, op->dst, insert_word(read_mmx(cpu, op->dst), static_cast<unsigned>(op->imm), source.value[0]));
    BACKPLANE_NEXT(cpu, op);
}

void lower_pinsrw(Lowering& l) {
    l.op.dst = l.vector(0);
    l.op.imm = l.immediate(2);
    bool const from_memory = l.is_memory(1);
    if (!from_memory) l.op.src = l.gpr(1);
    if (is_mmx(l, 0))
        l.op.run = from_memory ? pinsrw_mmx<FromMemory<std::uint16_t>> : pinsrw_mmx<FromGprWord>;
    else
        l.op.run = from_memory ? pinsrw_xmm<FromMemory<std::uint16_t>> : pinsrw_xmm<FromGprWord>;
}

Op const* pextrw_xmm(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    auto const index = static_cast<unsigned>(op->imm) & 7;
    std::uint64_t const half = cpu.xmm(op->src).words[index / 4];
    cpu.set_reg<std::uint32_t>(op->dst, static_cast<std::uint16_t>(half >> 16 * (index & 3)));
    BACKPLANE_NEXT(cpu, op);
}

Op const* pextrw_mmx(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    enter_mmx(cpu);
    auto const index = static_cast<unsigned>(op->imm) & 3;
    cpu.set_reg<std::uint32_t>(op->dst, static_cast<std::uint16_t>(read_mmx(cpu, op->src) >> 16 * index));
    BACKPLANE_NEXT(cpu, op);
}

void lower_pextrw(Lowering& l) {
    if (!l.is_register(0)) return lower_pextrw_to_memory(l);
    l.op.dst = l.gpr(0);
    l.op.src = l.vector(1);
    l.op.imm = l.immediate(2);
    l.op.run = is_mmx(l, 1) ? pextrw_mmx : pextrw_xmm;
}

// --- masks of sign bits -------------------------------------------------------------------------------------------

#define BACKPLANE_SIGN_MASK(name, mnemonic)                       \
    struct name {                                                 \
        static std::uint32_t mask(Vector128 source) {             \
            std::uint32_t result;                                 \
            asm(mnemonic " %1, %0" : "=r"(result) : "x"(source)); \
            return result;                                        \
        }                                                         \
    }

BACKPLANE_SIGN_MASK(Movmskps, "movmskps");
BACKPLANE_SIGN_MASK(Movmskpd, "movmskpd");
BACKPLANE_SIGN_MASK(Pmovmskb, "pmovmskb");

template <typename Operation>
Op const* sign_mask(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    cpu.set_reg<std::uint32_t>(op->dst, Operation::mask(read_xmm(cpu, op->src)));
    BACKPLANE_NEXT(cpu, op);
}

Op const* pmovmskb_mmx(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    enter_mmx(cpu);
    cpu.set_reg<std::uint32_t>(op->dst, Pmovmskb::mask(Vector128{read_mmx(cpu, op->src), 0}));
    BACKPLANE_NEXT(cpu, op);
}

template <typename Operation>
void lower_sign_mask(Lowering& l) {
    l.op.dst = l.gpr(0);
    l.op.src = l.vector(1);
    l.op.run = is_mmx(l, 1) ? pmovmskb_mmx : sign_mask<Operation>;
}

}  // namespace

void lower_sse_shuffle(LowerTable& table) {
    table[ZYDIS_MNEMONIC_PSHUFD] = lower_shuffle<Pshufd>;
    table[ZYDIS_MNEMONIC_PSHUFLW] = lower_shuffle<Pshuflw>;
    table[ZYDIS_MNEMONIC_PSHUFHW] = lower_shuffle<Pshufhw>;
    table[ZYDIS_MNEMONIC_SHUFPS] = lower_shuffle<Shufps>;
    table[ZYDIS_MNEMONIC_SHUFPD] = lower_shuffle<Shufpd>;
    table[ZYDIS_MNEMONIC_PSHUFW] = lower_pshufw;
    table[ZYDIS_MNEMONIC_PINSRW] = lower_pinsrw;
    table[ZYDIS_MNEMONIC_PEXTRW] = lower_pextrw;
    table[ZYDIS_MNEMONIC_MOVMSKPS] = lower_sign_mask<Movmskps>;
    table[ZYDIS_MNEMONIC_MOVMSKPD] = lower_sign_mask<Movmskpd>;
    table[ZYDIS_MNEMONIC_PMOVMSKB] = lower_sign_mask<Pmovmskb>;
}

}  // namespace backplane
