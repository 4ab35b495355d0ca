#include "device/virtio/virtio_block.h"

#include <utility>

namespace backplane {

namespace {

constexpr std::uint16_t kBlockDevice = 2;                // [VIRTIO] 5
constexpr std::uint32_t kOtherStorage = 0x01'8000;       // class code, [PCI30] D
constexpr unsigned kVectorCount = 2;

}  // namespace

VirtioBlock::VirtioBlock(std::string name, BlockPort& port, std::string_view id, MachineClock& clock)
    : PciTransport{std::move(name), kBlockDevice, kOtherStorage, block_, kVectorCount},
      port_{port},
      block_{port, id, clock, wiring()} {}

}  // namespace backplane
