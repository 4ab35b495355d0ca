// Everything that the controller remembers, apart from what it does.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/address.h"
#include "clock/virtual_time.h"
#include "device/e1000/descriptors.h"
#include "device/e1000/eeprom.h"
#include "device/e1000/phy.h"
#include "device/e1000/registers.h"
#include "device/frame_port.h"
#include "memory/guest_memory.h"

namespace backplane::e1000 {

inline constexpr std::uint32_t kMaximumFrameBytes = 16384;  ///< with LPE, FCS included, [8254x] 13.4.22
inline constexpr std::uint32_t kMinimumFrameBytes = 60;     ///< without FCS
inline constexpr std::uint32_t kFcsBytes = 4;
inline constexpr std::uint32_t kEthernetHeaderBytes = 14;
inline constexpr std::uint32_t kMaximumHeaderBytes = 240;              ///< of a segmented packet, [8254x] 3.5.2
inline constexpr std::uint32_t kMaximumPayloadBytes = (1U << 20) - 1;  ///< PAYLEN, [8254x] 3.3.6
/// Frames taken from the ring whose completion the carrier still owes; front() waits above it.
inline constexpr std::uint32_t kMaximumFramesInFlight = 65536;

/// What a context descriptor loads, [8254x] 3.3.6.
struct TransmitContext {
    std::uint8_t ipcss{0};
    std::uint8_t ipcso{0};
    std::uint16_t ipcse{0};
    std::uint8_t tucss{0};
    std::uint8_t tucso{0};
    std::uint16_t tucse{0};
    std::uint8_t header_bytes{0};
    std::uint16_t mss{0};
    bool is_tcp{false};
    bool is_ipv4{false};
    bool operator==(TransmitContext const&) const = default;
};

/// A piece of a packet, in guest memory.
struct Fragment {
    GuestPhys start{};
    std::uint32_t bytes{0};
    bool operator==(Fragment const&) const = default;
};

/// What has to happen to one checksum field: the sum over [first, last) goes to `field`; last 0 is the frame's end.
struct ChecksumInsertion {
    std::uint32_t first{0};
    std::uint32_t last{0};
    std::uint32_t field{0};
    bool operator==(ChecksumInsertion const&) const = default;
};

/// The packet at the head of the transmit ring, as far as its descriptors were read. Each was read once.
struct TransmitPacket {
    enum class Progress : std::uint8_t { no_data, gathering, complete };

    Progress progress{Progress::no_data};
    bool is_bad{false};
    bool is_segmented{false};
    bool inserts_fcs{false};
    bool inserts_vlan{false};
    bool delays_interrupt{false};  ///< every descriptor that reports its status has IDE set
    std::uint16_t vlan_tag{0};
    std::uint32_t descriptors{0};  ///< read so far, from the head
    std::uint32_t bytes{0};
    std::vector<Fragment> fragments{};
    std::vector<GuestPhys> reports{};  ///< descriptors with RS: their status is written back
    std::optional<ChecksumInsertion> ip_checksum{};
    std::optional<ChecksumInsertion> payload_checksum{};
    Ticks sent{};

    // Of a segmented packet:
    TransmitContext context{};
    bool header_is_loaded{false};
    std::array<std::byte, kMaximumHeaderBytes> header{};
    std::uint32_t segments_taken{0};
    std::uint32_t payload_taken{0};
    std::size_t next_fragment{0};  ///< where the next segment's payload starts
    std::uint32_t next_offset{0};

