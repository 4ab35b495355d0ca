// How a guest switches its machine off or resets it: the ACPI sleep registers, the reset register, and the reset
// pulse of the keyboard controller.
//
// State:    stable
// Features: S5 through SLEEP_CONTROL, reset through port 0xCF9 and through command 0xFE at port 0x64
// Missing:  other sleep states, wake-up, power button
// Differs from the hardware: behind port 0x64 there is nothing but the reset pulse; it reads as an idle controller
// Source:   [ACPI65] 4.8.3.7, [ICH10] 13.7.5, [I8042]
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
inline constexpr PortNumber kKeyboardCommandPort{0x64};

enum class PowerEvent : std::uint8_t { none, power_off, reset };

/// The bank itself is SLEEP_CONTROL (offset 0) and SLEEP_STATUS (offset 1).
class PowerControl final : public RegisterBank {
  public:
    PowerControl() : reset_register_{*this}, keyboard_command_{*this} {}
    PowerControl(PowerControl const&) = delete;
    PowerControl& operator=(PowerControl const&) = delete;

    /// Attaches the sleep registers and port 0x64. The reset register lies among the ports of PciHost, which forwards
    /// to it. Errors: a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus);
    /// One byte, for PciHost::set_reset_register().
    [[nodiscard]] RegisterBank& reset_register() { return reset_register_; }

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
    class KeyboardCommand final : public RegisterBank {
      public:
        explicit KeyboardCommand(PowerControl& owner) : owner_{owner} {}
        [[nodiscard]] std::string_view name() const override { return "keyboard-command"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        PowerControl& owner_;
    };
    void raise(PowerEvent event);

    PowerEvent event_{PowerEvent::none};
    bool* attention_{nullptr};
    ResetRegister reset_register_;
    KeyboardCommand keyboard_command_;
};

}  // namespace backplane
