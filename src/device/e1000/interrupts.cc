#include "device/e1000/interrupts.h"

#include <utility>

namespace backplane::e1000 {

namespace {

constexpr std::uint64_t kThrottleUnitNs = 256;  // [8254x] 13.4.18
constexpr std::uint64_t kDelayUnitNs = 1024;    // [8254x] 13.4.30
constexpr std::uint32_t kReceiveCauses = kCauseRxt0 | kCauseRxdmt0;

Ticks delay_of(State const& state, std::uint32_t offset) { return Ticks{(state.at(offset) & 0xFFFF) * kDelayUnitNs}; }

}  // namespace

DelayedCause::DelayedCause(MachineClock& clock, std::function<void()> raise)
    : clock_{clock}, raise_{std::move(raise)}, relative_{clock, [this] { fire(); }}, absolute_{clock, [this] {
                                                                                                   fire();
                                                                                               }} {}

void DelayedCause::event(Ticks relative, Ticks absolute) {
    if (relative == Ticks{}) return fire();
    relative_.arm(clock_.now() + relative);
    if (absolute != Ticks{} && !absolute_.is_armed()) absolute_.arm(clock_.now() + absolute);
}

void DelayedCause::flush() {
    if (relative_.is_armed()) fire();
}

void DelayedCause::cancel() {
    relative_.disarm();
    absolute_.disarm();
}

void DelayedCause::fire() {
    cancel();
    raise_();
}

Interrupts::Interrupts(MachineClock& clock, State& state, Wiring& wiring)
    : clock_{clock},
      state_{state},
      wiring_{wiring},
      throttle_{clock, [this] { update(); }},
      receive_delay_{clock, [this] { raise(kCauseRxt0); }},
      transmit_delay_{clock, [this] { raise(kCauseTxdw); }} {}

void Interrupts::reset() {
    receive_delay_.cancel();
    transmit_delay_.cancel();
    state_.at(kIcr) = 0;
    state_.at(kIms) = 0;
    state_.last_interrupt.reset();
    update();
}

void Interrupts::raise(std::uint32_t causes) {
    state_.at(kIcr) |= causes & kCauses;
    if (asserted_) count(causes & state_.at(kIms));
    update();
}

void Interrupts::clear(std::uint32_t causes) {
    state_.at(kIcr) &= ~causes;
    update();
}

std::uint32_t Interrupts::read_causes() {
    std::uint32_t const causes = state_.at(kIcr);
    clear(causes);
    return causes;
}

void Interrupts::update() {
    std::uint32_t const causes = state_.at(kIcr) & state_.at(kIms);
    bool wanted = causes != 0;
    throttle_.disarm();
    if (wanted && !asserted_ && state_.last_interrupt) {
        Ticks const allowed = *state_.last_interrupt + Ticks{(state_.at(kItr) & 0xFFFF) * kThrottleUnitNs};
        wanted = clock_.now() >= allowed;
        if (!wanted) throttle_.arm(allowed);
    }
    if (wanted == asserted_) return;
    asserted_ = wanted;
    if (wanted) {
        state_.last_interrupt = clock_.now();
        count(causes);
    }
    wiring_.drive_interrupt(wanted);
}

void Interrupts::frame_received() { receive_delay_.event(delay_of(state_, kRdtr), delay_of(state_, kRadv)); }

void Interrupts::descriptors_written(Delay delay) {
    Ticks const relative = delay == Delay::allowed ? delay_of(state_, kTidv) : Ticks{};
    transmit_delay_.event(relative, delay_of(state_, kTadv));
}

void Interrupts::count(std::uint32_t causes) {
    if ((causes & kReceiveCauses) != 0) ++receive_count_;
    if ((causes & kCauseTxdw) != 0) ++transmit_complete_count_;
}

}  // namespace backplane::e1000
