// Packed integers, in XMM registers (SSE2) and MMX registers (MMX, SSE, SSE2). An MMX operation is the low half of the
// same operation on XMM registers, except where it gathers from both of its operands' ends.
#include "cpu/simd.h"

namespace backplane {

namespace {

/// MMX packing: both sources' halves come from 8 bytes.
template <typename Operation>
struct MmxPack {
    static Vector128 apply(Vector128 a, Vector128 b) {
        Vector128 const both = {a[0], b[0]};
        return Operation::apply(both, both);
    }
};
/// MMX interleaving of the high 4 bytes: the upper half of interleaving the low 8.
template <typename LowOperation>
struct MmxHigh {
    static Vector128 apply(Vector128 a, Vector128 b) { return Vector128{LowOperation::apply(a, b)[1], 0}; }
};

template <typename Operation, typename MmxOperation = Operation, typename MmxMemory = FromMemory64>
void lower_packed(Lowering& l) {
    take_vector_operands(l);
    if (is_mmx(l, 0))
        l.op.run = l.is_memory(1) ? mmx_op<MmxOperation, MmxMemory> : mmx_op<MmxOperation, FromMmx>;
    else
        l.op.run = l.is_memory(1) ? vector_op<Operation, FromMemory128> : vector_op<Operation, FromXmm>;
}

template <typename Operation>
void lower_packed_xmm(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? vector_op<Operation, FromMemory128> : vector_op<Operation, FromXmm>;
}

template <typename Operation>
void lower_packed_shift(Lowering& l) {
    if (!l.is_immediate(1)) return lower_packed<Operation>(l);
    l.op.dst = l.vector(0);
    l.op.imm = l.immediate(1);
    l.op.run = is_mmx(l, 0) ? mmx_op<Operation, FromImmediate> : vector_op<Operation, FromImmediate>;
}

// Operations named as their mnemonics.
#define BACKPLANE_PACKED(name, mnemonic) BACKPLANE_VECTOR_OPERATION(name, mnemonic)
BACKPLANE_PACKED(Paddb, "paddb");
BACKPLANE_PACKED(Paddw, "paddw");
BACKPLANE_PACKED(Paddd, "paddd");
BACKPLANE_PACKED(Paddq, "paddq");
BACKPLANE_PACKED(Paddsb, "paddsb");
BACKPLANE_PACKED(Paddsw, "paddsw");
BACKPLANE_PACKED(Paddusb, "paddusb");
BACKPLANE_PACKED(Paddusw, "paddusw");
BACKPLANE_PACKED(Psubb, "psubb");
BACKPLANE_PACKED(Psubw, "psubw");
BACKPLANE_PACKED(Psubd, "psubd");
BACKPLANE_PACKED(Psubq, "psubq");
BACKPLANE_PACKED(Psubsb, "psubsb");
BACKPLANE_PACKED(Psubsw, "psubsw");
BACKPLANE_PACKED(Psubusb, "psubusb");
BACKPLANE_PACKED(Psubusw, "psubusw");
BACKPLANE_PACKED(Pmullw, "pmullw");
BACKPLANE_PACKED(Pmulhw, "pmulhw");
BACKPLANE_PACKED(Pmulhuw, "pmulhuw");
BACKPLANE_PACKED(Pmuludq, "pmuludq");
BACKPLANE_PACKED(Pmaddwd, "pmaddwd");
BACKPLANE_PACKED(Psadbw, "psadbw");
BACKPLANE_PACKED(Pavgb, "pavgb");
BACKPLANE_PACKED(Pavgw, "pavgw");
BACKPLANE_PACKED(Pmaxsw, "pmaxsw");
BACKPLANE_PACKED(Pmaxub, "pmaxub");
BACKPLANE_PACKED(Pminsw, "pminsw");
BACKPLANE_PACKED(Pminub, "pminub");
BACKPLANE_PACKED(Pcmpeqb, "pcmpeqb");
BACKPLANE_PACKED(Pcmpeqw, "pcmpeqw");
BACKPLANE_PACKED(Pcmpeqd, "pcmpeqd");
BACKPLANE_PACKED(Pcmpgtb, "pcmpgtb");
BACKPLANE_PACKED(Pcmpgtw, "pcmpgtw");
BACKPLANE_PACKED(Pcmpgtd, "pcmpgtd");
BACKPLANE_PACKED(Packsswb, "packsswb");
BACKPLANE_PACKED(Packssdw, "packssdw");
BACKPLANE_PACKED(Packuswb, "packuswb");
BACKPLANE_PACKED(Punpcklbw, "punpcklbw");
BACKPLANE_PACKED(Punpcklwd, "punpcklwd");
BACKPLANE_PACKED(Punpckldq, "punpckldq");
BACKPLANE_PACKED(Punpcklqdq, "punpcklqdq");
BACKPLANE_PACKED(Punpckhbw, "punpckhbw");
BACKPLANE_PACKED(Punpckhwd, "punpckhwd");
BACKPLANE_PACKED(Punpckhdq, "punpckhdq");
BACKPLANE_PACKED(Punpckhqdq, "punpckhqdq");
BACKPLANE_PACKED(Psllw, "psllw");
BACKPLANE_PACKED(Pslld, "pslld");
BACKPLANE_PACKED(Psllq, "psllq");
BACKPLANE_PACKED(Psrlw, "psrlw");
BACKPLANE_PACKED(Psrld, "psrld");
BACKPLANE_PACKED(Psrlq, "psrlq");
BACKPLANE_PACKED(Psraw, "psraw");
BACKPLANE_PACKED(Psrad, "psrad");
#undef BACKPLANE_PACKED

struct Pand {
    static Vector128 apply(Vector128 a, Vector128 b) { return a & b; }
};
struct Pandn {
    static Vector128 apply(Vector128 a, Vector128 b) { return ~a & b; }
};
struct Por {
    static Vector128 apply(Vector128 a, Vector128 b) { return a | b; }
};
struct Pxor {
    static Vector128 apply(Vector128 a, Vector128 b) { return a ^ b; }
};

// PSLLDQ and PSRLDQ count bytes; a count above 15 clears the register.
struct Pslldq {
    static Vector128 apply(Vector128 a, Vector128 count) {
        unsigned const bits = 8 * static_cast<unsigned>(count[0]);
        if (bits >= 128) return Vector128{};
        if (bits >= 64) return Vector128{0, a[0] << (bits - 64)};
        return Vector128{a[0] << bits, bits == 0 ? a[1] : a[1] << bits | a[0] >> (64 - bits)};
    }
};
struct Psrldq {
    static Vector128 apply(Vector128 a, Vector128 count) {
        unsigned const bits = 8 * static_cast<unsigned>(count[0]);
        if (bits >= 128) return Vector128{};
        if (bits >= 64) return Vector128{a[1] >> (bits - 64), 0};
        return Vector128{bits == 0 ? a[0] : a[0] >> bits | a[1] << (64 - bits), a[1] >> bits};
    }
};

}  // namespace

void lower_sse_integer(LowerTable& table) {
    table[ZYDIS_MNEMONIC_PADDB] = lower_packed<Paddb>;
    table[ZYDIS_MNEMONIC_PADDW] = lower_packed<Paddw>;
    table[ZYDIS_MNEMONIC_PADDD] = lower_packed<Paddd>;
    table[ZYDIS_MNEMONIC_PADDQ] = lower_packed<Paddq>;
    table[ZYDIS_MNEMONIC_PADDSB] = lower_packed<Paddsb>;
    table[ZYDIS_MNEMONIC_PADDSW] = lower_packed<Paddsw>;
    table[ZYDIS_MNEMONIC_PADDUSB] = lower_packed<Paddusb>;
    table[ZYDIS_MNEMONIC_PADDUSW] = lower_packed<Paddusw>;
    table[ZYDIS_MNEMONIC_PSUBB] = lower_packed<Psubb>;
    table[ZYDIS_MNEMONIC_PSUBW] = lower_packed<Psubw>;
    table[ZYDIS_MNEMONIC_PSUBD] = lower_packed<Psubd>;
    table[ZYDIS_MNEMONIC_PSUBQ] = lower_packed<Psubq>;
    table[ZYDIS_MNEMONIC_PSUBSB] = lower_packed<Psubsb>;
    table[ZYDIS_MNEMONIC_PSUBSW] = lower_packed<Psubsw>;
    table[ZYDIS_MNEMONIC_PSUBUSB] = lower_packed<Psubusb>;
    table[ZYDIS_MNEMONIC_PSUBUSW] = lower_packed<Psubusw>;
    table[ZYDIS_MNEMONIC_PMULLW] = lower_packed<Pmullw>;
    table[ZYDIS_MNEMONIC_PMULHW] = lower_packed<Pmulhw>;
    table[ZYDIS_MNEMONIC_PMULHUW] = lower_packed<Pmulhuw>;
    table[ZYDIS_MNEMONIC_PMULUDQ] = lower_packed<Pmuludq>;
    table[ZYDIS_MNEMONIC_PMADDWD] = lower_packed<Pmaddwd>;
    table[ZYDIS_MNEMONIC_PSADBW] = lower_packed<Psadbw>;
    table[ZYDIS_MNEMONIC_PAVGB] = lower_packed<Pavgb>;
    table[ZYDIS_MNEMONIC_PAVGW] = lower_packed<Pavgw>;
    table[ZYDIS_MNEMONIC_PMAXSW] = lower_packed<Pmaxsw>;
    table[ZYDIS_MNEMONIC_PMAXUB] = lower_packed<Pmaxub>;
    table[ZYDIS_MNEMONIC_PMINSW] = lower_packed<Pminsw>;
    table[ZYDIS_MNEMONIC_PMINUB] = lower_packed<Pminub>;
    table[ZYDIS_MNEMONIC_PCMPEQB] = lower_packed<Pcmpeqb>;
    table[ZYDIS_MNEMONIC_PCMPEQW] = lower_packed<Pcmpeqw>;
    table[ZYDIS_MNEMONIC_PCMPEQD] = lower_packed<Pcmpeqd>;
    table[ZYDIS_MNEMONIC_PCMPGTB] = lower_packed<Pcmpgtb>;
    table[ZYDIS_MNEMONIC_PCMPGTW] = lower_packed<Pcmpgtw>;
    table[ZYDIS_MNEMONIC_PCMPGTD] = lower_packed<Pcmpgtd>;
    table[ZYDIS_MNEMONIC_PAND] = lower_packed<Pand>;
    table[ZYDIS_MNEMONIC_PANDN] = lower_packed<Pandn>;
    table[ZYDIS_MNEMONIC_POR] = lower_packed<Por>;
    table[ZYDIS_MNEMONIC_PXOR] = lower_packed<Pxor>;

    table[ZYDIS_MNEMONIC_PACKSSWB] = lower_packed<Packsswb, MmxPack<Packsswb>>;
    table[ZYDIS_MNEMONIC_PACKSSDW] = lower_packed<Packssdw, MmxPack<Packssdw>>;
    table[ZYDIS_MNEMONIC_PACKUSWB] = lower_packed<Packuswb, MmxPack<Packuswb>>;
    table[ZYDIS_MNEMONIC_PUNPCKLBW] = lower_packed<Punpcklbw, Punpcklbw, FromMemory32>;
    table[ZYDIS_MNEMONIC_PUNPCKLWD] = lower_packed<Punpcklwd, Punpcklwd, FromMemory32>;
    table[ZYDIS_MNEMONIC_PUNPCKLDQ] = lower_packed<Punpckldq, Punpckldq, FromMemory32>;
    table[ZYDIS_MNEMONIC_PUNPCKHBW] = lower_packed<Punpckhbw, MmxHigh<Punpcklbw>>;
    table[ZYDIS_MNEMONIC_PUNPCKHWD] = lower_packed<Punpckhwd, MmxHigh<Punpcklwd>>;
    table[ZYDIS_MNEMONIC_PUNPCKHDQ] = lower_packed<Punpckhdq, MmxHigh<Punpckldq>>;
    table[ZYDIS_MNEMONIC_PUNPCKLQDQ] = lower_packed_xmm<Punpcklqdq>;
    table[ZYDIS_MNEMONIC_PUNPCKHQDQ] = lower_packed_xmm<Punpckhqdq>;
    // The single and double forms differ in name only.
    table[ZYDIS_MNEMONIC_UNPCKLPS] = lower_packed_xmm<Punpckldq>;
    table[ZYDIS_MNEMONIC_UNPCKHPS] = lower_packed_xmm<Punpckhdq>;
    table[ZYDIS_MNEMONIC_UNPCKLPD] = lower_packed_xmm<Punpcklqdq>;
    table[ZYDIS_MNEMONIC_UNPCKHPD] = lower_packed_xmm<Punpckhqdq>;

    table[ZYDIS_MNEMONIC_PSLLW] = lower_packed_shift<Psllw>;
    table[ZYDIS_MNEMONIC_PSLLD] = lower_packed_shift<Pslld>;
    table[ZYDIS_MNEMONIC_PSLLQ] = lower_packed_shift<Psllq>;
    table[ZYDIS_MNEMONIC_PSRLW] = lower_packed_shift<Psrlw>;
    table[ZYDIS_MNEMONIC_PSRLD] = lower_packed_shift<Psrld>;
    table[ZYDIS_MNEMONIC_PSRLQ] = lower_packed_shift<Psrlq>;
    table[ZYDIS_MNEMONIC_PSRAW] = lower_packed_shift<Psraw>;
    table[ZYDIS_MNEMONIC_PSRAD] = lower_packed_shift<Psrad>;
    table[ZYDIS_MNEMONIC_PSLLDQ] = lower_packed_shift<Pslldq>;
    table[ZYDIS_MNEMONIC_PSRLDQ] = lower_packed_shift<Psrldq>;
}

}  // namespace backplane
