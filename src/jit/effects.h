// What an instruction does to the flags, and whether it can be copied into translated code.
#pragma once

#include <Zydis/Zydis.h>

#include <cstdint>

#include "cpu/deferred_flags.h"

namespace backplane::jit {

enum class Treatment : std::uint8_t {
    handler,  ///< the interpreter's handler is called
    copy,     ///< the same instruction, with its operands moved to where they are here
    lea,
    push,
    pop,
    leave,
    divide,       ///< DIV, IDIV: the handler raises #DE
    push_memory,
    bit_string,   ///< BT and its kin with a register as offset into memory
    cli,
    sti,
    swapgs,
    access_check,  ///< STAC, CLAC
    time_stamp,    ///< RDTSC, RDTSCP
    pause,
    push_flags,    ///< PUSHFQ
    fill_or_move,  ///< REP STOS, REP MOVS
    load_control,  ///< MOV from CR0, CR2, CR3, CR4
    load_selector, ///< MOV from a segment register to a general one
    x87_control,  ///< FLDCW
    nop,
    jcc,
    jmp,
    call,
    ret,  ///< ends the block
};

enum class Produces : std::uint8_t {
    nothing,
    all,             ///< the six flags, as `producer` says
    carry,           ///< CF alone (BT and its kin, ADCX)
    overflow,        ///< OF alone (ADOX)
    carry_overflow,  ///< rotates
    zero,            ///< BSF, BSR
    all_if_count,    ///< shifts by CL
    carry_overflow_if_count,  ///< rotates by CL
};

struct Effects {
    Treatment treatment{Treatment::handler};
    Produces produces{Produces::nothing};
    FlagProducer producer{FlagProducer::lazy};
    bool consumes{false};       ///< needs the guest's flags in RFLAGS
    bool writes_memory{false};  ///< the explicit memory operand is written
    bool touches_memory{false};
    bool needs_alignment{false};  ///< an operand of 16 or 32 bytes must be aligned
    bool is_vector{false};
    bool is_vex{false};           ///< a vector instruction that writes bits 255:128
    bool is_x87{false};           ///< needs the guest's x87 in the host's (emit_x87.cc)
    bool is_noted{false};         ///< an x87 instruction that FIP, FDP and FOP are about
};

[[nodiscard]] Effects effects_of(ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands);

}  // namespace backplane::jit
