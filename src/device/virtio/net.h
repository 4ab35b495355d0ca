// virtio network device without its bus: negotiation, pairs of data queues, the control queue and the frame port
// (docs/design/virtio.md).
//
// Source: [VIRTIO] 5.1
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "clock/machine_clock.h"
#include "device/frame_port.h"
#include "device/network_card.h"
#include "device/virtio/device.h"
#include "device/virtio/net_header.h"
#include "device/virtio/net_options.h"

namespace backplane::virtio {

/// Feature bits, [VIRTIO] 5.1.3.
namespace net_feature {
inline constexpr std::uint64_t kChecksum = 1U << 0;
inline constexpr std::uint64_t kGuestChecksum = 1U << 1;
inline constexpr std::uint64_t kMtu = 1U << 3;
inline constexpr std::uint64_t kMac = 1U << 5;
inline constexpr std::uint64_t kGuestTso4 = 1U << 7;
inline constexpr std::uint64_t kGuestTso6 = 1U << 8;
inline constexpr std::uint64_t kHostTso4 = 1U << 11;
inline constexpr std::uint64_t kHostTso6 = 1U << 12;
inline constexpr std::uint64_t kMergeableBuffers = 1U << 15;
inline constexpr std::uint64_t kStatus = 1U << 16;
inline constexpr std::uint64_t kControlQueue = 1U << 17;
inline constexpr std::uint64_t kControlReceive = 1U << 18;
inline constexpr std::uint64_t kControlVlan = 1U << 19;
inline constexpr std::uint64_t kControlReceiveExtra = 1U << 20;
inline constexpr std::uint64_t kMultiqueue = 1U << 22;
inline constexpr std::uint64_t kControlMacAddress = 1U << 23;
}  // namespace net_feature

/// What the control queue's commands set, [VIRTIO] 5.1.6.5.
struct ReceiveFilter {
    static constexpr std::size_t kMaximumAddresses = 64;  // more of a kind: all of the kind pass
    static constexpr std::size_t kVlans = 4096;

    bool promiscuous{false};
    bool all_multicast{false};
    bool all_unicast{false};
    bool no_multicast{false};
    bool no_unicast{false};
    bool no_broadcast{false};
    bool filters_multicast{false};  ///< the driver can tell its groups; one that cannot gets all of them
    bool filters_vlans{false};
    std::vector<MacAddress> unicast{};
    std::vector<MacAddress> multicast{};
    bool unicast_overflow{false};
    bool multicast_overflow{false};
    std::bitset<kVlans> vlans{};

    [[nodiscard]] bool passes(MacAddress const& destination, MacAddress const& own) const;
};

class Net final : public Device, public FramePort {
  public:
    // Where the queues are, [VIRTIO] 5.1.2. The control queue follows the last pair that the driver can use: without
    // multiqueue that is the first, however many the device has.
    static constexpr std::uint16_t receive_queue(std::uint16_t pair) { return static_cast<std::uint16_t>(2 * pair); }
    static constexpr std::uint16_t transmit_queue(std::uint16_t pair) {
        return static_cast<std::uint16_t>(2 * pair + 1);
    }
    static constexpr std::uint16_t control_queue(std::uint16_t pairs) { return static_cast<std::uint16_t>(2 * pairs); }
    static constexpr std::uint16_t queues_of(std::uint16_t pairs) { return static_cast<std::uint16_t>(2 * pairs + 1); }
    static constexpr std::uint16_t kReceiveQueue = 0;
    static constexpr std::uint16_t kTransmitQueue = 1;
    static constexpr std::uint16_t kControlQueue = 2;  // of a driver without multiqueue
    static constexpr std::uint16_t kQueueSize = 256;
    static constexpr std::uint64_t kConfigBytes = 12;

    /// No cable is plugged in. `clock` and `wiring` outlive the device.
    Net(MacAddress const& mac, MachineClock& clock, Wiring& wiring, NetOptions options = {});

    [[nodiscard]] std::uint64_t read_config(std::uint64_t offset, Width width) override;
    void write_config(std::uint64_t offset, Width width, std::uint64_t value) override;

    void set_observer(FramePortObserver* observer) override { observer_ = observer; }
    [[nodiscard]] MacAddress mac() const override { return mac_; }
    void set_carrier(bool up) override;
    void allow_unfinished_frames() override { may_be_unfinished_ = true; }
    [[nodiscard]] OffloadSet accepts() const override;
    [[nodiscard]] Frame const* front() override;
    std::uint64_t take_front() override;
    void complete_transmit(std::uint64_t number) override;
    ReceiveResult receive(Frame const& frame) override;
    [[nodiscard]] std::uint64_t landed_count() const override { return landed_count_; }
    [[nodiscard]] std::uint64_t read_count() const override { return read_count_; }

