#include "crossover/mapping.h"

#include "base/check.h"

namespace backplane {
namespace {

Mapping::State state_for(Destination peer) {
    return peer.kind == Destination::Kind::outside ? Mapping::State::uplink : Mapping::State::peer;
}

}  // namespace

bool Mapping::is_head(Frame const& frame) const {
    return holds_head_ && frame.sent == head_sent_ && frame.bytes == head_bytes_ &&
           destination_of(frame) == head_destination_;
}

void Mapping::map_lasting(Destination peer) {
    check(!holds_head_ && in_flight_ == 0, "a lasting mapping is made while nothing moves");
    if (state_ != State::unmapped) unmap();
    is_lasting_ = true;
    state_ = state_for(peer);
    peer_ = peer;
}

void Mapping::map_head(Frame const& frame, Destination peer) {
    check(!holds_head_, "one frame is mapped at a time");
    // A frame for the whole group reaches peers and the uplink alike: it changes no mapping that lasts.
    bool const changes = peer.kind != Destination::Kind::group || state_ == State::unmapped;
    if (changes) change_to(state_for(peer));
    holds_head_ = true;
    peer_ = peer;
    pieces_ = frame.pieces;
    head_sent_ = frame.sent;
    head_bytes_ = frame.bytes;
    head_destination_ = destination_of(frame).value_or(AddressNumber{});
}

/// S2.5: what is mapped to the other kind is unmapped first.
void Mapping::change_to(State wanted) {
    if (state_ == wanted) return;
    if (state_ != State::unmapped) {
        unmap();
        ++(wanted == State::uplink ? remaps_to_uplink_ : remaps_to_peer_);
    }
    state_ = wanted;
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
    if (is_lasting_ || state_ == State::unmapped) return;
    if (!holds_head_ && in_flight_ == 0) unmap();
}

void Mapping::unmap() {
    state_ = State::unmapped;
    pieces_ = {};
    ++unmaps_;
}

}  // namespace backplane
