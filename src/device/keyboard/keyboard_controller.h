// The 8042 keyboard controller of a PC with a keyboard behind it.
//
// State:    partial
// Features: self tests, configuration byte, output port, reset pulse, interrupt 1, the keyboard's identification,
// reset,
//           echo and settings; characters from outside become scan codes of set 1 (a US keyboard), and so do the sequences
//           that terminals send for cursor and function keys
// Missing:  mouse, scan code sets 2 and 3, typematic repeat
// Differs from the hardware: a command is carried out at once; address line 20 is stored and never masked
// Source:   [I8042]
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "device/acpi/power_control.h"
#include "interrupt/line.h"

namespace backplane {

class KeyboardController final : public RegisterBank {
  public:
    static constexpr PortNumber kDataPort{0x60};
    static constexpr PortNumber kCommandPort{0x64};

    /// `line` is interrupt 1 of the board.
    KeyboardController(MachineClock& clock, InterruptLine line, PowerControl& power)
        : clock_{clock}, line_{line}, power_{power}, command_port_{*this}, typist_{clock, [this] { press_next(); }} {}
    /// Errors: a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus);
    void reset();

    /// Types a character: printable ASCII, Enter, Backspace, Tab, Escape; others are ignored.
    /// \return false when the keyboard's buffer is full; the caller comes again
    [[nodiscard]] bool type(char character);
    /// What a terminal sends: characters, Ctrl with a letter, and the sequences (ESC [ A) of cursor and function keys,
    /// which must come whole. They are pressed one by one, at the speed of somebody who types very fast: drivers throw
    /// away what comes while they start, and give up when it does not end. A key that finds the keyboard's buffer full is
    /// lost. \return how many bytes were taken; the rest finds no room yet
    [[nodiscard]] std::size_t type(ConstByteSpan bytes);

    /// The data port.
    [[nodiscard]] std::string_view name() const override { return "keyboard"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    class CommandPort final : public RegisterBank {
      public:
        explicit CommandPort(KeyboardController& owner) : owner_{owner} {}
        [[nodiscard]] std::string_view name() const override { return "keyboard-command"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        KeyboardController& owner_;
    };
    static constexpr std::size_t kBufferBytes = 32;
    struct State {
        std::uint8_t configuration{0x45};  // interrupt 1 on, system flag, translation
        std::uint8_t output_port{0xdf};
        std::uint8_t controller_expects{0};  // the command whose data byte comes next
        std::uint8_t keyboard_expects{0};
        bool last_was_command{false};
        bool scanning{true};
        std::array<std::uint8_t, kBufferBytes> buffer{};
        std::size_t first{0};
        std::size_t count{0};
    };
    void command(std::uint8_t value);
    void controller_data(std::uint8_t value);
    void keyboard_data(std::uint8_t value);
    void answer(std::uint8_t value);
    void update();
    [[nodiscard]] bool is_listening() const;
    [[nodiscard]] bool press(std::uint8_t modifier, std::uint8_t code);
    void press_next();
    [[nodiscard]] std::size_t room() const { return kBufferBytes - state_.count; }

    struct Key {
        std::uint8_t modifier;
        std::uint8_t code;
    };
    static constexpr std::size_t kMostWaiting = 256;

    MachineClock& clock_;
    InterruptLine line_;
    PowerControl& power_;
    CommandPort command_port_;
    Timer typist_;
    std::deque<Key> waiting_;  // typed, not pressed yet
    State state_;
};

}  // namespace backplane
