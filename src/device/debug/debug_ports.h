// Two ports for programs that test machines: one ends the machine with a status, one takes characters.
//
// State:    stable
// Features: exit with (value << 1) | 1 at port 0xF4, characters at port 0x402 as firmware prints them
// Missing:  -
// Differs from the hardware: no PC has them; both are what QEMU calls isa-debug-exit and isa-debugcon
// Source:   [QEMU]
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "bus/bus.h"
#include "device/acpi/power_control.h"
#include "device/byte_port.h"

namespace backplane {

class DebugExit final : public RegisterBank {
  public:
    static constexpr PortNumber kPorts{0xf4};
    static constexpr std::uint16_t kPortCount = 4;

    explicit DebugExit(PowerControl& power) : power_{power} {}

    /// What the first write left: (value << 1) | 1, of which a process can say 8 bits.
    [[nodiscard]] std::optional<std::uint8_t> status() const { return status_; }

    [[nodiscard]] std::string_view name() const override { return "debug-exit"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t /*offset*/, Width /*width*/) override { return 0; }
    void write(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t value) override {
        if (status_) return;
        status_ = static_cast<std::uint8_t>(value << 1 | 1);
        power_.request(PowerEvent::power_off);
    }

  private:
    PowerControl& power_;
    std::optional<std::uint8_t> status_;
};

class DebugConsole final : public RegisterBank {
  public:
    static constexpr PortNumber kPort{0x402};

    explicit DebugConsole(ByteSink& sink) : sink_{sink} {}

    [[nodiscard]] std::string_view name() const override { return "debug-console"; }
    /// Firmware asks whether the port is there by its value.
    [[nodiscard]] std::uint64_t read(std::uint64_t /*offset*/, Width /*width*/) override { return 0xe9; }
    void write(std::uint64_t /*offset*/, Width width, std::uint64_t value) override {
        sink_.put(bytes_of(value).first(bytes_in(width)));
    }

  private:
    ByteSink& sink_;
};

}  // namespace backplane
