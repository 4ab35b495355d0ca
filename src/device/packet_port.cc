#include "device/packet_port.h"

#include <algorithm>

namespace backplane {
namespace {

constexpr std::size_t kLeastFrameBytes = 60;  // without FCS; shorter ones are padded ([IEEE8023] 3.2.8)

}  // namespace

Frame const* PacketPort::front() {
    if (queue_.empty()) return nullptr;
    piece_ = queue_.front().bytes;
    frame_ = {{&piece_, 1}, static_cast<std::uint32_t>(piece_.size()), queue_.front().sent, queue_.front().lacks};
    return &frame_;
}

std::uint64_t PacketPort::take_front() {
    queued_bytes_ -= queue_.front().bytes.size();
    queue_.pop_front();
    return ++taken_;
}

ReceiveResult PacketPort::receive(Frame const& frame) {
    gathered_.clear();
    for (ConstByteSpan const piece : frame.pieces) gathered_.insert(gathered_.end(), piece.begin(), piece.end());
    ++landed_;
    take(gathered_, frame.sent, frame.offload);
    return ReceiveResult::landed;
}

bool PacketPort::has_room() const { return queue_.size() < kMostQueuedFrames && queued_bytes_ < kMostQueuedBytes; }

void PacketPort::send(ConstByteSpan frame, Ticks now, Offload const& lacks) {
    // Without a cable the outside must not fill the queue with what would be out of date when it is plugged in.
    if (!has_carrier_ || !has_room()) {
        drop();
        return;
    }
    queue_.push_back({{frame.begin(), frame.end()}, now, lacks});
    std::vector<std::byte>& queued = queue_.back().bytes;
    if (queued.size() < kLeastFrameBytes) queued.resize(kLeastFrameBytes);
    queued_bytes_ += queued.size();
    if (observer_ != nullptr) observer_->port_changed();
}

}  // namespace backplane
