// virtio network card, PCI 1AF4:1041.
//
// State:    stable
// Features: 1 to 16 pairs of data queues (MQ) and the control queue of 256 places each; checksum and TCP segmentation
//           offload in both directions, mergeable receive buffers, indirect descriptors, event index, MTU, link status,
//           receive modes, MAC table, VLAN filter, setting the address
// Missing:  steering that the driver configures (RSS), UDP segmentation, guest announce, packed rings, hash reports,
//           coalescing
// Differs from the hardware: it is none; frames stay in the sender's buffers until they land in their receiver's
//           (docs/design/crossover.md); each doorbell is asked for, since it gives a frame its time; a flow's receive
//           queue follows from its addresses and ports, not from the queue that its answers are sent on
// Source:   [VIRTIO] 5.1
#pragma once

#include <string>

#include "clock/machine_clock.h"
#include "device/frame_port.h"
#include "device/network_card.h"
#include "device/virtio/net.h"
#include "device/virtio/pci.h"

namespace backplane {

class VirtioNet final : public virtio::PciTransport, public NetworkCard {
  public:
    /// A card with this address, no cable plugged in. `clock` is the machine's and outlives the card.
    VirtioNet(std::string name, MacAddress const& mac, MachineClock& clock, virtio::NetOptions options = {});

    [[nodiscard]] PciFunction& function() override { return *this; }
    [[nodiscard]] FramePort& port() override { return net_; }
    [[nodiscard]] FramePortCounters counters() const override { return net_.counters(); }
    [[nodiscard]] std::span<QueuePairCounters const> pair_counters() const override { return net_.pair_counters(); }
    [[nodiscard]] virtio::GuestErrors const& guest_errors() const { return net_.guest_errors(); }
    [[nodiscard]] virtio::Net& device() { return net_; }

  private:
    virtio::Net net_;
};

}  // namespace backplane
