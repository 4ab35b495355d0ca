// The 8254 timer of a PC: three counters, of which the first interrupts and the third is behind port 0x61.
//
// State:    stable
// Features: modes 0 to 5, binary and BCD, counter latch and read-back commands, all three access orders, gate and
//           output of counter 2, the refresh toggle of port 0x61
// Missing:  sound
// Differs from the hardware: a count starts with the write that completes it, also in the periodic modes, which would
//           end their period first; the output of counter 0 falls just before it rises
// Source:   [8254], [ICH10] 13.3, 13.7.1
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "interrupt/line.h"

namespace backplane {

inline constexpr std::uint64_t kPitHertz = 1'193'182;

/// One counter. Times are cycles of kPitHertz.
class PitCounter {
  public:
    void write_control(std::uint8_t control, std::uint64_t now);
    void write_count(std::uint8_t value, std::uint64_t now);
    [[nodiscard]] std::uint8_t read(std::uint64_t now);
    void latch_count(std::uint64_t now);
    void latch_status(std::uint64_t now);
    void set_gate(bool high, std::uint64_t now);

    [[nodiscard]] bool gate() const { return gate_; }
    [[nodiscard]] bool output(std::uint64_t now) const;
    /// The next cycle after `now` at which the output rises; nullopt: never without being written.
    [[nodiscard]] std::optional<std::uint64_t> next_rise(std::uint64_t now) const;

  private:
    [[nodiscard]] std::uint64_t elapsed(std::uint64_t now) const;
    [[nodiscard]] std::uint16_t count(std::uint64_t now) const;
    [[nodiscard]] bool is_triggered_mode() const { return mode_ == 1 || mode_ == 5; }
    [[nodiscard]] bool is_periodic() const { return mode_ == 2 || mode_ == 3; }
    void load(std::uint16_t value, std::uint64_t now);
    void start(std::uint64_t now);

    std::uint8_t mode_{0};
    std::uint8_t access_{3};  // 1 low byte, 2 high byte, 3 low then high
    bool bcd_{false};
    bool gate_{true};
    bool has_count_{false};   // a count was written since the control word
    bool is_running_{false};  // counting has started, maybe held by the gate
    bool writes_high_next_{false};
    bool reads_high_next_{false};
    std::uint8_t low_byte_{0};
    std::uint32_t period_{0x1'0000};     // the count, with 0 as its largest
    std::uint64_t started_{0};           // the cycle at which counting began
    std::optional<std::uint64_t> held_;  // cycles counted when the gate went low
    std::optional<std::uint16_t> latched_count_;
    std::optional<std::uint8_t> latched_status_;
};

/// Ports 0x40 to 0x43, and 0x61.
class Pit8254 final : public RegisterBank {
  public:
    /// `line` is interrupt 0 of the board.
    Pit8254(MachineClock& clock, InterruptLine line);
    /// Errors: a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus);
    void reset();

    [[nodiscard]] std::string_view name() const override { return "pit"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    /// NMI status and control: gate and output of counter 2.
    class ControlPort final : public RegisterBank {
      public:
        explicit ControlPort(Pit8254& owner) : owner_{owner} {}
        [[nodiscard]] std::string_view name() const override { return "port-61"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        Pit8254& owner_;
    };
    [[nodiscard]] std::uint64_t now() const;
    [[nodiscard]] std::uint8_t read_port(std::uint64_t port);
    void write_port(std::uint64_t port, std::uint8_t value);
    void read_back(std::uint8_t command);
    void update_line();
    void rise();

    MachineClock& clock_;
    InterruptLine line_;
    Timer timer_;
    ControlPort control_port_;
    std::array<PitCounter, 3> counters_{};
    std::uint8_t control_{0};  // the writable bits of port 0x61
};

}  // namespace backplane
