// What a sender's transmit element is mapped to: the object that the claims S2.2 to S2.5, S2.8 and S2.9 speak about.
//
// The element of a NIC is the set of frames behind its posted descriptors. It is mapped to a peer from the moment its
// destination is found to be a machine until the sender has been told that its frames are done:
//
//     step of S2.8                                        state       pieces()     holds_head()   is_in_flight()
//     the guest moved its tail, nobody has looked yet     unmapped    none         no             no
//     the detector has a hit                              peer        the frame    yes            no
//     no buffer is posted: the frame waits                peer        none         yes            no
//     data, head, status, receive interrupt               peer        the frame    yes            no
//     taken off the sender's ring (mode `read` stays)     peer        none         no             yes
//     status and transmit-complete interrupt raised       unmapped    none         no             no
//
// An element that has a lasting mapping, because its rack file couples it (S2.3) or because it is mapped to a physical
// device by default (S2.2, S2.9), is mapped before its first frame and stays mapped between frames. When the detector
// finds a destination of the other kind, the element is unmapped first and then remapped (S2.5): a remap.
#pragma once

#include <cstdint>
#include <span>

#include "crossover/detector.h"

namespace backplane {

class Mapping {
  public:
    enum class State : std::uint8_t {
        unmapped,  ///< nothing of the sender can be reached by anyone
        peer,      ///< frames of the sender are associated with other machines' receive elements
        uplink,    ///< associated with what is no machine (S2.9); a link of machines alone never gets here
    };

    [[nodiscard]] State state() const { return state_; }
    /// Whom the latest frame was mapped to.
    [[nodiscard]] Destination peer() const { return peer_; }
    /// The host memory that the link is copying from; empty whenever a machine may run.
    [[nodiscard]] std::span<ConstByteSpan const> pieces() const { return pieces_; }
    /// The frame at the head of the sender's ring is mapped.
    [[nodiscard]] bool holds_head() const { return holds_head_; }
    /// Frames were taken off the ring that their sender has not been told about.
    [[nodiscard]] bool is_in_flight() const { return in_flight_ != 0; }
    [[nodiscard]] bool is_lasting() const { return is_lasting_; }

    /// Times that the element went from a peer to the uplink, and back.
    [[nodiscard]] std::uint64_t remaps_to_uplink() const { return remaps_to_uplink_; }
    [[nodiscard]] std::uint64_t remaps_to_peer() const { return remaps_to_peer_; }
    /// Times that it was unmapped, between two frames or in a remap.
    [[nodiscard]] std::uint64_t unmaps() const { return unmaps_; }

    /// Whether the head is mapped and `frame` is that head, not one that came after a reset of the sender.
    [[nodiscard]] bool is_head(Frame const& frame) const;

    /// Maps the element before any frame, for good: to a machine, or to what is outside. May be called again while
    /// nothing is in flight; then it unmaps first.
    void map_lasting(Destination peer);

    void map_head(Frame const& frame, Destination peer);
    /// The link looks at the mapped head again: its pieces are valid until rest().
    void resume(Frame const& frame) { pieces_ = frame.pieces; }
    /// Machines run from now on: the pieces may change.
    void rest() { pieces_ = {}; }
    /// The head has landed everywhere it could and left the sender's ring as frame `number`.
    void take_head(std::uint64_t number);
    /// The head is gone: the sender was reset.
    void withdraw_head();
    /// The sender was told about all frames up to `number`.
    void complete(std::uint64_t number);

  private:
    void unmap_if_done();
    void unmap();
    void change_to(State wanted);

    State state_{State::unmapped};
    bool is_lasting_{false};
    bool holds_head_{false};
    Destination peer_{};
    std::span<ConstByteSpan const> pieces_{};
    // What the head looked like when it was mapped.
    Ticks head_sent_{};
    std::uint32_t head_bytes_{0};
    AddressNumber head_destination_{};

    std::uint64_t in_flight_{0};  // the number of the latest frame in flight, 0 when there is none
    std::uint64_t remaps_to_uplink_{0};
    std::uint64_t remaps_to_peer_{0};
    std::uint64_t unmaps_{0};
};

}  // namespace backplane
