// A port without a guest behind it: what takes and sends whole packets, such as a service of a link or an uplink.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "device/frame_port.h"

namespace backplane {

/// Frames from machines that the outside did not take, by reason.
struct OutsideRefusals {
    std::uint64_t down{0};   ///< the host's device is down
    std::uint64_t full{0};   ///< its queue, or the host's memory for it, is full
    std::uint64_t other{0};  ///< any other error of the host, or a frame cut short
    bool operator==(OutsideRefusals const&) const = default;
};

/// Takes every frame at once, so it can hold up no sender. What it sends waits in a bounded queue until the link has
/// taken it; what finds the queue full is dropped and counted.
class PacketPort : public FramePort {
  public:
    static constexpr std::size_t kMostQueuedBytes = std::size_t{4} << 20;
    static constexpr std::size_t kMostQueuedFrames = 8192;

    explicit PacketPort(MacAddress address) : address_{address} {}
    PacketPort(PacketPort const&) = delete;
    PacketPort& operator=(PacketPort const&) = delete;

    void set_observer(FramePortObserver* observer) final { observer_ = observer; }
    [[nodiscard]] MacAddress mac() const final { return address_; }
    void set_carrier(bool up) override { has_carrier_ = up; }
    [[nodiscard]] Frame const* front() final;
    std::uint64_t take_front() final;
    void complete_transmit(std::uint64_t) final {}
    ReceiveResult receive(Frame const& frame) final;
    [[nodiscard]] std::uint64_t landed_count() const final { return landed_; }
    [[nodiscard]] std::uint64_t read_count() const final { return landed_; }

    [[nodiscard]] std::uint64_t dropped_frames() const { return dropped_; }
    [[nodiscard]] OutsideRefusals const& refusals() const { return refusals_; }
    /// Whether send() would take a frame of the usual size now.
    [[nodiscard]] bool has_room() const;

  protected:
    /// A frame from a machine: in one piece, valid during the call. It lacks no more than accepts() says.
    virtual void take(ConstByteSpan frame, Ticks sent, Offload const& lacks) = 0;
    /// Sends a frame to the machines, at a virtual time that all of them have reached. It may lack something once the carrier
    /// has said allow_unfinished_frames().
    void send(ConstByteSpan frame, Ticks now, Offload const& lacks = {});
    /// Counts a frame from outside that goes nowhere.
    void drop() { ++dropped_; }

    OutsideRefusals refusals_{};

  private:
    struct Queued {
        std::vector<std::byte> bytes;
        Ticks sent;
        Offload lacks;
    };

    MacAddress address_;
    FramePortObserver* observer_{nullptr};
    bool has_carrier_{false};
    std::deque<Queued> queue_;
    std::size_t queued_bytes_{0};
    std::uint64_t taken_{0};
    std::uint64_t landed_{0};
    std::uint64_t dropped_{0};
    std::vector<std::byte> gathered_;
    ConstByteSpan piece_{};
    Frame frame_{};
};

}  // namespace backplane
