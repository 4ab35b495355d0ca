#include "rack/machine_team.h"

#include "machine/machine.h"

namespace backplane {

namespace {

/// A sleeping thread takes about 40 us to wake up on another core, which is half a quantum; so helpers look for the
/// next round this often before they sleep. One look with a pause takes some 20 to 60 ns.
constexpr unsigned kLooksBeforeSleep = 4000;

void pause() { __builtin_ia32_pause(); }

}  // namespace

MachineTeam::MachineTeam(unsigned threads) {
    for (unsigned i = 1; i < threads; ++i) helpers_.emplace_back([this](std::stop_token stop) { help(stop); });
}

MachineTeam::~MachineTeam() {
    for (auto& helper : helpers_) helper.request_stop();
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
}

void MachineTeam::help(std::stop_token stop) {
    std::uint32_t seen = 0;
    while (!stop.stop_requested()) {
        unsigned looks = 0;
        while (round_.load(std::memory_order_acquire) == seen) {
            if (++looks < kLooksBeforeSleep)
                pause();
            else
                round_.wait(seen, std::memory_order_acquire);
        }
        seen = round_.load(std::memory_order_acquire);
        if (!enter()) continue;
        work();
        gate_.fetch_sub(1, std::memory_order_release);
    }
}

bool MachineTeam::enter() {
    std::uint32_t gate = gate_.load(std::memory_order_relaxed);
    while ((gate & kOpen) != 0)
        if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    return false;
}

void MachineTeam::work() {
    for (;;) {
        std::size_t const mine = next_.fetch_add(1, std::memory_order_relaxed);
        if (mine >= machines_.size()) return;
        machines_[mine]->run_until(barrier_);
    }
}

void MachineTeam::run(std::span<Machine* const> machines, Ticks barrier) {
    runnable_.clear();
    for (Machine* const machine : machines) {
        // One that only rests is quicker done than handed over.
        if (!helpers_.empty() && machine->next_event() < barrier)
            runnable_.push_back(machine);
        else
            machine->run_until(barrier);
    }
    if (helpers_.empty()) return;
    if (runnable_.size() < 2) {
        for (Machine* const machine : runnable_) machine->run_until(barrier);
        ++counters_.alone;
        return;
    }
    ++counters_.shared;
    machines_ = runnable_;
    barrier_ = barrier;
    next_.store(0, std::memory_order_relaxed);
    gate_.store(kOpen, std::memory_order_release);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    work();
    gate_.fetch_and(~kOpen, std::memory_order_relaxed);
    while (gate_.load(std::memory_order_acquire) != 0) pause();
}

}  // namespace backplane
