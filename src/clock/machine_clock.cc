#include "clock/machine_clock.h"

#include <algorithm>

namespace backplane {

namespace {
constexpr auto kLater = [](auto const& a, auto const& b) {
    return a.deadline != b.deadline ? a.deadline > b.deadline : a.sequence > b.sequence;
};
}  // namespace

Ticks MachineClock::next_deadline() const { return queue_.empty() ? Ticks::never() : queue_.front().deadline; }

void MachineClock::fire_due() {
    while (!queue_.empty() && queue_.front().deadline <= now_) {
        std::pop_heap(queue_.begin(), queue_.end(), kLater);
        Timer& timer = *queue_.back().timer;
        queue_.pop_back();
        timer.armed_ = false;
        timer.handler_();
    }
}

void MachineClock::insert(Timer& timer) {
    queue_.push_back({timer.deadline_, next_sequence_++, &timer});
    std::push_heap(queue_.begin(), queue_.end(), kLater);
}

// A machine has a handful of timers, so a linear search costs less than keeping positions.
void MachineClock::remove(Timer& timer) {
    std::erase_if(queue_, [&](Entry const& entry) { return entry.timer == &timer; });
    std::make_heap(queue_.begin(), queue_.end(), kLater);
}

void Timer::arm(Ticks deadline) {
    disarm();
    deadline_ = deadline;
    armed_ = true;
    clock_.insert(*this);
}

void Timer::disarm() {
    if (!armed_) return;
    armed_ = false;
    clock_.remove(*this);
}

}  // namespace backplane
