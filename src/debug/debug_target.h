// What a debugger's session needs of a machine. All calls come while the machine does not run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/address.h"
#include "base/bytes.h"
#include "clock/virtual_time.h"
#include "cpu/debug_points.h"
#include "cpu/state.h"

namespace backplane {

class DebugTarget {
  public:
    enum class Life : std::uint8_t { running, powered_off, crashed };

    virtual ~DebugTarget() = default;
    [[nodiscard]] virtual std::string name() const = 0;
    [[nodiscard]] virtual Life life() const = 0;
    /// Why it crashed, one line.
    [[nodiscard]] virtual std::string cause() const = 0;
    [[nodiscard]] virtual Ticks now() const = 0;
    [[nodiscard]] virtual std::uint64_t instructions() const = 0;
    [[nodiscard]] virtual unsigned cpu_count() const = 0;
    /// The processor that a breakpoint, watchpoint or step has stopped at.
    [[nodiscard]] virtual unsigned stopped_cpu() const = 0;

    [[nodiscard]] virtual CpuState state(unsigned cpu) const = 0;
    virtual void set_state(unsigned cpu, CpuState const& state) = 0;

    /// RAM only, without side effects. \return  how many bytes could be read, from the start
    [[nodiscard]] virtual std::size_t read_virtual(unsigned cpu, GuestVirt start, ByteSpan into) const = 0;
    [[nodiscard]] virtual std::optional<GuestPhys> translate(unsigned cpu, GuestVirt address) const = 0;
    [[nodiscard]] virtual std::size_t read_physical(GuestPhys start, ByteSpan into) const = 0;
    /// False: not all of it is writable RAM, and nothing was written.
    [[nodiscard]] virtual bool write_virtual(unsigned cpu, GuestVirt start, ConstByteSpan from) = 0;
    [[nodiscard]] virtual bool write_physical(GuestPhys start, ConstByteSpan from) = 0;

    /// Of all processors. False: the engine cannot stop at them.
    [[nodiscard]] virtual bool set_points(DebugPoints const& points) = 0;
    [[nodiscard]] virtual bool is_held() const = 0;
    [[nodiscard]] virtual DebugStop stop_reason() const = 0;
    virtual void hold() = 0;
    virtual void resume() = 0;
    virtual void step(unsigned cpu) = 0;
    /// The processor finds a machine check ([SDM3B] 15) with this MCi_STATUS.
    virtual void raise_machine_check(unsigned cpu, std::uint64_t status, GuestPhys address) = 0;
    /// Ends the machine as crashed.
    virtual void kill() = 0;
};

}  // namespace backplane
