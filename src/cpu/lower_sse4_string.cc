// SSE4.2: comparison of strings in registers ([SDM2B] 4.1), and CRC32.
#include <array>
#include <utility>

#include "cpu/simd.h"

namespace backplane {

namespace {

/// What a comparison gives: an index (ECX) or a mask (XMM0), and flags.
struct StringResult {
    Vector128 mask;
    std::uint32_t index;
    std::uint32_t flags;
};
struct StringOperands {
    Vector128 a, b;
    std::uint32_t a_length, b_length;  ///< of the forms with explicit lengths
};
using Compare = StringResult (*)(StringOperands const&);

#define BACKPLANE_STRING_FLAGS(result, cf, zf, sf, of)                                            \
    (result).flags = static_cast<std::uint32_t>(((cf) ? rflags::kCarry : 0) | ((zf) ? rflags::kZero : 0) | \
                                                ((sf) ? rflags::kSign : 0) | ((of) ? rflags::kOverflow : 0))

template <unsigned kControl>
struct Implicit {
    static StringResult index(StringOperands const& in) {
        StringResult out{};
        bool cf, zf, sf, of;
        asm("pcmpistri %7, %6, %5"
            : "=c"(out.index), "=@ccc"(cf), "=@ccz"(zf), "=@ccs"(sf), "=@cco"(of)
            : "x"(in.a), "x"(in.b), "i"(kControl));
        BACKPLANE_STRING_FLAGS(out, cf, zf, sf, of);
        return out;
    }
    static StringResult mask(StringOperands const& in) {
        StringResult out{};
        bool cf, zf, sf, of;
        register Vector128 xmm0 asm("xmm0");
        asm("pcmpistrm %7, %6, %5"
            : "=x"(xmm0), "=@ccc"(cf), "=@ccz"(zf), "=@ccs"(sf), "=@cco"(of)
            : "x"(in.a), "x"(in.b), "i"(kControl));
        out.mask = xmm0;
        BACKPLANE_STRING_FLAGS(out, cf, zf, sf, of);
        return out;
    }
};
template <unsigned kControl>
struct Explicit {
    static StringResult index(StringOperands const& in) {
        StringResult out{};
        bool cf, zf, sf, of;
        asm("pcmpestri %7, %6, %5"
            : "=c"(out.index), "=@ccc"(cf), "=@ccz"(zf), "=@ccs"(sf), "=@cco"(of)
            : "x"(in.a), "x"(in.b), "i"(kControl), "a"(in.a_length), "d"(in.b_length));
        BACKPLANE_STRING_FLAGS(out, cf, zf, sf, of);
        return out;
    }
    static StringResult mask(StringOperands const& in) {
        StringResult out{};
        bool cf, zf, sf, of;
        register Vector128 xmm0 asm("xmm0");
        asm("pcmpestrm %7, %6, %5"
            : "=x"(xmm0), "=@ccc"(cf), "=@ccz"(zf), "=@ccs"(sf), "=@cco"(of)
            : "x"(in.a), "x"(in.b), "i"(kControl), "a"(in.a_length), "d"(in.b_length));
        out.mask = xmm0;
        BACKPLANE_STRING_FLAGS(out, cf, zf, sf, of);
        return out;
    }
};

enum class Lengths : std::uint8_t { implicit_zero, explicit_registers };
enum class Answer : std::uint8_t { index, mask };

// Bit 7 of the control byte is reserved and without effect.
template <Lengths kLengths, Answer kAnswer, std::size_t... kControls>
constexpr std::array<Compare, 128> make_table(std::index_sequence<kControls...>) {
    if constexpr (kLengths == Lengths::implicit_zero && kAnswer == Answer::index) return {Implicit<kControls>::index...};
    else if constexpr (kLengths == Lengths::implicit_zero) return {Implicit<kControls>::mask...};
    else if constexpr (kAnswer == Answer::index) return {Explicit<kControls>::index...};
    else return {Explicit<kControls>::mask...};
}
template <Lengths kLengths, Answer kAnswer>
constexpr std::array<Compare, 128> kCompare = make_table<kLengths, kAnswer>(std::make_index_sequence<128>{});

/// The length in EAX or EDX; with REX.W (op.extra) in the whole register, cut to what 32 bits can say.
std::uint32_t length_in(Cpu& cpu, Op const* op, Gpr name) {
    if (op->extra == 0) return cpu.reg<std::uint32_t>(name * 8);
    auto const length = cpu.reg<std::int64_t>(name * 8);
    return length > 16 || length < -16 ? 16 : static_cast<std::uint32_t>(length);
}

template <Lengths kLengths, Answer kAnswer, typename Source>
Op const* compare_strings(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    StringResult const result = kCompare<kLengths, kAnswer>[op->imm & 0x7f](
        {read_xmm(cpu, op->dst), source.value, length_in(cpu, op, rax), length_in(cpu, op, rdx)});
    if constexpr (kAnswer == Answer::index)
        cpu.set_reg<std::uint32_t>(rcx * 8, result.index);
    else
        write_xmm(cpu, 0, result.mask);
    cpu.flags.set(result.flags);
    BACKPLANE_NEXT(cpu, op);
}
/// Unlike others, these operands need no alignment.
template <Lengths kLengths, Answer kAnswer>
void lower_compare_strings(Lowering& l) {
    take_vector_operands(l);
    l.op.extra = l.instruction.raw.rex.W != 0;
    l.op.run = l.is_memory(1) ? compare_strings<kLengths, kAnswer, FromMemoryUnaligned>
                              : compare_strings<kLengths, kAnswer, FromXmm>;
}

// --- CRC32 ------------------------------------------------------------------------------------------------------------

template <typename T>
std::uint32_t crc32(std::uint64_t sum, T value) {
    auto narrow = static_cast<std::uint32_t>(sum);
    if constexpr (sizeof(T) == 1) asm("crc32b %1, %0" : "+r"(narrow) : "q"(value));
    if constexpr (sizeof(T) == 2) asm("crc32w %1, %0" : "+r"(narrow) : "r"(value));
    if constexpr (sizeof(T) == 4) asm("crc32l %1, %0" : "+r"(narrow) : "r"(value));
    if constexpr (sizeof(T) == 8) {
        asm("crc32q %1, %0" : "+r"(sum) : "r"(value));
        narrow = static_cast<std::uint32_t>(sum);
    }
    return narrow;
}

/// Only bits 31:0 of the destination count, and bits 63:32 of the result are 0.
template <typename T, bool kFromMemory>
Op const* crc32_op(Cpu& cpu, Op const* op) {
    Loaded<T> value{0, true};
    if constexpr (kFromMemory)
        value = cpu.load<T>(cpu.address(op));
    else
        value.value = cpu.reg<T>(op->src);
    if (!value.ok) [[unlikely]]
        return cpu.leave(op);
    cpu.set_reg<std::uint32_t>(op->dst, crc32(cpu.reg<std::uint32_t>(op->dst), value.value));
    BACKPLANE_NEXT(cpu, op);
}
void lower_crc32(Lowering& l) {
    l.op.dst = Lowering::gpr_slot(l.operand(0).reg.value);
    bool const from_memory = l.is_memory(1);
    if (!from_memory) l.op.src = l.gpr(1);
    l.op.run = from_memory ? by_size(l.bytes(1), crc32_op<std::uint8_t, true>, crc32_op<std::uint16_t, true>,
                                     crc32_op<std::uint32_t, true>, crc32_op<std::uint64_t, true>)
                           : by_size(l.bytes(1), crc32_op<std::uint8_t, false>, crc32_op<std::uint16_t, false>,
                                     crc32_op<std::uint32_t, false>, crc32_op<std::uint64_t, false>);
}

}  // namespace

void lower_sse4_string(LowerTable& table) {
    table[ZYDIS_MNEMONIC_PCMPISTRI] = lower_compare_strings<Lengths::implicit_zero, Answer::index>;
    table[ZYDIS_MNEMONIC_PCMPISTRM] = lower_compare_strings<Lengths::implicit_zero, Answer::mask>;
    table[ZYDIS_MNEMONIC_PCMPESTRI] = lower_compare_strings<Lengths::explicit_registers, Answer::index>;
    table[ZYDIS_MNEMONIC_PCMPESTRM] = lower_compare_strings<Lengths::explicit_registers, Answer::mask>;
    table[ZYDIS_MNEMONIC_CRC32] = lower_crc32;
}

}  // namespace backplane
