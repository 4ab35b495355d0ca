#include "device/virtio/net_header.h"

#include "device/segmenter.h"

namespace backplane::virtio {

namespace {

// A smaller one would make thousands of frames of one.
constexpr std::uint16_t kSmallestSegmentBytes = 8;

std::optional<Offload::Segments> segments_of(std::uint8_t segmentation) {
    switch (segmentation) {
        case kSegmentationNone:
            return Offload::Segments::none;
        case kSegmentationTcp4:
            return Offload::Segments::tcp_ipv4;
        case kSegmentationTcp6:
            return Offload::Segments::tcp_ipv6;
        default:
            return {};
    }
}

}  // namespace

// [VIRTIO] 5.1.6.2
std::optional<Offload> offload_of(NetHeader const& header, Frame const& frame) {
    auto const segments = segments_of(header.segmentation);
    if (!segments) return {};
    Frame whole = frame;
    Offload& offload = whole.offload = {};
    offload.needs_checksum = (header.flags & kHeaderNeedsChecksum) != 0;
    offload.checksum_start = offload.needs_checksum ? header.checksum_start : std::uint16_t{0};
    offload.checksum_offset = offload.needs_checksum ? header.checksum_offset : std::uint16_t{0};
    if (*segments == Offload::Segments::none) return is_consistent(whole) ? std::optional{offload} : std::nullopt;
    offload.segments = *segments;
    offload.segment_bytes = header.segment_bytes;
    // The header length of the one who sends is a hint; a receiver's driver must be able to believe ours.
    std::uint32_t const header_bytes = segment_header_bytes(whole);
    offload.header_bytes = static_cast<std::uint16_t>(header_bytes);
    return header_bytes != 0 && header.segment_bytes >= kSmallestSegmentBytes ? std::optional{offload} : std::nullopt;
}

// [VIRTIO] 5.1.6.4.1
NetHeader header_of(Offload const& offload) {
    NetHeader header{};
    header.buffer_count = 1;
    if (offload.needs_checksum) {
        header.flags = kHeaderNeedsChecksum;
        header.checksum_start = offload.checksum_start;
        header.checksum_offset = offload.checksum_offset;
    }
    if (offload.segments == Offload::Segments::none) return header;
    header.segmentation = offload.segments == Offload::Segments::tcp_ipv4 ? kSegmentationTcp4 : kSegmentationTcp6;
    header.header_bytes = offload.header_bytes;
    header.segment_bytes = offload.segment_bytes;
    return header;
}

}  // namespace backplane::virtio
