// The MC146818 real-time clock of a PC and its battery-backed memory.
//
// State:    stable
// Features: time and date in BCD or binary, 12 or 24 hours, setting them, the century byte, periodic, alarm and update
//           interrupts, 128 bytes of memory
// Missing:  daylight saving, square wave output
// Differs from the hardware: the time is a function of virtual time and begins at 2026-01-01 00:00:00 UTC; the divider
//           never stops, so that setting the clock does not move the part of a second; memory is lost at the end
// Source:   [MC146818], [ICH10] 13.6
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "interrupt/line.h"

namespace backplane {

/// Ports 0x70 (index, and the NMI mask, which means nothing) and 0x71 (data).
class CmosClock final : public RegisterBank {
  public:
    static constexpr PortNumber kPorts{0x70};
    static constexpr std::uint16_t kPortCount = 2;

    /// `line` is interrupt 8 of the board.
    CmosClock(MachineClock& clock, InterruptLine line);

    /// A byte of memory as firmware expects it, such as the size of the RAM; `index` from 0x0E on.
    void set_memory(std::uint8_t index, std::uint8_t value) { memory_[index & 0x7f] = value; }
    /// Interrupts off. Time and memory have a battery.
    void reset();

    [[nodiscard]] std::string_view name() const override { return "cmos-clock"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    /// The ten registers of time and alarm, binary, 24 hours.
    struct Fields {
        std::uint32_t second{0}, minute{0}, hour{0}, weekday{1}, day{1}, month{1}, year{0};  // year with its century
    };
    [[nodiscard]] std::uint64_t seconds() const;  // of the guest's clock, since 1970
    [[nodiscard]] Fields fields() const;
    [[nodiscard]] std::uint8_t encode(std::uint32_t value) const;
    [[nodiscard]] std::uint32_t decode(std::uint8_t value) const;
    [[nodiscard]] std::uint8_t encode_hour(std::uint32_t hour) const;
    [[nodiscard]] std::uint32_t decode_hour(std::uint8_t value) const;
    [[nodiscard]] std::uint8_t read_register(std::uint8_t index);
    [[nodiscard]] std::uint8_t read_time(std::uint8_t index) const;
    void write_register(std::uint8_t index, std::uint8_t value);
    void write_time(std::uint8_t index, std::uint8_t value);
    void write_status_b(std::uint8_t value);
    void set_time(Fields const& fields);

    [[nodiscard]] std::uint64_t period_ns() const;
    [[nodiscard]] std::uint64_t next_alarm(std::uint64_t after) const;
    void collect_flags();
    void update();

    MachineClock& clock_;
    InterruptLine line_;
    Timer timer_;
    std::uint8_t index_{0};
    std::uint8_t status_a_{0x26};
    std::uint8_t status_b_{0x02};
    std::uint8_t flags_{0};                // register C
    std::array<std::uint8_t, 3> alarm_{};  // second, minute, hour as written
    std::int64_t offset_{0};               // seconds that the guest's clock is ahead
    Fields held_{};                        // while SET stops the updates
    Ticks collected_{};                    // up to when flags_ knows what happened
    std::array<std::uint8_t, 128> memory_{};
};

}  // namespace backplane
