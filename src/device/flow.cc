#include "device/flow.h"

#include "device/ether_type.h"

namespace backplane {

namespace {

constexpr std::size_t kEtherType = 12;
constexpr std::size_t kVlanBytes = 4;
constexpr std::size_t kPortsBytes = 4;  // both, at the same place in TCP and UDP
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;

constexpr std::size_t kIpv4Fragment = 6;
constexpr std::size_t kIpv4Protocol = 9;
constexpr std::size_t kIpv4Addresses = 12;
constexpr std::size_t kIpv4Bytes = 20;
constexpr std::uint16_t kIpv4FragmentBits = 0x3FFF;  // more fragments, and the offset
constexpr std::size_t kIpv6NextHeader = 6;
constexpr std::size_t kIpv6Addresses = 8;
constexpr std::size_t kIpv6Bytes = 40;

std::uint8_t byte_at(ConstByteSpan bytes, std::size_t offset) { return std::to_integer<std::uint8_t>(bytes[offset]); }

// The finalizer of splitmix64: every bit of the input reaches every bit of the result.
std::uint64_t mix(std::uint64_t state, std::uint64_t word) {
    std::uint64_t mixed = (state ^ word) + 0x9E3779B97F4A7C15;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB;
    return mixed ^ mixed >> 31;
}

std::uint64_t with_ports(std::uint64_t addresses, std::uint8_t protocol, ConstByteSpan transport) {
    bool const has_ports = (protocol == kTcp || protocol == kUdp) && transport.size() >= kPortsBytes;
    return mix(addresses, std::uint64_t{protocol} << 32 | (has_ports ? load<std::uint32_t>(transport) : 0));
}

std::uint64_t ipv4_hash(ConstByteSpan packet) {
    if (packet.size() < kIpv4Bytes) return 0;
    std::uint64_t const addresses = mix(0, load<std::uint64_t>(packet, kIpv4Addresses));
    std::size_t const header_bytes = std::size_t{byte_at(packet, 0) & 0xFU} * 4;
    bool const is_fragment = (load_be16(packet, kIpv4Fragment) & kIpv4FragmentBits) != 0;
    bool const has_transport = !is_fragment && header_bytes >= kIpv4Bytes && header_bytes <= packet.size();
    return with_ports(addresses, byte_at(packet, kIpv4Protocol),
                      has_transport ? packet.subspan(header_bytes) : ConstByteSpan{});
}

// Ports behind extension headers are not looked for.
std::uint64_t ipv6_hash(ConstByteSpan packet) {
    if (packet.size() < kIpv6Bytes) return 0;
    std::uint64_t addresses = 0;
    for (std::size_t at = kIpv6Addresses; at < kIpv6Bytes; at += sizeof(std::uint64_t))
        addresses = mix(addresses, load<std::uint64_t>(packet, at));
    return with_ports(addresses, byte_at(packet, kIpv6NextHeader), packet.subspan(kIpv6Bytes));
}

}  // namespace

std::uint64_t flow_hash(ConstByteSpan head) {
    std::size_t type_at = kEtherType;
    if (head.size() < type_at + 2) return 0;
    if (load_be16(head, type_at) == kVlanEtherType) type_at += kVlanBytes;
    if (head.size() < type_at + 2) return 0;
    ConstByteSpan const packet = head.subspan(type_at + 2);
    switch (load_be16(head, type_at)) {
        case kIpv4EtherType:
            return ipv4_hash(packet);
        case kIpv6EtherType:
            return ipv6_hash(packet);
        default:
            return 0;
    }
}

}  // namespace backplane
