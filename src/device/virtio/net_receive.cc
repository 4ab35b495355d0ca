// From a frame to the buffers that the driver has posted.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "device/ether_type.h"
#include "device/flow.h"
#include "device/virtio/net.h"

namespace backplane::virtio {

namespace {

constexpr std::uint32_t kEthernetBytes = 14;
constexpr std::uint32_t kVlanBytes = 4;

// Fills ranges of host memory in order.
class Writer {
  public:
    explicit Writer(std::span<ByteSpan const> targets) : targets_{targets} {}
    // The one copy. memmove, because sender and receiver may be two cards of one machine with the same page.
    void put(ConstByteSpan from) {
        while (!from.empty()) {
            if (left_.empty()) left_ = next();
            std::size_t const part = std::min(from.size(), left_.size());
            std::memmove(left_.data(), from.data(), part);
            left_ = left_.subspan(part);
            from = from.subspan(part);
        }
    }

  private:
    ByteSpan next() {
        check(!targets_.empty(), "the buffers are large enough");
        ByteSpan const first = targets_.front();
        targets_ = targets_.subspan(1);
        return first;
    }

    std::span<ByteSpan const> targets_;
    ByteSpan left_{};
};

// The first bytes of a frame. \return how many there are
template <std::size_t kBytes>
std::size_t copy_head(Frame const& frame, std::array<std::byte, kBytes>& into) {
    if (!frame.pieces.empty() && frame.pieces.front().size() >= kBytes) {  // nearly always, and no call
        std::memcpy(into.data(), frame.pieces.front().data(), kBytes);
        return kBytes;
    }
    std::size_t filled = 0;
    for (ConstByteSpan const piece : frame.pieces) {
        std::size_t const part = std::min(into.size() - filled, piece.size());
        std::ranges::copy(piece.first(part), into.begin() + static_cast<std::ptrdiff_t>(filled));
        filled += part;
        if (filled == into.size()) break;
    }
    return filled;
}

bool contains(std::vector<MacAddress> const& list, MacAddress const& address) {
    return std::ranges::find(list, address) != list.end();
}

}  // namespace

// [VIRTIO] 5.1.6.5.1, 5.1.6.5.2
bool ReceiveFilter::passes(MacAddress const& destination, MacAddress const& own) const {
    if (promiscuous) return true;
    if (std::ranges::all_of(destination, [](std::uint8_t byte) { return byte == 0xFF; })) return !no_broadcast;
    if ((destination[0] & 1) != 0) {
        if (no_multicast) return false;
        return !filters_multicast || all_multicast || multicast_overflow || contains(multicast, destination);
    }
    if (no_unicast) return false;
    return destination == own || all_unicast || unicast_overflow || contains(unicast, destination);
}

// Buffers posted anew pay for the frames that landed first in their queue, as the driver posts the buffers that it has
// read. What counts as read is, as for the carrier, everything up to a frame.
void Net::look_at_receive(std::uint16_t index, GuestMemory& memory) {
    Pair& pair = pairs_[index];
    std::uint32_t given = queue(receive_queue(index)).look(memory);
    while (given != 0 && !pair.unread.empty()) {
        std::uint32_t const paid = std::min(pair.unread.front(), given);
        pair.unread.front() -= paid;
        given -= paid;
        if (pair.unread.front() != 0) continue;
        pair.unread.pop_front();
        ++pair.read_count;
    }
    while (!unread_.empty() && pairs_[unread_.front()].read_count != 0) {
        --pairs_[unread_.front()].read_count;
        unread_.pop_front();
        ++read_count_;
    }
}

// All of a flow goes to one queue, so that it keeps its order. [VIRTIO] 5.1.6.5.6
std::uint16_t Net::steer(Frame const& frame) const {
    if (receive_pairs_ == 1) return 0;
    std::array<std::byte, kFlowHeadBytes> head{};
    std::size_t const bytes = copy_head(frame, head);
    return static_cast<std::uint16_t>(flow_hash(ConstByteSpan{head}.first(bytes)) % receive_pairs_);
}

bool Net::passes_filter(Frame const& frame) const {
    std::array<std::byte, kEthernetBytes + 2> head{};
    copy_head(frame, head);
    MacAddress destination{};
    std::memcpy(destination.data(), head.data(), destination.size());
    bool const is_tagged = load_be16(head, 12) == kVlanEtherType;
    if (is_tagged && filter_.filters_vlans && !filter_.vlans[load_be16(head, 14) % ReceiveFilter::kVlans]) return false;
    return filter_.passes(destination, mac_);
}

// [VIRTIO] 5.1.4.1: a driver that knows the MTU gets nothing longer, but for a whole segment.
bool Net::is_too_long(Frame const& frame) const {
    if (!has(net_feature::kMtu) || frame.offload.segments != Offload::Segments::none) return false;
    if (frame.bytes <= kEthernetBytes + mtu_bytes_) return false;
    std::array<std::byte, kEthernetBytes> head{};
    copy_head(frame, head);
    bool const is_tagged = load_be16(head, 12) == kVlanEtherType;
    return !is_tagged || frame.bytes > kEthernetBytes + kVlanBytes + mtu_bytes_;
}

ReceiveResult Net::receive(Frame const& frame) {
    GuestMemory* const memory = wiring().dma();
    if (memory == nullptr || !is_started() || !has_carrier_) return ReceiveResult::refused;
    std::uint16_t const pair = steer(frame);
    std::uint16_t const index = receive_queue(pair);
    if (!queue(index).is_running()) return ReceiveResult::refused;
    if (frame.bytes < kEthernetBytes || is_too_long(frame) || !passes_filter(frame)) return ReceiveResult::refused;
    look_at_receive(pair, *memory);
    std::uint64_t const bytes = sizeof(NetHeader) + frame.bytes;
    Fit const fit = find_buffers(queue(index), *memory, bytes);
    check_queue(index);
    if (fit == Fit::no_buffer) return ReceiveResult::no_buffer;
    if (fit == Fit::broken) return ReceiveResult::refused;
    if (fit == Fit::never || !find_targets(*memory, bytes)) {
        ++errors_.bad_buffers;
        give_back(pair, *memory, 0);
        return ReceiveResult::refused;
    }
    copy(*memory, header_for(frame), frame);
    ++landed_count_;
    ++pair_counters_[pair].received_frames;
    unread_.push_back(pair);
    pairs_[pair].unread.push_back(static_cast<std::uint32_t>(buffer_count_));
    give_back(pair, *memory, bytes);
    return ReceiveResult::landed;
}

// Reads as many chains as the frame needs: one, or with mergeable buffers any number. [VIRTIO] 5.1.6.4
Net::Fit Net::find_buffers(Queue& ring, GuestMemory const& memory, std::uint64_t bytes) {
    std::size_t const most = has(net_feature::kMergeableBuffers) ? ring.settings().size : 1;
    std::uint64_t room = 0;
    for (buffer_count_ = 0; buffer_count_ < most;) {
        if (!ring.is_running()) return Fit::broken;
        if (buffer_count_ >= ring.waiting()) return Fit::no_buffer;
        if (buffers_.size() <= buffer_count_) buffers_.emplace_back();
        Chain& chain = buffers_[buffer_count_];
        if (!ring.peek(memory, static_cast<std::uint16_t>(buffer_count_), chain)) return Fit::broken;
        ++buffer_count_;
        room += chain.writable_bytes;
        if (room >= bytes) return Fit::fits;
    }
    return Fit::never;
}

// Where the first `bytes` bytes of the buffers are in the host. False when one of them is no writable RAM.
bool Net::find_targets(GuestMemory& memory, std::uint64_t bytes) {
    targets_.clear();
    for (Chain const& chain : std::span{buffers_}.first(buffer_count_)) {
        for (Piece const& piece : chain.writable) {
            std::uint64_t const part = std::min<std::uint64_t>(piece.bytes, bytes);
            bytes -= part;
            for (std::uint64_t done = 0; done < part;) {
                ByteSpan const target = memory.writable(piece.start + done, part - done);
                if (target.empty()) return false;
                targets_.push_back(target);
                done += target.size();
            }
        }
    }
    return true;
}

// [VIRTIO] 5.1.6.4.1
NetHeader Net::header_for(Frame const& frame) const {
    NetHeader header = header_of(frame.offload);
    header.buffer_count = static_cast<std::uint16_t>(buffer_count_);
    if (!frame.offload.needs_checksum && frame.offload.is_checked && has(net_feature::kGuestChecksum)) header.flags = kHeaderDataValid;
    return header;
}

void Net::copy(GuestMemory& memory, NetHeader const& header, Frame const& frame) {
    Writer writer{targets_};
    writer.put(bytes_of(header));
    for (ConstByteSpan const piece : frame.pieces) writer.put(piece);
    std::uint64_t bytes = sizeof header + frame.bytes;
    for (Chain const& chain : std::span{buffers_}.first(buffer_count_)) {
        for (Piece const& piece : chain.writable) {
            std::uint64_t const part = std::min<std::uint64_t>(piece.bytes, bytes);
            memory.wrote(piece.start, part);
            bytes -= part;
        }
    }
}

// The chains go back with `bytes` bytes in them, all but the last one full.
void Net::give_back(std::uint16_t pair, GuestMemory& memory, std::uint64_t bytes) {
    Queue& ring = queue(receive_queue(pair));
    for (Chain const& chain : std::span{buffers_}.first(buffer_count_)) {
        std::uint64_t const part = std::min(bytes, chain.writable_bytes);
        bytes -= part;
        ring.push_used(memory, chain.head, static_cast<std::uint32_t>(part));
    }
    ring.take(static_cast<std::uint16_t>(buffer_count_));
    counters_.head_moves += buffer_count_;
    if (publish(receive_queue(pair), memory)) ++counters_.receive_interrupts;
}

}  // namespace backplane::virtio
