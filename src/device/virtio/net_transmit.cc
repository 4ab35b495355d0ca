// From the driver's transmit queue to frames that lie where the guest put them.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "device/segmenter.h"
#include "device/virtio/net.h"

namespace backplane::virtio {

namespace {

constexpr std::uint32_t kEthernetBytes = 14;
// The longest IPv6 packet behind an Ethernet header with a VLAN tag.
constexpr std::uint64_t kLargestFrameBytes = 18 + 40 + 65535;
// Linux refuses smaller ones of others, too; what a packet can be cut into is bounded by it.

}  // namespace

// The moment of the doorbell is the moment of sending. What the driver adds after it comes with the next one, which
// it has to ring, because look() asks for it.
void Net::look_at_transmit(std::uint16_t pair, GuestMemory& memory) {
    Queue& ring = queue(transmit_queue(pair));
    if (ring.look(memory) == 0) return;
    pairs_[pair].tail_moves.push_back({ring.seen_count(), clock_.now()});
    ++counters_.tail_moves;
    tell_observer();
}

Ticks Net::time_of_front(std::uint16_t pair) const {
    check(!pairs_[pair].tail_moves.empty(), "chains become available by doorbells");
    return pairs_[pair].tail_moves.front().time;
}

bool Net::has_waiting(std::uint16_t pair) {
    Queue const& ring = queue(transmit_queue(pair));
    return ring.is_running() && ring.waiting() != 0;
}

// The queue whose doorbell is oldest, as the link serves its machines; of several as old, the next one in turn. The
// choice stands until the frame is gone, since front() promises the same frame again.
std::optional<std::uint16_t> Net::choose_sender() {
    if (front_pair_ && has_waiting(*front_pair_)) return front_pair_;
    front_pair_.reset();
    auto const count = static_cast<std::uint16_t>(pairs_.size());
    for (std::uint16_t i = 0; i < count; ++i) {
        auto const pair = static_cast<std::uint16_t>((turn_ + i) % count);
        if (pair >= transmit_pairs_ || !has_waiting(pair)) continue;
        if (!front_pair_ || time_of_front(pair) < time_of_front(*front_pair_)) front_pair_ = pair;
    }
    return front_pair_;
}

Frame const* Net::front() {
    is_gathered_ = false;
    GuestMemory* const memory = wiring().dma();
    if (memory == nullptr || !has_carrier_) return nullptr;
    // Every turn takes one chain, and no new ones are looked for: the rings' lengths at most.
    while (is_started() && choose_sender()) {
        std::uint16_t const index = transmit_queue(*front_pair_);
        bool const is_read = queue(index).peek(*memory, 0, front_chain_);
        check_queue(index);
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
    std::size_t used = 0;
    NetHeader const header = take_header(used);
    frame_ = {.pieces = std::span{pieces_}.subspan(used),
              .bytes = static_cast<std::uint32_t>(bytes),
              .sent = time_of_front(*front_pair_),
              .offload = {}};
    return set_offload(header);
}

// Cuts the header off the pieces, in any number of which it may lie. \param used  how many have nothing else
NetHeader Net::take_header(std::size_t& used) {
    NetHeader header{};
    if (ConstByteSpan& first = pieces_.front(); first.size() > sizeof header) {  // nearly always, and no call
        std::memcpy(&header, first.data(), sizeof header);
        first = first.subspan(sizeof header);
        return header;
    }
    for (ByteSpan left = bytes_of(header); !left.empty();) {
        ConstByteSpan& piece = pieces_[used];
        std::size_t const part = std::min(left.size(), piece.size());
        std::ranges::copy(piece.first(part), left.begin());
        left = left.subspan(part);
        piece = piece.subspan(part);
        if (piece.empty()) ++used;
    }
    return header;
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
    if (header.flags == 0 && header.segmentation == kSegmentationNone) return true;  // nothing is left to do
    bool const is_negotiated = ((header.flags & kHeaderNeedsChecksum) == 0 || has(net_feature::kChecksum)) &&
                               (header.segmentation != kSegmentationTcp4 || has(net_feature::kHostTso4)) &&
                               (header.segmentation != kSegmentationTcp6 || has(net_feature::kHostTso6));
    auto const offload = offload_of(header, frame_);
    if (!is_negotiated || !offload) return false;
    frame_.offload = *offload;
    return true;
}

// The chain at the head is none of the queue's any more.
void Net::retire_front() {
    Queue& ring = queue(transmit_queue(*front_pair_));
    ring.take(1);
    is_gathered_ = false;
    auto& tail_moves = pairs_[*front_pair_].tail_moves;
    while (!tail_moves.empty() && tail_moves.front().end <= ring.taken_count()) tail_moves.pop_front();
    turn_ = static_cast<std::uint16_t>(*front_pair_ + 1);
    front_pair_.reset();
}

// A packet that cannot be sent is done at once: used chains may come back in any order. [VIRTIO] 2.7.8
void Net::drop_front(GuestMemory& memory) {
    ++errors_.bad_packets;
    std::uint16_t const index = transmit_queue(*front_pair_);
    queue(index).push_used(memory, front_chain_.head, 0);
    retire_front();
    publish(index, memory);
}

std::uint64_t Net::take_front() {
    if (!is_gathered_ && front() == nullptr) return taken_count_;
    in_flight_.push_back({++taken_count_, front_chain_.head, *front_pair_});
    ++pair_counters_[*front_pair_].sent_frames;
    retire_front();
    return taken_count_;
}

void Net::complete_transmit(std::uint64_t number) {
    GuestMemory* const memory = wiring().dma();
    std::bitset<NetOptions::kMaximumPairs> done;
    while (!in_flight_.empty() && in_flight_.front().number <= number) {
        InFlight const& frame = in_flight_.front();
        if (memory != nullptr) queue(transmit_queue(frame.pair)).push_used(*memory, frame.head, 0);
        done.set(frame.pair);
        in_flight_.pop_front();
    }
    if (done.none() || memory == nullptr) return;
    for (std::uint16_t pair = 0; pair < pairs_.size(); ++pair)
        if (done[pair] && publish(transmit_queue(pair), *memory)) ++counters_.transmit_complete_interrupts;
}

}  // namespace backplane::virtio
