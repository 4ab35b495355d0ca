// The code of a case: instructions with what connects them, laid out at an address.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "case.h"
#include "instruction.h"

namespace backplane::isa {

inline constexpr std::uint32_t kNoStep = 0xffff'ffff;

struct Step {
    Instruction instruction;
    std::uint32_t jump_to{kNoStep};   ///< the step that a relative immediate or RIP-relative displacement names
    std::uint32_t modifies{kNoStep};  ///< the step whose last four bytes the RIP-relative displacement names
    bool no_target{false};            ///< jumps must not go to it, because it belongs to the step before
    std::uint64_t rip{0};
    std::uint64_t undefined_flags{0};  ///< before it
};

/// Bytes of memory that are not compared, because the manuals leave them open or hosts differ.
struct IgnoredBytes {
    std::uint64_t address;
    std::uint32_t bytes;
};

struct Program {
    std::vector<Step> steps;
    std::uint64_t start{0};
    std::uint64_t end{0};  ///< of the last step; UD2s follow
    std::uint64_t undefined_flags_at_end{0};
    std::vector<IgnoredBytes> ignored;

    /// Flags that are undefined when a case stops at `rip`.
    [[nodiscard]] std::uint64_t undefined_flags_at(std::uint64_t rip) const;
    /// Computes the undefined flags of all steps; jumps go forward, so one pass is enough.
    void track_flags();
    /// The instruction at `rip`, or none (the end, or somewhere else).
    [[nodiscard]] Step const* step_at(std::uint64_t rip) const;
};

/// Number of the UD2s behind a program: jumps of single-instruction cases go to one of them.
inline constexpr unsigned kUd2s = 16;

/// Places the first `count` steps at `start` and writes the code. What lies behind the code region is cut off.
void lay_out(Program& program, std::size_t count, std::uint64_t start, Case& to);

/// An instruction from its bytes (which must be valid).
[[nodiscard]] Instruction instruction_of(std::initializer_list<unsigned> bytes);
[[nodiscard]] std::string disassemble(Instruction const& instruction, std::uint64_t rip);

}  // namespace backplane::isa
