// From causes to the interrupt line: ICR, ICS, IMS, IMC, the throttle (ITR) and the delays of both rings.
#pragma once

#include <cstdint>
#include <functional>

#include "clock/machine_clock.h"
#include "device/e1000/state.h"

namespace backplane::e1000 {

/// A cause that waits for company: raised `relative` after the last event, but no later than `absolute` after the
/// first (0: no such limit). [8254x] 13.4.30, 13.4.31, 13.4.44, 13.4.46
class DelayedCause {
  public:
    DelayedCause(MachineClock& clock, std::function<void()> raise);
    void event(Ticks relative, Ticks absolute);
    /// Raises now what is waiting.
    void flush();
    void cancel();

  private:
    void fire();
    MachineClock& clock_;
    std::function<void()> raise_;
    Timer relative_;
    Timer absolute_;
};

class Interrupts {
  public:
    Interrupts(MachineClock& clock, State& state, Wiring& wiring);
    /// No cause, no mask, line low, nothing waiting.
    void reset();

    void raise(std::uint32_t causes);
    void clear(std::uint32_t causes);
    /// ICR as the guest reads it: all causes, cleared by reading.
    [[nodiscard]] std::uint32_t read_causes();
    /// The line follows causes, mask and throttle; to be called after a change of IMS or ITR.
    void update();

    /// A frame has landed: RXT0, at once or after RDTR and RADV.
    void frame_received();
    enum class Delay : std::uint8_t { none, allowed };
    /// Descriptors were written back: TXDW, at once or, where IDE allows it, after TIDV and TADV.
    void descriptors_written(Delay delay);
    void flush_receive() { receive_delay_.flush(); }
    void flush_transmit() { transmit_delay_.flush(); }

    [[nodiscard]] std::uint64_t receive_count() const { return receive_count_; }
    [[nodiscard]] std::uint64_t transmit_complete_count() const { return transmit_complete_count_; }

  private:
    void count(std::uint32_t causes);

    MachineClock& clock_;
    State& state_;
    Wiring& wiring_;
    Timer throttle_;
    DelayedCause receive_delay_;
    DelayedCause transmit_delay_;
    bool asserted_{false};
    std::uint64_t receive_count_{0};
    std::uint64_t transmit_complete_count_{0};
};

}  // namespace backplane::e1000
