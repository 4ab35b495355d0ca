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

/// Where in the bytes of an instruction its displacement and its immediate stand, if the latter does not choose the handler.
struct DecodedForm {
    enum class Distance : std::uint8_t { none, to_operand, to_operand_from_rip, of_branch };
    struct Field {
        std::uint8_t at{0}, bytes{0};
        bool is_signed{true};
        /// Is byte i of the instruction in it?
        [[nodiscard]] bool has(std::size_t i) const { return i >= at && i < std::size_t{at} + bytes; }
    };

    bool is_plain{false};  ///< legacy encoding, and a displacement of 1 or 4 bytes or none; else the others are not set
    Distance distance{Distance::none};
    Field displacement{}, immediate{};
};
/// The same, of 64-bit code.
[[nodiscard]] DecodeStatus decode_form(std::span<std::uint8_t const> bytes, std::uint32_t offset, std::uint32_t position, Op& op, DecodedForm& form);

/// What stands behind the last instruction of a trace that does not end in a jump.
[[nodiscard]] Op end_of_trace(std::uint32_t offset, std::uint32_t position);

}  // namespace backplane
