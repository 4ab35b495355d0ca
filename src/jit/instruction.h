// An instruction of a block, decoded, and what is known of it before code is made.
#pragma once

#include <Zydis/Zydis.h>

#include <cstdint>

#include "cpu/op.h"
#include "jit/effects.h"

namespace backplane::jit {

/// An access of an instruction, alone or as a member of a group (jit/access_groups.h).
struct Access {
    enum class Role : std::uint8_t { alone, leads, follows } role{Role::alone};
    std::uint8_t pin{0};           ///< where the host address of the group's lowest byte is kept, on the host's stack
    std::uint16_t group_bytes{0};  ///< from that byte to behind the group's last
    std::uint16_t offset{0};       ///< from that byte to this access

    [[nodiscard]] bool is_alone() const { return role == Role::alone; }
    [[nodiscard]] bool leads() const { return role == Role::leads; }
    [[nodiscard]] bool follows() const { return role == Role::follows; }
};

struct Instruction {
    ZydisDecodedInstruction decoded;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    std::uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
    Effects effects;
    Op const* op;
    std::uint32_t offset;   // in the page
    std::uint32_t trace;    // which of the block's
    std::uint32_t rest{0};  // instructions in the traces behind it
    bool ends_trace{false};
    Access operand;  // of the explicit memory operand
    Access stack;    // of what is pushed or popped; of LEAVE as well

    /// The explicit memory operand, or null.
    [[nodiscard]] ZydisDecodedOperand const* memory() const {
        for (unsigned i = 0; i < decoded.operand_count_visible; ++i)
            if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) return &operands[i];
        return nullptr;
    }
};

}  // namespace backplane::jit
