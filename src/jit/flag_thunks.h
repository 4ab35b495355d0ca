// Code that makes flags of the notes that translated code leaves (cpu/deferred_flags.h), without a call into C++ where the
// note is of a kind that a few instructions can repeat.
#pragma once

#define XBYAK_NO_EXCEPTION
#include <xbyak/xbyak.h>

#include <cstdint>

#include "cpu/deferred_flags.h"
#include "cpu/translated_state.h"
#include "jit/layout.h"

namespace backplane::jit {

/// RFLAGS = the flags of a note of this kind, through R10. False, and nothing is emitted: that takes more.
bool repeat_note(Xbyak::CodeGenerator& code, Offsets const& offsets, FlagProducer producer, unsigned bytes);

struct FlagThunks {
    std::uint8_t const* materialize;  ///< RFLAGS = the guest's flags; R10 is lost
    std::uint8_t const* keep_carry;   ///< DeferredFlags::base_carry = the guest's CF; R10 and the host's flags are lost
};

/// Emits them, with one piece of code for each kind of note behind `tables`; the slow ones are for all others.
[[nodiscard]] FlagThunks make_flag_thunks(Xbyak::CodeGenerator& code, Offsets const& offsets, FlagThunks const& slow,
                                          NoteCode& tables);

}  // namespace backplane::jit
