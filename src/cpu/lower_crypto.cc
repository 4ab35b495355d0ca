// AES, PCLMULQDQ and SHA ([SDM1] 12.13, [SDM2B]). SHA is computed here, because many hosts that have everything else
// lack it; the others are the host's.
#include <bit>

#include "cpu/simd.h"

namespace backplane {

namespace {

template <typename Operation>
void lower_crypto_op(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? vector_op<Operation, FromMemory128> : vector_op<Operation, FromXmm>;
}

/// xmm = Operation(xmm, source, immediate).
template <typename Operation, typename Source>
Op const* crypto_immediate(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    auto const immediate = static_cast<std::uint8_t>(op->imm);
    write_xmm(cpu, op->dst, Operation::apply(read_xmm(cpu, op->dst), source.value, immediate));
    BACKPLANE_NEXT(cpu, op);
}
template <typename Operation>
void lower_crypto_immediate(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? crypto_immediate<Operation, FromMemory128> : crypto_immediate<Operation, FromXmm>;
}

// --- AES, carry-less multiplication -----------------------------------------------------------------------------------

BACKPLANE_VECTOR_OPERATION(Aesenc, "aesenc");
BACKPLANE_VECTOR_OPERATION(Aesenclast, "aesenclast");
BACKPLANE_VECTOR_OPERATION(Aesdec, "aesdec");
BACKPLANE_VECTOR_OPERATION(Aesdeclast, "aesdeclast");
BACKPLANE_VECTOR_OPERATION(Aesimc, "aesimc");

/// The round constant is only added to elements 1 and 3, so it needs no instruction for each value.
struct Aeskeygenassist {
    static Vector128 apply(Vector128, Vector128 b, std::uint64_t constant) {
        Vector128 result;
        asm("aeskeygenassist $0, %1, %0" : "=x"(result) : "x"(b));
        return result ^ Vector128{constant << 32, constant << 32};
    }
};
struct Pclmulqdq {
    static Vector128 apply(Vector128 a, Vector128 b, unsigned choice) {
        Vector128 first{a[choice & 1], 0};
        Vector128 const second{b[choice >> 4 & 1], 0};
        asm("pclmulqdq $0, %1, %0" : "+x"(first) : "x"(second));
        return first;
    }
};

// --- SHA --------------------------------------------------------------------------------------------------------------

using Words = std::array<std::uint32_t, 4>;  ///< [3] is the highest
Words words_of(Vector128 value) {
    Words words;
    std::memcpy(words.data(), &value, sizeof value);
    return words;
}
Vector128 vector_of(Words const& words) {
    Vector128 value;
    std::memcpy(&value, words.data(), sizeof value);
    return value;
}

struct Sha1nexte {
    static Vector128 apply(Vector128 a, Vector128 b) {
        Words result = words_of(b);
        result[3] += std::rotl(words_of(a)[3], 30);
        return vector_of(result);
    }
};
struct Sha1msg1 {
    static Vector128 apply(Vector128 a, Vector128 b) { return a ^ Vector128{b[1], a[0]}; }
};
struct Sha1msg2 {
    static Vector128 apply(Vector128 a, Vector128 b) {
        Words const x = words_of(a);
        Words const y = words_of(b);
        std::uint32_t const w16 = std::rotl(x[3] ^ y[2], 1);
        return vector_of({std::rotl(x[0] ^ w16, 1), std::rotl(x[1] ^ y[0], 1), std::rotl(x[2] ^ y[1], 1), w16});
    }
};
/// Four rounds; the immediate chooses function and constant.
struct Sha1rnds4 {
    static std::uint32_t mix(unsigned choice, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
        if (choice == 0) return (b & c) ^ (~b & d);
        return choice == 2 ? (b & c) ^ (b & d) ^ (c & d) : b ^ c ^ d;
    }
    static Vector128 apply(Vector128 state, Vector128 message, unsigned choice) {
        constexpr std::uint32_t kConstants[4] = {0x5a82'7999, 0x6ed9'eba1, 0x8f1b'bcdc, 0xca62'c1d6};
        choice &= 3;
        Words const s = words_of(state);
        Words const w = words_of(message);
        std::uint32_t a = s[3], b = s[2], c = s[1], d = s[0], e = 0;
        for (unsigned i = 0; i < 4; ++i) {
            // E of the first round is in the message already.
            std::uint32_t const next = mix(choice, b, c, d) + std::rotl(a, 5) + w[3 - i] + e + kConstants[choice];
            e = d, d = c, c = std::rotl(b, 30), b = a, a = next;
        }
        return vector_of({d, c, b, a});
    }
};

struct Sha256msg1 {
    static Vector128 apply(Vector128 a, Vector128 b) {
        Words const w = words_of(a);
        auto const s0 = [](std::uint32_t x) { return std::rotr(x, 7) ^ std::rotr(x, 18) ^ x >> 3; };
        return vector_of({w[0] + s0(w[1]), w[1] + s0(w[2]), w[2] + s0(w[3]), w[3] + s0(words_of(b)[0])});
    }
};
struct Sha256msg2 {
    static Vector128 apply(Vector128 a, Vector128 b) {
        Words const x = words_of(a);
        Words const y = words_of(b);
        auto const s1 = [](std::uint32_t v) { return std::rotr(v, 17) ^ std::rotr(v, 19) ^ v >> 10; };
        std::uint32_t const w16 = x[0] + s1(y[2]), w17 = x[1] + s1(y[3]);
        return vector_of({w16, w17, x[2] + s1(w16), x[3] + s1(w17)});
    }
};
/// Two rounds. The destination has C, D, G, H, the source A, B, E, F, and XMM0 the two words with their constants.
struct Sha256rnds2 {
    static Vector128 apply(Vector128 cdgh, Vector128 abef, Vector128 message) {
        Words const x = words_of(cdgh);
        Words const y = words_of(abef);
        Words const wk = words_of(message);
        std::uint32_t a = y[3], b = y[2], c = x[3], d = x[2], e = y[1], f = y[0], g = x[1], h = x[0];
        for (unsigned i = 0; i < 2; ++i) {
            std::uint32_t const sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
            std::uint32_t const sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
            std::uint32_t const t1 = h + sum1 + ((e & f) ^ (~e & g)) + wk[i];
            std::uint32_t const t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        return vector_of({f, e, b, a});
    }
};
template <typename Source>
Op const* sha256rnds2(Cpu& cpu, Op const* op) {
    if (!cpu.simd_ok()) [[unlikely]]
        return raise_simd_unavailable(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    write_xmm(cpu, op->dst, Sha256rnds2::apply(read_xmm(cpu, op->dst), source.value, read_xmm(cpu, 0)));
    BACKPLANE_NEXT(cpu, op);
}
void lower_sha256rnds2(Lowering& l) {
    take_vector_operands(l);
    l.op.run = l.is_memory(1) ? sha256rnds2<FromMemory128> : sha256rnds2<FromXmm>;
}

}  // namespace

void lower_crypto(LowerTable& table) {
    table[ZYDIS_MNEMONIC_AESENC] = lower_crypto_op<Aesenc>;
    table[ZYDIS_MNEMONIC_AESENCLAST] = lower_crypto_op<Aesenclast>;
    table[ZYDIS_MNEMONIC_AESDEC] = lower_crypto_op<Aesdec>;
    table[ZYDIS_MNEMONIC_AESDECLAST] = lower_crypto_op<Aesdeclast>;
    table[ZYDIS_MNEMONIC_AESIMC] = lower_crypto_op<Aesimc>;
    table[ZYDIS_MNEMONIC_AESKEYGENASSIST] = lower_crypto_immediate<Aeskeygenassist>;
    table[ZYDIS_MNEMONIC_PCLMULQDQ] = lower_crypto_immediate<Pclmulqdq>;
    table[ZYDIS_MNEMONIC_SHA1NEXTE] = lower_crypto_op<Sha1nexte>;
    table[ZYDIS_MNEMONIC_SHA1MSG1] = lower_crypto_op<Sha1msg1>;
    table[ZYDIS_MNEMONIC_SHA1MSG2] = lower_crypto_op<Sha1msg2>;
    table[ZYDIS_MNEMONIC_SHA1RNDS4] = lower_crypto_immediate<Sha1rnds4>;
    table[ZYDIS_MNEMONIC_SHA256MSG1] = lower_crypto_op<Sha256msg1>;
    table[ZYDIS_MNEMONIC_SHA256MSG2] = lower_crypto_op<Sha256msg2>;
    table[ZYDIS_MNEMONIC_SHA256RNDS2] = lower_sha256rnds2;
}

}  // namespace backplane
