// How a vCPU's instructions are executed: the contract between the monitor and every engine (docs/design/engine.md).
//
// The monitor enters a vCPU with a quota of instructions; the engine comes back at the latest when the quota is used
// up, to the instruction, and says why with a typed virtualization event (claims S3.3, S3.6).
#pragma once

#include <cstdint>
#include <string_view>

#include "clock/virtual_time.h"
#include "cpu/debug_points.h"
#include "cpu/state.h"

namespace backplane {

struct VirtualizationEvent {
    enum class Kind : std::uint8_t {
        quota_end,  ///< the quota is used up: the monitor may switch to another vCPU
        halt,       ///< HLT: nothing to execute until an interrupt
        pause,      ///< PAUSE, and other processors of the machine have something to do
        device,     ///< a port or device register was accessed and served; timers and interrupts may have changed
        debug_stop, ///< a breakpoint or watchpoint; Engine::debug_stop() says which
        shutdown,   ///< the processor gave up (triple fault); `cause` says why
    };
    Kind kind;
    std::uint64_t instructions;    ///< executed by this run, at most the quota
    char const* cause{nullptr};    ///< of a shutdown
};

/// A word for messages and traces.
[[nodiscard]] constexpr std::string_view kind_name(VirtualizationEvent::Kind kind) {
    switch (kind) {
        case VirtualizationEvent::Kind::quota_end: return "quota";
        case VirtualizationEvent::Kind::halt: return "halt";
        case VirtualizationEvent::Kind::pause: return "pause";
        case VirtualizationEvent::Kind::device: return "device";
        case VirtualizationEvent::Kind::debug_stop: return "debug";
        case VirtualizationEvent::Kind::shutdown: return "shutdown";
    }
    return "unknown";
}

class Engine {
  public:
    virtual ~Engine() = default;

    /// Executes at most `quota` instructions (at least one, at most 2^31).
    [[nodiscard]] virtual VirtualizationEvent run(std::uint64_t quota) = 0;

    /// The whole architectural state, at an instruction boundary: what de-virtualization moves between engines.
    [[nodiscard]] virtual CpuState state() const = 0;
    virtual void set_state(CpuState const& state) = 0;

    /// Instructions executed since the engine was made.
    [[nodiscard]] virtual std::uint64_t instructions() const = 0;
    /// The vCPU is halted and nothing that it would wake up for is pending.
    [[nodiscard]] virtual bool is_idle() const = 0;
    /// Lets time pass without instructions, up to `time`.
    virtual void skip_to(Ticks time) = 0;

    /// What a debugger wants, in place of what it wanted before; empty points end it. False: this engine cannot stop
    /// at them, and nothing has changed.
    [[nodiscard]] virtual bool set_debug_points(DebugPoints const&) { return false; }
    /// Reports every instruction; null ends it. False: this engine cannot.
    [[nodiscard]] virtual bool set_instruction_hook(InstructionHook) { return false; }
    /// Why the last run ended with Kind::debug_stop.
    [[nodiscard]] virtual DebugStop debug_stop() const { return {}; }
};

}  // namespace backplane
