// The virtual cable between the NICs of several machines: the only code that sees two guests at once.
//
// Frames move at barriers, while no machine runs (the delivery rule, docs/design/crossover.md): all that were sent
// up to the barrier, in the order (sent time, machine, port, position in the ring), each with one copy from the
// sender's buffers into every receiver's posted buffers. What cannot land stays in its sender's ring.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "crossover/delay_line.h"
#include "crossover/detector.h"
#include "crossover/frame_recorder.h"
#include "crossover/impairment.h"
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

/// Whether a machine may send with another source address than the rack gave it.
enum class SourceCheck : std::uint8_t { off, strict };

/// The cable is pulled or plugged in at a given time.
struct CarrierChange {
    Ticks time;
    Carrier carrier;
    bool operator==(CarrierChange const&) const = default;
};

struct LinkOptions {
    std::string name{};
    Completion completion{Completion::landed};
    /// How long a frame waits in its sender's ring for a receiver's buffer, from the first barrier without one.
    Ticks wait{milliseconds(10)};
    /// Mode `read`: how long a sender waits for its frame to be read, from the landing.
    Ticks read_wait{milliseconds(10)};
    SourceCheck source_check{SourceCheck::off};
    /// A delay of a frame up to this is spent in its sender's ring; for a longer one the frame is stored.
    Ticks longest_hold{};
    /// For each sender; a frame that finds its store full waits in its ring.
    std::size_t most_stored_bytes{std::size_t{4} << 20};
    std::vector<CarrierChange> carrier_changes{};  ///< in the order of time
};

/// What a link has to know about a machine's port besides the port itself.
struct PortOptions {
    Impairment impairment{};  ///< of the frames that the port sends
    std::uint64_t seed{0};    ///< of what the impairment does by chance
    std::string group{};      ///< reaches only ports of the same group and those without one; empty: no group
    std::string device{};     ///< the physical device it is mapped to by default (S2.2); empty: none
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
    PortIndex attach(MachineId machine, FramePort& port, std::string name, PortOptions options = {});
    /// Plugs in what is no machine: a service with an address of its own.
    PortIndex attach_service(FramePort& port, std::string name);
    /// Plugs in the way out: it gets what is for nobody else. At most one.
    PortIndex attach_uplink(FramePort& port, std::string name);

    /// Maps the transmit elements of two machines to each other for good (S2.3). Call when all ports are attached.
    void couple(PortIndex one, PortIndex other);
    /// Compares the default mappings that the ports were attached with (S2.2): two that share their device are mapped
    /// to each other, one that is alone on it is mapped to the uplink. Call when all ports are attached.
    void compare_default_mappings();

    /// Somebody who wants to see the frames, and outlives the link.
    void add_recorder(FrameRecorder& recorder) { recorders_.push_back(&recorder); }

    /// Plugs the cable into all ports, or pulls it. Without carrier no frame moves and no wait expires; frames in
    /// flight are still completed, those in the store are lost.
    void set_carrier(Carrier carrier);
    [[nodiscard]] Carrier carrier() const { return carrier_; }

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
    [[nodiscard]] std::string const& name() const { return options_.name; }

  private:
    /// A receiver that the head of a ring has still to reach.
    struct Missing {
        PortIndex receiver{};
        std::uint32_t segments_landed{0};  ///< when the head is cut for it
    };

    /// What stands behind a sender: a ring, or frames of that ring on their way.
    enum class Source : std::uint8_t { ring, delay_line };

    /// A port as a sender, and what a barrier needs to know of it as a receiver. A port whose frames may be stored has
    /// a second one of these for its delay line, with the same machine and index.
    struct Port {
        FramePort* device;
        MachineId machine;
        PortIndex index;
        Source source{Source::ring};
        std::uint32_t group{0};  // 0: none
        Impairer impairer;
        DelayLine* delay_line{nullptr};

        Mapping mapping{};
        std::vector<Missing> missing{};
        std::vector<Landing> landings{};  // mode `read`: where the head has landed already
        Ticks expires{};                  // when the head stops waiting
        bool waited{false};               // the head has been counted as waiting
        UnreadQueue unread{};
        std::uint64_t taken{0};      // number of the last frame taken off the ring
        std::uint64_t completed{0};  // number of the last frame that the device was told about

