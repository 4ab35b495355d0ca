// A machine for the tests of a session: registers, 64 KiB of memory at 0x1000 (physical: at 0), and a record of calls.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "debug/debug_target.h"

namespace backplane {

class FakeDebugTarget final : public DebugTarget {
  public:
    static constexpr std::uint64_t kVirtual = 0x1000;
    static constexpr std::uint64_t kBytes = 1 << 16;

    std::vector<CpuState> cpus = std::vector<CpuState>(2);
    std::vector<std::byte> memory = std::vector<std::byte>(kBytes);
    DebugPoints points;
    Life alive{Life::running};
    bool held{false};
    bool can_stop{true};
    DebugStop stop;
    unsigned stopped{0};
    std::string calls;  ///< "run ", "step0 ", "kill "

    /// The machine comes to a stop by itself.
    void stop_with(DebugStop reason) { held = true, stop = reason; }

    void raise_machine_check(unsigned cpu, std::uint64_t status, GuestPhys address) override {
        calls += "mce" + std::to_string(cpu) + ':' + std::to_string(status) + ':' + std::to_string(address.value()) + ' ';
    }
    [[nodiscard]] std::string name() const override { return "fake"; }
    [[nodiscard]] Life life() const override { return alive; }
    [[nodiscard]] std::string cause() const override { return "none"; }
    [[nodiscard]] Ticks now() const override { return Ticks{5}; }
    [[nodiscard]] std::uint64_t instructions() const override { return 7; }
    [[nodiscard]] unsigned cpu_count() const override { return static_cast<unsigned>(cpus.size()); }
    [[nodiscard]] unsigned stopped_cpu() const override { return stopped; }
    [[nodiscard]] CpuState state(unsigned cpu) const override { return cpus.at(cpu); }
    void set_state(unsigned cpu, CpuState const& state) override { cpus.at(cpu) = state; }
    [[nodiscard]] std::size_t read_virtual(unsigned, GuestVirt start, ByteSpan into) const override {
        return start.value() < kVirtual ? 0 : read_physical(GuestPhys{start.value() - kVirtual}, into);
    }
    [[nodiscard]] std::optional<GuestPhys> translate(unsigned, GuestVirt address) const override {
        if (address.value() - kVirtual >= kBytes) return {};
        return GuestPhys{address.value() - kVirtual};
    }
    [[nodiscard]] std::size_t read_physical(GuestPhys start, ByteSpan into) const override {
        if (start.value() >= kBytes) return 0;
        std::size_t const count = std::min<std::size_t>(into.size(), kBytes - start.value());
        if (!into.empty()) std::memcpy(into.data(), memory.data() + start.value(), count);
        return count;
    }
    [[nodiscard]] bool write_virtual(unsigned, GuestVirt start, ConstByteSpan from) override {
        return start.value() >= kVirtual && write_physical(GuestPhys{start.value() - kVirtual}, from);
    }
    [[nodiscard]] bool write_physical(GuestPhys start, ConstByteSpan from) override {
        if (start.value() > kBytes || from.size() > kBytes - start.value()) return false;
        std::copy(from.begin(), from.end(), memory.begin() + static_cast<std::ptrdiff_t>(start.value()));
        return true;
    }
    [[nodiscard]] bool set_points(DebugPoints const& wanted) override {
        if (can_stop) points = wanted;
        return can_stop;
    }
    [[nodiscard]] bool is_held() const override { return held; }
    [[nodiscard]] DebugStop stop_reason() const override { return stop; }
    void hold() override { held = true, stop = {}; }
    void resume() override { held = false, calls += "run "; }
    void step(unsigned cpu) override { held = false, stopped = cpu, calls += "step" + std::to_string(cpu) + ' '; }
    void kill() override { alive = Life::crashed, calls += "kill "; }
};

}  // namespace backplane
