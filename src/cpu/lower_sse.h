// MOVSD and CMPSD are each two instructions: one on strings, one on vector registers. lower_sse registers both names.
#pragma once

#include "cpu/lower.h"

namespace backplane {

void lower_string_movsd(Lowering& lowering);
void lower_string_cmpsd(Lowering& lowering);

[[nodiscard]] inline bool is_string_instruction(Lowering const& lowering) {
    return lowering.instruction.meta.category == ZYDIS_CATEGORY_STRINGOP;
}

}  // namespace backplane
