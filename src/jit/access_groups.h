// Which accesses of a block one look into the TLB serves (docs/design/translator.md, Memory).
//
// Accesses whose addresses differ by constants form a group when all of them lie within kMostGroupBytes. The first one, the
// leader, has the TLB asked for all the bytes of the group, which must lie in one page; the others find the host's address
// where the leader has put it, and cannot fault. A group of loads has no store, since the leader of a store asks for more.
// A group ends where code runs that may change mappings: an instruction left to its handler.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "jit/instruction.h"

namespace backplane::jit {

/// Wider groups cross pages too often; those of addresses relative to RIP are known not to.
inline constexpr std::int64_t kMostGroupBytes = 256;
/// Fills in `operand` and `stack` of the instructions.
/// \param may_lead  false of instructions whose groups were found to lie in two pages
void group_accesses(std::span<Instruction> instructions, std::function<bool(Instruction const&)> const& may_lead);

}  // namespace backplane::jit
