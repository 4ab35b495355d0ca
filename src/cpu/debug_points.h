// What a debugger or a tracer asks of a processor (docs/design/debug.md).
//
// While a processor has points or a hook, its dispatcher enters no trace as a whole: it runs copies that end in front
// of the next breakpoint and that nothing is linked to. Without them it is not slower by one instruction.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/address.h"
#include "cpu/op.h"
#include "mmu/page_walk.h"

namespace backplane {

/// [address, address + bytes) in linear addresses; a stop comes after the instruction that touched a byte of it.
struct Watchpoint {
    enum class Kind : std::uint8_t { write, read, access };
    std::uint64_t address{0};
    std::uint64_t bytes{0};
    Kind kind{Kind::write};
    bool operator==(Watchpoint const&) const = default;

    [[nodiscard]] bool concerns(AccessKind access) const {
        return kind == Kind::access || (kind == Kind::write) == (access == AccessKind::write);
    }
    /// Computed with distances, so that a range at the end of the address space is right too.
    [[nodiscard]] bool overlaps(std::uint64_t start, std::uint64_t length) const {
        return start - address < bytes || address - start < length;
    }
};

struct DebugPoints {
    std::vector<std::uint64_t> breakpoints;  ///< linear addresses: a stop comes before the instruction there
    std::vector<Watchpoint> watchpoints;
    bool hold_interrupts{false};  ///< a processor that is not halted takes none: for single steps
    bool operator==(DebugPoints const&) const = default;
    [[nodiscard]] bool is_empty() const { return breakpoints.empty() && watchpoints.empty() && !hold_interrupts; }
};

/// Why a processor came back with a debug stop.
struct DebugStop {
    enum class Cause : std::uint8_t { asked, step, breakpoint, watchpoint };
    Cause cause{Cause::asked};
    std::uint64_t address{0};                        ///< of the breakpoint or watchpoint
    Watchpoint::Kind kind{Watchpoint::Kind::write};  ///< of the watchpoint
};

/// One instruction that has been executed; an iteration of a repeated one counts.
struct RetiredInstruction {
    std::uint64_t number;  ///< of this processor, from 0
    std::uint64_t linear;  ///< where it is
    std::uint64_t physical;
    std::uint64_t second_page;  ///< physical address of the page it ends in, or Trace::kNoPage
    std::uint8_t length;
    CodeMode mode;
    std::uint8_t privilege;  ///< CPL it was executed at
};
/// Called after each instruction; false: not again.
using InstructionHook = std::function<bool(RetiredInstruction const&)>;

/// The state of a processor that is debugged or traced; others have none.
class Debugging {
  public:
    DebugPoints points;
    InstructionHook on_instruction;
    /// The watchpoint that the last instruction hit; taken by the dispatcher.
    std::optional<DebugStop> hit;
    DebugStop last_stop;

    [[nodiscard]] bool is_idle() const { return points.is_empty() && !on_instruction; }
    [[nodiscard]] bool watches(std::uint64_t address, std::uint64_t bytes, AccessKind kind) const {
        return find(address, bytes, kind) != nullptr;
    }
    [[nodiscard]] bool watches_page(std::uint64_t address, AccessKind kind) const {
        return find(address & ~kPageMask, kPageBytes, kind) != nullptr;
    }
    void note_access(std::uint64_t address, std::uint64_t bytes, AccessKind kind) {
        Watchpoint const* const watchpoint = find(address, bytes, kind);
        if (watchpoint != nullptr && !hit)
            hit = DebugStop{DebugStop::Cause::watchpoint, watchpoint->address, watchpoint->kind};
    }
    /// True when the processor is to stop before the instruction at `linear`, having executed `retired` ones. A stop
    /// that was reported is not repeated before an instruction has been executed: that is how one resumes.
    [[nodiscard]] bool stops_at(std::uint64_t linear, std::uint64_t retired) {
        auto const& all = points.breakpoints;
        if (std::find(all.begin(), all.end(), linear) == all.end()) return false;
        if (reported_ && reported_->first == linear && reported_->second == retired) return false;
        reported_ = {linear, retired};
        last_stop = {DebugStop::Cause::breakpoint, linear, {}};
        return true;
    }
    /// How many instructions of a trace at `linear` come before the next breakpoint in it; at least one.
    [[nodiscard]] std::uint64_t instructions_before_breakpoint(Trace const& trace, std::uint64_t linear) const {
        std::uint64_t count = trace.count;
        for (std::uint64_t const breakpoint : points.breakpoints) {
            if (breakpoint - linear >= trace.bytes) continue;
            for (std::uint64_t i = 1; i < count; ++i)
                if (linear + trace.ops[i].offset == breakpoint) count = i;
        }
        return count;
    }

  private:
    [[nodiscard]] Watchpoint const* find(std::uint64_t address, std::uint64_t bytes, AccessKind kind) const {
        for (Watchpoint const& watchpoint : points.watchpoints)
            if (watchpoint.concerns(kind) && watchpoint.overlaps(address, bytes)) return &watchpoint;
        return nullptr;
    }
    std::optional<std::pair<std::uint64_t, std::uint64_t>> reported_;  // a breakpoint, and at which count
};

}  // namespace backplane
