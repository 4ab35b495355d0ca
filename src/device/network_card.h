// What the board needs of a network card, whatever its model.
#pragma once

#include <cstdint>
#include <span>

#include "device/frame_port.h"
#include "device/pci/function.h"

namespace backplane {

enum class NicModel : std::uint8_t { e1000, virtio_net };

/// What went through one pair of a card's queues.
struct QueuePairCounters {
    std::uint64_t sent_frames{0};  ///< taken off the transmit queue by the carrier
    std::uint64_t received_frames{0};
    bool operator==(QueuePairCounters const&) const = default;
};

class NetworkCard {
  public:
    virtual ~NetworkCard() = default;
    /// What is plugged into a slot.
    [[nodiscard]] virtual PciFunction& function() = 0;
    /// The end of the cable.
    [[nodiscard]] virtual FramePort& port() = 0;
    [[nodiscard]] virtual FramePortCounters counters() const = 0;
    /// By pair; of a card whose queues can be told apart.
    [[nodiscard]] virtual std::span<QueuePairCounters const> pair_counters() const { return {}; }
};

}  // namespace backplane
