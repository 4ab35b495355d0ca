#include "device/e1000/receive.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "device/checksum.h"
#include "device/ether_type.h"

namespace backplane::e1000 {

namespace {

constexpr std::uint32_t kWriteBackOffset = 8;
constexpr std::uint32_t kExactAddresses = 16;
constexpr std::uint32_t kStandardFrameBytes = 1522;  // with FCS and a VLAN tag: longer needs LPE, [8254x] 13.4.22
constexpr std::uint32_t kLongestStandardBytes = 1518;
constexpr std::uint32_t kVlanTagBytes = 4;
constexpr std::uint32_t kVlanTagStart = 12;

// Walks over the bytes of a frame.
class Reader {
  public:
    explicit Reader(Pieces pieces) : pieces_{pieces} {}
    // The next at most `bytes` bytes that lie together; empty at the end.
    ConstByteSpan next(std::size_t bytes) {
        while (!pieces_.empty() && offset_ == pieces_.front().size()) {
            pieces_ = pieces_.subspan(1);
            offset_ = 0;
        }
        if (pieces_.empty()) return {};
        ConstByteSpan const left = pieces_.front().subspan(offset_);
        ConstByteSpan const part = left.first(std::min(bytes, left.size()));
        offset_ += part.size();
        return part;
    }

