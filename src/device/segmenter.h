// Finishes frames for a receiver that takes none of their work: cuts a packet into its TCP segments and sums them.
//
// No data is copied: a segment is a header of its own, in storage here, and the payload where the guest put it. Each
// segment is summed when it is asked for, right before its receiver copies it, so that its bytes come from the
// processor's cache the second time.
//
// Source: [RFC9293] 3.1, [RFC791] 3.1, [RFC8200] 3
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "device/frame_port.h"

namespace backplane {

/// Where the headers of an unfinished frame lie, read once.
struct SegmentHeader {
    static constexpr std::uint32_t kMaximumBytes = 256;
    std::array<std::byte, kMaximumBytes> bytes{};
    std::uint32_t count{0};  ///< of header bytes; everything behind them is payload
    std::uint32_t ip{0};     ///< where the IP header starts
};

/// Whether the frame's offload agrees with its size and headers; always true for a finished one. A device checks each
/// frame before it offers it.
[[nodiscard]] bool is_consistent(Frame const& frame);
/// How long the headers of a packet with segments are, up to the end of the TCP header; 0 when it is not consistent.
[[nodiscard]] std::uint32_t segment_header_bytes(Frame const& frame);

class Segmenter {
  public:
    /// Looks at a frame with work left; its pieces must stay valid. \return how many finished frames it makes, 0 when
    /// its headers contradict its offload
    [[nodiscard]] std::uint32_t start(Frame const& frame);
    /// A finished frame; `index` is below what start() gave. Valid until the next call. In order is fastest.
    [[nodiscard]] Frame const& segment(std::uint32_t index);

  private:
    void gather_whole();
    void gather_segment(std::uint32_t index);
    void add_payload(std::uint32_t first, std::uint32_t bytes);
    void edit_ip(std::uint32_t index);
    void edit_tcp(std::uint32_t index);

    Frame whole_{};
    SegmentHeader header_{};
    std::uint32_t payload_bytes_{0};
    std::uint32_t segment_count_{0};

    Frame frame_{};
    std::array<std::byte, SegmentHeader::kMaximumBytes> edited_{};
    std::array<std::byte, 2> field_{};
    std::vector<ConstByteSpan> pieces_;
    // Where the last piece of payload ended, to go on from there.
    std::size_t next_piece_{0};
    std::uint32_t next_piece_start_{0};  // within the frame
};

}  // namespace backplane