    bool operator==(TransmitPacket const&) const = default;
    /// Forgets the packet, keeping the vectors' room.
    void clear();
};

enum class Cast : std::uint8_t { unicast, multicast, broadcast };
[[nodiscard]] Cast cast_of(MacAddress const& destination);
/// Copies the frame's first bytes. \return how many: less than asked for when the frame is shorter
std::size_t copy_head(Frame const& frame, ByteSpan into);
/// `frame` has at least 14 bytes.
[[nodiscard]] MacAddress destination_of(Frame const& frame);

/// A frame that left the ring and is on its way.
struct FrameInFlight {
    std::uint64_t number{0};
    std::uint32_t bytes{0};       ///< on the wire, FCS included; of each but the last, when there are several
    std::uint32_t count{1};       ///< segments that the carrier makes of it
    std::uint32_t last_bytes{0};  ///< of the last of them
    Cast cast{Cast::unicast};
    bool is_last_segment{false};  ///< of a segmented packet
    bool delays_interrupt{false};
    std::vector<GuestPhys> reports{};
    bool operator==(FrameInFlight const&) const = default;
};

/// The guest moved the tail over all descriptors before `end` (counted since power-on) at `time`.
struct TailMove {
    std::uint64_t end{0};
    Ticks time{};
    bool operator==(TailMove const&) const = default;
};

struct TransmitState {
    std::array<TransmitContext, 2> contexts{};  ///< for checksums; for segmentation
    std::uint64_t head{0};                      ///< descriptors that TDH has moved over since power-on
    std::uint64_t tail{0};                      ///< head plus what the guest has handed over
    std::deque<TailMove> tail_moves{};
    TransmitPacket packet{};
    std::deque<FrameInFlight> in_flight{};
    std::uint64_t taken_count{0};  ///< frames, since power-on
    bool operator==(TransmitState const&) const = default;
};

struct ReceiveState {
    std::uint32_t posted{0};  ///< descriptors that the hardware owns
    /// For each frame that landed and was not read: how many of its descriptors the guest still has to give back.
    std::deque<std::uint32_t> unread{};
    std::uint64_t landed_count{0};
    std::uint64_t read_count{0};
    bool operator==(ReceiveState const&) const = default;
};

struct State {
    std::array<std::uint32_t, kRegisterBytes / 4> registers{};  ///< by offset / 4
    EepromState eeprom{};
    PhyState phy{};
    TransmitState transmit{};
    ReceiveState receive{};
    std::uint32_t io_address{0};            ///< IOADDR
    std::optional<Ticks> last_interrupt{};  ///< when the line last rose, for ITR
    bool operator==(State const&) const = default;

    [[nodiscard]] std::uint32_t& at(std::uint32_t offset) { return registers[offset / 4]; }
    [[nodiscard]] std::uint32_t at(std::uint32_t offset) const { return registers[offset / 4]; }
    [[nodiscard]] bool has(std::uint32_t offset, std::uint32_t bits) const { return (at(offset) & bits) != 0; }
};

/// What is sent comes back instead of going to the cable: in the transceiver, or before it (RCTL.LBM).
[[nodiscard]] bool loops_back(State const& state);

/// A statistics register goes up and stays at its maximum, [8254x] 13.7.
void count(State& state, std::uint32_t offset, std::uint32_t amount = 1);
/// A 64-bit one, named by its low half.
void count_octets(State& state, std::uint32_t low_offset, std::uint32_t bytes);
/// One of the six registers by frame size that start at `first_offset`; `bytes` with FCS.
void count_size(State& state, std::uint32_t first_offset, std::uint32_t bytes);

/// A ring as four registers describe it, checked: null when it has no descriptors or an index lies beyond them.
struct Ring {
    GuestPhys base{};
    std::uint32_t count{0};
    std::uint32_t head{0};
    std::uint32_t tail{0};
    /// From head to tail; all of them are the hardware's.
    [[nodiscard]] std::uint32_t filled() const { return tail >= head ? tail - head : tail + count - head; }
    [[nodiscard]] GuestPhys descriptor(std::uint32_t from_head) const {
        return base + std::uint64_t{(head + from_head) % count} * kDescriptorBytes;
    }
};
/// \param base_offset  of the base register: RDBAL or TDBAL; length, head and tail follow it
[[nodiscard]] std::optional<Ring> ring_of(State const& state, std::uint32_t base_offset);

/// What the controller reaches of the machine around it.
class Wiring {
  public:
    virtual ~Wiring() = default;
    /// The machine's memory; null while the function is not a bus master.
    [[nodiscard]] virtual GuestMemory* dma() = 0;
    virtual void drive_interrupt(bool asserted) = 0;
};

/// How often the guest gave us nonsense: each is answered as the page docs/design/e1000.md says, and counted.
struct GuestErrors {
    std::uint64_t bad_packets{0};   ///< transmit packets dropped
    std::uint64_t bad_buffers{0};   ///< frames dropped because a posted receive buffer was not RAM
    std::uint64_t bad_rings{0};     ///< ring registers that contradict each other, rings outside RAM
    std::uint64_t bad_accesses{0};  ///< register accesses of a width or at an offset that does not exist
    [[nodiscard]] std::uint64_t sum() const { return bad_packets + bad_buffers + bad_rings + bad_accesses; }
};

}  // namespace backplane::e1000
