// The timer of one local APIC: counting down from the initial count, or waiting for a time-stamp.
//
// State:    stable
// Features: one-shot, periodic and TSC-deadline mode; divide 1 to 128; the input clock is 1 GHz (one Tick)
// Missing:  -
// Differs from the hardware: a periodic timer expires at most once a microsecond, so that a guest cannot make the
//           monitor do nothing else; periods that passed while nobody looked are one expiry
// Source:   [SDM3A] 10.5.4, 10.5.4.1
#pragma once

#include <cstdint>
#include <functional>

#include "clock/machine_clock.h"
#include "clock/time_stamp_counter.h"
#include "clock/virtual_time.h"

namespace backplane {

class ApicTimer {
  public:
    /// Bits 18:17 of the LVT timer register. In the reserved mode nothing counts.
    enum class Mode : std::uint8_t { one_shot, periodic, tsc_deadline, reserved };
    static constexpr std::uint64_t kMinimumPeriodNs = 1000;

    /// `on_expiry` runs from MachineClock::fire_due(), or at once when a deadline in the past is written.
    ApicTimer(MachineClock& clock, TimeStampCounter const& counter, std::function<void()> on_expiry);

    void reset();
    /// Into and out of TSC-deadline mode the timer is disarmed; between the others it goes on counting.
    void set_mode(Mode mode);

    /// 0 stops the timer. Ignored in TSC-deadline mode.
    void set_initial_count(std::uint32_t count);
    [[nodiscard]] std::uint32_t initial_count() const { return initial_count_; }
    [[nodiscard]] std::uint32_t current_count() const;

    /// The divide configuration register; bits 3, 1 and 0 matter. A running count keeps its value.
    void set_divide_configuration(std::uint32_t value);
    [[nodiscard]] std::uint32_t divide_configuration() const { return divide_configuration_; }

    /// IA32_TSC_DEADLINE: 0 disarms. In the other modes writes are ignored and reads give 0.
    void set_tsc_deadline(std::uint64_t value);
    [[nodiscard]] std::uint64_t tsc_deadline() const { return tsc_deadline_; }
    /// The counter was moved by its owner: an armed TSC-deadline is looked at again.
    void time_stamp_counter_changed();

  private:
    [[nodiscard]] std::uint64_t divisor() const;
    [[nodiscard]] Ticks period() const;
    void start(std::uint64_t count);
    void expire();

    MachineClock& clock_;
    TimeStampCounter const& counter_;
    std::function<void()> on_expiry_;
    Timer timer_;
    Mode mode_{Mode::one_shot};
    std::uint32_t initial_count_{0};
    std::uint32_t divide_configuration_{0};
    std::uint64_t tsc_deadline_{0};
};

}  // namespace backplane
