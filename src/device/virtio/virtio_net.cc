#include "device/virtio/virtio_net.h"

#include <utility>

namespace backplane {

namespace {

constexpr std::uint16_t kNetworkDevice = 1;               // [VIRTIO] 5
constexpr std::uint32_t kEthernetController = 0x02'0000;  // class code, [PCI30] D

}  // namespace

// A message for each queue, and one for the configuration.
VirtioNet::VirtioNet(std::string name, MacAddress const& mac, MachineClock& clock, virtio::NetOptions options)
    : PciTransport{std::move(name), kNetworkDevice, kEthernetController, net_,
                   virtio::Net::queues_of(options.pairs) + 1U},
      net_{mac, clock, wiring(), options} {}

}  // namespace backplane
