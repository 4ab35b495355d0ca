// From the driver's transmit queue to frames that lie where the guest put them.
#include <algorithm>

#include "base/check.h"
#include "device/segmenter.h"
#include "device/virtio/net.h"

namespace backplane::virtio {

namespace {

constexpr std::uint32_t kEthernetBytes = 14;
// The longest IPv6 packet behind an Ethernet header with a VLAN tag.
constexpr std::uint64_t kLargestFrameBytes = 18 + 40 + 65535;
// Linux refuses smaller ones of others, too; what a packet can be cut into is bounded by it.
constexpr std::uint16_t kSmallestSegmentBytes = 8;

}  // namespace

// The moment of the doorbell is the moment of sending. What the driver adds after it comes with the next one, which
// it has to ring, because look() asks for it.
void Net::look_at_transmit(GuestMemory& memory) {
    Queue& ring = queue(kTransmitQueue);
    if (ring.look(memory) == 0) return;
    tail_moves_.push_back({ring.seen_count(), clock_.now()});
    ++counters_.tail_moves;
    tell_observer();
}

Ticks Net::time_of_front() const {
    check(!tail_moves_.empty(), "chains become available by doorbells");
    return tail_moves_.front().time;
}

Frame const* Net::front() {
    is_gathered_ = false;
    GuestMemory* const memory = wiring().dma();
    if (memory == nullptr || !has_carrier_ || !is_started()) return nullptr;
    Queue& ring = queue(kTransmitQueue);
    // Every turn takes one chain, and no new ones are looked for: a ring's length at most.
    while (ring.is_running() && ring.waiting() != 0) {
        bool const is_read = ring.peek(*memory, 0, front_chain_);
        check_queue(kTransmitQueue);
        if (!is_read) return nullptr;
        if (gather(*memory)) {
            is_gathered_ = true;
            return &frame_;
        }
        drop_front(*memory);
    }
    return nullptr;
}

bool Net::gather(GuestMemory const& memory) {
    pieces_.clear();
    std::uint64_t const bytes = front_chain_.readable_bytes - sizeof(NetHeader);
    if (front_chain_.readable_bytes < sizeof(NetHeader) + kEthernetBytes || bytes > kLargestFrameBytes ||
        !front_chain_.writable.empty() || !add_pieces(memory))
        return false;
    // The header may lie in any number of pieces.
    NetHeader header{};
    ByteSpan left = bytes_of(header);
    std::size_t used = 0;
    while (!left.empty()) {
        ConstByteSpan& piece = pieces_[used];
        std::size_t const part = std::min(left.size(), piece.size());
        std::ranges::copy(piece.first(part), left.begin());
        left = left.subspan(part);
        piece = piece.subspan(part);
        if (piece.empty()) ++used;
    }
    frame_ = {.pieces = std::span{pieces_}.subspan(used),
              .bytes = static_cast<std::uint32_t>(bytes),
              .sent = time_of_front(),
              .offload = {}};
    return set_offload(header);
}

// False when a byte is not RAM.
bool Net::add_pieces(GuestMemory const& memory) {
    for (Piece const& each : front_chain_.readable) {
        for (std::uint32_t done = 0; done < each.bytes;) {
            ConstByteSpan const piece = memory.readable(each.start + done, each.bytes - done);
            if (piece.empty()) return false;
            pieces_.push_back(piece);
            done += static_cast<std::uint32_t>(piece.size());
        }
    }
    return true;
}

// [VIRTIO] 5.1.6.2: what the driver asks for it must have negotiated.
bool Net::set_offload(NetHeader const& header) {
    using Segments = Offload::Segments;
    Offload& offload = frame_.offload;
    offload.needs_checksum = (header.flags & kHeaderNeedsChecksum) != 0;
    if (offload.needs_checksum) {
        if (!has(net_feature::kChecksum)) return false;
        offload.checksum_start = header.checksum_start;
        offload.checksum_offset = header.checksum_offset;
    }
    switch (header.segmentation) {
        case kSegmentationNone:
            return is_consistent(frame_);
        case kSegmentationTcp4:
            if (!has(net_feature::kHostTso4)) return false;
            offload.segments = Segments::tcp_ipv4;
            break;
        case kSegmentationTcp6:
            if (!has(net_feature::kHostTso6)) return false;
            offload.segments = Segments::tcp_ipv6;
            break;
        default:
            return false;
    }
    offload.segment_bytes = header.segment_bytes;
    // The driver's header length is a hint; a receiver's driver must be able to believe ours.
    std::uint32_t const header_bytes = segment_header_bytes(frame_);
    offload.header_bytes = static_cast<std::uint16_t>(header_bytes);
    return header_bytes != 0 && header.segment_bytes >= kSmallestSegmentBytes;
}

// The chain at the head is none of the queue's any more.
void Net::retire_front() {
    Queue& ring = queue(kTransmitQueue);
    ring.take(1);
    is_gathered_ = false;
    while (!tail_moves_.empty() && tail_moves_.front().end <= ring.taken_count()) tail_moves_.pop_front();
}

// A packet that cannot be sent is done at once: used chains may come back in any order. [VIRTIO] 2.7.8
void Net::drop_front(GuestMemory& memory) {
    ++errors_.bad_packets;
    queue(kTransmitQueue).push_used(memory, front_chain_.head, 0);
    retire_front();
    publish(kTransmitQueue, memory);
}

std::uint64_t Net::take_front() {
    if (!is_gathered_ && front() == nullptr) return taken_count_;
    in_flight_.push_back({++taken_count_, front_chain_.head});
    retire_front();
    return taken_count_;
}

void Net::complete_transmit(std::uint64_t number) {
    GuestMemory* const memory = wiring().dma();
    Queue& ring = queue(kTransmitQueue);
    bool was_any = false;
    while (!in_flight_.empty() && in_flight_.front().number <= number) {
        if (memory != nullptr) ring.push_used(*memory, in_flight_.front().head, 0);
        in_flight_.pop_front();
        was_any = true;
    }
    if (!was_any || memory == nullptr) return;
    if (publish(kTransmitQueue, *memory)) ++counters_.transmit_complete_interrupts;
}

}  // namespace backplane::virtio
