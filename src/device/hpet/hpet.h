// The high precision event timer: a 64-bit counter of 100 MHz with three comparators.
//
// State:    stable
// Features: 64 and 32-bit comparators, one-shot and periodic, edge and level-triggered interrupts, legacy replacement
//           (in place of the 8254's and the clock's), interrupts as messages (FSB)
// Missing:  -
// Differs from the hardware: accesses of 1 and 2 bytes work; a periodic comparator that has been passed several times
//           interrupts once; the interrupt of a comparator can be routed to the inputs 10 and 11 of the I/O APIC only
// Source:   [HPET] 2.3, 2.4
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "interrupt/line.h"
#include "interrupt/message.h"

namespace backplane {

/// Who drives the ISA interrupts 0 and 8: the 8254 and the clock, or with legacy replacement the comparators 0 and 1
/// ([HPET] 2.3.5, LEG_RT_CNF). The 8254 and the clock hold the inputs 0 and 8, the HPET replaces what they say.
class LegacyTimerLines final : public LineInputs {
  public:
    static constexpr unsigned kTimer = 0;
    static constexpr unsigned kClock = 8;

    explicit LegacyTimerLines(LineInputs& isa) : isa_{isa} {}
    void set_level(unsigned number, bool asserted) override;
    void set_replacement(unsigned comparator, bool asserted);
    void select_replacement(bool is_selected);

  private:
    void update();
    LineInputs& isa_;
    std::array<bool, 2> own_{};          // of the 8254, of the clock
    std::array<bool, 2> replacement_{};  // of the comparators 0 and 1
    bool is_replaced_{false};
};

class Hpet final : public RegisterBank {
  public:
    static constexpr std::uint64_t kBytes = 0x400;
    static constexpr unsigned kComparatorCount = 3;
    static constexpr std::uint64_t kPeriodNs = 10;
    /// General capabilities, lower half, as the ACPI table repeats it ([HPET] 3.2.4).
    static constexpr std::uint32_t kBlockId = 0x8086'A000 | (kComparatorCount - 1) << 8 | 0x01;

    /// `io_apic` takes the interrupts that are not messages and do not replace others'.
    Hpet(MachineClock& clock, LegacyTimerLines& legacy, LineInputs& io_apic, MessageSink& messages);
    Hpet(Hpet const&) = delete;
    Hpet& operator=(Hpet const&) = delete;
    void reset();

    [[nodiscard]] std::string_view name() const override { return "hpet"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    struct Comparator {
        std::uint64_t configuration{0};  // the writable bits
        std::uint64_t value{~std::uint64_t{0}};
        std::uint64_t period{0};
        std::uint64_t message{0};  // FSB: data below, address above
    };
    struct State {
        std::uint64_t configuration{0};
        std::uint64_t status{0};   // of level-triggered interrupts
        std::uint64_t counter{0};  // at counted_from
        Ticks counted_from{};
        std::array<Comparator, kComparatorCount> comparators{};
    };

    [[nodiscard]] bool is_counting() const;
    [[nodiscard]] std::uint64_t counter() const;
    void set_counter(std::uint64_t value);
    [[nodiscard]] std::uint64_t read_register(std::uint64_t offset) const;
    void write_register(std::uint64_t offset, std::uint64_t value, std::uint64_t written);
    void write_configuration(std::uint64_t value);
    void write_comparator(unsigned index, std::uint64_t offset, std::uint64_t value, std::uint64_t written);
    void write_comparator_configuration(Comparator& comparator, std::uint64_t value);
    void write_comparator_value(Comparator& comparator, std::uint64_t value, std::uint64_t written);
    enum class Match : std::uint8_t { now_counts, now_is_over };
    void arm(unsigned index, Match match);
    void arm_all();
    void fire(unsigned index);
    void interrupt(unsigned index);
    void update_lines();

    MachineClock& clock_;
    LegacyTimerLines& legacy_;
    LineInputs& io_apic_;
    MessageSink& messages_;
    State state_;
    std::array<Timer, kComparatorCount> timers_;
};

}  // namespace backplane