  private:
    Pieces pieces_;
    std::size_t offset_{0};
};

// The frame's pieces but for the four bytes of its VLAN tag.
std::vector<ConstByteSpan> without_tag(Frame const& frame) {
    std::vector<ConstByteSpan> pieces;
    Reader reader{frame.pieces};
    for (std::uint32_t at = 0; at < frame.bytes;) {
        bool const is_tag = at >= kVlanTagStart && at < kVlanTagStart + kVlanTagBytes;
        std::uint32_t const limit = at < kVlanTagStart ? kVlanTagStart
                                    : is_tag           ? kVlanTagStart + kVlanTagBytes
                                                       : frame.bytes;
        ConstByteSpan const piece = reader.next(limit - at);
        check(!piece.empty(), "a frame has as many bytes as it says");
        if (!is_tag) pieces.push_back(piece);
        at += static_cast<std::uint32_t>(piece.size());
    }
    return pieces;
}

// Where the headers of an IPv4 packet lie in its frame.
struct Ipv4Packet {
    std::uint32_t start;
    std::uint32_t header_bytes;
    std::uint32_t end;
    std::uint8_t protocol;
    bool is_fragment;
    std::uint32_t addresses_sum;  // of both addresses' words: they are part of the pseudo header
};

// [RFC791] 3.1. Nothing when the frame is no IPv4 packet, or one whose lengths contradict each other.
std::optional<Ipv4Packet> find_ipv4(Frame const& frame) {
    constexpr std::uint32_t start = kEthernetHeaderBytes;
    std::array<std::byte, start + 20> head{};
    if (copy_head(frame, head) < head.size() || load_be16(head, 12) != kIpv4EtherType) return std::nullopt;
    auto const version = std::to_integer<std::uint32_t>(head[start]);
    std::uint32_t const header_bytes = (version & 0xF) * 4;
    std::uint32_t const total_bytes = load_be16(head, start + 2);
    if (version >> 4 != 4 || header_bytes < 20 || total_bytes < header_bytes) return std::nullopt;
    if (start + total_bytes > frame.bytes) return std::nullopt;
    std::uint32_t sum = 0;
    for (std::size_t at = start + 12; at < head.size(); at += 2) sum += load_be16(head, at);
    return Ipv4Packet{start,
                      header_bytes,
                      start + total_bytes,
                      std::to_integer<std::uint8_t>(head[start + 9]),
                      (load_be16(head, start + 6) & 0x3FFF) != 0,
                      sum};
}

// Whether the TCP or UDP checksum is right; nothing when there is none to check.
std::optional<bool> check_transport(Frame const& frame, Ipv4Packet const& packet) {
    constexpr std::uint8_t kTcp = 6;
    constexpr std::uint8_t kUdp = 17;
    if (packet.is_fragment || (packet.protocol != kTcp && packet.protocol != kUdp)) return std::nullopt;
    std::uint32_t const transport = packet.start + packet.header_bytes;
    if (packet.end - transport < (packet.protocol == kTcp ? 20U : 8U)) return std::nullopt;
    if (packet.protocol == kUdp) {  // a UDP checksum of 0 says that there is none
        InternetSum field;
        field.add(frame.pieces, transport + 6, transport + 8);
        if (field.folded() == 0) return std::nullopt;
    }
    InternetSum sum;
    sum.add(frame.pieces, transport, packet.end);
    std::uint32_t pseudo = packet.addresses_sum + packet.protocol + (packet.end - transport) + sum.folded();
    pseudo = (pseudo & 0xFFFF) + (pseudo >> 16);
    pseudo = (pseudo & 0xFFFF) + (pseudo >> 16);
    return pseudo == 0xFFFF;
}

}  // namespace

Receive::Receive(State& state, Wiring& wiring, Interrupts& interrupts, GuestErrors& errors)
    : state_{state}, receive_{state.receive}, wiring_{wiring}, interrupts_{interrupts}, errors_{errors} {}

void Receive::reset() {
    receive_.posted = 0;
    receive_.unread.clear();
    receive_.read_count = receive_.landed_count;
}

void Receive::ring_written() {
    reset();
    std::optional<Ring> const ring = ring_of(state_, kRdbal);
    if (ring) receive_.posted = ring->filled();
}

// Each descriptor given back pays for the oldest one that landed: a driver gives them back in order, but may keep
// some of the ring unposted (Linux: one), so that the tail never passes the very descriptor of the last frame.
void Receive::tail_written() {
    std::optional<Ring> const ring = ring_of(state_, kRdbal);
    if (!ring) ++errors_.bad_rings;
    std::uint32_t const posted = ring ? ring->filled() : 0;
    std::uint32_t given = posted > receive_.posted ? posted - receive_.posted : 0;
    receive_.posted = posted;
    while (given != 0 && !receive_.unread.empty()) {
        std::uint32_t& left = receive_.unread.front();
        std::uint32_t const paid = std::min(left, given);
        left -= paid;
        given -= paid;
        if (left != 0) continue;
        receive_.unread.pop_front();
        ++receive_.read_count;
    }
}

// A sender that pads by itself is the rule; for the others it happens here, as on a wire no frame is shorter.
ReceiveResult Receive::receive(Frame const& frame) {
    constexpr static std::array<std::byte, kMinimumFrameBytes> kZeros{};
    if (frame.bytes >= kMinimumFrameBytes || frame.bytes < kEthernetHeaderBytes) return receive_padded(frame);
    std::vector<ConstByteSpan> pieces{frame.pieces.begin(), frame.pieces.end()};
    pieces.push_back(ConstByteSpan{kZeros}.first(kMinimumFrameBytes - frame.bytes));
    return receive_padded({pieces, kMinimumFrameBytes, frame.sent, frame.offload});
}

ReceiveResult Receive::receive_padded(Frame const& frame) {
    GuestMemory* const memory = wiring_.dma();
    bool const is_listening = state_.has(kRctl, kRctlEn) && state_.has(kStatus, kStatusLu);
    if (memory == nullptr || !is_listening || !has_legal_size(frame)) return ReceiveResult::refused;
    MacAddress const destination = destination_of(frame);
    Match const matched = match(destination);
    if (matched == Match::none) return ReceiveResult::refused;
    Arrival arrival{.destination = destination, .matched = matched, .wire = frame};
    std::optional<std::uint16_t> const tag = vlan_tag_of(frame);
    if (tag && !passes_vlan_filter(*tag)) return ReceiveResult::refused;
    if (!tag || !state_.has(kCtrl, kCtrlVme)) return store_frame(frame, arrival);

    arrival.tag = tag;
    std::vector<ConstByteSpan> const pieces = without_tag(frame);
    Offload offload = frame.offload;
    offload.checksum_start -= std::min<std::uint32_t>(offload.checksum_start, kVlanTagBytes);
    return store_frame({pieces, frame.bytes - kVlanTagBytes, frame.sent, offload}, arrival);
}

// [8254x] 9.2: the type is VET's; the tag follows it.
std::optional<std::uint16_t> Receive::vlan_tag_of(Frame const& frame) const {
    std::array<std::byte, kEthernetHeaderBytes + kVlanTagBytes> head{};
    if (copy_head(frame, head) < head.size() || load_be16(head, 12) != state_.at(kVet)) return std::nullopt;
    return load_be16(head, 14);
}

// [8254x] 9.3: VFTA has a bit for each of 4096 identifiers; with CFIEN, bit 12 of the tag must be RCTL.CFI.
bool Receive::passes_vlan_filter(std::uint16_t tag) const {
    if (!state_.has(kRctl, kRctlVfe)) return true;
    bool const cfi = (tag & 0x1000) != 0;
    if (state_.has(kRctl, kRctlCfien) && cfi != state_.has(kRctl, kRctlCfi)) return false;
    std::uint32_t const identifier = tag & 0xFFF;
    return (state_.at(kVfta + 4 * (identifier >> 5)) >> (identifier & 31) & 1) != 0;
}

ReceiveResult Receive::store_frame(Frame const& frame, Arrival const& arrival) {
    GuestMemory* const memory = wiring_.dma();
    std::optional<Ring> const ring = ring_of(state_, kRdbal);
    if (memory == nullptr || !ring) return ReceiveResult::refused;
    std::uint32_t const stored_bytes = frame.bytes + (state_.has(kRctl, kRctlSecrc) ? 0 : kFcsBytes);
    Buffers buffers;
    buffers.buffer_bytes = buffer_bytes();
    buffers.count = (stored_bytes + buffers.buffer_bytes - 1) / buffers.buffer_bytes;
    if (buffers.count >= ring->count) {  // more than this ring can ever hold
        count(state_, kMpc);
        return ReceiveResult::refused;
    }
    if (ring->filled() < buffers.count) return ReceiveResult::no_buffer;
    if (!read_buffers(*memory, *ring, buffers) || !are_writable(*memory, buffers, stored_bytes)) {
        drop_into(*memory, *ring, buffers);
        return ReceiveResult::refused;
    }

    FrameCheck fcs;
    bool const stores_fcs = stored_bytes != frame.bytes;
    if (stores_fcs) {
        for (ConstByteSpan const piece : arrival.wire.pieces) fcs.add(piece);
    }
    std::uint32_t const fcs_value = fcs.value();
    copy(*memory, buffers, frame, stores_fcs ? bytes_of(fcs_value) : ConstByteSpan{});
    ReceiveWriteBack last = checksum_status(frame);
    if (arrival.matched == Match::inexact) last.status |= kRxPif;
    if (arrival.tag) {
        last.status |= kRxVp;
        last.special = *arrival.tag;
    }
    write_back(*memory, buffers, stored_bytes, last);
    count_frame(arrival.wire.bytes + kFcsBytes, cast_of(arrival.destination));
    receive_.unread.push_back(buffers.count);
    ++receive_.landed_count;
    move_head(*ring, buffers.count);
    interrupts_.frame_received();
    return ReceiveResult::landed;
}

// [8254x] 13.7.28 (RUC) and 13.7.30 (ROC)
bool Receive::has_legal_size(Frame const& frame) {
    if (frame.bytes < kMinimumFrameBytes) {
        count(state_, kRuc);
        return false;
    }
    std::uint32_t longest = kMaximumFrameBytes;
    if (!state_.has(kRctl, kRctlLpe)) {
        std::array<std::byte, kEthernetHeaderBytes> head{};
        copy_head(frame, head);
        longest = load_be16(head, 12) == kVlanEtherType ? kStandardFrameBytes : kLongestStandardBytes;
    }
    if (frame.bytes + kFcsBytes <= longest) return true;
    count(state_, kRoc);
    return false;
}

// [8254x] 3.2.1
Receive::Match Receive::match(MacAddress const& destination) const {
    if (is_own_address(destination)) return Match::exact;
    Cast const cast = cast_of(destination);
    if (cast == Cast::broadcast && state_.has(kRctl, kRctlBam)) return Match::exact;
    if (cast != Cast::unicast && is_in_multicast_table(destination)) return Match::inexact;
    bool const is_promiscuous = state_.has(kRctl, cast == Cast::unicast ? kRctlUpe : kRctlMpe);
    return is_promiscuous ? Match::inexact : Match::none;
}

bool Receive::is_own_address(MacAddress const& destination) const {
    std::uint32_t low = 0;
    std::uint16_t high = 0;
    std::memcpy(&low, destination.data(), sizeof low);
    std::memcpy(&high, destination.data() + sizeof low, sizeof high);
    for (std::uint32_t i = 0; i < kExactAddresses; ++i) {
        std::uint32_t const rah = state_.at(kRa + 8 * i + 4);
        if ((rah & kRahAv) != 0 && state_.at(kRa + 8 * i) == low && (rah & 0xFFFF) == high) return true;
    }
    return false;
}

// RCTL.MO says which 12 of the address's upper 16 bits index the table. [8254x] 13.5.1
bool Receive::is_in_multicast_table(MacAddress const& destination) const {
    constexpr std::array<unsigned, 4> kShifts = {4, 3, 2, 0};
    unsigned const shift = kShifts[state_.at(kRctl) >> 12 & 3];
    std::uint32_t const bits = destination[4] | std::uint32_t{destination[5]} << 8;
    std::uint32_t const index = bits >> shift & 0xFFF;
    return (state_.at(kMta + 4 * (index >> 5)) >> (index & 31) & 1) != 0;
}

// RCTL.BSIZE and BSEX. [8254x] 13.4.22; BSEX with BSIZE 0 is reserved.
std::uint32_t Receive::buffer_bytes() const {
    constexpr std::array<std::uint32_t, 8> kSizes = {2048, 1024, 512, 256, 2048, 16384, 8192, 4096};
    return kSizes[(state_.has(kRctl, kRctlBsex) ? 4 : 0) + (state_.at(kRctl) >> 16 & 3)];
}

// Copies the descriptors out, once. False when the ring is not RAM.
bool Receive::read_buffers(GuestMemory const& memory, Ring const& ring, Buffers& buffers) {
    for (std::uint32_t i = 0; i < buffers.count; ++i) {
        buffers.descriptors[i] = ring.descriptor(i);
        std::uint64_t address = 0;
        if (!memory.read_object(buffers.descriptors[i], address)) return false;
        buffers.starts[i] = GuestPhys{address};
    }
    return true;
}

// An address of 0 is never a buffer: a driver's allocation does not lie there. [8254x] 3.2.3
bool Receive::are_writable(GuestMemory& memory, Buffers const& buffers, std::uint32_t bytes) {
    for (std::uint32_t i = 0; i < buffers.count; ++i) {
        std::uint32_t const part = std::min(bytes - i * buffers.buffer_bytes, buffers.buffer_bytes);
        if (buffers.starts[i] == GuestPhys{}) return false;
        for (std::uint32_t done = 0; done < part;) {
            ByteSpan const piece = memory.writable(buffers.starts[i] + done, part - done);
            if (piece.empty()) return false;
            done += static_cast<std::uint32_t>(piece.size());
        }
    }
    return true;
}

// The one copy. memmove, because sender and receiver may be two cards of one machine with the same page.
void Receive::copy(GuestMemory& memory, Buffers const& buffers, Frame const& frame, ConstByteSpan fcs) {
    Reader data{frame.pieces};
    Reader check_sequence{Pieces{&fcs, 1}};
    std::uint32_t left = frame.bytes + static_cast<std::uint32_t>(fcs.size());
    for (std::uint32_t i = 0; i < buffers.count; ++i) {
        std::uint32_t const part = std::min(left, buffers.buffer_bytes);
        left -= part;
        for (std::uint32_t done = 0; done < part;) {
            ConstByteSpan source = data.next(part - done);
            if (source.empty()) source = check_sequence.next(part - done);
            check(!source.empty(), "a frame has as many bytes as it says");
            for (std::size_t at = 0; at < source.size();) {
                ByteSpan const target = memory.writable(buffers.starts[i] + done, source.size() - at);
                check(!target.empty(), "posted buffers were checked");
                std::memmove(target.data(), source.data() + at, target.size());
                at += target.size();
                done += static_cast<std::uint32_t>(target.size());
            }
        }
        memory.wrote(buffers.starts[i], part);
    }
}

// The status and error bits of a last descriptor that RXCSUM asks for. [8254x] 3.2.3.1, 3.2.9
ReceiveWriteBack Receive::checksum_status(Frame const& frame) const {
    ReceiveWriteBack result{};
    std::uint32_t const wanted = state_.at(kRxcsum) & (kRxcsumIpofl | kRxcsumTuofl);
    std::optional<Ipv4Packet> const packet = wanted != 0 ? find_ipv4(frame) : std::nullopt;
    if (!packet) {
        result.status |= kRxIxsm;
        return result;
    }
    if ((wanted & kRxcsumIpofl) != 0) {
        InternetSum header;
        header.add(frame.pieces, packet->start, packet->start + packet->header_bytes);
        result.status |= kRxIpcs;
        if (header.folded() != 0xFFFF) result.errors |= kRxErrorIpe;
    }
    if ((wanted & kRxcsumTuofl) != 0) {
        std::optional<bool> const is_right =
            frame.offload.is_checked ? std::optional{true} : check_transport(frame, *packet);
        if (is_right) result.status |= kRxTcpcs;
        if (is_right && !*is_right) result.errors |= kRxErrorTcpe;
    }
    return result;
}

void Receive::write_back(GuestMemory& memory, Buffers const& buffers, std::uint32_t bytes,
                         ReceiveWriteBack const& last) {
    for (std::uint32_t i = 0; i < buffers.count; ++i) {
        bool const is_last = i + 1 == buffers.count;
        ReceiveWriteBack result = is_last ? last : ReceiveWriteBack{};
        result.status |= kStatusDd;
        if (is_last) result.status |= kRxEop;
        result.length = static_cast<std::uint16_t>(std::min(bytes - i * buffers.buffer_bytes, buffers.buffer_bytes));
        if (!memory.write_object(buffers.descriptors[i] + kWriteBackOffset, result)) ++errors_.bad_rings;
    }
}

// Also tells when the posted descriptors have just become few (RCTL.RDMTS).
void Receive::move_head(Ring const& ring, std::uint32_t descriptors) {
    std::uint32_t const before = ring.filled();
    std::uint32_t const after = before - descriptors;
    state_.at(kRdh) = (ring.head + descriptors) % ring.count;
    receive_.posted = after;
    head_moves_ += descriptors;
    std::uint32_t const threshold = ring.count >> ((state_.at(kRctl) >> 8 & 3) + 1);
    if (before > threshold && after <= threshold) interrupts_.raise(kCauseRxdmt0);
}

// A frame whose buffers are no RAM: they are given back to the guest as a frame with a receive error.
void Receive::drop_into(GuestMemory& memory, Ring const& ring, Buffers const& buffers) {
    ++errors_.bad_buffers;
    count(state_, kMpc);
    for (std::uint32_t i = 0; i < buffers.count; ++i) {
        ReceiveWriteBack const result{0, 0, kStatusDd | kRxEop, kRxErrorRxe, 0};
        if (!memory.write_object(ring.descriptor(i) + kWriteBackOffset, result)) ++errors_.bad_rings;
    }
    move_head(ring, buffers.count);
    interrupts_.frame_received();
}

void Receive::count_frame(std::uint32_t bytes, Cast cast) {
    count(state_, kTpr);
    count(state_, kGprc);
    count_octets(state_, kTorl, bytes);
    count_octets(state_, kGorcl, bytes);
    count_size(state_, kPrc64, bytes);
    if (cast == Cast::multicast) count(state_, kMprc);
    if (cast == Cast::broadcast) count(state_, kBprc);
}

}  // namespace backplane::e1000