    [[nodiscard]] FramePortCounters const& counters() const { return counters_; }
    /// One element for each pair.
    [[nodiscard]] std::span<QueuePairCounters const> pair_counters() const { return pair_counters_; }
    [[nodiscard]] ReceiveFilter const& filter() const { return filter_; }
    /// Receive queues that frames are spread over.
    [[nodiscard]] std::uint16_t receive_pairs() const { return receive_pairs_; }

  private:
    struct TailMove {
        std::uint64_t end;  // chains made available since the start of the queue
        Ticks time;
    };
    struct InFlight {
        std::uint64_t number;
        std::uint16_t head;
        std::uint16_t pair;
    };
    /// What the device remembers of the frames of a pair of queues.
    struct Pair {
        std::deque<TailMove> tail_moves;
        std::deque<std::uint32_t> unread;  // for each landed frame the chains that the driver has not posted anew
        std::uint64_t read_count{0};       // landed here and read, but not so all that landed before
    };

    [[nodiscard]] std::uint64_t device_features() const override;
    [[nodiscard]] bool is_good_choice(std::uint64_t features) const override;
    void started() override;
    void was_reset() override;
    void notified(std::uint16_t queue) override;
    void forget_queues();
    /// Pairs that the driver can use.
    [[nodiscard]] std::uint16_t usable_pairs() const {
        return has(net_feature::kMultiqueue) ? static_cast<std::uint16_t>(pairs_.size()) : std::uint16_t{1};
    }
    void use_pairs(std::uint16_t pairs);
    void tell_observer() {
        if (observer_ != nullptr) observer_->port_changed();
    }

    // Transmit.
    void look_at_transmit(std::uint16_t pair, GuestMemory& memory);
    [[nodiscard]] std::optional<std::uint16_t> choose_sender();
    [[nodiscard]] bool has_waiting(std::uint16_t pair);
    [[nodiscard]] bool gather(GuestMemory const& memory);
    [[nodiscard]] bool add_pieces(GuestMemory const& memory);
    [[nodiscard]] NetHeader take_header(std::size_t& used);
    [[nodiscard]] bool set_offload(NetHeader const& header);
    [[nodiscard]] Ticks time_of_front(std::uint16_t pair) const;
    void drop_front(GuestMemory& memory);
    void retire_front();

    // Receive.
    void look_at_receive(std::uint16_t pair, GuestMemory& memory);
    [[nodiscard]] std::uint16_t steer(Frame const& frame) const;
    [[nodiscard]] bool passes_filter(Frame const& frame) const;
    [[nodiscard]] bool is_too_long(Frame const& frame) const;
    enum class Fit : std::uint8_t { fits, no_buffer, never, broken };
    [[nodiscard]] Fit find_buffers(Queue& ring, GuestMemory const& memory, std::uint64_t bytes);
    [[nodiscard]] bool find_targets(GuestMemory& memory, std::uint64_t bytes);
    [[nodiscard]] NetHeader header_for(Frame const& frame) const;
    void copy(GuestMemory& memory, NetHeader const& header, Frame const& frame);
    void give_back(std::uint16_t pair, GuestMemory& memory, std::uint64_t bytes);

    // Control.
    void run_control(GuestMemory& memory);
    [[nodiscard]] bool run_command(ConstByteSpan command);
    [[nodiscard]] bool set_receive_mode(std::uint8_t command, ConstByteSpan data);
    [[nodiscard]] bool set_mac(std::uint8_t command, ConstByteSpan data);
    [[nodiscard]] bool set_vlan(std::uint8_t command, ConstByteSpan data);
    [[nodiscard]] bool set_pairs(std::uint8_t command, ConstByteSpan data);

    MacAddress const given_mac_;
    std::uint16_t const mtu_bytes_;
    MacAddress mac_;
    MachineClock& clock_;
    FramePortObserver* observer_{nullptr};
    bool has_carrier_{false};
    bool may_be_unfinished_{false};
    ReceiveFilter filter_{};
    FramePortCounters counters_{};

    std::vector<Pair> pairs_;
    std::vector<QueuePairCounters> pair_counters_;
    std::uint16_t receive_pairs_{1};   // what the driver asked for last
    std::uint16_t transmit_pairs_{1};  // the most that it asked for since it started
    std::deque<InFlight> in_flight_;
    std::uint64_t taken_count_{0};
    std::optional<std::uint16_t> front_pair_;  // whose frame is the front; chosen once, until it is taken
    std::uint16_t turn_{0};                    // the pair behind the last that sent
    // The gathered frame; means nothing while is_gathered_ is false.
    bool is_gathered_{false};
    Frame frame_{};
    Chain front_chain_;
    std::vector<ConstByteSpan> pieces_;

    std::vector<Chain> buffers_;  // of the frame that is landing: the first buffer_count_
    std::size_t buffer_count_{0};
    std::vector<ByteSpan> targets_;  // their bytes that the frame fills, in host memory
    std::deque<std::uint16_t> unread_;  // the pairs of the frames between read_count_ and landed_count_
    std::uint64_t landed_count_{0};
    std::uint64_t read_count_{0};
    std::vector<std::byte> command_;
};

}  // namespace backplane::virtio
