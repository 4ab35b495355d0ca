// The monitor: one loop that enters and leaves every machine of a rack (claims S3.1, S3.2, S3.6).
//
// All machines run from barrier to barrier, a quantum of virtual time apart. At a barrier no machine runs: frames
// cross the links, and what they caused is seen by the receivers in the next quantum (the delivery rule). When no
// machine has anything to execute, the barrier moves straight to the quantum in which something happens next.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "clock/virtual_time.h"
#include "crossover/link.h"
#include "crossover/message_exchange.h"
#include "crossover/shared_window.h"
#include "machine/machine.h"
#include "rack/machine_team.h"
#include "rack/trace_hash.h"

namespace backplane {

class Monitor {
  public:
    /// Machines and links must outlive the monitor.
    Monitor(std::vector<Machine*> machines, std::vector<Link*> links, Ticks quantum, unsigned threads = 1);

    /// Messages between the machines' queue devices, which it knows in the order of the machines. Must outlive the
    /// monitor.
    void set_exchange(MessageExchange* exchange) { exchange_ = exchange; }
    /// The memory that `members` have in common, which are in the order of the peers. Must outlive the monitor.
    void set_window(SharedWindow* window, std::vector<Machine*> members) {
        window_ = window;
        window_members_ = std::move(members);
    }

    [[nodiscard]] Ticks now() const { return now_; }
    /// True while a machine runs.
    [[nodiscard]] bool has_running_machine() const;
    /// When something happens next; never() when only the outside can make something happen.
    [[nodiscard]] Ticks next_event() const;
    /// Runs all machines to the next barrier and moves what crosses between them. With something to do in the current
    /// quantum the barrier is its end, else the end of the quantum of next_event(), but never beyond `limit`'s quantum.
    /// When a debugger holds a machine before the barrier, nothing crosses and the time stays; the next call goes on
    /// to the same barrier, as if nothing had been.
    void run_to_barrier(Ticks limit = Ticks::never());
    /// Over every machine's instructions and every link's frames at each barrier.
    [[nodiscard]] TraceHash const& trace_hash() const { return trace_hash_; }
    [[nodiscard]] MachineTeam const& team() const { return team_; }
    [[nodiscard]] Ticks quantum() const { return quantum_; }
    /// Barriers passed so far.
    [[nodiscard]] std::uint64_t barrier_count() const { return barrier_count_; }

  private:
    void deliver_messages();
    void deliver_doorbells();
    void add_to_trace();
    [[nodiscard]] Ticks end_of_quantum(Ticks time) const;

    std::vector<Machine*> machines_;
    MachineTeam team_;
    std::vector<Link*> links_;
    MessageExchange* exchange_{nullptr};
    SharedWindow* window_{nullptr};
    std::vector<Machine*> window_members_;
    Ticks quantum_;
    Ticks now_{};
    std::optional<Ticks> open_barrier_;  // begun, and not reached by a machine that is held
    std::uint64_t barrier_count_{0};
    TraceHash trace_hash_;
};

}  // namespace backplane
