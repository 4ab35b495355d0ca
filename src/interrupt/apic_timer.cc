#include "interrupt/apic_timer.h"

#include <algorithm>
#include <utility>

namespace backplane {

ApicTimer::ApicTimer(MachineClock& clock, TimeStampCounter const& counter, std::function<void()> on_expiry)
    : clock_{clock}, counter_{counter}, on_expiry_{std::move(on_expiry)}, timer_{clock, [this] { expire(); }} {}

void ApicTimer::reset() {
    timer_.disarm();
    mode_ = Mode::one_shot;
    initial_count_ = 0;
    divide_configuration_ = 0;
    tsc_deadline_ = 0;
}

// [SDM3A] figure 10-10: 000 divides by 2, 110 by 128, 111 by 1; bit 2 of the exponent is bit 3 of the register.
std::uint64_t ApicTimer::divisor() const {
    unsigned const code = (divide_configuration_ & 3) | (divide_configuration_ >> 1 & 4);
    return std::uint64_t{1} << ((code + 1) & 7);
}

Ticks ApicTimer::period() const { return Ticks{std::max(initial_count_ * divisor(), kMinimumPeriodNs)}; }

void ApicTimer::set_mode(Mode mode) {
    if (mode == mode_) return;
    bool const counted = mode_ == Mode::one_shot || mode_ == Mode::periodic;
    bool const counts = mode == Mode::one_shot || mode == Mode::periodic;
    mode_ = mode;
    if (counted && counts) return;
    timer_.disarm();
    tsc_deadline_ = 0;
}

void ApicTimer::start(std::uint64_t count) { timer_.arm(clock_.now() + Ticks{count * divisor()}); }

void ApicTimer::set_initial_count(std::uint32_t count) {
    if (mode_ == Mode::tsc_deadline) return;
    initial_count_ = count;
    timer_.disarm();
    if (count == 0 || mode_ == Mode::reserved) return;
    if (mode_ == Mode::periodic) {
        timer_.arm(clock_.now() + period());
    } else {
        start(count);
    }
}

std::uint32_t ApicTimer::current_count() const {
    if (mode_ == Mode::tsc_deadline || !timer_.is_armed()) return 0;
    std::uint64_t const left_ns = (timer_.deadline() - clock_.now()).ns();
    std::uint64_t const left = (left_ns + divisor() - 1) / divisor();
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(left, initial_count_));
}

void ApicTimer::set_divide_configuration(std::uint32_t value) {
    std::uint32_t const left = current_count();
    divide_configuration_ = value & 0xb;
    if (mode_ != Mode::tsc_deadline && timer_.is_armed()) start(left);
}

// The comparison is unsigned ("when the TSC reaches or exceeds the deadline"), so all ones is practically never.
void ApicTimer::set_tsc_deadline(std::uint64_t value) {
    if (mode_ != Mode::tsc_deadline) return;
    timer_.disarm();
    tsc_deadline_ = value;
    if (value == 0) return;
    std::uint64_t const counter = counter_.at(clock_.now());
    if (value <= counter) {
        expire();
    } else {
        timer_.arm(clock_.now() + Ticks{value - counter});
    }
}

void ApicTimer::time_stamp_counter_changed() {
    if (tsc_deadline_ != 0) set_tsc_deadline(tsc_deadline_);
}

void ApicTimer::expire() {
    if (mode_ == Mode::tsc_deadline) tsc_deadline_ = 0;
    if (mode_ == Mode::periodic) {
        std::uint64_t const late_ns = (clock_.now() - timer_.deadline()).ns();
        timer_.arm(clock_.now() + Ticks{period().ns() - late_ns % period().ns()});
    }
    on_expiry_();
}

}  // namespace backplane
