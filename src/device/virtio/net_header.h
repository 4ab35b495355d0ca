// What stands before each packet of a virtio-net card, and before each frame of a TAP device that was asked for it: what the
// packet still lacks.
#pragma once

#include <cstdint>
#include <optional>

#include "device/frame_port.h"

namespace backplane::virtio {

/// struct virtio_net_hdr, [VIRTIO] 5.1.6.
struct NetHeader {
    std::uint8_t flags;
    std::uint8_t segmentation;
    std::uint16_t header_bytes;
    std::uint16_t segment_bytes;
    std::uint16_t checksum_start;
    std::uint16_t checksum_offset;
    std::uint16_t buffer_count;
};
static_assert(sizeof(NetHeader) == 12);
inline constexpr std::uint8_t kHeaderNeedsChecksum = 1;
inline constexpr std::uint8_t kHeaderDataValid = 2;
inline constexpr std::uint8_t kSegmentationNone = 0;
inline constexpr std::uint8_t kSegmentationTcp4 = 1;
inline constexpr std::uint8_t kSegmentationTcp6 = 4;

/// What the header says that the frame lacks; the frame's own offload is not looked at. Empty: that makes no sense in this frame.
[[nodiscard]] std::optional<Offload> offload_of(NetHeader const& header, Frame const& frame);
/// The other way, for one buffer.
[[nodiscard]] NetHeader header_of(Offload const& offload);

}  // namespace backplane::virtio
