// The full platform simulator's processor as an engine: an interpreter that needs nothing of the host.
#pragma once

#include "cpu/cpu.h"
#include "engine/engine.h"

namespace backplane {

class SimEngine final : public Engine {
  public:
    explicit SimEngine(Cpu::Parts const& parts) : cpu_{parts} {}

    [[nodiscard]] VirtualizationEvent run(std::uint64_t quota) override;
    [[nodiscard]] CpuState state() const override { return cpu_.state(); }
    void set_state(CpuState const& state) override { cpu_.set_state(state); }
    [[nodiscard]] std::uint64_t instructions() const override { return cpu_.instructions(); }
    [[nodiscard]] bool is_idle() const override;
    void skip_to(Ticks time) override { cpu_.skip_to(time); }

    [[nodiscard]] bool set_debug_points(DebugPoints const& points) override {
        cpu_.set_debug_points(points);
        return true;
    }
    [[nodiscard]] bool set_instruction_hook(InstructionHook hook) override {
        cpu_.set_instruction_hook(std::move(hook));
        return true;
    }
    [[nodiscard]] DebugStop debug_stop() const override { return cpu_.debug_stop(); }

    [[nodiscard]] Cpu& cpu() { return cpu_; }
    [[nodiscard]] Cpu const& cpu() const { return cpu_; }

  private:
    Cpu cpu_;
};

}  // namespace backplane
