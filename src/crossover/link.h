// The virtual cable between the NICs of several machines: the only code that sees two guests at once.
//
// Frames move at barriers, while no machine runs (the delivery rule, docs/design/crossover.md): all that were sent
// up to the barrier, in the order (sent time, machine, port, position in the ring), each with one copy from the
// sender's buffers into every receiver's posted buffers. What cannot land stays in its sender's ring.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "crossover/detector.h"
#include "crossover/link_report.h"
#include "crossover/mapping.h"
#include "crossover/unread_queue.h"
#include "device/frame_port.h"
#include "device/segmenter.h"

namespace backplane {

/// When a sender is told that its frame is done.
enum class Completion : std::uint8_t {
    landed,  ///< it is in all receivers' buffers
    read,    ///< all receivers have given its descriptors back: the words of claim S2.8
};

enum class Carrier : std::uint8_t { down, up };

struct LinkOptions {
    std::string name;
    Completion completion{Completion::landed};
    /// How long a frame waits in its sender's ring for a receiver's buffer, from the first barrier without one.
    Ticks wait{milliseconds(10)};
    /// Mode `read`: how long a sender waits for its frame to be read, from the landing.
    Ticks read_wait{milliseconds(10)};
};

class Link final : private FramePortObserver {
  public:
    /// Frames out of one port in one barrier, a group frame counted for each receiver; the rest is left for the next.
    static constexpr std::uint32_t kCopiesPerBarrier = 4096;
    /// Mode `read`: landings of one sender that are not read yet; above this its ring has to wait.
    static constexpr std::size_t kMostUnread = 4096;

    explicit Link(LinkOptions options);
    Link(Link const&) = delete;
    Link& operator=(Link const&) = delete;
    ~Link() override;

    /// Plugs a port in. Its mac() at this time is the address that the rack gave it. The port must outlive the link.
    /// \param name  for the report, such as "eth0"
    PortIndex attach(MachineId machine, FramePort& port, std::string name);

    /// Plugs the cable into all ports, or pulls it. Without carrier no frame moves and no wait expires; frames in
    /// flight are still completed.
    void set_carrier(Carrier carrier);

    /// Moves what is due. Called by the monitor while no machine runs; costs nothing when nothing is due.
    /// \param barrier  the virtual time that all machines have reached; never smaller than in the last call
    void deliver(Ticks barrier);

    /// A port has something new, or the last barrier left something over: deliver() at the next barrier.
    [[nodiscard]] bool has_work() const { return changed_.load(std::memory_order_relaxed) || has_leftover_; }
    /// When deliver() is due even if no port changes: a wait expires. Ticks::never() when nothing waits.
    [[nodiscard]] Ticks next_deadline() const { return next_deadline_; }

    [[nodiscard]] std::size_t port_count() const { return ports_.size(); }
    /// What the port's transmit element is mapped to.
    [[nodiscard]] Mapping const& mapping(PortIndex port) const { return ports_[port.value()].mapping; }
    [[nodiscard]] LinkReport const& report() const { return report_; }

  private:
    /// A receiver that the head of a ring has still to reach.
    struct Missing {
        PortIndex receiver{};
        std::uint32_t segments_landed{0};  ///< when the head is cut for it
    };

    /// A port as a sender, and what a barrier needs to know of it as a receiver.
    struct Port {
        FramePort* device;
        MachineId machine;
        PortIndex index;

        Mapping mapping{};
        std::vector<Missing> missing{};
        std::vector<Landing> landings{};   // mode `read`: where the head has landed already
        Ticks expires{};                   // when the head stops waiting
        bool waited{false};                // the head has been counted as waiting
        UnreadQueue unread{};
        std::uint64_t taken{0};      // number of the last frame taken off the ring
        std::uint64_t completed{0};  // number of the last frame that the device was told about

        // Of this barrier only.
        bool ready{false};  // the head can be served
        Ticks sent{};       // when the head was sent
        std::uint32_t budget{0};
        Ticks next_visit{};
        bool full{false};  // has no buffer

        bool stalled{false};  // let a frame expire, and nothing has landed since
    };

    void port_changed() override;

    void begin_barrier(Ticks barrier);
    void end_barrier(Ticks barrier);
    void look_at_head(Port& sender, Ticks barrier);
    [[nodiscard]] Port* earliest();

    void serve(Port& sender, Ticks barrier);
    void open(Port& sender, Frame const& frame, Ticks barrier);
    void copy_to_missing(Port& sender, Frame const& frame);
    ReceiveResult copy_to(Port& sender, Missing& missing, Frame const& frame);
    ReceiveResult land(Port& sender, Missing& missing, Frame const& frame);
    ReceiveResult land_segments(Port& sender, Missing& missing, Frame const& frame);
    void count_landing(PortIndex receiver, Frame const& landed);
    void give_up(Port& sender, Ticks barrier);
    void hold(Port& sender);
    void finish(Port& sender, std::uint32_t frame_bytes, Ticks barrier);
    void withdraw(Port& sender);
    void complete(Port& sender, Ticks barrier);
    [[nodiscard]] bool is_done(Unread const& unread, Ticks barrier);

    Port& port(PortIndex index) { return ports_[index.value()]; }
    PortReport& report_of(PortIndex index) { return report_.ports[index.value()]; }

    LinkOptions options_;
    Carrier carrier_{Carrier::up};
    CrosstalkDetector detector_;
    Segmenter segmenter_;
    std::vector<Port> ports_;
    // Set from the machines' threads while they run, read at the barrier, which orders them: relaxed is enough.
    std::atomic<bool> changed_{false};
    bool has_leftover_{false};
    Ticks next_deadline_{Ticks::never()};
    LinkReport report_;
};

}  // namespace backplane
