#include "device/segmenter.h"

#include <algorithm>

#include "base/check.h"
#include "device/checksum.h"
#include "device/ether_type.h"

namespace backplane {

namespace {

constexpr std::uint32_t kEthernetBytes = 14;
constexpr std::uint32_t kVlanBytes = 4;

// Offsets within IPv4 ([RFC791] 3.1), IPv6 ([RFC8200] 3) and TCP ([RFC9293] 3.1) headers.
constexpr std::uint32_t kIpv4TotalLength = 2;
constexpr std::uint32_t kIpv4Identification = 4;
constexpr std::uint32_t kIpv4Protocol = 9;
constexpr std::uint32_t kIpv4Checksum = 10;
constexpr std::uint32_t kIpv4Bytes = 20;
constexpr std::uint32_t kIpv6PayloadLength = 4;
constexpr std::uint32_t kIpv6Bytes = 40;
constexpr std::uint32_t kTcpSequence = 4;
constexpr std::uint32_t kTcpDataOffset = 12;
constexpr std::uint32_t kTcpFlags = 13;
constexpr std::uint32_t kTcpChecksum = 16;
constexpr std::uint32_t kTcpBytes = 20;
constexpr std::byte kTcpFinAndPush{0x09};
constexpr std::uint8_t kTcpProtocol = 6;
constexpr std::uint32_t kLargestIpPacket = 65535;

std::size_t copy_head(Frame const& frame, ByteSpan into) {
    std::size_t filled = 0;
    for (ConstByteSpan const piece : frame.pieces) {
        std::size_t const part = std::min(into.size() - filled, piece.size());
        std::ranges::copy(piece.first(part), into.begin() + static_cast<std::ptrdiff_t>(filled));
        filled += part;
        if (filled == into.size()) break;
    }
    return filled;
}

std::uint32_t load_be32(ConstByteSpan bytes, std::size_t offset) {
    return __builtin_bswap32(load<std::uint32_t>(bytes, offset));
}
void store_be32(ByteSpan bytes, std::size_t offset, std::uint32_t value) {
    store(bytes, offset, __builtin_bswap32(value));
}
std::uint32_t byte_at(SegmentHeader const& header, std::uint32_t offset) {
    return std::to_integer<std::uint32_t>(header.bytes[offset]);
}

// A computed checksum of 0 is sent as its other representation, since 0 says "none" in UDP ([RFC768]).
std::uint16_t never_zero(std::uint16_t checksum) { return checksum == 0 ? 0xFFFF : checksum; }

bool has_checksum_field(Frame const& frame) {
    Offload const& offload = frame.offload;
    return offload.checksum_start >= kEthernetBytes &&
           std::uint32_t{offload.checksum_start} + offload.checksum_offset + 2 <= frame.bytes;
}

// Whether the IP header that ends where the transport header starts is one of the kind that the offload says.
bool has_ip_header(SegmentHeader const& header, Frame const& frame) {
    bool const is_ipv4 = frame.offload.segments == Offload::Segments::tcp_ipv4;
    std::uint32_t const ip_bytes = frame.offload.checksum_start - header.ip;
    if (load_be16(header.bytes, header.ip - 2) != (is_ipv4 ? kIpv4EtherType : kIpv6EtherType)) return false;
    if (!is_ipv4) return byte_at(header, header.ip) >> 4 == 6 && ip_bytes >= kIpv6Bytes;
    return byte_at(header, header.ip) == (0x40 | ip_bytes / 4) && ip_bytes % 4 == 0 && ip_bytes >= kIpv4Bytes &&
           byte_at(header, header.ip + kIpv4Protocol) == kTcpProtocol;
}

// The headers of a packet that is to be cut, checked; nothing when they contradict the offload.
std::optional<SegmentHeader> read_header(Frame const& frame) {
    Offload const& offload = frame.offload;
    SegmentHeader header;
    std::uint32_t const tcp = offload.checksum_start;
    if (!offload.needs_checksum || !has_checksum_field(frame) || offload.checksum_offset != kTcpChecksum ||
        offload.segment_bytes == 0 || tcp + kTcpBytes > SegmentHeader::kMaximumBytes)
        return std::nullopt;
    std::size_t const copied = copy_head(frame, header.bytes);
    header.ip = kEthernetBytes + (load_be16(header.bytes, 12) == kVlanEtherType ? kVlanBytes : 0);
    if (copied < tcp + kTcpBytes || tcp < header.ip + kIpv4Bytes || !has_ip_header(header, frame)) return std::nullopt;
    std::uint32_t const tcp_bytes = (byte_at(header, tcp + kTcpDataOffset) >> 4) * 4;
    header.count = tcp + tcp_bytes;
    if (tcp_bytes < kTcpBytes || header.count > copied || header.count > frame.bytes) return std::nullopt;
    if (frame.bytes - header.ip > kLargestIpPacket + (offload.segments == Offload::Segments::tcp_ipv6 ? kIpv6Bytes : 0))
        return std::nullopt;
    return header;
}

}  // namespace

bool is_consistent(Frame const& frame) {
    if (frame.offload.is_finished()) return true;
    if (frame.offload.segments != Offload::Segments::none) return read_header(frame).has_value();
    return has_checksum_field(frame);
}

std::uint32_t segment_header_bytes(Frame const& frame) {
    std::optional<SegmentHeader> const header = read_header(frame);
    return header ? header->count : 0;
}

std::uint32_t Segmenter::start(Frame const& frame) {
    whole_ = frame;
    next_piece_ = 0;
    next_piece_start_ = 0;
    segment_count_ = 0;
    if (!is_consistent(frame)) return 0;
    if (frame.offload.segments == Offload::Segments::none) return segment_count_ = 1;
    std::optional<SegmentHeader> const header = read_header(frame);
    if (!header) return 0;
    header_ = *header;
    payload_bytes_ = frame.bytes - header_.count;
    std::uint32_t const each = frame.offload.segment_bytes;
    return segment_count_ = std::max<std::uint32_t>(1, (payload_bytes_ + each - 1) / each);
}

Frame const& Segmenter::segment(std::uint32_t index) {
    check(index < segment_count_, "a segment that start() has counted");
    pieces_.clear();
    frame_ = {.pieces = {}, .bytes = 0, .sent = whole_.sent, .offload = {}};
    if (whole_.offload.is_finished()) {
        frame_ = whole_;
        return frame_;
    }
    if (whole_.offload.segments == Offload::Segments::none) {
        gather_whole();
    } else {
        gather_segment(index);
    }
    frame_.offload.is_checked = true;
    frame_.pieces = pieces_;
    return frame_;
}

// Only the checksum is missing: two bytes of our own stand between the guest's.
void Segmenter::gather_whole() {
    std::uint32_t const field = std::uint32_t{whole_.offload.checksum_start} + whole_.offload.checksum_offset;
    InternetSum sum;
    sum.add(whole_.pieces, whole_.offload.checksum_start, whole_.bytes);
    store_be16(field_, 0, never_zero(sum.checksum()));
    add_payload(0, field);
    pieces_.push_back(field_);
    add_payload(field + 2, whole_.bytes - field - 2);
    frame_.bytes = whole_.bytes;
}

void Segmenter::gather_segment(std::uint32_t index) {
    std::uint32_t const first = index * std::uint32_t{whole_.offload.segment_bytes};
    std::uint32_t const payload = std::min<std::uint32_t>(whole_.offload.segment_bytes, payload_bytes_ - first);
    frame_.bytes = header_.count + payload;
    std::ranges::copy(header_.bytes, edited_.begin());
    pieces_.push_back(ConstByteSpan{edited_}.first(header_.count));
    add_payload(header_.count + first, payload);
    edit_ip(index);
    edit_tcp(index);
}

void Segmenter::add_payload(std::uint32_t first, std::uint32_t bytes) {
    if (first < next_piece_start_) next_piece_ = next_piece_start_ = 0;
    while (bytes != 0) {
        ConstByteSpan const piece = whole_.pieces[next_piece_];
        auto const end = next_piece_start_ + static_cast<std::uint32_t>(piece.size());
        if (first < end) {
            std::uint32_t const part = std::min(bytes, end - first);
            pieces_.push_back(piece.subspan(first - next_piece_start_, part));
            first += part;
            bytes -= part;
            if (first < end) return;
        }
        ++next_piece_;
        next_piece_start_ = end;
    }
}

void Segmenter::edit_ip(std::uint32_t index) {
    std::uint32_t const ip = header_.ip;
    if (whole_.offload.segments == Offload::Segments::tcp_ipv6) {
        return store_be16(edited_, ip + kIpv6PayloadLength, static_cast<std::uint16_t>(frame_.bytes - ip - kIpv6Bytes));
    }
    std::uint32_t const identification = load_be16(edited_, ip + kIpv4Identification) + index;
    store_be16(edited_, ip + kIpv4TotalLength, static_cast<std::uint16_t>(frame_.bytes - ip));
    store_be16(edited_, ip + kIpv4Identification, static_cast<std::uint16_t>(identification));
    store_be16(edited_, ip + kIpv4Checksum, 0);
    InternetSum sum;
    sum.add(ConstByteSpan{edited_}.subspan(ip, whole_.offload.checksum_start - ip));
    store_be16(edited_, ip + kIpv4Checksum, sum.checksum());
}

// The field holds the pseudo header with the whole packet's length; a segment has its own length.
void Segmenter::edit_tcp(std::uint32_t index) {
    std::uint32_t const tcp = whole_.offload.checksum_start;
    std::uint32_t const first = index * std::uint32_t{whole_.offload.segment_bytes};
    store_be32(edited_, tcp + kTcpSequence, load_be32(edited_, tcp + kTcpSequence) + first);
    if (index + 1 != segment_count_) edited_[tcp + kTcpFlags] &= ~kTcpFinAndPush;
    InternetSum sum;
    sum.add_word(static_cast<std::uint16_t>(~static_cast<std::uint16_t>(whole_.bytes - tcp)));
    sum.add_word(static_cast<std::uint16_t>(frame_.bytes - tcp));
    sum.add(Pieces{pieces_}, tcp, frame_.bytes);
    store_be16(edited_, tcp + kTcpChecksum, never_zero(sum.checksum()));
}

}  // namespace backplane
