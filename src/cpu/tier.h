// The second tier as the dispatcher sees it: whoever can run a hot trace faster than the interpreter.
#pragma once

#include <cstdint>

namespace backplane {

class Cpu;
struct Trace;

/// Which view of the address space code was made for: TLB tables are constants in it.
enum class CodeView : std::uint8_t { user, supervisor, other };

class CodeTier {
  public:
    virtual ~CodeTier() = default;

    /// Makes host code for a trace. False: not now or not ever; the trace goes on in the interpreter.
    virtual bool translate(Trace& trace, CodeView view) = 0;
    /// Runs from a trace with host code on, through whatever is chained to it; the Cpu is then where the interpreter
    /// would have left it, with rip, quota, flags and the reason for leaving.
    virtual void enter(Cpu& cpu, Trace& trace) = 0;
    /// The trace must not be entered any more.
    virtual void forget(Trace& trace) = 0;
    /// All traces are gone.
    virtual void forget_all() = 0;
    /// There is no room for more code: all traces should be forgotten.
    [[nodiscard]] virtual bool is_full() const = 0;
    /// Linear addresses changed their meaning: one page, or all of one view.
    virtual void page_unmapped(std::uint64_t address) = 0;
    virtual void view_unmapped(CodeView view) = 0;
};

}  // namespace backplane
