#include "rack/monitor.h"

#include <algorithm>

namespace backplane {

Monitor::Monitor(std::vector<Machine*> machines, std::vector<Link*> links, Ticks quantum, unsigned threads)
    : machines_{std::move(machines)}, team_{threads}, links_{std::move(links)}, quantum_{quantum} {}

bool Monitor::has_running_machine() const {
    return std::any_of(machines_.begin(), machines_.end(), [](Machine const* m) { return m->state() == Machine::State::running; });
}

Ticks Monitor::next_event() const {
    Ticks earliest = Ticks::never();
    for (Machine const* machine : machines_) earliest = std::min(earliest, machine->next_event());
    for (Link const* link : links_) earliest = std::min(earliest, link->has_work() ? now_ : link->next_deadline());
    if (exchange_ != nullptr)
        earliest = std::min(earliest, exchange_->has_work() ? now_ : exchange_->next_deadline());
    return earliest;
}

/// The first multiple of the quantum after `time`.
Ticks Monitor::end_of_quantum(Ticks time) const { return Ticks{(time.ns() / quantum_.ns() + 1) * quantum_.ns()}; }

void Monitor::run_to_barrier(Ticks limit) {
    Ticks const next = std::min(next_event(), limit);
    Ticks const barrier = open_barrier_.value_or(end_of_quantum(next == Ticks::never() ? now_ : std::max(now_, next)));
    open_barrier_ = barrier;
    team_.run(machines_, barrier);
    for (Machine const* machine : machines_)
        if (machine->is_held() && machine->state() == Machine::State::running && machine->now() < barrier) return;
    open_barrier_.reset();
    now_ = barrier;
    ++barrier_count_;
    for (Link* link : links_) link->deliver(barrier);
    if (exchange_ != nullptr) deliver_messages();
    if (window_ != nullptr) deliver_doorbells();
    add_to_trace();
}

void Monitor::add_to_trace() {
    trace_hash_.add(now_.ns());
    for (Machine const* machine : machines_) {
        trace_hash_.add(machine->instructions());
        trace_hash_.add(static_cast<std::uint64_t>(machine->state()));
    }
    for (Link const* link : links_) {
        trace_hash_.add(link->report().frames);
        trace_hash_.add(link->report().bytes);
    }
}

void Monitor::deliver_messages() {
    for (std::size_t i = 0; i < machines_.size(); ++i)
        if (machines_[i]->state() != Machine::State::running) exchange_->machine_left(MachineId{static_cast<std::uint16_t>(i)});
    exchange_->deliver(now_);
}

void Monitor::deliver_doorbells() {
    for (std::uint32_t peer = 0; peer < window_members_.size(); ++peer)
        if (window_members_[peer]->state() != Machine::State::running) window_->peer_left(peer);
    window_->deliver();
}

}  // namespace backplane
