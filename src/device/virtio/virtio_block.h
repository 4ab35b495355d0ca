// virtio disk, PCI 1AF4:1042.
//
// State:    stable
// Features: one queue of 128 places: read, write, flush, identity, discard and write zeroes; block size and topology,
//           read-only disks, indirect descriptors, event index
// Missing:  several queues, cache mode (CONFIG_WCE), secure erase, lifetime, zoned disks, geometry
// Differs from the hardware: it is none; requests are served one after the other, each in 20 us of virtual time and
//           1 ns for 2 bytes, whatever the host's disk does; one of more than 7.9 MiB fails
// Source:   [VIRTIO] 5.2
#pragma once

#include <string>
#include <string_view>

#include "clock/machine_clock.h"
#include "device/block_port.h"
#include "device/virtio/block.h"
#include "device/virtio/pci.h"

namespace backplane {

class VirtioBlock final : public virtio::PciTransport {
  public:
    /// `port` and `clock` outlive the disk.
    VirtioBlock(std::string name, BlockPort& port, std::string_view id, MachineClock& clock);

    [[nodiscard]] std::uint64_t bytes() const { return port_.bytes(); }
    [[nodiscard]] virtio::BlockCounters const& counters() const { return block_.counters(); }
    [[nodiscard]] virtio::GuestErrors const& guest_errors() const { return block_.guest_errors(); }

  private:
    BlockPort& port_;
    virtio::Block block_;
};

}  // namespace backplane
