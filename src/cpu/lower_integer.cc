// Integer arithmetic and logic: ADD to CMP, TEST, INC, DEC, NEG, NOT, MUL, DIV, bit tests and scans, CMPXCHG, XADD,
// and the adjustments of packed decimals. [SDM2A], [SDM2B]
#include <bit>
#include <limits>
#include <type_traits>

#include "base/int128.h"
#include "cpu/handlers.h"

namespace backplane {

namespace {

enum class Alu : std::uint8_t { add, bit_or, adc, sbb, bit_and, sub, bit_xor, cmp, test };

constexpr bool writes_back(Alu operation) { return operation != Alu::cmp && operation != Alu::test; }

template <typename T>
T carries_of_add(T a, T b, T result) {
    return static_cast<T>((a & b) | ((a | b) & ~result));
}
template <typename T>
T borrows_of_sub(T a, T b, T result) {
    return static_cast<T>((~a & b) | (~(a ^ b) & result));
}

template <Alu K, typename T>
T compute(LazyFlags& flags, T a, T b) {
    if constexpr (K == Alu::add || K == Alu::adc) {
        T const carry = K == Alu::adc ? flags.carry() : 0;
        T const result = static_cast<T>(a + b + carry);
        flags.set_arithmetic(result, carries_of_add(a, b, result));
        return result;
    } else if constexpr (K == Alu::sub || K == Alu::cmp || K == Alu::sbb) {
        T const borrow = K == Alu::sbb ? flags.carry() : 0;
        T const result = static_cast<T>(a - b - borrow);
        flags.set_arithmetic(result, borrows_of_sub(a, b, result));
        return result;
    } else {
        T const result = static_cast<T>(K == Alu::bit_or ? a | b : K == Alu::bit_xor ? a ^ b : a & b);
        flags.set_logic(result);
        return result;
    }
}

template <Alu K, typename T, Form F>
Op const* alu(Cpu& cpu, Op const* op) {
    if constexpr (F == Form::reg_reg || F == Form::reg_imm || F == Form::reg_mem) {
        T b;
        if constexpr (F == Form::reg_reg) {
            b = cpu.reg<T>(op->src);
        } else if constexpr (F == Form::reg_imm) {
            b = static_cast<T>(op->imm);
        } else {
            auto const loaded = cpu.load<T>(cpu.address(op));
            if (!loaded.ok) [[unlikely]] return cpu.leave(op);
            b = loaded.value;
        }
        T const result = compute<K>(cpu.flags, cpu.reg<T>(op->dst), b);
        if constexpr (writes_back(K)) cpu.set_reg<T>(op->dst, result);
    } else {
        std::uint64_t const address = cpu.address(op);
        auto const loaded = writes_back(K) ? cpu.load_to_modify<T>(address) : cpu.load<T>(address);
        if (!loaded.ok) [[unlikely]] return cpu.leave(op);
        T const b = F == Form::mem_reg ? cpu.reg<T>(op->src) : static_cast<T>(op->imm);
        T const result = compute<K>(cpu.flags, loaded.value, b);
        if constexpr (writes_back(K))
            if (!cpu.store<T>(address, result)) [[unlikely]] return cpu.leave(op);
    }
    BACKPLANE_NEXT(cpu, op);
}

template <Alu K>
void lower_alu(Lowering& lowering) {
    Form const form = fill_two_operands(lowering);
#define MAKE(T, F) &alu<K, T, F>
    lowering.op.run = BACKPLANE_PICK(MAKE, lowering.bytes(0), form);
#undef MAKE
}

// --- one operand: INC, DEC, NEG, NOT ------------------------------------------------------------------------------

enum class Unary : std::uint8_t { inc, dec, neg, bit_not };

template <Unary K, typename T>
T compute(LazyFlags& flags, T a) {
    if constexpr (K == Unary::bit_not) {
        return static_cast<T>(~a);
    } else if constexpr (K == Unary::neg) {
        T const result = static_cast<T>(-a);
        flags.set_arithmetic(result, borrows_of_sub(T{0}, a, result));
        return result;
    } else {
        bool const carry = flags.carry();  // INC and DEC leave CF alone
        T const result = static_cast<T>(K == Unary::inc ? a + 1 : a - 1);
        T const chain = K == Unary::inc ? carries_of_add(a, T{1}, result) : borrows_of_sub(a, T{1}, result);
        flags.set_arithmetic(result, chain);
        flags.set_carry(carry);
        return result;
    }
}

template <Unary K, typename T>
Op const* unary_reg(Cpu& cpu, Op const* op) {
    cpu.set_reg<T>(op->dst, compute<K>(cpu.flags, cpu.reg<T>(op->dst)));
    BACKPLANE_NEXT(cpu, op);
}
template <Unary K, typename T>
Op const* unary_mem(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    auto const loaded = cpu.load_to_modify<T>(address);
    if (!loaded.ok) [[unlikely]] return cpu.leave(op);
    if (!cpu.store<T>(address, compute<K>(cpu.flags, loaded.value))) [[unlikely]] return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <Unary K>
void lower_unary(Lowering& lowering) {
    unsigned const bytes = lowering.bytes(0);
    if (lowering.is_memory(0)) {
        lowering.op.run = by_size(bytes, &unary_mem<K, std::uint8_t>, &unary_mem<K, std::uint16_t>,
                                  &unary_mem<K, std::uint32_t>, &unary_mem<K, std::uint64_t>);
    } else {
        lowering.op.dst = lowering.gpr(0);
        lowering.op.run = by_size(bytes, &unary_reg<K, std::uint8_t>, &unary_reg<K, std::uint16_t>,
                                  &unary_reg<K, std::uint32_t>, &unary_reg<K, std::uint64_t>);
    }
}

// --- multiplication and division ----------------------------------------------------------------------------------

template <typename T>
struct Twice;
template <>
struct Twice<std::uint8_t> {
    using Unsigned = std::uint16_t;
    using Signed = std::int16_t;
};
template <>
struct Twice<std::uint16_t> {
    using Unsigned = std::uint32_t;
    using Signed = std::int32_t;
};
template <>
struct Twice<std::uint32_t> {
    using Unsigned = std::uint64_t;
    using Signed = std::int64_t;
};
template <>
struct Twice<std::uint64_t> {
    using Unsigned = Uint128;
    using Signed = Int128;
};

/// A source operand that is a register or memory, by op.extra.
template <typename T>
Loaded<T> source(Cpu& cpu, Op const* op) {
    if (op->extra == 0) return {cpu.reg<T>(op->src), true};
    return cpu.load<T>(cpu.address(op));
}

void fill_source(Lowering& lowering, unsigned i) {
    lowering.op.extra = lowering.is_memory(i);
    if (!lowering.is_memory(i)) lowering.op.src = lowering.gpr(i);
}

/// rDX:rAX (AX for bytes) = rAX * source. SF, ZF, PF (undefined) follow the low half.
template <typename T, bool Signed>
Op const* multiply_wide(Cpu& cpu, Op const* op) {
    auto const b = source<T>(cpu, op);
    if (!b.ok) [[unlikely]] return cpu.leave(op);
    T const a = cpu.reg<T>(rax * 8);
    using Wide = std::conditional_t<Signed, typename Twice<T>::Signed, typename Twice<T>::Unsigned>;
    using Narrow = std::conditional_t<Signed, std::make_signed_t<T>, T>;
    Wide const product = static_cast<Wide>(static_cast<Wide>(static_cast<Narrow>(a)) * static_cast<Wide>(static_cast<Narrow>(b.value)));
    auto const low = static_cast<T>(product);
    auto const high = static_cast<T>(static_cast<typename Twice<T>::Unsigned>(product) >> (8 * sizeof(T)));
    if constexpr (sizeof(T) == 1) {
        cpu.set_reg<std::uint16_t>(rax * 8, static_cast<std::uint16_t>(product));
    } else {
        cpu.set_reg<T>(rax * 8, low);
        cpu.set_reg<T>(rdx * 8, high);
    }
    bool const overflow = Signed ? product != static_cast<Wide>(static_cast<Narrow>(low)) : high != 0;
    cpu.flags.set_result(low, overflow, overflow);
    BACKPLANE_NEXT(cpu, op);
}

/// IMUL with two or three operands: dst = a * b, truncated.
template <typename T>
void multiply_narrow(Cpu& cpu, std::uint8_t dst, T a, T b) {
    using Wide = typename Twice<T>::Signed;
    using Narrow = std::make_signed_t<T>;
    Wide const product = static_cast<Wide>(static_cast<Wide>(static_cast<Narrow>(a)) * static_cast<Wide>(static_cast<Narrow>(b)));
    auto const low = static_cast<T>(product);
    cpu.set_reg<T>(dst, low);
    bool const overflow = product != static_cast<Wide>(static_cast<Narrow>(low));
    cpu.flags.set_result(low, overflow, overflow);
}
template <typename T>
Op const* multiply_two(Cpu& cpu, Op const* op) {
    auto const b = source<T>(cpu, op);
    if (!b.ok) [[unlikely]] return cpu.leave(op);
    multiply_narrow<T>(cpu, op->dst, cpu.reg<T>(op->dst), b.value);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* multiply_three(Cpu& cpu, Op const* op) {
    auto const b = source<T>(cpu, op);
    if (!b.ok) [[unlikely]] return cpu.leave(op);
    multiply_narrow<T>(cpu, op->dst, b.value, static_cast<T>(op->imm));
    BACKPLANE_NEXT(cpu, op);
}

void lower_mul(Lowering& lowering) {
    fill_source(lowering, 0);
    lowering.op.run = by_size(lowering.bytes(0), &multiply_wide<std::uint8_t, false>, &multiply_wide<std::uint16_t, false>,
                              &multiply_wide<std::uint32_t, false>, &multiply_wide<std::uint64_t, false>);
}

void lower_imul(Lowering& lowering) {
    unsigned const bytes = lowering.bytes(0);
    if (lowering.visible() == 1) {
        fill_source(lowering, 0);
        lowering.op.run = by_size(bytes, &multiply_wide<std::uint8_t, true>, &multiply_wide<std::uint16_t, true>,
                                  &multiply_wide<std::uint32_t, true>, &multiply_wide<std::uint64_t, true>);
        return;
    }
    lowering.op.dst = lowering.gpr(0);
    fill_source(lowering, 1);
    if (lowering.visible() == 3) {
        lowering.op.imm = lowering.immediate(2);
        lowering.op.run = by_size(bytes, nullptr, &multiply_three<std::uint16_t>, &multiply_three<std::uint32_t>, &multiply_three<std::uint64_t>);
    } else {
        lowering.op.run = by_size(bytes, nullptr, &multiply_two<std::uint16_t>, &multiply_two<std::uint32_t>, &multiply_two<std::uint64_t>);
    }
}

/// #DE when the divisor is zero or the quotient does not fit. All six flags are undefined: they keep their values.
template <typename T, bool Signed>
Op const* divide(Cpu& cpu, Op const* op) {
    auto const loaded = source<T>(cpu, op);
    if (!loaded.ok) [[unlikely]] return cpu.leave(op);
    using Wide = std::conditional_t<Signed, typename Twice<T>::Signed, typename Twice<T>::Unsigned>;
    using Narrow = std::conditional_t<Signed, std::make_signed_t<T>, T>;
    using Bits = typename Twice<T>::Unsigned;
    auto const divisor = static_cast<Narrow>(loaded.value);
    if (divisor == 0) return cpu.raise(op, ExceptionVector::divide_error);
    Bits const bits = sizeof(T) == 1 ? static_cast<Bits>(cpu.reg<std::uint16_t>(rax * 8))
                                     : static_cast<Bits>(static_cast<Bits>(static_cast<Bits>(cpu.reg<T>(rdx * 8)) << (4 * sizeof(T)) << (4 * sizeof(T))) | cpu.reg<T>(rax * 8));
    auto const dividend = static_cast<Wide>(bits);
    if constexpr (Signed) {
        // The most negative value by -1 overflows in C++ too.
        if (divisor == -1 && bits == static_cast<Bits>(Bits{1} << (16 * sizeof(T) - 1)))
            return cpu.raise(op, ExceptionVector::divide_error);
    }
    auto const quotient = static_cast<Wide>(dividend / static_cast<Wide>(divisor));
    auto const remainder = static_cast<Wide>(dividend % static_cast<Wide>(divisor));
    if (quotient != static_cast<Wide>(static_cast<Narrow>(quotient))) return cpu.raise(op, ExceptionVector::divide_error);
    if constexpr (sizeof(T) == 1) {
        cpu.set_reg<std::uint8_t>(rax * 8, static_cast<std::uint8_t>(quotient));
        cpu.set_reg<std::uint8_t>(rax * 8 + 1, static_cast<std::uint8_t>(remainder));
    } else {
        cpu.set_reg<T>(rax * 8, static_cast<T>(quotient));
        cpu.set_reg<T>(rdx * 8, static_cast<T>(remainder));
    }
    BACKPLANE_NEXT(cpu, op);
}

template <bool Signed>
void lower_divide(Lowering& lowering) {
    fill_source(lowering, 0);
    lowering.op.run = by_size(lowering.bytes(0), &divide<std::uint8_t, Signed>, &divide<std::uint16_t, Signed>,
                              &divide<std::uint32_t, Signed>, &divide<std::uint64_t, Signed>);
}

// --- bit tests: BT, BTS, BTR, BTC ---------------------------------------------------------------------------------

enum class BitTest : std::uint8_t { test, set, reset, complement };

template <BitTest K, typename T>
T changed(T value, T mask) {
    if constexpr (K == BitTest::set) return static_cast<T>(value | mask);
    if constexpr (K == BitTest::reset) return static_cast<T>(value & ~mask);
    if constexpr (K == BitTest::complement) return static_cast<T>(value ^ mask);
    return value;
}

template <BitTest K, typename T, Form F>
Op const* bit_test(Cpu& cpu, Op const* op) {
    constexpr unsigned kBits = 8 * sizeof(T);
    constexpr bool kImmediate = F == Form::reg_imm || F == Form::mem_imm;
    T const offset = kImmediate ? static_cast<T>(op->imm) : cpu.reg<T>(op->src);
    T const mask = static_cast<T>(T{1} << (offset & (kBits - 1)));
    if constexpr (F == Form::reg_reg || F == Form::reg_imm) {
        T const value = cpu.reg<T>(op->dst);
        cpu.flags.set_carry((value & mask) != 0);
        if constexpr (K != BitTest::test) cpu.set_reg<T>(op->dst, changed<K>(value, mask));
    } else {
        std::uint64_t where = cpu.effective_address(op);
        // With a register the bit string reaches beyond the operand, in both directions.
        if constexpr (F == Form::mem_reg)
            where += static_cast<std::uint64_t>((static_cast<std::int64_t>(static_cast<std::make_signed_t<T>>(offset)) >> std::countr_zero(kBits)) * static_cast<std::int64_t>(sizeof(T)));
        if (op->form == AddressForm::legacy16) where = static_cast<std::uint16_t>(where);
        if (op->form == AddressForm::legacy32 || op->form == AddressForm::wrap32) where = static_cast<std::uint32_t>(where);
        std::uint64_t const address = cpu.segment_linear(op->segment, where, sizeof(T), K == BitTest::test ? Right::read : Right::write);
        auto const loaded = K == BitTest::test ? cpu.load<T>(address) : cpu.load_to_modify<T>(address);
        if (!loaded.ok) [[unlikely]] return cpu.leave(op);
        if constexpr (K != BitTest::test)
            if (!cpu.store<T>(address, changed<K>(loaded.value, mask))) [[unlikely]] return cpu.leave(op);
        cpu.flags.set_carry((loaded.value & mask) != 0);
    }
    BACKPLANE_NEXT(cpu, op);
}

template <BitTest K>
void lower_bit_test(Lowering& lowering) {
    Form const form = fill_two_operands(lowering);
#define MAKE(T, F) &bit_test<K, T, F>
    lowering.op.run = lowering.bytes(0) == 2   ? BACKPLANE_PICK_FORM(MAKE, std::uint16_t, form)
                      : lowering.bytes(0) == 4 ? BACKPLANE_PICK_FORM(MAKE, std::uint32_t, form)
                                               : BACKPLANE_PICK_FORM(MAKE, std::uint64_t, form);
#undef MAKE
}

// --- bit scans and counts -----------------------------------------------------------------------------------------

enum class Scan : std::uint8_t { forward, reverse, population };

/// BSF and BSR of zero set ZF and leave the destination alone (as AMD documents and Intel does).
template <Scan K, typename T>
Op const* scan(Cpu& cpu, Op const* op) {
    auto const loaded = source<T>(cpu, op);
    if (!loaded.ok) [[unlikely]] return cpu.leave(op);
    T const value = loaded.value;
    if constexpr (K == Scan::population) {
        auto const count = static_cast<T>(std::popcount(value));
        cpu.set_reg<T>(op->dst, count);
        cpu.flags.set(value == 0 ? rflags::kZero : 0);
    } else {
        if (value != 0) {
            int const where = K == Scan::forward ? std::countr_zero(value) : static_cast<int>(8 * sizeof(T)) - 1 - std::countl_zero(value);
            cpu.set_reg<T>(op->dst, static_cast<T>(where));
        }
        cpu.flags.set_zero(value == 0);
    }
    BACKPLANE_NEXT(cpu, op);
}

template <Scan K>
void lower_scan(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    fill_source(lowering, 1);
    lowering.op.run = by_size(lowering.bytes(0), nullptr, &scan<K, std::uint16_t>, &scan<K, std::uint32_t>, &scan<K, std::uint64_t>);
}

// --- exchange and add, compare and exchange -----------------------------------------------------------------------

template <typename T>
Op const* xadd_reg(Cpu& cpu, Op const* op) {
    T const a = cpu.reg<T>(op->dst);
    T const b = cpu.reg<T>(op->src);
    T const sum = compute<Alu::add>(cpu.flags, a, b);
    cpu.set_reg<T>(op->src, a);
    cpu.set_reg<T>(op->dst, sum);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* xadd_mem(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    auto const loaded = cpu.load_to_modify<T>(address);
    if (!loaded.ok) [[unlikely]] return cpu.leave(op);
    T const sum = static_cast<T>(loaded.value + cpu.reg<T>(op->src));
    if (!cpu.store<T>(address, sum)) [[unlikely]] return cpu.leave(op);
    compute<Alu::add>(cpu.flags, loaded.value, cpu.reg<T>(op->src));
    cpu.set_reg<T>(op->src, loaded.value);
    BACKPLANE_NEXT(cpu, op);
}
void lower_xadd(Lowering& lowering) {
    Form const form = fill_two_operands(lowering);
    unsigned const bytes = lowering.bytes(0);
    lowering.op.run = form == Form::reg_reg ? by_size(bytes, &xadd_reg<std::uint8_t>, &xadd_reg<std::uint16_t>, &xadd_reg<std::uint32_t>, &xadd_reg<std::uint64_t>)
                                            : by_size(bytes, &xadd_mem<std::uint8_t>, &xadd_mem<std::uint16_t>, &xadd_mem<std::uint32_t>, &xadd_mem<std::uint64_t>);
}

template <typename T>
Op const* cmpxchg_reg(Cpu& cpu, Op const* op) {
    T const destination = cpu.reg<T>(op->dst);
    T const accumulator = cpu.reg<T>(rax * 8);
    T const replacement = cpu.reg<T>(op->src);
    compute<Alu::cmp>(cpu.flags, accumulator, destination);
    if (accumulator == destination)
        cpu.set_reg<T>(op->dst, replacement);
    else
        cpu.set_reg<T>(rax * 8, destination);
    BACKPLANE_NEXT(cpu, op);
}
/// The destination is written in both cases, so it must be writable in both ([SDM2A] CMPXCHG).
template <typename T>
Op const* cmpxchg_mem(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    auto const loaded = cpu.load_to_modify<T>(address);
    if (!loaded.ok) [[unlikely]] return cpu.leave(op);
    T const accumulator = cpu.reg<T>(rax * 8);
    bool const equal = accumulator == loaded.value;
    if (!cpu.store<T>(address, equal ? cpu.reg<T>(op->src) : loaded.value)) [[unlikely]] return cpu.leave(op);
    compute<Alu::cmp>(cpu.flags, accumulator, loaded.value);
    if (!equal) cpu.set_reg<T>(rax * 8, loaded.value);
    BACKPLANE_NEXT(cpu, op);
}
void lower_cmpxchg(Lowering& lowering) {
    Form const form = fill_two_operands(lowering);
    unsigned const bytes = lowering.bytes(0);
    lowering.op.run = form == Form::reg_reg ? by_size(bytes, &cmpxchg_reg<std::uint8_t>, &cmpxchg_reg<std::uint16_t>, &cmpxchg_reg<std::uint32_t>, &cmpxchg_reg<std::uint64_t>)
                                            : by_size(bytes, &cmpxchg_mem<std::uint8_t>, &cmpxchg_mem<std::uint16_t>, &cmpxchg_mem<std::uint32_t>, &cmpxchg_mem<std::uint64_t>);
}

/// CMPXCHG8B (T = 32 bits) and CMPXCHG16B (T = 64 bits, aligned to 16 or #GP).
template <typename T>
Op const* cmpxchg_pair(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    if (sizeof(T) == 8 && (address & 15) != 0) return cpu.raise(op, ExceptionVector::general_protection);
    if (!cpu.may_store(address, 2 * sizeof(T))) [[unlikely]] return cpu.leave(op);
    auto const low = cpu.load_to_modify<T>(address);
    if (!low.ok) [[unlikely]] return cpu.leave(op);
    auto const high = cpu.load_to_modify<T>(address + sizeof(T));
    if (!high.ok) [[unlikely]] return cpu.leave(op);
    bool const equal = low.value == cpu.reg<T>(rax * 8) && high.value == cpu.reg<T>(rdx * 8);
    if (!cpu.store<T>(address, equal ? cpu.reg<T>(rbx * 8) : low.value)) [[unlikely]] return cpu.leave(op);
    if (!cpu.store<T>(address + sizeof(T), equal ? cpu.reg<T>(rcx * 8) : high.value)) [[unlikely]] return cpu.leave(op);
    if (!equal) {
        cpu.set_reg<T>(rax * 8, low.value);
        cpu.set_reg<T>(rdx * 8, high.value);
    }
    cpu.flags.set_zero(equal);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
void lower_cmpxchg_pair(Lowering& lowering) {
    lowering.op.run = &cmpxchg_pair<T>;
}

// --- decimal adjustments (not in 64-bit mode; Zydis refuses them there) -------------------------------------------

Op const* daa_das(Cpu& cpu, Op const* op) {
    bool const subtract = op->aux != 0;
    auto al = cpu.reg<std::uint8_t>(rax * 8);
    std::uint8_t const old = al;
    bool carry = cpu.flags.carry();
    bool const old_carry = carry;
    bool auxiliary = cpu.flags.auxiliary();
    carry = false;
    if ((old & 0xf) > 9 || auxiliary) {
        carry = old_carry || (subtract ? old < 6 : old > 0xf9);
        al = static_cast<std::uint8_t>(subtract ? al - 6 : al + 6);
        auxiliary = true;
    } else {
        auxiliary = false;
    }
    if (old > 0x99 || old_carry) {
        al = static_cast<std::uint8_t>(subtract ? al - 0x60 : al + 0x60);
        carry = true;
    }
    cpu.set_reg<std::uint8_t>(rax * 8, al);
    cpu.flags.set_logic(al);
    cpu.flags.set(cpu.flags.value() | (carry ? rflags::kCarry : 0) | (auxiliary ? rflags::kAuxiliary : 0));
    BACKPLANE_NEXT(cpu, op);
}
Op const* aaa_aas(Cpu& cpu, Op const* op) {
    bool const subtract = op->aux != 0;
    auto ax = cpu.reg<std::uint16_t>(rax * 8);
    bool const adjust = (ax & 0xf) > 9 || cpu.flags.auxiliary();
    if (adjust) ax = static_cast<std::uint16_t>(subtract ? ax - 0x106 : ax + 0x106);
    ax &= 0xff0f;
    cpu.set_reg<std::uint16_t>(rax * 8, ax);
    cpu.flags.set_logic(static_cast<std::uint8_t>(ax));
    if (adjust) cpu.flags.set(cpu.flags.value() | rflags::kCarry | rflags::kAuxiliary);
    BACKPLANE_NEXT(cpu, op);
}
Op const* aam(Cpu& cpu, Op const* op) {
    auto const base = static_cast<std::uint8_t>(op->imm);
    if (base == 0) return cpu.raise(op, ExceptionVector::divide_error);
    auto const al = cpu.reg<std::uint8_t>(rax * 8);
    cpu.set_reg<std::uint8_t>(rax * 8 + 1, static_cast<std::uint8_t>(al / base));
    cpu.set_reg<std::uint8_t>(rax * 8, static_cast<std::uint8_t>(al % base));
    cpu.flags.set_logic(static_cast<std::uint8_t>(al % base));
    BACKPLANE_NEXT(cpu, op);
}
Op const* aad(Cpu& cpu, Op const* op) {
    auto const ax = cpu.reg<std::uint16_t>(rax * 8);
    auto const al = static_cast<std::uint8_t>(ax + (ax >> 8) * static_cast<std::uint8_t>(op->imm));
    cpu.set_reg<std::uint16_t>(rax * 8, al);
    cpu.flags.set_logic(al);
    BACKPLANE_NEXT(cpu, op);
}

/// SALC, which no manual names and every processor has: AL becomes 0 or FFh as CF says.
Op const* salc(Cpu& cpu, Op const* op) {
    cpu.set_reg<std::uint8_t>(rax * 8, cpu.flags.carry() ? 0xff : 0);
    BACKPLANE_NEXT(cpu, op);
}

/// BOUND: two signed limits in memory, both allowed ([SDM2A]).
template <typename T>
Op const* bound(Cpu& cpu, Op const* op) {
    using Signed = std::make_signed_t<T>;
    T limits[2];
    if (!cpu.load_bytes(cpu.address(op), limits, sizeof(limits))) [[unlikely]] return cpu.leave(op);
    auto const index = cpu.reg<Signed>(op->dst);
    if (index < static_cast<Signed>(limits[0]) || index > static_cast<Signed>(limits[1])) return cpu.raise(op, ExceptionVector::bound);
    BACKPLANE_NEXT(cpu, op);
}
void lower_bound(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    lowering.op.run = by_size(lowering.bytes(0), nullptr, &bound<std::uint16_t>, &bound<std::uint32_t>, nullptr);
}

template <Handler H, std::uint8_t Aux>
void lower_adjust(Lowering& lowering) {
    lowering.op.aux = Aux;
    if (lowering.visible() != 0 && lowering.is_immediate(0)) lowering.op.imm = lowering.immediate(0);
    lowering.op.run = H;
}

}  // namespace

void lower_integer(LowerTable& table) {
    table[ZYDIS_MNEMONIC_ADD] = &lower_alu<Alu::add>;
    table[ZYDIS_MNEMONIC_OR] = &lower_alu<Alu::bit_or>;
    table[ZYDIS_MNEMONIC_ADC] = &lower_alu<Alu::adc>;
    table[ZYDIS_MNEMONIC_SBB] = &lower_alu<Alu::sbb>;
    table[ZYDIS_MNEMONIC_AND] = &lower_alu<Alu::bit_and>;
    table[ZYDIS_MNEMONIC_SUB] = &lower_alu<Alu::sub>;
    table[ZYDIS_MNEMONIC_XOR] = &lower_alu<Alu::bit_xor>;
    table[ZYDIS_MNEMONIC_CMP] = &lower_alu<Alu::cmp>;
    table[ZYDIS_MNEMONIC_TEST] = &lower_alu<Alu::test>;
    table[ZYDIS_MNEMONIC_INC] = &lower_unary<Unary::inc>;
    table[ZYDIS_MNEMONIC_DEC] = &lower_unary<Unary::dec>;
    table[ZYDIS_MNEMONIC_NEG] = &lower_unary<Unary::neg>;
    table[ZYDIS_MNEMONIC_NOT] = &lower_unary<Unary::bit_not>;
    table[ZYDIS_MNEMONIC_MUL] = &lower_mul;
    table[ZYDIS_MNEMONIC_IMUL] = &lower_imul;
    table[ZYDIS_MNEMONIC_DIV] = &lower_divide<false>;
    table[ZYDIS_MNEMONIC_IDIV] = &lower_divide<true>;
    table[ZYDIS_MNEMONIC_BT] = &lower_bit_test<BitTest::test>;
    table[ZYDIS_MNEMONIC_BTS] = &lower_bit_test<BitTest::set>;
    table[ZYDIS_MNEMONIC_BTR] = &lower_bit_test<BitTest::reset>;
    table[ZYDIS_MNEMONIC_BTC] = &lower_bit_test<BitTest::complement>;
    table[ZYDIS_MNEMONIC_BSF] = &lower_scan<Scan::forward>;
    table[ZYDIS_MNEMONIC_BSR] = &lower_scan<Scan::reverse>;
    table[ZYDIS_MNEMONIC_POPCNT] = &lower_scan<Scan::population>;
    table[ZYDIS_MNEMONIC_XADD] = &lower_xadd;
    table[ZYDIS_MNEMONIC_CMPXCHG] = &lower_cmpxchg;
    table[ZYDIS_MNEMONIC_CMPXCHG8B] = &lower_cmpxchg_pair<std::uint32_t>;
    table[ZYDIS_MNEMONIC_CMPXCHG16B] = &lower_cmpxchg_pair<std::uint64_t>;
    table[ZYDIS_MNEMONIC_SALC] = &lower_adjust<&salc, 0>;
    table[ZYDIS_MNEMONIC_BOUND] = &lower_bound;
    table[ZYDIS_MNEMONIC_DAA] = &lower_adjust<&daa_das, 0>;
    table[ZYDIS_MNEMONIC_DAS] = &lower_adjust<&daa_das, 1>;
    table[ZYDIS_MNEMONIC_AAA] = &lower_adjust<&aaa_aas, 0>;
    table[ZYDIS_MNEMONIC_AAS] = &lower_adjust<&aaa_aas, 1>;
    table[ZYDIS_MNEMONIC_AAM] = &lower_adjust<&aam, 0>;
    table[ZYDIS_MNEMONIC_AAD] = &lower_adjust<&aad, 0>;
}

}  // namespace backplane
