// Cases of several instructions: what one leaves (lazy flags, stack, memory) is what the next one finds.
#pragma once

#include <vector>

#include "program.h"
#include "random.h"

namespace backplane::isa {

/// The forms that may stand in blocks, by kind.
class BlockForms {
  public:
    explicit BlockForms(std::vector<Form> const& forms);
    [[nodiscard]] bool empty() const { return integer_.empty() && other_.empty(); }

    std::vector<Form const*> integer_;
    std::vector<Form const*> flag_readers_;  ///< Jcc among them
    std::vector<Form const*> strings_;       ///< with REP
    std::vector<Form const*> other_;         ///< x87, MMX, SSE
    std::vector<Form const*> producers_;     ///< of integer_, those that write flags
};

enum class BlockKind : std::uint8_t {
    any,
    flags,        ///< flags produced and read, by PUSHF, LAHF and conditions at random points; undefined ones are not read
    loose_flags,  ///< undefined ones are read too: a host's result means nothing then
};

/// Fills a case with a block of 1 to 12 instructions, some of which jump, loop or change the code behind them; with flags
/// up to 24.
[[nodiscard]] Program make_block(BlockForms const& forms, Rng& rng, MemoryPattern const& pattern, Case& to,
                                 BlockKind kind = BlockKind::any);

}  // namespace backplane::isa
