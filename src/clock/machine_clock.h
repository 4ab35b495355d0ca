// One machine's clock and the queue of what happens next in it. Nothing else asks what time it is.
//
// The clock only moves when the engine retires instructions or the monitor lets an idle machine jump. Timers fire
// between runs of the engine, never inside one: the monitor ends each run at next_deadline(), and then calls
// fire_due().
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "clock/virtual_time.h"

namespace backplane {

class Timer;

class MachineClock {
  public:
    MachineClock() = default;
    MachineClock(MachineClock const&) = delete;
    MachineClock& operator=(MachineClock const&) = delete;

    [[nodiscard]] Ticks now() const { return now_; }
    /// Where now() is kept, for translated code, which reads it and moves it forward as advance_to() does.
    [[nodiscard]] Ticks* now_word() { return &now_; }

    /// Moves the clock forward (a smaller time is ignored). Does not fire timers.
    void advance_to(Ticks time) {
        if (time > now_) now_ = time;
    }

    /// The time of the earliest armed timer, or Ticks::never().
    [[nodiscard]] Ticks next_deadline() const;

    /// Runs the handlers of all timers due at now(), in the order (deadline, arming sequence). A handler may arm
    /// timers; those that are due already run in the same call.
    void fire_due();

  private:
    friend class Timer;
    struct Entry {
        Ticks deadline;
        std::uint64_t sequence;
        Timer* timer;
    };
    void insert(Timer& timer);
    void remove(Timer& timer);

    Ticks now_{};
    std::uint64_t next_sequence_{0};
    std::vector<Entry> queue_;  // a binary heap, earliest (deadline, sequence) first
};

/// Something that happens once at a time to be set. Must not outlive its clock; disarms itself when destroyed.
class Timer {
  public:
    Timer(MachineClock& clock, std::function<void()> handler) : clock_{clock}, handler_{std::move(handler)} {}
    Timer(Timer const&) = delete;
    Timer& operator=(Timer const&) = delete;
    ~Timer() { disarm(); }

    /// (Re)arms the timer. A deadline in the past fires at the next fire_due().
    void arm(Ticks deadline);
    void disarm();
    [[nodiscard]] bool is_armed() const { return armed_; }
    [[nodiscard]] Ticks deadline() const { return deadline_; }

  private:
    friend class MachineClock;
    MachineClock& clock_;
    std::function<void()> handler_;
    Ticks deadline_{};
    bool armed_{false};
};

}  // namespace backplane
