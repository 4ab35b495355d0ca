// What a frame lacks while it lies in its sender's memory: work that its driver left to the card, and that is never
// done when the receiver's driver does not need it (docs/design/crossover.md).
#pragma once

#include <cstdint>

namespace backplane {

struct Offload {
    enum class Segments : std::uint8_t { none, tcp_ipv4, tcp_ipv6 };

    /// The transport checksum is missing: the sum over [checksum_start, end of frame) belongs to the field at
    /// checksum_start + checksum_offset, which holds the pseudo header's folded sum, length included.
    bool needs_checksum{false};
    /// The transport checksum is known to be right: the carrier has just computed it.
    bool is_checked{false};
    /// The frame is as many TCP segments in one, with the headers of the whole; then needs_checksum is set as well.
    Segments segments{Segments::none};
    std::uint16_t checksum_start{0};
    std::uint16_t checksum_offset{0};
    std::uint16_t segment_bytes{0};  ///< payload of each segment but the last
    std::uint16_t header_bytes{0};   ///< of the whole, from the Ethernet header to the end of the TCP header

    bool operator==(Offload const&) const = default;
    [[nodiscard]] bool is_finished() const { return !needs_checksum && segments == Segments::none; }
};

/// The kinds of unfinished frames that a receiver takes.
struct OffloadSet {
    bool checksum{false};
    bool tcp_ipv4{false};
    bool tcp_ipv6{false};

    bool operator==(OffloadSet const&) const = default;
    [[nodiscard]] bool covers(Offload const& offload) const {
        if (offload.needs_checksum && !checksum) return false;
        switch (offload.segments) {
            case Offload::Segments::none:
                return true;
            case Offload::Segments::tcp_ipv4:
                return tcp_ipv4;
            case Offload::Segments::tcp_ipv6:
                return tcp_ipv6;
        }
        return false;
    }
};

}  // namespace backplane
