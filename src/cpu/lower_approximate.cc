// RCPPS, RCPSS, RSQRTPS, RSQRTSS and their VEX forms.
#include "cpu/approximate.h"
#include "cpu/avx.h"

namespace backplane {

namespace {

using Function = std::uint32_t (*)(std::uint32_t);

template <Function kFunction>
std::uint64_t two(std::uint64_t value) {
    return kFunction(static_cast<std::uint32_t>(value)) | std::uint64_t{kFunction(static_cast<std::uint32_t>(value >> 32))} << 32;
}
template <Function kFunction>
struct Packed {
    static Vector128 apply(Vector128, Vector128 b) { return Vector128{two<kFunction>(b[0]), two<kFunction>(b[1])}; }
};
template <Function kFunction>
struct Scalar {
    static Vector128 apply(Vector128 a, Vector128 b) {
        return Vector128{(a[0] & ~std::uint64_t{0xffff'ffff}) | kFunction(static_cast<std::uint32_t>(b[0])), a[1]};
    }
};

template <typename Operation, typename Memory>
void lower_legacy(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? vector_op<Operation, Memory> : vector_op<Operation, FromXmm>;
}

/// xmm = Operation(first, source), bits 255:128 become 0. The first source is in op.aux.
template <typename Operation, typename Source>
Op const* vex_128(Cpu& cpu, Op const* op) {
    if (!cpu.avx_ok()) [[unlikely]]
        return raise_avx_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    write_ymm_low(cpu, op->dst, Operation::apply(read_xmm(cpu, op->aux), source.value));
    BACKPLANE_NEXT(cpu, op);
}
[[gnu::noinline]] bool read_256(Cpu& cpu, Op const* op, Ymm& to) {
    if (op->extra == 0) {
        to = read_ymm(cpu, op->src);
        return true;
    }
    return cpu.load_bytes(cpu.address(op), &to, sizeof to);
}
template <typename Operation>
[[gnu::noinline]] bool carry_out_256(Cpu& cpu, Op const* op) {
    Ymm source;
    if (!read_256(cpu, op, source)) return false;
    write_ymm(cpu, op->dst, {Operation::apply(Vector128{}, source.low), Operation::apply(Vector128{}, source.high)});
    return true;
}
template <typename Operation>
Op const* vex_256(Cpu& cpu, Op const* op) {
    if (!cpu.avx_ok()) [[unlikely]]
        return raise_avx_unavailable(cpu, op);
    if (!carry_out_256<Operation>(cpu, op)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
/// Memory operands need no alignment.
template <Function kFunction>
void lower_vex_packed(Lowering& l) {
    bool const from_memory = l.is_memory(1);
    l.op.dst = l.vector(0);
    if (!from_memory) l.op.src = l.vector(1);
    l.op.extra = from_memory;
    using Operation = Packed<kFunction>;
    l.op.run = is_256(l)     ? vex_256<Operation>
               : from_memory ? vex_128<Operation, FromMemoryUnaligned>
                             : vex_128<Operation, FromXmm>;
}
template <Function kFunction>
void lower_vex_scalar(Lowering& l) {
    l.op.dst = l.vector(0);
    l.op.aux = l.vector(1);
    if (!l.is_memory(2)) l.op.src = l.vector(2);
    using Operation = Scalar<kFunction>;
    l.op.run = l.is_memory(2) ? vex_128<Operation, FromMemory32> : vex_128<Operation, FromXmm>;
}

}  // namespace

void lower_approximate(LowerTable& table) {
    constexpr Function kReciprocal = approximate_reciprocal, kSquareRoot = approximate_reciprocal_square_root;
    table[ZYDIS_MNEMONIC_RCPPS] = lower_legacy<Packed<kReciprocal>, FromMemory128>;
    table[ZYDIS_MNEMONIC_RCPSS] = lower_legacy<Scalar<kReciprocal>, FromMemory32>;
    table[ZYDIS_MNEMONIC_RSQRTPS] = lower_legacy<Packed<kSquareRoot>, FromMemory128>;
    table[ZYDIS_MNEMONIC_RSQRTSS] = lower_legacy<Scalar<kSquareRoot>, FromMemory32>;
    table[ZYDIS_MNEMONIC_VRCPPS] = lower_vex_packed<kReciprocal>;
    table[ZYDIS_MNEMONIC_VRCPSS] = lower_vex_scalar<kReciprocal>;
    table[ZYDIS_MNEMONIC_VRSQRTPS] = lower_vex_packed<kSquareRoot>;
    table[ZYDIS_MNEMONIC_VRSQRTSS] = lower_vex_scalar<kSquareRoot>;
}

}  // namespace backplane
