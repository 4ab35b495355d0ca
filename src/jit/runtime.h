// What translated code and its thunks call, and the only code outside cpu/ that sees a Cpu's members.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/cpu.h"
#include "jit/layout.h"
#include "jit/translator.h"

namespace backplane {

class JitRuntime {
  public:
    struct Resolved {
        std::uint64_t addend;
        std::uint64_t ok;
    };

    static jit::Offsets offsets(Cpu& cpu);
    static jit::Places places(Cpu& cpu);

    static Translator& translator(Cpu& cpu) { return static_cast<Translator&>(*cpu.tier_); }
    /// The trace that an Op stands in.
    static Trace* trace_of(Op const* op);
    static void begin(Cpu& cpu, Op const* op);
    static void leave_alone(Cpu& cpu, Op const* op);

    /// A TLB miss of translated code. Not ok: the instruction is given up, with the reason noted.
    static Resolved resolve(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what, AccessKind kind);
    static Resolved look_up(Cpu& cpu, std::uint64_t lowest, Op const* op, jit::MissedAccess const& access, AccessKind kind);
    /// May those that follow the access take it for theirs? They are in its page, and the TLB holds that. It does not hold
    /// pages that somebody watches or that have code.
    static bool may_follow(Cpu& cpu, std::uint64_t address, jit::MissedAccess const& access, AccessKind kind);
    static Resolved resolve_read(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what);
    static Resolved resolve_write(Cpu* cpu, std::uint64_t lowest, Op const* op, std::uint64_t what);

    /// Runs one handler. 0: it left the trace.
    static std::uint64_t call_handler(Cpu* cpu, jit::HandlerSite const* site);
    /// Runs the rest of a trace in the interpreter.
    static void run_last(Cpu* cpu, jit::HandlerSite const* site);
    static void exit_alone(Cpu* cpu, Op const* op);
    static std::uint64_t materialize(Cpu* cpu);
    static void keep_carry(Cpu* cpu);
    /// A guess has been wrong kWrong times: when that is more than one time in eight, its code asks the TLB from now on.
    static void weigh_guess(Cpu* cpu, jit::Guess* guess);
    static std::uint64_t executed(Cpu const& cpu);
    static void give_up_guess(jit::Guess const& guess);
    /// May the guest's XMM registers be used by host instructions now? If not, the block's first instruction is left.
    static std::uint64_t may_load_xmm(Cpu* cpu, Op const* op);
    static std::uint64_t may_load_ymm(Cpu* cpu, Op const* op);
    static std::uint64_t may_load(Cpu* cpu, Op const* op, bool may);

    /// Loads the guest's x87 into the host's, if its instructions may run there; if not, the block's first one is left.
    static std::uint64_t load_x87(Cpu* cpu, Op const* op);
    /// The same after a handler amid a block, which cannot have changed that they may.
    static void reload_x87(Cpu* cpu);
    /// Takes the guest's x87 back from the host's, which is as C++ expects it afterwards.
    static void unload_x87(Cpu* cpu);

    static void enter(Translator& t, Cpu& cpu, Trace& trace);
    static TranslatorExit exit_reason(Cpu const& cpu, TranslatorExit without_other);
    /// Where translated code goes on after an exit whose reason may be none: the host code at rip, with everything set
    /// for it. Null: the dispatcher has to look (an interrupt, a fault, code not translated, not enough quota).
    static void const* next_code(Cpu* cpu, jit::Link* link);
    /// The same behind a handler that ended its block. The block looks at the quota itself.
    static void const* after_handler(Cpu* cpu);
    /// To be called at the entry of `trace` at rip.
    static void remember(Cpu& cpu, Trace const& trace);
    static void forget_code_at(Cpu& cpu, std::uint64_t address);
    static TranslatedState& state(Cpu& cpu) { return cpu.translated_; }
    static X87State& x87(Cpu& cpu) { return cpu.state_.x87; }
    static std::uint64_t rip(Cpu const& cpu) { return cpu.rip_; }
    static Trace* warm_trace(Cpu& cpu, std::uint64_t address);
    /// A copy of the trace's guest code, which may lie in two pages. Empty: a part is no RAM.
    static std::vector<std::uint8_t> code(Cpu& cpu, Trace const& trace);
};

}  // namespace backplane
