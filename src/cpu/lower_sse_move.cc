// Moves between vector registers, MMX registers, general registers and memory ([SDM1] 10.4.1.1, 11.4.1.1).
// Non-temporal stores are stores: no cache is modelled.
#include <algorithm>
#include <array>

#include "cpu/lower_sse.h"
#include "cpu/simd.h"

namespace backplane {

namespace {

// --- loads and copies: vector_op with a choice of halves -------------------------------------------------------------

struct TakeSource {
    static Vector128 apply(Vector128, Vector128 b) { return b; }
};
struct TakeLowDword {
    static Vector128 apply(Vector128 a, Vector128 b) {
        return Vector128{(a[0] & ~std::uint64_t{0xffff'ffff}) | (b[0] & 0xffff'ffff), a[1]};
    }
};
struct TakeLowQuad {
    static Vector128 apply(Vector128 a, Vector128 b) { return Vector128{b[0], a[1]}; }
};
struct LowQuadZeroed {
    static Vector128 apply(Vector128, Vector128 b) { return Vector128{b[0], 0}; }
};
struct LowToHigh {
    static Vector128 apply(Vector128 a, Vector128 b) { return Vector128{a[0], b[0]}; }
};
struct HighToLow {
    static Vector128 apply(Vector128 a, Vector128 b) { return Vector128{b[1], a[1]}; }
};

template <typename T>
struct FromGpr {
    static Operand read(Cpu& cpu, Op const* op) { return {Vector128{cpu.reg<T>(op->src), 0}, true}; }
};

// --- stores ----------------------------------------------------------------------------------------------------------

enum class Alignment : std::uint8_t { any, sixteen };

template <Alignment kAlignment>
Op const* store_xmm(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    std::uint64_t const address = cpu.address(op);
    if (kAlignment == Alignment::sixteen && (address & 15) != 0) [[unlikely]] {
        note_misaligned(cpu);
        return cpu.leave(op);
    }
    if (!store_vector(cpu, address, read_xmm(cpu, op->src))) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

/// Stores the low bytes of one half of an XMM register.
template <typename T, unsigned kHalf>
Op const* store_part(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    if (!cpu.store<T>(cpu.address(op), static_cast<T>(cpu.xmm(op->src).words[kHalf]))) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <typename T>
Op const* store_mmx(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    if (!cpu.store<T>(cpu.address(op), static_cast<T>(read_mmx(cpu, op->src)))) [[unlikely]]
        return cpu.leave(op);
    enter_mmx(cpu);
    BACKPLANE_NEXT(cpu, op);
}

template <typename T>
Op const* xmm_to_gpr(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    cpu.set_reg<T>(op->dst, static_cast<T>(cpu.xmm(op->src).words[0]));
    BACKPLANE_NEXT(cpu, op);
}

template <typename T>
Op const* mmx_to_gpr(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    enter_mmx(cpu);
    cpu.set_reg<T>(op->dst, static_cast<T>(read_mmx(cpu, op->src)));
    BACKPLANE_NEXT(cpu, op);
}

// MOVNTI is a move between a general register and memory; no vector state is involved.
template <typename T>
Op const* movnti(Cpu& cpu, Op const* op) {
    if (!cpu.store<T>(cpu.address(op), cpu.reg<T>(op->src))) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

Op const* movdq2q(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    enter_mmx(cpu);
    write_mmx(cpu, op->dst, cpu.xmm(op->src).words[0]);
    BACKPLANE_NEXT(cpu, op);
}

Op const* movq2dq(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    enter_mmx(cpu);
    cpu.xmm(op->dst).words = {read_mmx(cpu, op->src), 0};
    BACKPLANE_NEXT(cpu, op);
}

// --- lowering --------------------------------------------------------------------------------------------------------

void lower_store(Lowering& l, Handler handler) {
    l.op.src = l.vector(1);
    l.op.run = handler;
}

template <Alignment kAlignment>
void lower_move_128(Lowering& l) {
    if (l.is_memory(0)) return lower_store(l, store_xmm<kAlignment>);
    take_vector_operands(l);
    using Memory = std::conditional_t<kAlignment == Alignment::sixteen, FromMemory128, FromMemoryUnaligned>;
    l.op.run = l.is_memory(1) ? vector_op<TakeSource, Memory> : vector_op<TakeSource, FromXmm>;
}

void lower_store_aligned(Lowering& l) { lower_store(l, store_xmm<Alignment::sixteen>); }

void lower_movss(Lowering& l) {
    if (l.is_memory(0)) return lower_store(l, store_part<std::uint32_t, 0>);
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? vector_op<TakeSource, FromMemory32> : vector_op<TakeLowDword, FromXmm>;
}

void lower_move_low(Lowering& l) {
    if (l.is_memory(0)) return lower_store(l, store_part<std::uint64_t, 0>);
    take_vector_operands(l);
    l.op.run = vector_op<TakeLowQuad, FromMemory64>;
}
void lower_move_high(Lowering& l) {
    if (l.is_memory(0)) return lower_store(l, store_part<std::uint64_t, 1>);
    take_vector_operands(l);
    l.op.run = vector_op<LowToHigh, FromMemory64>;
}
void lower_movhlps(Lowering& l) {
    take_vector_operands(l);
    l.op.run = vector_op<HighToLow, FromXmm>;
}
void lower_movlhps(Lowering& l) {
    take_vector_operands(l);
    l.op.run = vector_op<LowToHigh, FromXmm>;
}

// MOVD and MOVQ: between the low 4 or 8 bytes of a vector register and a register or memory.
template <typename T>
void lower_move_mmx(Lowering& l) {
    if (l.is_memory(0)) return lower_store(l, store_mmx<T>);
    if (!is_mmx(l, 0)) {
        l.op.dst = l.gpr(0);
        return lower_store(l, mmx_to_gpr<T>);
    }
    l.op.dst = l.vector(0);
    if (l.is_memory(1)) {
        l.op.run = mmx_op<TakeSource, FromMemory<T>>;
    } else if (is_mmx(l, 1)) {
        l.op.src = l.vector(1);
        l.op.run = mmx_op<TakeSource, FromMmx>;
    } else {
        l.op.src = l.gpr(1);
        l.op.run = mmx_op<TakeSource, FromGpr<T>>;
    }
}

template <typename T>
void lower_move_xmm(Lowering& l) {
    if (l.is_memory(0)) return lower_store(l, store_part<T, 0>);
    if (!is_xmm(l, 0)) {
        l.op.dst = l.gpr(0);
        return lower_store(l, xmm_to_gpr<T>);
    }
    l.op.dst = l.vector(0);
    if (l.is_memory(1)) {
        l.op.run = vector_op<TakeSource, FromMemory<T>>;
    } else if (is_xmm(l, 1)) {
        l.op.src = l.vector(1);
        l.op.run = vector_op<LowQuadZeroed, FromXmm>;
    } else {
        l.op.src = l.gpr(1);
        l.op.run = vector_op<TakeSource, FromGpr<T>>;
    }
}

void lower_movd_movq(Lowering& l) {
    bool const wide = l.bytes(0) == 8 && l.bytes(1) == 8;
    bool const quad = l.instruction.mnemonic == ZYDIS_MNEMONIC_MOVQ || wide;
    if (is_mmx(l, 0) || is_mmx(l, 1))
        quad ? lower_move_mmx<std::uint64_t>(l) : lower_move_mmx<std::uint32_t>(l);
    else
        quad ? lower_move_xmm<std::uint64_t>(l) : lower_move_xmm<std::uint32_t>(l);
}

void lower_movntq(Lowering& l) { lower_store(l, store_mmx<std::uint64_t>); }

void lower_movnti(Lowering& l) {
    l.op.src = l.gpr(1);
    l.op.run = l.bytes(1) == 8 ? movnti<std::uint64_t> : movnti<std::uint32_t>;
}
void lower_movdq2q(Lowering& l) {
    take_vector_operands(l);
    l.op.run = movdq2q;
}
void lower_movq2dq(Lowering& l) {
    take_vector_operands(l);
    l.op.run = movq2dq;
}

// --- MASKMOVDQU, MASKMOVQ ------------------------------------------------------------------------------------------

/// Stores the bytes whose mask has its top bit set at DS:rDI. With none selected nothing is touched and nothing faults;
/// with any, all of the destination must be writable.
template <std::size_t kBytes>
bool store_selected(Cpu& cpu, std::uint64_t address, void const* from, void const* mask_from) {
    std::array<std::uint8_t, kBytes> data;
    std::array<std::uint8_t, kBytes> mask;
    std::memcpy(data.data(), from, kBytes);
    std::memcpy(mask.data(), mask_from, kBytes);
    if (std::ranges::none_of(mask, [](std::uint8_t byte) { return byte >= 0x80; })) return true;
    if (!cpu.may_store(address, kBytes)) return false;
    for (std::size_t i = 0; i < kBytes; ++i)
        if (mask[i] >= 0x80 && !cpu.store<std::uint8_t>(address + i, data[i])) return false;
    return true;
}

Op const* maskmovdqu(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    if (!store_selected<16>(cpu, cpu.address(op), &cpu.xmm(op->dst), &cpu.xmm(op->src))) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

Op const* maskmovq(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    X87State& x87 = cpu.x87();
    enter_mmx(cpu);  // even if the store faults
    if (!store_selected<8>(cpu, cpu.address(op), &x87.registers[op->dst].significand,
                           &x87.registers[op->src].significand))
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

}  // namespace

bool store_selected_bytes(Cpu& cpu, std::uint64_t address, Vector128 data, Vector128 mask) {
    return store_selected<16>(cpu, address, &data, &mask);
}

std::uint8_t segment_of_hidden_operand(Lowering const& l) {
    ZydisRegister segment = ZYDIS_REGISTER_DS;
    for (unsigned i = 0; i < l.instruction.operand_count; ++i)
        if (l.is_memory(i)) segment = l.operand(i).mem.segment;
    if (segment == ZYDIS_REGISTER_FS) return fs;
    if (segment == ZYDIS_REGISTER_GS) return gs;
    if (l.mode == CodeMode::bits64) return kFlatSegment;
    switch (segment) {
        case ZYDIS_REGISTER_ES:
            return es;
        case ZYDIS_REGISTER_CS:
            return cs;
        case ZYDIS_REGISTER_SS:
            return ss;
        default:
            return ds;
    }
}

namespace {

void lower_masked_store(Lowering& l) {
    take_vector_operands(l);
    l.op.base = Lowering::gpr_slot(ZYDIS_REGISTER_RDI);
    l.op.segment = segment_of_hidden_operand(l);
    l.op.run = is_mmx(l, 0) ? maskmovq : maskmovdqu;
}

void lower_movsd(Lowering& l) {
    if (is_string_instruction(l)) return lower_string_movsd(l);
    if (l.is_memory(0)) return lower_store(l, store_part<std::uint64_t, 0>);
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? vector_op<TakeSource, FromMemory64> : vector_op<TakeLowQuad, FromXmm>;
}

}  // namespace

void lower_sse_move(LowerTable& table) {
    for (auto const aligned : {ZYDIS_MNEMONIC_MOVAPS, ZYDIS_MNEMONIC_MOVAPD, ZYDIS_MNEMONIC_MOVDQA})
        table[aligned] = lower_move_128<Alignment::sixteen>;
    for (auto const unaligned : {ZYDIS_MNEMONIC_MOVUPS, ZYDIS_MNEMONIC_MOVUPD, ZYDIS_MNEMONIC_MOVDQU})
        table[unaligned] = lower_move_128<Alignment::any>;
    for (auto const non_temporal : {ZYDIS_MNEMONIC_MOVNTPS, ZYDIS_MNEMONIC_MOVNTPD, ZYDIS_MNEMONIC_MOVNTDQ})
        table[non_temporal] = lower_store_aligned;
    table[ZYDIS_MNEMONIC_MOVSS] = lower_movss;
    table[ZYDIS_MNEMONIC_MOVSD] = lower_movsd;
    table[ZYDIS_MNEMONIC_MOVLPS] = table[ZYDIS_MNEMONIC_MOVLPD] = lower_move_low;
    table[ZYDIS_MNEMONIC_MOVHPS] = table[ZYDIS_MNEMONIC_MOVHPD] = lower_move_high;
    table[ZYDIS_MNEMONIC_MOVHLPS] = lower_movhlps;
    table[ZYDIS_MNEMONIC_MOVLHPS] = lower_movlhps;
    table[ZYDIS_MNEMONIC_MOVD] = table[ZYDIS_MNEMONIC_MOVQ] = lower_movd_movq;
    table[ZYDIS_MNEMONIC_MOVNTQ] = lower_movntq;
    table[ZYDIS_MNEMONIC_MOVNTI] = lower_movnti;
    table[ZYDIS_MNEMONIC_MOVDQ2Q] = lower_movdq2q;
    table[ZYDIS_MNEMONIC_MOVQ2DQ] = lower_movq2dq;
    table[ZYDIS_MNEMONIC_MASKMOVQ] = table[ZYDIS_MNEMONIC_MASKMOVDQU] = lower_masked_store;
}

}  // namespace backplane
