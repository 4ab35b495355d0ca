#include "rack/machine_team.h"

#include <algorithm>

#include "host/usage.h"
#include "machine/machine.h"

namespace backplane {

namespace {

/// A sleeping thread takes about 40 us to wake up on another core, which is half a quantum; so helpers look for the
/// next round this often before they sleep. One look with a pause takes some 20 to 60 ns.
constexpr unsigned kLooksBeforeSleep = 4000;

/// What another thread could take over, in virtual time, that makes up for the opening and closing of the gate: a few
/// microseconds of the host while the helper still looks (bench/threads --quanta 5us,10us,20us,50us). Virtual time, since the
/// host's would have to be measured for each machine of each quantum, and is of the same order.
constexpr std::uint64_t kLeastShareNs = 10'000;

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
    std::uint64_t const before = thread_cpu_ns();
    for (;;) {
        std::size_t const mine = next_.fetch_add(1, std::memory_order_relaxed);
        if (mine >= machines_.size()) break;
        machines_[mine]->run_until(barrier_);
    }
    work_ns_.fetch_add(thread_cpu_ns() - before, std::memory_order_relaxed);
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
    if (!is_worth_sharing(barrier)) {
        for (Machine* const machine : runnable_) machine->run_until(barrier);
        ++counters_.alone;
        return;
    }
    std::uint64_t const begin = monotonic_ns();
    machines_ = runnable_;
    barrier_ = barrier;
    share();
    ++counters_.shared;
    counters_.shared_wall_ns += monotonic_ns() - begin;
    counters_.shared_work_ns = work_ns_.load(std::memory_order_relaxed);
}

/// What others than the machine with the most to do have to do decides: that much can be saved.
bool MachineTeam::is_worth_sharing(Ticks barrier) const {
    std::uint64_t all = 0, most = 0;
    for (Machine const* machine : runnable_) {
        std::uint64_t const mine = barrier.ns() - std::max(machine->now(), machine->next_event()).ns();
        all += mine;
        most = std::max(most, mine);
    }
    return all - most >= kLeastShareNs;
}

void MachineTeam::share() {
    next_.store(0, std::memory_order_relaxed);
    gate_.store(kOpen, std::memory_order_release);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    work();
    gate_.fetch_and(~kOpen, std::memory_order_relaxed);
    while (gate_.load(std::memory_order_acquire) != 0) pause();
}

}  // namespace backplane
