// What a rack says of a virtio network card.
#pragma once

#include <cstdint>

namespace backplane::virtio {

struct NetOptions {
    static constexpr std::uint16_t kMaximumPairs = 16;
    static constexpr std::uint16_t kSmallestMtuBytes = 68;  // [VIRTIO] 5.1.4.1

    std::uint16_t pairs{1};  ///< of data queues, 1 to kMaximumPairs; multiqueue is offered when there are several
    std::uint16_t mtu_bytes{1500};  ///< the largest that the driver may set, kSmallestMtuBytes or more
};

}  // namespace backplane::virtio
