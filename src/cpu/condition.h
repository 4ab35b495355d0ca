// The sixteen conditions of Jcc, SETcc and CMOVcc, numbered as in the opcode ([SDM1] appendix B).
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <cstdint>

#include "cpu/flags.h"

namespace backplane {

enum class Condition : std::uint8_t { o, no, b, nb, z, nz, be, nbe, s, ns, p, np, l, nl, le, nle };

template <Condition C>
[[nodiscard]] inline bool holds(LazyFlags const& flags) {
    switch (C) {
        case Condition::o: return flags.overflow();
        case Condition::no: return !flags.overflow();
        case Condition::b: return flags.carry();
        case Condition::nb: return !flags.carry();
        case Condition::z: return flags.zero();
        case Condition::nz: return !flags.zero();
        case Condition::be: return flags.carry() || flags.zero();
        case Condition::nbe: return !flags.carry() && !flags.zero();
        case Condition::s: return flags.sign();
        case Condition::ns: return !flags.sign();
        case Condition::p: return flags.parity();
        case Condition::np: return !flags.parity();
        case Condition::l: return flags.sign() != flags.overflow();
        case Condition::nl: return flags.sign() == flags.overflow();
        case Condition::le: return flags.zero() || flags.sign() != flags.overflow();
        case Condition::nle: return !flags.zero() && flags.sign() == flags.overflow();
    }
    return false;
}

inline constexpr std::array<ZydisMnemonic, 16> kJumpMnemonics{
    ZYDIS_MNEMONIC_JO, ZYDIS_MNEMONIC_JNO, ZYDIS_MNEMONIC_JB,  ZYDIS_MNEMONIC_JNB, ZYDIS_MNEMONIC_JZ, ZYDIS_MNEMONIC_JNZ,
    ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_JNBE, ZYDIS_MNEMONIC_JS, ZYDIS_MNEMONIC_JNS, ZYDIS_MNEMONIC_JP, ZYDIS_MNEMONIC_JNP,
    ZYDIS_MNEMONIC_JL, ZYDIS_MNEMONIC_JNL, ZYDIS_MNEMONIC_JLE, ZYDIS_MNEMONIC_JNLE};
inline constexpr std::array<ZydisMnemonic, 16> kSetMnemonics{
    ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB, ZYDIS_MNEMONIC_SETNB, ZYDIS_MNEMONIC_SETZ,
    ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE, ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS,
    ZYDIS_MNEMONIC_SETP, ZYDIS_MNEMONIC_SETNP, ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE,
    ZYDIS_MNEMONIC_SETNLE};
inline constexpr std::array<ZydisMnemonic, 16> kCmovMnemonics{
    ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVB, ZYDIS_MNEMONIC_CMOVNB, ZYDIS_MNEMONIC_CMOVZ,
    ZYDIS_MNEMONIC_CMOVNZ, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE, ZYDIS_MNEMONIC_CMOVS, ZYDIS_MNEMONIC_CMOVNS,
    ZYDIS_MNEMONIC_CMOVP, ZYDIS_MNEMONIC_CMOVNP, ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVNL, ZYDIS_MNEMONIC_CMOVLE,
    ZYDIS_MNEMONIC_CMOVNLE};

}  // namespace backplane
