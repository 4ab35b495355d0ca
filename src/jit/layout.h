// Where translated code finds what it needs: registers of the host for registers of the guest, and distances from the
// state pointer (docs/design/translator.md).
//
//   guest RAX RCX RDX RBX RBP RSI RDI R12 R13 R14   the same registers of the host
//   guest RSP                                       host R8
//   guest R8 R9 R10 R11 R15                         in memory (about 7 % of instructions name one)
//   host  R9 R10 R11                                scratch; host R15 the state pointer, host RSP the host's stack
//   guest XMM0..15                                  the same registers, loaded when first needed
//   guest YMM0..15                                  the same; bits 255:128 are loaded when a VEX instruction comes
//   guest x87                                       the host's, loaded when a block with x87 instructions comes
#pragma once

#include <array>
#include <cstdint>

#include "cpu/op.h"
#include "cpu/state.h"

namespace backplane::jit {

/// The host register (its number) of a guest register, or kInMemory.
inline constexpr std::uint8_t kInMemory = 0xff;
inline constexpr std::array<std::uint8_t, 16> kHostOf{
    0, 1, 2, 3, 8, 5, 6, 7, kInMemory, kInMemory, kInMemory, kInMemory, 12, 13, 14, kInMemory};

inline constexpr int kScratchA = 9;  ///< linear address of a memory operand, or a jump's target
inline constexpr int kScratchB = 10;
inline constexpr int kScratchC = 11;  ///< host address minus linear address
inline constexpr int kState = 15;

/// Distances from the Cpu object, in bytes.
struct Offsets {
    std::int32_t slots;
    std::int32_t segment_bases;
    std::int32_t read_tlb[3];  ///< by view: user, supervisor, supervisor with AC
    std::int32_t write_tlb[3];
    std::int32_t execute_tlb[2];
    std::int32_t remaining;
    std::int32_t flags_a, flags_b, flags_kind, flags_has_carry, flags_has_overflow, flags_has_zero;
    std::int32_t flags_base_carry, flags_carry, flags_overflow, flags_zero;
    std::int32_t lazy_carry, note_flags, note_carry;
    std::int32_t xmm;
    std::int32_t ymm_high;
    std::int32_t rip, rflags, cpl, gs_base, kernel_gs_base;
    std::int32_t page_address, temporary, temporary_flags, call_target, xmm_loaded, x87_loaded, link;
    std::int32_t x87_instruction, x87_data, x87_opcode;  ///< FIP, FDP, FOP
    std::int32_t jumps[2];
    std::int32_t quota, instructions_before_run, clock_base, clock_base_instructions;
    std::int32_t cr0, cr2, cr3, cr4, selectors[6], tsc_aux, yields, has_machine_check;
    std::int32_t tlb, tlb_sets[3];  ///< which set is in use; the sets by view
};

/// What translated code looks at outside the Cpu object.
struct Places {
    void* clock;  ///< MachineClock's time
    void const* time_stamp_offset;
    void const* interrupt_ready;  ///< flags of the local APIC
    void const* nmi_pending;
    bool instruction_is_nanosecond;  ///< of virtual time
};

/// What translated code keeps on the host's stack, from RSP on: 8 bytes for each pin (jit/access_groups.h).
inline constexpr std::uint8_t kPins = 7;

/// Behind the pins: addends of pages that accesses in loops found the last time.
inline constexpr std::uint8_t kGuesses = 24;
static_assert((kPins + kGuesses) % 2 == 1, "the stack is aligned behind the six registers that enter saves");

/// An access in a loop that takes an addend for granted while the TLB is asked.
struct Guess {
    static constexpr std::uint32_t kWrong = 64;

    std::uint32_t wrong_left{kWrong};  ///< before it is looked at whether the guess is worth it
    std::uint32_t loop_instructions{0};
    std::uint64_t since{0};            ///< instructions the processor had executed when `wrong_left` was kWrong
    std::uint8_t* begin{nullptr};      ///< the code that guesses and compares
    std::uint8_t bytes{0};
    std::int32_t addend{0};            ///< in the table, seen from R15 + R10
};

/// What a piece of code that the TLB did not serve tells of its access, in R11.
struct MissedAccess {
    std::uint8_t bytes;
    bool aligned;              ///< has to be
    std::uint8_t rest;         ///< instructions in the traces behind its own
    std::uint16_t group_bytes; ///< of the group that it leads, to whose lowest byte the linear address leads; 0: it leads none
    std::uint16_t offset;      ///< from there to the access itself

    [[nodiscard]] constexpr std::uint64_t packed() const {
        return bytes | std::uint64_t{aligned} << 8 | std::uint64_t{rest} << 16 | std::uint64_t{group_bytes} << 32 | std::uint64_t{offset} << 48;
    }
    [[nodiscard]] static constexpr MissedAccess unpacked(std::uint64_t word) {
        return {static_cast<std::uint8_t>(word), (word & 0x100) != 0, static_cast<std::uint8_t>(word >> 16),
                static_cast<std::uint16_t>(word >> 32), static_cast<std::uint16_t>(word >> 48)};
    }
};

/// A direct jump that may be patched to its target's code.
struct Link {
    std::uint8_t* jump;           ///< the E9 of a jmp rel32
    std::uint64_t physical_page;  ///< of the block that it is in; the target must lie there as well
    bool is_made{false};          ///< counted as chained
};

/// A place in translated code that calls the interpreter's handler.
struct HandlerSite {
    std::array<Op, 2> pair;  ///< a copy of the Op, and a stop behind it
    Op const* op;            ///< in its trace
    std::uint64_t* calls;    ///< counts those of all sites with this mnemonic
    std::uint32_t rest;      ///< instructions behind its trace that the block took off the quota as well
};

}  // namespace backplane::jit