        // The head as an impairer saw it first.
        struct Planned {
            Ticks sent;
            std::uint32_t bytes;
            FramePlan plan;
        };
        std::optional<Planned> planned{};
        bool repeats{false};  // the head has to land once more

        // Of this barrier only.
        bool ready{false};  // the head can be served
        Ticks sent{};       // when the head was sent
        std::uint32_t budget{0};
        Ticks next_visit{};
        bool full{false};  // has no buffer

        bool stalled{false};  // let a frame expire, and nothing has landed since
    };

    void port_changed() override;

    PortIndex attach_outside(PortIndex index, FramePort& port, std::string name);
    void add_delay_line(PortIndex index);
    [[nodiscard]] std::uint32_t group_number(std::string const& name);
    void map_to(PortIndex port, Destination to);

    void begin_barrier(Ticks barrier);
    void end_barrier(Ticks barrier);
    void change_carrier(Ticks barrier);
    void look_at_head(Port& sender, Ticks barrier);
    [[nodiscard]] FramePlan const& plan_of(Port& sender, Frame const& frame);
    [[nodiscard]] Port* earliest();

    void serve(Port& sender, Ticks barrier);
    [[nodiscard]] FrameRecord examine(Port& sender, Frame const& frame);
    [[nodiscard]] FrameFate fate_of(Port& sender, Frame const& frame, Destination to);
    [[nodiscard]] bool is_spoofed(Port const& sender, Frame const& frame) const;
    [[nodiscard]] bool may_reach(Port const& sender, Port const& receiver) const;
    void drop(FrameFate fate);
    bool begin(Port& sender, Frame const& frame, Ticks barrier);
    void open(Port& sender, Frame const& frame, Destination to, Ticks barrier);
    void add_receivers(Port& sender, Destination to);
    void count_detection(Port const& sender, Destination to);
    void store(Port& sender, Frame const& frame, Ticks barrier);
    void wait_for_room(Port& sender);
    void copy_to_missing(Port& sender, Frame const& frame);
    ReceiveResult copy_to(Port& sender, Missing& missing, Frame const& frame);
    ReceiveResult land(Port& sender, Missing& missing, Frame const& frame);
    ReceiveResult land_segments(Port& sender, Missing& missing, Frame const& frame);
    void count_landing(PortIndex receiver, Frame const& landed);
    void give_up(Port& sender, Ticks barrier);
    void hold(Port& sender);
    void land_again(Port& sender, Ticks barrier);
    void finish(Port& sender, std::uint32_t frame_bytes, Ticks barrier);
    void withdraw(Port& sender);
    void complete(Port& sender, Ticks barrier);
    [[nodiscard]] bool is_done(Unread const& unread, Ticks barrier);

    void note_remaps(Port const& sender);

    template <typename Action>
    void for_each_sender(Action action) {
        for (Port& each : ports_) action(each);
        for (Port& each : delayed_) action(each);
    }
    Port& port(PortIndex index) { return ports_[index.value()]; }
    PortReport& report_of(PortIndex index) { return report_.ports[index.value()]; }

    LinkOptions options_;
    Carrier carrier_{Carrier::up};
    CrosstalkDetector detector_;
    Segmenter segmenter_;
    std::vector<Port> ports_;
    std::vector<Port> delayed_;  // the delay lines as senders
    std::vector<std::unique_ptr<DelayLine>> delay_lines_;
    std::vector<std::string> groups_;  // a group's number is its place here, from 1
    std::size_t next_carrier_change_{0};
    std::vector<FrameRecorder*> recorders_;
    // Of the running deliver() only: the senders whose head may be served, and the head that was gathered last.
    struct LookedAt {
        Port const* sender{nullptr};
        Frame const* head{nullptr};
    };
    std::vector<Port*> ready_;
    LookedAt looked_at_;
    // Set from the machines' threads while they run, read at the barrier, which orders them: relaxed is enough.
    std::atomic<bool> changed_{false};
    bool has_leftover_{false};
    Ticks next_deadline_{Ticks::never()};
    LinkReport report_;
};

}  // namespace backplane
