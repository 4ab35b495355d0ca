// The fixed ACPI hardware of a platform that is not hardware-reduced: PM1 events and control, and the PM timer.
//
// State:    stable
// Features: power button, SCI, S5 through PM1a_CNT, the 32-bit PM timer with its overflow event, the global lock bits
// Missing:  general-purpose events, other sleep states, wake-up; there is no SMI command port, ACPI mode is always on
// Differs from the hardware: the status bits of the RTC alarm and of wake-up are never set
// Source:   [ACPI65] 4.8.3.1 to 4.8.3.3
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "device/acpi/power_control.h"
#include "interrupt/line.h"

namespace backplane {

inline constexpr PortNumber kPmEventPorts{0x620};    ///< status, then enable: 4 ports
inline constexpr PortNumber kPmControlPorts{0x624};  ///< 2 ports
inline constexpr PortNumber kPmTimerPorts{0x628};    ///< 4 ports
inline constexpr std::uint64_t kPmTimerHertz = 3'579'545;

class PmRegisters final : public RegisterBank {
  public:
    /// `line` is the SCI.
    PmRegisters(MachineClock& clock, InterruptLine line, PowerControl& power);
    /// Errors: a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus);
    void reset();

    /// The guest gets an event and decides.
    void press_power_button();

    [[nodiscard]] std::string_view name() const override { return "pm-registers"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    [[nodiscard]] std::uint8_t read_byte(std::uint64_t offset);
    void write_byte(std::uint64_t offset, std::uint8_t value);
    [[nodiscard]] std::uint64_t cycles() const;
    void update();

    MachineClock& clock_;
    InterruptLine line_;
    PowerControl& power_;
    Timer timer_;
    std::uint16_t status_{0};
    std::uint16_t enable_{0};
    std::uint16_t control_{0};
    std::uint64_t halves_seen_{0};  // how often bit 31 of the timer had changed when status_ was last computed
};

}  // namespace backplane
