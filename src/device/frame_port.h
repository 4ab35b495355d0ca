// What a NIC offers to whatever carries its frames, and nothing about who that is (docs/design/crossover.md).
//
// The carrier pulls: a frame to be sent stays in its sender's memory, its descriptors not done, until the carrier has
// put it into the receiver's posted buffers with one copy. So a device never stores frame data.
// All calls happen at a barrier, while no machine runs.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "clock/virtual_time.h"
#include "device/offload.h"

namespace backplane {

using MacAddress = std::array<std::uint8_t, 6>;

/// One frame on the wire, without FCS: consecutive pieces of host memory, most of them guest memory in place.
struct Frame {
    std::span<ConstByteSpan const> pieces;
    std::uint32_t bytes{0};  ///< the sum of the pieces
    Ticks sent{};            ///< virtual time at which the guest moved the tail register over it
    Offload offload{};       ///< what it still lacks; nothing unless the carrier said that it can finish frames
};

enum class ReceiveResult : std::uint8_t {
    landed,     ///< copied into posted buffers; head, status and interrupt cause are set
    no_buffer,  ///< nothing changed: not enough buffers are posted
    refused,    ///< the device's own address filter, a disabled receiver, a bad frame length: dropped by the hardware
};

/// Told when a port has something for its carrier to look at. Called while the machine runs.
class FramePortObserver {
  public:
    virtual ~FramePortObserver() = default;
    /// The guest moved a transmit tail, or gave receive buffers back, or the link must be looked at again.
    virtual void port_changed() = 0;
};

class FramePort {
  public:
    virtual ~FramePort() = default;
    virtual void set_observer(FramePortObserver* observer) = 0;
    [[nodiscard]] virtual MacAddress mac() const = 0;
    /// Cable plugged in or pulled out.
    virtual void set_carrier(bool up) = 0;
    /// The carrier can sum and cut (device/segmenter.h): from now on front() may give whole packets that a receiver
    /// has to accept() or that the carrier finishes for it.
    virtual void allow_unfinished_frames() {}
    /// What receive() takes unfinished.
    [[nodiscard]] virtual OffloadSet accepts() const { return {}; }

    /// The next frame that the guest wants sent, gathered but not taken; null when there is none. Calling it again
    /// gives the same frame. The pieces are valid until the next call of any member.
    [[nodiscard]] virtual Frame const* front() = 0;
    /// Takes the front frame off the ring (transmit descriptor head moves); its descriptors are not done yet.
    /// \return its number, counted from 1 since the device was made
    virtual std::uint64_t take_front() = 0;
    /// All frames up to `number` have reached their receivers or were dropped: status is written back, statistics
    /// are counted and the transmit-complete interrupt is raised.
    virtual void complete_transmit(std::uint64_t number) = 0;

    /// Copies a frame into posted receive buffers: data, head register, status, receive interrupt, in that order.
    /// What the frame lacks is no more than accepts() says.
    virtual ReceiveResult receive(Frame const& frame) = 0;
    /// How many frames have landed since the device was made, and how many of these the guest has read, that is,
    /// given the descriptors back (claim S2.8, completion mode `read`). A device reset counts all as read.
    [[nodiscard]] virtual std::uint64_t landed_count() const = 0;
    [[nodiscard]] virtual std::uint64_t read_count() const = 0;
};

/// Counters that the report of the main job shows, by the names of claim S2.8.
struct FramePortCounters {
    std::uint64_t tail_moves{0};                    ///< writes to the transmit tail register that added descriptors
    std::uint64_t head_moves{0};                    ///< receive descriptors that the head register moved over
    std::uint64_t receive_interrupts{0};            ///< receive causes that raised the line or kept it raised
    std::uint64_t transmit_complete_interrupts{0};  ///< the same for transmit-complete causes
};

}  // namespace backplane
