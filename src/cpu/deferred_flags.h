// The arithmetic flags as translated code leaves them in memory: what produced them, and from what they follow.
//
// Translated code keeps flags in the host's RFLAGS where it can, and at block ends stores two or three words instead
// of computing anything; resolve() turns them into LazyFlags when somebody looks (docs/design/translator.md).
#pragma once

#include <cstdint>

#include "cpu/flags.h"

namespace backplane {

enum class FlagProducer : std::uint8_t {
    lazy,   ///< LazyFlags are current
    add,    ///< result = a, second operand = b
    sub,    ///< result = a, subtrahend = b
    cmp,    ///< minuend = a, subtrahend = b
    logic,  ///< result = a
    inc,
    dec,       ///< result = a; CF = base_carry
    neg,       ///< result = a
    multiply,  ///< low half = a; CF = OF = base_carry
    shl,
    shr,
    sar,     ///< result = a; CF = base_carry
    popcnt,  ///< result = a
    bits,    ///< result = a; CF = base_carry; OF = AF = 0 (BMI, LZCNT, TZCNT)
    raw,     ///< AH as after LAHF in bits 15:8 of a, OF in bit 0
};

struct DeferredFlags {
    std::uint64_t a{0};
    std::uint64_t b{0};
    // Translated code writes these four bytes at once.
    std::uint8_t kind{0};       ///< FlagProducer << 2 | log2(operand bytes)
    std::uint8_t has_carry{0};  ///< 1: CF = carry, whatever the producer says; likewise the other two
    std::uint8_t has_overflow{0};
    std::uint8_t has_zero{0};
    std::uint8_t base_carry{0};
    std::uint8_t carry{0};
    std::uint8_t overflow{0};
    std::uint8_t zero{0};

    static constexpr std::uint8_t kind_of(FlagProducer producer, unsigned bytes) {
        unsigned const size = bytes == 8 ? 3 : bytes == 4 ? 2 : bytes == 2 ? 1 : 0;
        return static_cast<std::uint8_t>(static_cast<unsigned>(producer) << 2 | size);
    }

    /// Brings `flags` up to date; afterwards the kind is lazy.
    void resolve(LazyFlags& flags);
};

}  // namespace backplane
