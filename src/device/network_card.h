// What the board needs of a network card, whatever its model.
#pragma once

#include <cstdint>

#include "device/frame_port.h"
#include "device/pci/function.h"

namespace backplane {

enum class NicModel : std::uint8_t { e1000, virtio_net };

class NetworkCard {
  public:
    virtual ~NetworkCard() = default;
    /// What is plugged into a slot.
    [[nodiscard]] virtual PciFunction& function() = 0;
    /// The end of the cable.
    [[nodiscard]] virtual FramePort& port() = 0;
    [[nodiscard]] virtual FramePortCounters counters() const = 0;
};

}  // namespace backplane
