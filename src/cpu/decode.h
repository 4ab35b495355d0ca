// From bytes to an Op: Zydis decodes, the lowering table chooses the handler.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/op.h"

namespace backplane {

enum class DecodeStatus : std::uint8_t {
    ok,
    ends_trace,       ///< ok, and the instruction must be the last of its trace
    needs_more_bytes, ///< the instruction goes on behind the given bytes
};

/// Decodes the instruction at the start of `bytes` (at most 15 are looked at). Instructions that this processor does
/// not have become an Op that raises #UD; instructions of more than 15 bytes one that raises #GP.
/// `offset` is the distance from the trace's start, `position` the number of instructions before.
[[nodiscard]] DecodeStatus decode(std::span<std::uint8_t const> bytes, CodeMode mode, std::uint32_t offset,
                                  std::uint32_t position, Op& op);

/// What stands behind the last instruction of a trace that does not end in a jump.
[[nodiscard]] Op end_of_trace(std::uint32_t offset, std::uint32_t position);

}  // namespace backplane
