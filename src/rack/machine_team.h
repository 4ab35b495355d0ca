// The host threads that run machines between two barriers (docs/design/monitor.md, "Threads").
//
// Between barriers machines share nothing that one could see of another, so the result does not depend on how many
// threads there are, or which of them runs which machine.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "clock/virtual_time.h"

namespace backplane {

class Machine;

class MachineTeam {
  public:
    /// \param threads  the caller's among them; at least 1
    explicit MachineTeam(unsigned threads);
    MachineTeam(MachineTeam const&) = delete;
    MachineTeam& operator=(MachineTeam const&) = delete;
    ~MachineTeam();

    /// Takes each machine to the barrier.
    void run(std::span<Machine* const> machines, Ticks barrier);

    [[nodiscard]] unsigned threads() const { return static_cast<unsigned>(helpers_.size()) + 1; }
    struct Counters {
        std::uint64_t shared{0};  ///< barriers whose machines were shared out among threads
        std::uint64_t alone{0};   ///< too little to do: one thread did it
        std::uint64_t shared_wall_ns{0};  ///< how long the shared ones took, by the host's clock
        std::uint64_t shared_work_ns{0};  ///< processor time that machines took in them: what one thread would have needed
    };
    [[nodiscard]] Counters const& counters() const { return counters_; }

  private:
    [[nodiscard]] bool is_worth_sharing(Ticks barrier) const;
    void share();
    void help(std::stop_token stop);
    void work();
    [[nodiscard]] bool enter();

    // What is to be done. Written by the caller before it opens the gate, read by helpers inside it (release and acquire
    // on gate_), so these need not be atomic.
    std::span<Machine* const> machines_;
    Ticks barrier_{};
    std::atomic<std::size_t> next_{0};     // the first machine that nobody has taken
    std::atomic<std::uint64_t> work_ns_{0};  // of all threads; read when the gate is empty
    std::atomic<std::uint32_t> round_{0};  // counts run() calls that share; what helpers wait for
    /// kOpen, and the number of helpers inside. One that wakes up too late finds it closed, and nobody waits for it.
    std::atomic<std::uint32_t> gate_{0};
    static constexpr std::uint32_t kOpen = std::uint32_t{1} << 31;
    std::vector<std::jthread> helpers_;
    std::vector<Machine*> runnable_;
    Counters counters_;
};

}  // namespace backplane
