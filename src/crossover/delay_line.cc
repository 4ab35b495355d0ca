#include "crossover/delay_line.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace backplane {

bool DelayLine::is_later(Stored const& one, Stored const& other) {
    return std::tie(one.arrival, one.sequence) > std::tie(other.arrival, other.sequence);
}

bool DelayLine::has_room(std::uint32_t frame_bytes) const {
    std::size_t const used = stored_bytes_ + heap_.size() * kFrameOverhead;
    return heap_.empty() || used + frame_bytes + kFrameOverhead <= most_bytes_;
}

void DelayLine::push(Frame const& frame, Ticks arrival) {
    std::vector<std::byte> bytes;
    bytes.reserve(frame.bytes);
    for (ConstByteSpan const piece : frame.pieces) bytes.insert(bytes.end(), piece.begin(), piece.end());
    stored_bytes_ += bytes.size();
    heap_.push_back({arrival, next_sequence_++, frame.offload, std::move(bytes)});
    std::ranges::push_heap(heap_, is_later);
}

std::size_t DelayLine::clear() {
    std::size_t const count = heap_.size();
    heap_.clear();
    stored_bytes_ = 0;
    return count;
}

Frame const* DelayLine::front() {
    if (heap_.empty()) return nullptr;
    Stored const& first = heap_.front();
    piece_ = first.bytes;
    frame_ = {{&piece_, 1}, static_cast<std::uint32_t>(first.bytes.size()), first.arrival, first.offload};
    return &frame_;
}

std::uint64_t DelayLine::take_front() {
    std::ranges::pop_heap(heap_, is_later);
    stored_bytes_ -= heap_.back().bytes.size();
    heap_.pop_back();
    return ++taken_;
}

}  // namespace backplane
