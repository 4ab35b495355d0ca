// From a packet to one frame: pieces of guest memory in place, with what the hardware inserts between them.
#include <algorithm>

#include "device/checksum.h"
#include "device/e1000/transmit.h"
#include "device/ether_type.h"
#include "device/segmenter.h"

namespace backplane::e1000 {

namespace {

constexpr std::uint32_t kVlanOffset = 12;
constexpr std::array<std::byte, kMinimumFrameBytes> kZeros{};

// Offsets within IPv4 ([RFC791]), IPv6 ([RFC8200]), TCP ([RFC9293]) and UDP ([RFC768]) headers.
constexpr std::uint32_t kIpv4TotalLength = 2;
constexpr std::uint32_t kIpv4Identification = 4;
constexpr std::uint32_t kIpv6PayloadLength = 4;
constexpr std::uint32_t kIpv6HeaderBytes = 40;
constexpr std::uint32_t kTcpSequence = 4;
constexpr std::uint32_t kTcpFlags = 13;
constexpr std::byte kTcpFinAndPush{0x09};
constexpr std::uint32_t kUdpLength = 4;
constexpr std::uint32_t kIpv4Checksum = 10;
constexpr std::uint32_t kTcpChecksum = 16;
constexpr std::uint32_t kLargestIpPacket = 65535;
// Below this a packet is cut here: what a barrier and the statistics cost is bounded by it.
constexpr std::uint32_t kSmallestWholeSegment = 64;

std::uint32_t load_be32(ConstByteSpan bytes, std::size_t offset) {
    return __builtin_bswap32(load<std::uint32_t>(bytes, offset));
}
void store_be32(ByteSpan bytes, std::size_t offset, std::uint32_t value) {
    store(bytes, offset, __builtin_bswap32(value));
}

// A computed checksum of 0 is sent as its other representation, since 0 says "none" in UDP ([RFC768]).
std::uint16_t never_zero(std::uint16_t checksum) { return checksum == 0 ? 0xFFFF : checksum; }

}  // namespace

bool Transmit::gather(GuestMemory const& memory) {
    pieces_.clear();
    frame_ = {};
    if (may_leave_whole() && gather_unfinished(memory)) return true;
    pieces_.clear();
    frame_ = {};
    bool const is_good = transmit_.packet.is_segmented ? gather_segment(memory) : gather_whole(memory);
    if (!is_good || frame_.bytes < kEthernetHeaderBytes) return false;
    if (transmit_.packet.inserts_vlan) insert_vlan_tag();
    pad();
    frame_.pieces = pieces_;
    frame_.sent = transmit_.packet.sent;
    return true;
}

bool Transmit::gather_whole(GuestMemory const& memory) {
    TransmitPacket const& packet = transmit_.packet;
    for (Fragment const& fragment : packet.fragments) {
        if (!add_pieces(memory, fragment)) return false;
    }
    if (!packet.inserts_fcs) drop_fcs();
    if (packet.ip_checksum && !insert_checksum(*packet.ip_checksum, ip_checksum_)) return false;
    if (!packet.payload_checksum) return true;
    if (!may_leave_unsummed()) return insert_checksum(*packet.payload_checksum, payload_checksum_);
    ChecksumInsertion const& missing = *packet.payload_checksum;
    frame_.offload.needs_checksum = true;
    frame_.offload.checksum_start = static_cast<std::uint16_t>(missing.first);
    frame_.offload.checksum_offset = static_cast<std::uint16_t>(missing.field - missing.first);
    return true;
}

// A transport checksum as every driver asks for it: over the rest of the frame, into a field of its header.
bool Transmit::may_leave_unsummed() const {
    ChecksumInsertion const& wanted = *transmit_.packet.payload_checksum;
    return may_be_unfinished() && wanted.last == 0 && wanted.first >= kEthernetHeaderBytes &&
           wanted.first <= wanted.field && wanted.field + 2 <= frame_.bytes;
}

// False when a byte of the fragment is not RAM.
bool Transmit::add_pieces(GuestMemory const& memory, Fragment const& fragment) {
    for (std::uint32_t done = 0; done < fragment.bytes;) {
        ConstByteSpan const piece = memory.readable(fragment.start + done, fragment.bytes - done);
        if (piece.empty()) return false;
        pieces_.push_back(piece);
        done += static_cast<std::uint32_t>(piece.size());
    }
    frame_.bytes += fragment.bytes;
    return true;
}

// Without IFCS the guest has put the FCS there itself; it is not part of a Frame.
void Transmit::drop_fcs() {
    std::uint32_t left = std::min(kFcsBytes, frame_.bytes);
    frame_.bytes -= left;
    while (left != 0) {
        std::size_t const part = std::min<std::size_t>(left, pieces_.back().size());
        pieces_.back() = pieces_.back().first(pieces_.back().size() - part);
        if (pieces_.back().empty()) pieces_.pop_back();
        left -= static_cast<std::uint32_t>(part);
    }
}

// The field's old contents are part of the sum: the driver leaves the pseudo header there. [8254x] 3.5.1
bool Transmit::insert_checksum(ChecksumInsertion const& insertion, ByteSpan storage) {
    std::uint32_t const end = insertion.last == 0 ? frame_.bytes : std::min(insertion.last, frame_.bytes);
    if (insertion.first >= end || insertion.field + 2 > frame_.bytes) return false;
    InternetSum sum;
    sum.add(Pieces{pieces_}, insertion.first, end);
    store_be16(storage, 0, never_zero(sum.checksum()));
    replace(insertion.field, 2, storage);
    return true;
}

// Puts `inserted` where `old_bytes` bytes stood at `offset`.
void Transmit::replace(std::uint32_t offset, std::uint32_t old_bytes, ConstByteSpan inserted) {
    spare_.clear();
    std::uint32_t const old_end = offset + old_bytes;
    std::uint32_t start = 0;
    bool is_inserted = false;
    for (ConstByteSpan const piece : pieces_) {
        auto const end = start + static_cast<std::uint32_t>(piece.size());
        if (start < offset) spare_.push_back(piece.first(std::min(end, offset) - start));
        if (!is_inserted && end > offset) {
            spare_.push_back(inserted);
            is_inserted = true;
        }
        if (end > old_end) spare_.push_back(piece.subspan(std::max(start, old_end) - start));
        start = end;
    }
    if (!is_inserted) spare_.push_back(inserted);
    frame_.bytes += static_cast<std::uint32_t>(inserted.size()) - old_bytes;
    pieces_.swap(spare_);
}

void Transmit::insert_vlan_tag() {
    store_be16(vlan_tag_, 0, kVlanEtherType);
    store_be16(vlan_tag_, 2, transmit_.packet.vlan_tag);
    replace(kVlanOffset, 0, vlan_tag_);
    if (frame_.offload.needs_checksum) frame_.offload.checksum_start += sizeof vlan_tag_;
}

// TCTL.PSP: short packets are padded to 64 bytes with FCS. [8254x] 13.4.33
void Transmit::pad() {
    if (frame_.bytes >= kMinimumFrameBytes || !state_.has(kTctl, kTctlPsp)) return;
    pieces_.push_back(ConstByteSpan{kZeros}.first(kMinimumFrameBytes - frame_.bytes));
    frame_.bytes = kMinimumFrameBytes;
}

std::uint32_t Transmit::segment_payload() const {
    TransmitPacket const& packet = transmit_.packet;
    std::uint32_t const left = packet.bytes - packet.context.header_bytes - packet.payload_taken;
    return std::min<std::uint32_t>(packet.context.mss, left);
}

// TCP with the contexts that drivers load; everything else is cut here.
bool Transmit::may_leave_whole() const {
    TransmitPacket const& packet = transmit_.packet;
    TransmitContext const& context = packet.context;
    if (!may_be_unfinished() || !packet.is_segmented || !context.is_tcp || packet.inserts_vlan ||
        packet.segments_taken != 0 || context.mss < kSmallestWholeSegment || context.tucss < context.ipcss)
        return false;
    bool const sums_ip = packet.ip_checksum && packet.ip_checksum->first == context.ipcss &&
                         packet.ip_checksum->field == context.ipcss + kIpv4Checksum;
    bool const sums_tcp = packet.payload_checksum && packet.payload_checksum->last == 0 &&
                          packet.payload_checksum->first == context.tucss &&
                          packet.payload_checksum->field == context.tucss + kTcpChecksum;
    return sums_tcp && (sums_ip || !context.is_ipv4) && packet.bytes > context.header_bytes + context.mss &&
           packet.bytes <= context.ipcss + kLargestIpPacket;
}

// The packet as the receiver's stack likes it best: one segment with all the payload and no transport checksum.
bool Transmit::gather_unfinished(GuestMemory const& memory) {
    TransmitPacket const& packet = transmit_.packet;
    if (!packet.header_is_loaded && !load_header(memory)) return false;
    TransmitContext const& context = packet.context;
    pieces_.push_back(ConstByteSpan{header_}.first(context.header_bytes));
    frame_.bytes = context.header_bytes;
    if (!add_payload(memory, packet.bytes - context.header_bytes)) return false;
    edit_whole_header();
    frame_.pieces = pieces_;
    frame_.sent = packet.sent;
    frame_.offload = {.needs_checksum = true,
                      .segments = context.is_ipv4 ? Offload::Segments::tcp_ipv4 : Offload::Segments::tcp_ipv6,
                      .checksum_start = context.tucss,
                      .checksum_offset = kTcpChecksum,
                      .segment_bytes = context.mss,
                      .header_bytes = context.header_bytes};
    return is_consistent(frame_);
}

void Transmit::edit_whole_header() {
    TransmitContext const& context = transmit_.packet.context;
    header_ = transmit_.packet.header;
    edit_ip_header();
    if (context.is_ipv4) {
        store_be16(header_, context.ipcss + kIpv4Checksum, 0);
        InternetSum sum;
        sum.add(ConstByteSpan{header_}.subspan(context.ipcss, context.tucss - context.ipcss));
        store_be16(header_, context.ipcss + kIpv4Checksum, sum.checksum());
    }
    // The driver's pseudo header has no length here, but has one where the checksum is left to the other end.
    InternetSum pseudo;
    pseudo.add_word(load_be16(header_, context.tucss + kTcpChecksum));
    pseudo.add_word(static_cast<std::uint16_t>(frame_.bytes - context.tucss));
    store_be16(header_, context.tucss + kTcpChecksum, pseudo.folded());
}

// [8254x] 3.5.3 to 3.5.7
bool Transmit::gather_segment(GuestMemory const& memory) {
    TransmitPacket const& packet = transmit_.packet;
    if (!packet.header_is_loaded && !load_header(memory)) return false;
    std::uint32_t const header_bytes = packet.context.header_bytes;
    pieces_.push_back(ConstByteSpan{header_}.first(header_bytes));
    frame_.bytes = header_bytes;
    std::uint32_t const payload = segment_payload();
    if (!add_payload(memory, payload)) return false;
    edit_header(payload);
    return true;
}

// The next `bytes` bytes of the packet's payload.
bool Transmit::add_payload(GuestMemory const& memory, std::uint32_t bytes) {
    TransmitPacket const& packet = transmit_.packet;
    std::uint32_t offset = packet.next_offset;
    for (std::size_t i = packet.next_fragment; bytes != 0; ++i, offset = 0) {
        Fragment const& fragment = packet.fragments[i];
        std::uint32_t const part = std::min(bytes, fragment.bytes - offset);
        if (!add_pieces(memory, {fragment.start + offset, part})) return false;
        bytes -= part;
    }
    return true;
}

// Copies the header template out of the guest, once a packet.
bool Transmit::load_header(GuestMemory const& memory) {
    TransmitPacket& packet = transmit_.packet;
    ByteSpan left = ByteSpan{packet.header}.first(packet.context.header_bytes);
    while (!left.empty()) {
        Fragment const& fragment = packet.fragments[packet.next_fragment];
        std::size_t const part = std::min<std::size_t>(left.size(), fragment.bytes);
        if (!memory.read(fragment.start, left.first(part))) return false;
        left = left.subspan(part);
        packet.next_offset = static_cast<std::uint32_t>(part);
        if (part == fragment.bytes) {
            ++packet.next_fragment;
            packet.next_offset = 0;
        }
    }
    packet.header_is_loaded = true;
    return true;
}

// Makes the header of the segment that pieces_ holds; is_valid_segmentation() has seen to it that all fields lie in it.
void Transmit::edit_header(std::uint32_t payload_bytes) {
    TransmitPacket const& packet = transmit_.packet;
    header_ = packet.header;
    edit_ip_header();
    bool const is_last = packet.payload_taken + payload_bytes == packet.bytes - packet.context.header_bytes;
    edit_transport_header(is_last ? Segment::last : Segment::followed);
    sum_header();
}

void Transmit::edit_ip_header() {
    TransmitContext const& context = transmit_.packet.context;
    std::uint32_t const ip_bytes = frame_.bytes - context.ipcss;
    if (context.is_ipv4) {
        std::uint32_t const id = load_be16(header_, context.ipcss + kIpv4Identification);
        store_be16(header_, context.ipcss + kIpv4TotalLength, static_cast<std::uint16_t>(ip_bytes));
        store_be16(header_, context.ipcss + kIpv4Identification,
                   static_cast<std::uint16_t>(id + transmit_.packet.segments_taken));
    } else {
        std::uint32_t const payload_bytes = ip_bytes > kIpv6HeaderBytes ? ip_bytes - kIpv6HeaderBytes : 0;
        store_be16(header_, context.ipcss + kIpv6PayloadLength, static_cast<std::uint16_t>(payload_bytes));
    }
}

void Transmit::edit_transport_header(Segment segment) {
    TransmitContext const& context = transmit_.packet.context;
    if (!context.is_tcp) {
        return store_be16(header_, context.tucss + kUdpLength,
                          static_cast<std::uint16_t>(frame_.bytes - context.tucss));
    }
    std::uint32_t const sequence = load_be32(header_, context.tucss + kTcpSequence);
    store_be32(header_, context.tucss + kTcpSequence, sequence + transmit_.packet.payload_taken);
    if (segment == Segment::followed) header_[context.tucss + kTcpFlags] &= ~kTcpFinAndPush;
}

void Transmit::sum_header() {
    TransmitPacket const& packet = transmit_.packet;
    if (auto const& ip = packet.ip_checksum) {
        InternetSum sum;
        sum.add(Pieces{pieces_}, ip->first, ip->last == 0 ? frame_.bytes : ip->last);
        store_be16(header_, ip->field, sum.checksum());
    }
    if (auto const& payload = packet.payload_checksum) {
        // The driver's pseudo header has no length, since each segment has its own. [8254x] 3.5.7
        InternetSum sum;
        sum.add_word(static_cast<std::uint16_t>(frame_.bytes - packet.context.tucss));
        sum.add(Pieces{pieces_}, payload->first, payload->last == 0 ? frame_.bytes : payload->last);
        store_be16(header_, payload->field, never_zero(sum.checksum()));
    }
}

}  // namespace backplane::e1000
