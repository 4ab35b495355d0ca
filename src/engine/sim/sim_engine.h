// The full platform simulator's processor as an engine: an interpreter that needs nothing of the host.
#pragma once

#include <memory>

#include "cpu/cpu.h"
#include "engine/engine.h"
#include "engine/tier.h"
#include "jit/translator.h"

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
    /// What the translator's code may take, in bytes.
    static constexpr std::size_t kDefaultCodeBytes = Translator::kDefaultBytes, kLeastCodeBytes = Translator::kLeastBytes,
                                 kMostCodeBytes = Translator::kMostBytes;
    /// Errors: the host gives no executable memory, or the size is refused; the engine then goes on interpreting.
    [[nodiscard]] Expected<void, Error> set_tier(Tier tier, std::size_t code_bytes = kDefaultCodeBytes);
    /// Tells what the present tier's translator makes, if it has one; the listener outlives its last run.
    void add_code_listener(CodeListener& listener) {
        if (translator_) translator_->add_listener(listener);
    }
    /// Null while everything is interpreted.
    [[nodiscard]] Translator const* translator() const { return translator_.get(); }

    [[nodiscard]] Cpu& cpu() { return cpu_; }
    [[nodiscard]] Cpu const& cpu() const { return cpu_; }

  private:
    Cpu cpu_;
    std::unique_ptr<Translator> translator_;
};

}  // namespace backplane
