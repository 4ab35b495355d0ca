// Shifts and rotates: SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD. [SDM2B]
//
// Undefined flags are defined once for all engines: OF after a shift by more than one is computed as for one (the last
// bit shifted), AF is 0, and a double shift by more than the operand size counts modulo that size.
#include "base/int128.h"
#include "cpu/handlers.h"

namespace backplane {

namespace {

enum class Shift : std::uint8_t { rol, ror, rcl, rcr, shl, shr, sar };

template <typename T>
constexpr unsigned kBits = 8 * sizeof(T);

template <typename T>
constexpr bool top(T value) {
    return (value >> (kBits<T> - 1) & 1) != 0;
}

/// The shifted value, with the flags set; `count` is masked to 5 (6) bits and not 0.
template <Shift K, typename T>
T compute(LazyFlags& flags, T value, unsigned count) {
    if constexpr (K == Shift::shl) {
        std::uint64_t const wide = value;
        bool const carry = count <= kBits<T> && (wide >> (kBits<T> - count) & 1) != 0;
        T const result = count < kBits<T> ? static_cast<T>(wide << count) : T{0};
        flags.set_result(result, carry, top(result) != carry);
        return result;
    } else if constexpr (K == Shift::shr) {
        std::uint64_t const wide = value;
        bool const carry = count <= kBits<T> && (wide >> (count - 1) & 1) != 0;
        T const result = count < kBits<T> ? static_cast<T>(wide >> count) : T{0};
        flags.set_result(result, carry, (static_cast<T>(result << 1) ^ result) >> (kBits<T> - 1) & 1);
        return result;
    } else if constexpr (K == Shift::sar) {
        auto const wide = static_cast<std::int64_t>(static_cast<std::make_signed_t<T>>(value));
        unsigned const steps = count < kBits<T> ? count : kBits<T>;
        bool const carry = (wide >> (steps - 1) & 1) != 0;
        auto const result = static_cast<T>(steps < 64 ? wide >> steps : wide >> 63);
        flags.set_result(result, carry, false);
        return result;
    } else if constexpr (K == Shift::rol || K == Shift::ror) {
        unsigned const steps = count % kBits<T>;
        std::uint64_t const wide = value;
        T result = value;
        if (steps != 0) {
            result = K == Shift::rol ? static_cast<T>(wide << steps | wide >> (kBits<T> - steps))
                                     : static_cast<T>(wide >> steps | wide << (kBits<T> - steps));
        }
        if constexpr (K == Shift::rol) {
            bool const carry = (result & 1) != 0;
            flags.set_carry_overflow(carry, top(result) != carry);
        } else {
            flags.set_carry_overflow(top(result), top(result) != top(static_cast<T>(result << 1)));
        }
        return result;
    } else {
        // Through carry: a rotation of kBits + 1 bits.
        unsigned const steps = count % (kBits<T> + 1);
        bool carry = flags.carry();
        Uint128 const ring = static_cast<Uint128>(carry) << kBits<T> | value;
        unsigned const left = K == Shift::rcl ? steps : (kBits<T> + 1 - steps) % (kBits<T> + 1);
        Uint128 const turned = left == 0 ? ring : ring << left | ring >> (kBits<T> + 1 - left);
        auto const result = static_cast<T>(turned);
        carry = (turned >> kBits<T> & 1) != 0;
        bool const overflow = K == Shift::rcl ? top(result) != carry : top(result) != top(static_cast<T>(result << 1));
        flags.set_carry_overflow(carry, overflow);
        return result;
    }
}

/// op.extra: 1 when the count is in CL, else it is op.imm.
template <typename T>
unsigned count_of(Cpu const& cpu, Op const* op) {
    unsigned const count = op->extra == 1 ? cpu.reg<std::uint8_t>(rcx * 8) : static_cast<unsigned>(op->imm);
    return count & (sizeof(T) == 8 ? 63 : 31);
}

template <Shift K, typename T>
Op const* shift_reg(Cpu& cpu, Op const* op) {
    unsigned const count = count_of<T>(cpu, op);
    T const value = cpu.reg<T>(op->dst);
    cpu.set_reg<T>(op->dst, count == 0 ? value : compute<K>(cpu.flags, value, count));
    BACKPLANE_NEXT(cpu, op);
}
template <Shift K, typename T>
Op const* shift_mem(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    auto const loaded = cpu.load_to_modify<T>(address);
    if (!loaded.ok) [[unlikely]] return cpu.leave(op);
    unsigned const count = count_of<T>(cpu, op);
    T const result = count == 0 ? loaded.value : compute<K>(cpu.flags, loaded.value, count);
    if (!cpu.store<T>(address, result)) [[unlikely]] return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <Shift K>
void lower_shift_by(Lowering& lowering) {
    Op& op = lowering.op;
    if (lowering.is_immediate(1))
        op.imm = lowering.immediate(1);
    else
        op.extra = 1;
    unsigned const bytes = lowering.bytes(0);
    if (lowering.is_memory(0)) {
        op.run = by_size(bytes, &shift_mem<K, std::uint8_t>, &shift_mem<K, std::uint16_t>, &shift_mem<K, std::uint32_t>, &shift_mem<K, std::uint64_t>);
    } else {
        op.dst = lowering.gpr(0);
        op.run = by_size(bytes, &shift_reg<K, std::uint8_t>, &shift_reg<K, std::uint16_t>, &shift_reg<K, std::uint32_t>, &shift_reg<K, std::uint64_t>);
    }
}

/// SHLD and SHRD: `count` is masked and not 0.
template <bool Left, typename T>
T compute_double(LazyFlags& flags, T value, T filler, unsigned count) {
    if (count > kBits<T>) count -= kBits<T>;  // 16-bit operands, undefined by the manual
    using Wide = Uint128;
    bool carry;
    T result;
    if constexpr (Left) {
        Wide const both = static_cast<Wide>(value) << kBits<T> | filler;
        result = static_cast<T>(both << count >> kBits<T>);
        carry = (value >> (kBits<T> - count) & 1) != 0;
    } else {
        Wide const both = static_cast<Wide>(filler) << kBits<T> | value;
        result = static_cast<T>(both >> count);
        carry = (value >> (count - 1) & 1) != 0;
    }
    flags.set_result(result, carry, top(result) != top(value));
    return result;
}

template <bool Left, typename T>
Op const* double_shift_reg(Cpu& cpu, Op const* op) {
    unsigned const count = count_of<T>(cpu, op);
    T const value = cpu.reg<T>(op->dst);
    cpu.set_reg<T>(op->dst, count == 0 ? value : compute_double<Left>(cpu.flags, value, cpu.reg<T>(op->src), count));
    BACKPLANE_NEXT(cpu, op);
}
template <bool Left, typename T>
Op const* double_shift_mem(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    auto const loaded = cpu.load_to_modify<T>(address);
    if (!loaded.ok) [[unlikely]] return cpu.leave(op);
    unsigned const count = count_of<T>(cpu, op);
    T const result = count == 0 ? loaded.value : compute_double<Left>(cpu.flags, loaded.value, cpu.reg<T>(op->src), count);
    if (!cpu.store<T>(address, result)) [[unlikely]] return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <bool Left>
void lower_double_shift(Lowering& lowering) {
    Op& op = lowering.op;
    op.src = lowering.gpr(1);
    if (lowering.is_immediate(2))
        op.imm = lowering.immediate(2);
    else
        op.extra = 1;
    unsigned const bytes = lowering.bytes(0);
    if (lowering.is_memory(0)) {
        op.run = by_size(bytes, nullptr, &double_shift_mem<Left, std::uint16_t>, &double_shift_mem<Left, std::uint32_t>, &double_shift_mem<Left, std::uint64_t>);
    } else {
        op.dst = lowering.gpr(0);
        op.run = by_size(bytes, nullptr, &double_shift_reg<Left, std::uint16_t>, &double_shift_reg<Left, std::uint32_t>, &double_shift_reg<Left, std::uint64_t>);
    }
}

}  // namespace

void lower_shift(LowerTable& table) {
    table[ZYDIS_MNEMONIC_ROL] = &lower_shift_by<Shift::rol>;
    table[ZYDIS_MNEMONIC_ROR] = &lower_shift_by<Shift::ror>;
    table[ZYDIS_MNEMONIC_RCL] = &lower_shift_by<Shift::rcl>;
    table[ZYDIS_MNEMONIC_RCR] = &lower_shift_by<Shift::rcr>;
    table[ZYDIS_MNEMONIC_SHL] = &lower_shift_by<Shift::shl>;
    table[ZYDIS_MNEMONIC_SHR] = &lower_shift_by<Shift::shr>;
    table[ZYDIS_MNEMONIC_SAR] = &lower_shift_by<Shift::sar>;
    table[ZYDIS_MNEMONIC_SHLD] = &lower_double_shift<true>;
    table[ZYDIS_MNEMONIC_SHRD] = &lower_double_shift<false>;
}

}  // namespace backplane
