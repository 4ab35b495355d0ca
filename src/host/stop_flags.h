// Why a run should end although its machines have not: set by signals and the keyboard, read by the rack's loop.
#pragma once

#include <atomic>

namespace backplane {

/// Set by other threads, never cleared. Relaxed order is enough: a flag carries nothing but itself.
class StopFlags {
  public:
    /// Ctrl-C, or Ctrl-A x on a machine's console.
    void request_interrupt() { interrupt_.store(true, std::memory_order_relaxed); }
    /// SIGTERM or a lost terminal.
    void request_termination() { termination_.store(true, std::memory_order_relaxed); }

    [[nodiscard]] bool is_interrupt_requested() const { return interrupt_.load(std::memory_order_relaxed); }
    [[nodiscard]] bool is_termination_requested() const { return termination_.load(std::memory_order_relaxed); }
    /// What the loop asks at each barrier.
    [[nodiscard]] bool should_stop() const { return is_interrupt_requested() || is_termination_requested(); }

  private:
    std::atomic<bool> interrupt_{false};
    std::atomic<bool> termination_{false};
};

}  // namespace backplane
