// The transmit half: from descriptors in guest memory to frames that lie where the guest put them.
//
// A packet is what the descriptors up to EOP describe; a frame is what goes on the wire: the packet itself or, with
// segmentation, one of its segments. Bytes that the hardware would change (checksums, VLAN tag, the header of a
// segment) lie in small storage here and stand as pieces of their own between the guest's bytes.
//
// Source: [8254x] 3.3 to 3.5
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "clock/machine_clock.h"
#include "device/e1000/interrupts.h"
#include "device/e1000/state.h"

namespace backplane::e1000 {

class Transmit {
  public:
    Transmit(MachineClock& clock, State& state, Wiring& wiring, Interrupts& interrupts, GuestErrors& errors);
    /// Empty ring, no packet, nothing in flight; the frames' numbering goes on.
    void reset();

    /// TDT was written. \return whether it handed descriptors over
    bool tail_written();
    /// TDBAL, TDBAH, TDLEN or TDH was written: the ring is another one.
    void ring_written();

    /// As in FramePort.
    void allow_unfinished_frames() { carrier_finishes_ = true; }
    [[nodiscard]] Frame const* front();
    std::uint64_t take_front();
    void complete(std::uint64_t number);

  private:
    [[nodiscard]] bool is_running() const;
    void set_outstanding(std::uint32_t descriptors);

    // Reading descriptors.
    [[nodiscard]] bool read_packet(GuestMemory& memory, Ring const& ring);
    void read_descriptor(GuestMemory& memory, GuestPhys at);
    void load_context(TransmitDescriptor const& descriptor);
    void begin_packet(TransmitDescriptor const& descriptor);
    void add_fragment(GuestPhys start, std::uint32_t bytes);
    void finish_packet(TransmitDescriptor const& last);
    [[nodiscard]] bool is_valid_segmentation() const;
    [[nodiscard]] Ticks time_of(std::uint64_t descriptor_end) const;

    // Making the frame.
    [[nodiscard]] bool gather(GuestMemory const& memory);
    [[nodiscard]] bool gather_whole(GuestMemory const& memory);
    [[nodiscard]] bool gather_segment(GuestMemory const& memory);
    [[nodiscard]] bool gather_unfinished(GuestMemory const& memory);
    // What comes back to this controller's own receiver is finished: that one cannot sum or cut.
    [[nodiscard]] bool may_be_unfinished() const { return carrier_finishes_ && !loops_back(state_); }
    [[nodiscard]] bool may_leave_whole() const;
    [[nodiscard]] bool may_leave_unsummed() const;
    void edit_whole_header();
    [[nodiscard]] bool add_payload(GuestMemory const& memory, std::uint32_t bytes);
    [[nodiscard]] bool load_header(GuestMemory const& memory);
    void edit_header(std::uint32_t payload_bytes);
    void edit_ip_header();
    enum class Segment : std::uint8_t { followed, last };
    void edit_transport_header(Segment segment);
    void sum_header();
    [[nodiscard]] std::uint32_t segment_payload() const;
    [[nodiscard]] bool add_pieces(GuestMemory const& memory, Fragment const& fragment);
    [[nodiscard]] bool insert_checksum(ChecksumInsertion const& insertion, ByteSpan storage);
    void replace(std::uint32_t offset, std::uint32_t old_bytes, ConstByteSpan inserted);
    void drop_fcs();
    void insert_vlan_tag();
    void pad();

    // Leaving the ring.
    void note_segments(FrameInFlight& frame) const;
    void advance_segment();
    void retire(std::vector<GuestPhys>& reports);
    void drop_packet(GuestMemory& memory);
    void write_reports(GuestMemory& memory, std::vector<GuestPhys> const& reports, Interrupts::Delay delay);
    void count_frame(FrameInFlight const& frame);

    MachineClock& clock_;
    State& state_;
    TransmitState& transmit_;
    Wiring& wiring_;
    Interrupts& interrupts_;
    GuestErrors& errors_;

    bool carrier_finishes_{false};

    // The gathered frame; means nothing while is_gathered_ is false.
    bool is_gathered_{false};
    Frame frame_{};
    std::vector<ConstByteSpan> pieces_;
    std::vector<ConstByteSpan> spare_;  // for replace()
    std::array<std::byte, kMaximumHeaderBytes> header_{};
    std::array<std::byte, 2> ip_checksum_{};
    std::array<std::byte, 2> payload_checksum_{};
    std::array<std::byte, 4> vlan_tag_{};
};

}  // namespace backplane::e1000
