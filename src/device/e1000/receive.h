// The receive half: from a frame to the guest's posted buffers.
//
// Source: [8254x] 3.2, 13.4.22 to 13.4.31, 13.5
#pragma once

#include <array>
#include <cstdint>

#include "device/e1000/interrupts.h"
#include "device/e1000/state.h"

namespace backplane::e1000 {

class Receive {
  public:
    Receive(State& state, Wiring& wiring, Interrupts& interrupts, GuestErrors& errors);
    /// Nothing posted; what landed counts as read.
    void reset();

    /// RDT was written: buffers are given back, and the frames that lay in them were read.
    void tail_written();
    /// RDBAL, RDBAH, RDLEN or RDH was written: the ring is another one.
    void ring_written();

    /// As in FramePort.
    ReceiveResult receive(Frame const& frame);

    [[nodiscard]] std::uint64_t head_moves() const { return head_moves_; }

  private:
    static constexpr std::uint32_t kMaximumBuffers = kMaximumFrameBytes / 256 + 1;
    enum class Match : std::uint8_t { none, exact, inexact };
    struct Buffers {
        std::array<GuestPhys, kMaximumBuffers> descriptors{};
        std::array<GuestPhys, kMaximumBuffers> starts{};
        std::uint32_t count{0};
        std::uint32_t buffer_bytes{0};
    };

    /// What is known of a frame beside the bytes that go into memory.
    struct Arrival {
        MacAddress destination{};
        Match matched{Match::none};
        Frame const& wire;                   // as it came, its VLAN tag included
        std::optional<std::uint16_t> tag{};  // that was taken out of it
    };

    ReceiveResult receive_padded(Frame const& frame);
    ReceiveResult store_frame(Frame const& frame, Arrival const& arrival);
    [[nodiscard]] std::optional<std::uint16_t> vlan_tag_of(Frame const& frame) const;
    [[nodiscard]] bool passes_vlan_filter(std::uint16_t tag) const;
    [[nodiscard]] bool has_legal_size(Frame const& frame);
    [[nodiscard]] Match match(MacAddress const& destination) const;
    [[nodiscard]] bool is_own_address(MacAddress const& destination) const;
    [[nodiscard]] bool is_in_multicast_table(MacAddress const& destination) const;
    [[nodiscard]] std::uint32_t buffer_bytes() const;
    [[nodiscard]] static bool read_buffers(GuestMemory const& memory, Ring const& ring, Buffers& buffers);
    [[nodiscard]] static bool are_writable(GuestMemory& memory, Buffers const& buffers, std::uint32_t bytes);
    static void copy(GuestMemory& memory, Buffers const& buffers, Frame const& frame, ConstByteSpan fcs);
    [[nodiscard]] ReceiveWriteBack checksum_status(Frame const& frame) const;
    void write_back(GuestMemory& memory, Buffers const& buffers, std::uint32_t bytes, ReceiveWriteBack const& last);
    void move_head(Ring const& ring, std::uint32_t descriptors);
    void drop_into(GuestMemory& memory, Ring const& ring, Buffers const& buffers);
    void count_frame(std::uint32_t bytes, Cast cast);

    State& state_;
    ReceiveState& receive_;
    Wiring& wiring_;
    Interrupts& interrupts_;
    GuestErrors& errors_;
    std::uint64_t head_moves_{0};
};

}  // namespace backplane::e1000
