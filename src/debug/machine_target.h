// A machine as a debugger sees it.
#pragma once

#include "debug/debug_target.h"
#include "machine/machine.h"

namespace backplane {

class MachineTarget final : public DebugTarget {
  public:
    /// The machine must outlive it.
    explicit MachineTarget(Machine& machine) : machine_{machine} {}

    [[nodiscard]] std::string name() const override { return machine_.name(); }
    [[nodiscard]] Life life() const override;
    [[nodiscard]] std::string cause() const override { return machine_.cause(); }
    [[nodiscard]] Ticks now() const override { return machine_.now(); }
    [[nodiscard]] std::uint64_t instructions() const override { return machine_.instructions(); }
    [[nodiscard]] unsigned cpu_count() const override { return machine_.cpu_count(); }
    [[nodiscard]] unsigned stopped_cpu() const override { return machine_.current_cpu(); }
    [[nodiscard]] CpuState state(unsigned cpu) const override;
    void set_state(unsigned cpu, CpuState const& state) override;
    [[nodiscard]] std::size_t read_virtual(unsigned cpu, GuestVirt start, ByteSpan into) const override;
    [[nodiscard]] std::optional<GuestPhys> translate(unsigned cpu, GuestVirt address) const override;
    [[nodiscard]] std::size_t read_physical(GuestPhys start, ByteSpan into) const override;
    [[nodiscard]] bool write_virtual(unsigned cpu, GuestVirt start, ConstByteSpan from) override;
    [[nodiscard]] bool write_physical(GuestPhys start, ConstByteSpan from) override;
    [[nodiscard]] bool set_points(DebugPoints const& points) override;
    [[nodiscard]] bool is_held() const override { return machine_.is_held(); }
    [[nodiscard]] DebugStop stop_reason() const override { return machine_.debug_stop(); }
    void hold() override { machine_.hold(); }
    void resume() override { machine_.resume(Machine::Resume::run); }
    void raise_machine_check(unsigned cpu, std::uint64_t status, GuestPhys address) override;
    void step(unsigned cpu) override;
    void kill() override { machine_.stop("killed by the debugger"); }

  private:
    Machine& machine_;
};

}  // namespace backplane
