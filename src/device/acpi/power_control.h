// How a guest switches its machine off or resets it: the ACPI sleep registers and the reset registers; other devices
// that can do it (device/keyboard, pm_registers.h) come here as well.
//
// State:    stable
// Features: S5 through SLEEP_CONTROL, reset through ports 0xCF9 and 0x92
// Missing:  other sleep states, wake-up
// Differs from the hardware: address line 20 is never masked; its bit in port 0x92 is stored
// Source:   [ACPI65] 4.8.3.7, [ICH10] 13.7.3, 13.7.5
#pragma once

#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"

namespace backplane {

inline constexpr PortNumber kSleepControlPort{0x600};
inline constexpr PortNumber kSleepStatusPort{0x601};
inline constexpr std::uint8_t kSleepTypeS5 = 5;  ///< SLP_TYP, as the \_S5 object gives it
inline constexpr PortNumber kResetPort{0xcf9};
inline constexpr std::uint8_t kResetValue = 0x06;
inline constexpr PortNumber kSystemControlPort{0x92};

enum class PowerEvent : std::uint8_t { none, power_off, reset };

/// The bank itself is SLEEP_CONTROL (offset 0) and SLEEP_STATUS (offset 1).
class PowerControl final : public RegisterBank {
  public:
    PowerControl() : reset_register_{*this}, system_control_{*this} {}
    PowerControl(PowerControl const&) = delete;
    PowerControl& operator=(PowerControl const&) = delete;

    /// Attaches the sleep registers and port 0x92. The reset register lies among the ports of PciHost, which forwards
    /// to it. Errors: a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus);
    /// One byte, for PciHost::set_reset_register().
    [[nodiscard]] RegisterBank& reset_register() { return reset_register_; }

    /// The guest asks for it; the first one counts.
    void request(PowerEvent event);
    /// What the guest asked for first since the last call.
    [[nodiscard]] PowerEvent take_event();
    /// `*attention` is set with each event, so that the processor stops running. Null to stop.
    void set_wake_flag(bool* attention) { attention_ = attention; }

    [[nodiscard]] std::string_view name() const override { return "power-control"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    class ResetRegister final : public RegisterBank {
      public:
        explicit ResetRegister(PowerControl& owner) : owner_{owner} {}
        [[nodiscard]] std::string_view name() const override { return "reset-register"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        PowerControl& owner_;
        std::uint8_t value_{0};
    };
    class SystemControl final : public RegisterBank {
      public:
        explicit SystemControl(PowerControl& owner) : owner_{owner} {}
        [[nodiscard]] std::string_view name() const override { return "system-control"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        PowerControl& owner_;
        std::uint8_t value_{0x02};  // address line 20 is there
    };

    PowerEvent event_{PowerEvent::none};
    bool* attention_{nullptr};
    ResetRegister reset_register_;
    SystemControl system_control_;
};

}  // namespace backplane
