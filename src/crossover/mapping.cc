#include "crossover/mapping.h"

#include "base/check.h"

namespace backplane {

bool Mapping::is_head(Frame const& frame) const {
    return holds_head_ && frame.sent == head_sent_ && frame.bytes == head_bytes_ &&
           destination_of(frame) == head_destination_;
}

void Mapping::map_head(Frame const& frame, Destination peer) {
    check(!holds_head_, "one frame is mapped at a time");
    state_ = State::peer;
    holds_head_ = true;
    peer_ = peer;
    pieces_ = frame.pieces;
    head_sent_ = frame.sent;
    head_bytes_ = frame.bytes;
    head_destination_ = destination_of(frame).value_or(MacAddress{});
}

void Mapping::take_head(std::uint64_t number) {
    check(holds_head_, "only a mapped frame is taken");
    holds_head_ = false;
    pieces_ = {};
    in_flight_ = number;
}

void Mapping::withdraw_head() {
    holds_head_ = false;
    pieces_ = {};
    unmap_if_done();
}

void Mapping::complete(std::uint64_t number) {
    if (number >= in_flight_) in_flight_ = 0;
    unmap_if_done();
}

void Mapping::unmap_if_done() {
    if (!holds_head_ && in_flight_ == 0) state_ = State::unmapped;
}

}  // namespace backplane
