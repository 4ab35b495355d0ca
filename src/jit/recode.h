// Encodes an instruction again with other operands, from its own bytes: the encoder of Zydis looks through all forms of a
// mnemonic each time.
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "jit/instruction.h"

namespace backplane::jit {

using InstructionBytes = std::array<std::uint8_t, ZYDIS_MAX_INSTRUCTION_LENGTH>;

/// `request` is the instruction, made by ZydisEncoderDecodedInstructionToEncoderRequest, with other general registers of
/// the same size, another memory operand, or one of these in the place of the other. Prefixes of segments and LOCK are dropped.
/// \return  bytes written to `out`; 0: another mnemonic, immediate or encoding, which is left to the encoder of Zydis
[[nodiscard]] std::size_t recode(Instruction const& at, ZydisEncoderRequest const& request, InstructionBytes& out);

}  // namespace backplane::jit
