// Bit manipulation: LZCNT, TZCNT, BMI1, BMI2, ADX, MOVBE ([SDM1] 5.1.16). Flags that the manuals leave undefined are
// those of the result, with AF = 0, so that they are the same on every host.
#include <bit>
#include <limits>
#include <type_traits>

#include "base/int128.h"
#include "cpu/handlers.h"

namespace backplane {

namespace {

template <typename T>
constexpr unsigned kBits = 8 * sizeof(T);

/// The operand that may be in memory: a register, or memory when op.extra is not 0.
template <typename T>
Loaded<T> flexible(Cpu& cpu, Op const* op) {
    if (op->extra == 0) return {cpu.reg<T>(op->src), true};
    return cpu.load<T>(cpu.address(op));
}
void fill_flexible(Lowering& l, unsigned i) {
    l.op.extra = l.is_memory(i);
    if (!l.is_memory(i)) l.op.src = l.gpr(i);
}

/// dst = Operation(flags, source, other), `other` being the register in VEX.vvvv (op.aux) or the immediate.
template <typename Operation, typename T>
Op const* bits_op(Cpu& cpu, Op const* op) {
    auto const source = flexible<T>(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    cpu.set_reg<T>(op->dst, Operation::template apply<T>(cpu.flags, source.value, cpu.reg<T>(op->aux)));
    BACKPLANE_NEXT(cpu, op);
}
/// VEX-encoded instructions exist in protected mode only ([SDM2A] 2.3).
template <typename Operation, typename T>
Op const* vex_op(Cpu& cpu, Op const* op) {
    if (cpu.real_addressing()) [[unlikely]]
        return cpu.raise(op, ExceptionVector::invalid_opcode);
    return bits_op<Operation, T>(cpu, op);
}

/// Operand `flexible` may be in memory, `other` is a register; -1: there is none.
template <typename Operation, int kFlexible, int kOther>
void lower_vex(Lowering& l) {
    l.op.dst = l.gpr(0);
    fill_flexible(l, kFlexible);
    l.op.aux = kOther < 0 ? std::uint8_t{kZeroSlot * 8} : l.gpr(static_cast<unsigned>(kOther));
    l.op.run = l.bytes(0) == 4 ? vex_op<Operation, std::uint32_t> : vex_op<Operation, std::uint64_t>;
}

// --- BMI1, BMI2 -------------------------------------------------------------------------------------------------------

struct Andn {
    template <typename T>
    static T apply(LazyFlags& flags, T b, T a) {
        T const result = static_cast<T>(~a & b);
        flags.set_logic(result);
        return result;
    }
};
struct Blsr {
    template <typename T>
    static T apply(LazyFlags& flags, T a, T) {
        T const result = static_cast<T>(a & (a - 1));
        flags.set_result(result, a == 0, false);
        return result;
    }
};
struct Blsmsk {
    template <typename T>
    static T apply(LazyFlags& flags, T a, T) {
        T const result = static_cast<T>(a ^ (a - 1));
        flags.set_result(result, a == 0, false);
        return result;
    }
};
struct Blsi {
    template <typename T>
    static T apply(LazyFlags& flags, T a, T) {
        T const result = static_cast<T>(a & (T{0} - a));
        flags.set_result(result, a != 0, false);
        return result;
    }
};
/// Bits 7:0 of the control are the first bit, 15:8 the number of bits.
struct Bextr {
    template <typename T>
    static T apply(LazyFlags& flags, T a, T control) {
        unsigned const start = control & 0xff;
        unsigned const length = control >> 8 & 0xff;
        T result = start < kBits<T> ? static_cast<T>(a >> start) : T{0};
        if (length < kBits<T>) result = static_cast<T>(result & ((T{1} << length) - 1));
        flags.set_logic(result);
        return result;
    }
};
struct Bzhi {
    template <typename T>
    static T apply(LazyFlags& flags, T a, T control) {
        unsigned const index = control & 0xff;
        T const result = index < kBits<T> ? static_cast<T>(a & ((T{1} << index) - 1)) : a;
        flags.set_result(result, index >= kBits<T>, false);
        return result;
    }
};
struct Pdep {
    template <typename T>
    static T apply(LazyFlags&, T mask, T a) {
        T result = 0;
        for (; mask != 0; mask &= mask - 1, a >>= 1)
            if ((a & 1) != 0) result |= mask & (T{0} - mask);
        return result;
    }
};
struct Pext {
    template <typename T>
    static T apply(LazyFlags&, T mask, T a) {
        T result = 0;
        for (unsigned to = 0; mask != 0; mask &= mask - 1, ++to)
            if ((a & mask & (T{0} - mask)) != 0) result |= T{1} << to;
        return result;
    }
};
struct Sarx {
    template <typename T>
    static T apply(LazyFlags&, T a, T count) {
        return static_cast<T>(static_cast<std::make_signed_t<T>>(a) >> (count & (kBits<T> - 1)));
    }
};
struct Shlx {
    template <typename T>
    static T apply(LazyFlags&, T a, T count) {
        return static_cast<T>(a << (count & (kBits<T> - 1)));
    }
};
struct Shrx {
    template <typename T>
    static T apply(LazyFlags&, T a, T count) {
        return static_cast<T>(a >> (count & (kBits<T> - 1)));
    }
};

/// RORX: the count is an immediate, and no flag changes.
template <typename T>
Op const* rorx(Cpu& cpu, Op const* op) {
    if (cpu.real_addressing()) [[unlikely]]
        return cpu.raise(op, ExceptionVector::invalid_opcode);
    auto const source = flexible<T>(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    cpu.set_reg<T>(op->dst, std::rotr(source.value, static_cast<int>(op->imm & (kBits<T> - 1))));
    BACKPLANE_NEXT(cpu, op);
}
void lower_rorx(Lowering& l) {
    l.op.dst = l.gpr(0);
    fill_flexible(l, 1);
    l.op.imm = l.immediate(2);
    l.op.run = l.bytes(0) == 4 ? rorx<std::uint32_t> : rorx<std::uint64_t>;
}

/// MULX: op.dst (high half) and op.aux (low half) = rDX * source; if they are the same register it gets the high half.
template <typename T>
Op const* mulx(Cpu& cpu, Op const* op) {
    if (cpu.real_addressing()) [[unlikely]]
        return cpu.raise(op, ExceptionVector::invalid_opcode);
    auto const source = flexible<T>(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    Uint128 const product = static_cast<Uint128>(cpu.reg<T>(rdx * 8)) * source.value;
    cpu.set_reg<T>(op->aux, static_cast<T>(product));
    cpu.set_reg<T>(op->dst, static_cast<T>(product >> kBits<T>));
    BACKPLANE_NEXT(cpu, op);
}
void lower_mulx(Lowering& l) {
    l.op.dst = l.gpr(0);
    l.op.aux = l.gpr(1);
    fill_flexible(l, 2);
    l.op.run = l.bytes(0) == 4 ? mulx<std::uint32_t> : mulx<std::uint64_t>;
}

// --- LZCNT, TZCNT -----------------------------------------------------------------------------------------------------

struct Tzcnt {
    template <typename T>
    static T apply(LazyFlags& flags, T a, T) {
        auto const result = static_cast<T>(std::countr_zero(a));
        flags.set_result(result, a == 0, false);
        return result;
    }
};
struct Lzcnt {
    template <typename T>
    static T apply(LazyFlags& flags, T a, T) {
        auto const result = static_cast<T>(std::countl_zero(a));
        flags.set_result(result, a == 0, false);
        return result;
    }
};
template <typename Operation>
void lower_count(Lowering& l) {
    l.op.dst = l.gpr(0);
    fill_flexible(l, 1);
    l.op.aux = kZeroSlot * 8;
    l.op.run = by_size(l.bytes(0), nullptr, bits_op<Operation, std::uint16_t>, bits_op<Operation, std::uint32_t>,
                       bits_op<Operation, std::uint64_t>);
}

// --- ADX --------------------------------------------------------------------------------------------------------------

/// ADCX adds with CF and changes only CF; ADOX the same with OF.
enum class Chain : std::uint8_t { carry, overflow };

template <Chain kChain, typename T>
Op const* add_chain(Cpu& cpu, Op const* op) {
    auto const source = flexible<T>(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    bool const in = kChain == Chain::carry ? cpu.flags.carry() : cpu.flags.overflow();
    Uint128 const sum = static_cast<Uint128>(cpu.reg<T>(op->dst)) + source.value + (in ? 1 : 0);
    bool const out = (sum >> kBits<T> & 1) != 0;
    cpu.set_reg<T>(op->dst, static_cast<T>(sum));
    if constexpr (kChain == Chain::carry)
        cpu.flags.set_carry_overflow(out, cpu.flags.overflow());
    else
        cpu.flags.set_carry_overflow(cpu.flags.carry(), out);
    BACKPLANE_NEXT(cpu, op);
}
template <Chain kChain>
void lower_add_chain(Lowering& l) {
    l.op.dst = l.gpr(0);
    fill_flexible(l, 1);
    l.op.run = l.bytes(0) == 4 ? add_chain<kChain, std::uint32_t> : add_chain<kChain, std::uint64_t>;
}

// --- MOVBE ------------------------------------------------------------------------------------------------------------

template <typename T>
T swapped(T value) {
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
    return static_cast<T>(__builtin_bswap64(value));
}
template <typename T>
Op const* load_swapped(Cpu& cpu, Op const* op) {
    auto const loaded = cpu.load<T>(cpu.address(op));
    if (!loaded.ok) [[unlikely]]
        return cpu.leave(op);
    cpu.set_reg<T>(op->dst, swapped(loaded.value));
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* store_swapped(Cpu& cpu, Op const* op) {
    if (!cpu.store<T>(cpu.address(op), swapped(cpu.reg<T>(op->src)))) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
void lower_movbe(Lowering& l) {
    unsigned const bytes = l.bytes(0);
    if (l.is_memory(0)) {
        l.op.src = l.gpr(1);
        l.op.run = by_size(bytes, nullptr, store_swapped<std::uint16_t>, store_swapped<std::uint32_t>,
                           store_swapped<std::uint64_t>);
    } else {
        l.op.dst = l.gpr(0);
        l.op.run = by_size(bytes, nullptr, load_swapped<std::uint16_t>, load_swapped<std::uint32_t>,
                           load_swapped<std::uint64_t>);
    }
}

}  // namespace

void lower_bits(LowerTable& table) {
    table[ZYDIS_MNEMONIC_ANDN] = lower_vex<Andn, 2, 1>;
    table[ZYDIS_MNEMONIC_BEXTR] = lower_vex<Bextr, 1, 2>;
    table[ZYDIS_MNEMONIC_BLSI] = lower_vex<Blsi, 1, -1>;
    table[ZYDIS_MNEMONIC_BLSMSK] = lower_vex<Blsmsk, 1, -1>;
    table[ZYDIS_MNEMONIC_BLSR] = lower_vex<Blsr, 1, -1>;
    table[ZYDIS_MNEMONIC_BZHI] = lower_vex<Bzhi, 1, 2>;
    table[ZYDIS_MNEMONIC_PDEP] = lower_vex<Pdep, 2, 1>;
    table[ZYDIS_MNEMONIC_PEXT] = lower_vex<Pext, 2, 1>;
    table[ZYDIS_MNEMONIC_SARX] = lower_vex<Sarx, 1, 2>;
    table[ZYDIS_MNEMONIC_SHLX] = lower_vex<Shlx, 1, 2>;
    table[ZYDIS_MNEMONIC_SHRX] = lower_vex<Shrx, 1, 2>;
    table[ZYDIS_MNEMONIC_RORX] = lower_rorx;
    table[ZYDIS_MNEMONIC_MULX] = lower_mulx;
    table[ZYDIS_MNEMONIC_TZCNT] = lower_count<Tzcnt>;
    table[ZYDIS_MNEMONIC_LZCNT] = lower_count<Lzcnt>;
    table[ZYDIS_MNEMONIC_ADCX] = lower_add_chain<Chain::carry>;
    table[ZYDIS_MNEMONIC_ADOX] = lower_add_chain<Chain::overflow>;
    table[ZYDIS_MNEMONIC_MOVBE] = lower_movbe;
}

}  // namespace backplane
