#include "crossover/address_service.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "device/checksum.h"

namespace backplane {
namespace {

// Offsets from the start of the frame, an Ethernet header without VLAN tag in front.
constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kEtherTypeAt = 12;
constexpr std::uint16_t kArp = 0x0806;
constexpr std::uint16_t kIpv4 = 0x0800;

constexpr std::size_t kArpBytes = 28;
constexpr std::uint16_t kArpRequest = 1;
constexpr std::uint16_t kArpReply = 2;

constexpr std::size_t kIpv4Bytes = 20;
constexpr std::uint8_t kIcmp = 1;
constexpr std::uint8_t kUdp = 17;
constexpr std::size_t kUdpBytes = 8;
constexpr std::uint16_t kDhcpServerPort = 67;
constexpr std::uint16_t kDhcpClientPort = 68;
constexpr std::uint16_t kDnsPort = 53;
constexpr std::uint8_t kTimeToLive = 64;

// DHCP ([RFC2131] 2): a fixed part, a cookie, then options.
constexpr std::size_t kDhcpFixedBytes = 236;
constexpr std::size_t kDhcpOptionsAt = kDhcpFixedBytes + 4;
constexpr std::size_t kDhcpLeastBytes = 300;  // what old clients expect
constexpr std::uint32_t kDhcpCookie = 0x63825363;
constexpr std::uint8_t kBootRequest = 1;
constexpr std::uint8_t kBootReply = 2;
constexpr std::uint16_t kBroadcastFlag = 0x8000;
constexpr std::uint32_t kLeaseSeconds = 86'400;

enum DhcpOption : std::uint8_t {
    kSubnetMask = 1,
    kRouter = 3,
    kNameServer = 6,
    kHostName = 12,
    kDomainName = 15,
    kRequestedAddress = 50,
    kLeaseTime = 51,
    kMessageType = 53,
    kServerId = 54,
    kEnd = 255,
};
enum DhcpType : std::uint8_t { kDiscover = 1, kOffer = 2, kRequest = 3, kAck = 5, kNak = 6, kInform = 8 };

constexpr MacAddress kEveryone{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
constexpr Ipv4Address kEveryAddress{255, 255, 255, 255};

std::uint32_t load_be32(ConstByteSpan bytes, std::size_t offset) {
    return __builtin_bswap32(load<std::uint32_t>(bytes, offset));
}
void store_be32(ByteSpan bytes, std::size_t offset, std::uint32_t value) {
    store(bytes, offset, __builtin_bswap32(value));
}
Ipv4Address address_at(ConstByteSpan bytes, std::size_t offset) { return Ipv4Address{load_be32(bytes, offset)}; }

/// Appends to a message.
class Writer {
  public:
    void put8(std::uint8_t value) { bytes_.push_back(std::byte{value}); }
    void put16(std::uint16_t value) {
        put8(static_cast<std::uint8_t>(value >> 8));
        put8(static_cast<std::uint8_t>(value));
    }
    void put32(std::uint32_t value) {
        put16(static_cast<std::uint16_t>(value >> 16));
        put16(static_cast<std::uint16_t>(value));
    }
    void put(ConstByteSpan bytes) {
        std::size_t const end = bytes_.size();
        bytes_.resize(end + bytes.size());
        std::ranges::copy(bytes, bytes_.begin() + static_cast<std::ptrdiff_t>(end));
    }
    void put_text(std::string_view text) { put(std::as_bytes(std::span{text})); }
    void pad_to(std::size_t size) {
        if (bytes_.size() < size) bytes_.resize(size);
    }
    [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

  private:
    std::vector<std::byte> bytes_;
};

void put_ethernet(Writer& out, MacAddress to, MacAddress from, std::uint16_t type) {
    out.put(bytes_of(to));
    out.put(bytes_of(from));
    out.put16(type);
}

/// The IPv4 packet behind the Ethernet header, if its own header is whole, unfragmented and right.
std::optional<ConstByteSpan> ipv4_packet(ConstByteSpan frame) {
    ConstByteSpan const rest = frame.subspan(kEthernetBytes);
    if (rest.size() < kIpv4Bytes || load<std::uint8_t>(rest) != 0x45) return std::nullopt;  // no options
    std::size_t const total = load_be16(rest, 2);
    bool const is_fragment = (load_be16(rest, 6) & 0x3FFF) != 0;
    if (total < kIpv4Bytes || total > rest.size() || is_fragment) return std::nullopt;
    InternetSum sum;
    sum.add(rest.first(kIpv4Bytes));
    if (sum.checksum() != 0) return std::nullopt;
    return rest.first(total);
}

void put_ipv4(Writer& out, std::uint8_t protocol, Ipv4Address from, Ipv4Address to, std::size_t payload_bytes) {
    std::array<std::byte, kIpv4Bytes> header{};
    header[0] = std::byte{0x45};
    store_be16(header, 2, static_cast<std::uint16_t>(kIpv4Bytes + payload_bytes));
    header[8] = std::byte{kTimeToLive};
    header[9] = std::byte{protocol};
    store_be32(header, 12, from.number());
    store_be32(header, 16, to.number());
    InternetSum sum;
    sum.add(header);
    store_be16(header, 10, sum.checksum());
    out.put(header);
}

/// The value of the first option of this code, in a DHCP message.
std::optional<ConstByteSpan> dhcp_option(ConstByteSpan message, std::uint8_t wanted) {
    ConstByteSpan rest = message.subspan(kDhcpOptionsAt);
    while (!rest.empty()) {
        auto const code = load<std::uint8_t>(rest);
        if (code == kEnd) break;
        if (code == 0) {  // padding
            rest = rest.subspan(1);
            continue;
        }
        if (rest.size() < 2) break;
        std::size_t const length = load<std::uint8_t>(rest, 1);
        if (rest.size() < 2 + length) break;
        if (code == wanted) return rest.subspan(2, length);
        rest = rest.subspan(2 + length);
    }
    return std::nullopt;
}

std::optional<Ipv4Address> dhcp_address_option(ConstByteSpan message, std::uint8_t code) {
    auto const value = dhcp_option(message, code);
    if (!value || value->size() != 4) return std::nullopt;
    return address_at(*value, 0);
}

void put_address_option(Writer& out, DhcpOption code, Ipv4Address address) {
    out.put8(code);
    out.put8(4);
    out.put32(address.number());
}

void put_text_option(Writer& out, DhcpOption code, std::string_view text) {
    if (text.empty() || text.size() > 63) return;
    out.put8(code);
    out.put8(static_cast<std::uint8_t>(text.size()));
    out.put_text(text);
}

// DNS ([RFC1035] 4.1)
constexpr std::size_t kDnsHeaderBytes = 12;
constexpr std::size_t kLongestDnsName = 255;
constexpr std::uint16_t kTypeA = 1;
constexpr std::uint16_t kTypePtr = 12;
constexpr std::uint16_t kClassInternet = 1;
constexpr std::uint16_t kResponse = 0x8400;  // QR, AA
constexpr std::uint16_t kRecursionDesired = 0x0100;
constexpr std::uint16_t kRecursionAvailable = 0x0080;
constexpr std::uint16_t kOpcodeAndResponse = 0xF800;
constexpr std::uint16_t kNoSuchName = 3;
constexpr std::uint16_t kRefused = 5;
constexpr std::uint16_t kFormatError = 1;
constexpr std::uint32_t kTimeToLiveSeconds = 60;
constexpr std::uint16_t kPointerToQuestion = 0xC000 | kDnsHeaderBytes;

struct Question {
    std::string name;   ///< in small letters, with dots, without the last one
    ConstByteSpan raw;  ///< name, type and class as they were sent
    std::uint16_t type;
    std::uint16_t klass;
};

/// The only question of a query.
std::optional<Question> question_of(ConstByteSpan query) {
    Question question{};
    std::size_t at = kDnsHeaderBytes;
    while (at < query.size()) {
        std::size_t const length = load<std::uint8_t>(query, at++);
        if (length == 0) break;
        // 64 and above: a pointer, which a question has no use for.
        if (length > 63 || at + length > query.size() || at + length > kDnsHeaderBytes + kLongestDnsName) return {};
        if (!question.name.empty()) question.name += '.';
        for (std::byte const letter : query.subspan(at, length)) {
            char const c = static_cast<char>(letter);
            question.name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        }
        at += length;
    }
    if (at + 4 > query.size()) return std::nullopt;
    question.type = load_be16(query, at);
    question.klass = load_be16(query, at + 2);
    question.raw = query.subspan(kDnsHeaderBytes, at + 4 - kDnsHeaderBytes);
    return question;
}

/// "alpha" of "alpha" and "alpha.rack".
std::string_view without_domain(std::string_view name) {
    std::size_t const tail = kLinkDomain.size() + 1;
    bool const has_domain = name.size() > tail && name.ends_with(kLinkDomain) && name[name.size() - tail] == '.';
    return has_domain ? name.substr(0, name.size() - tail) : name;
}

/// The address of "10.0.77.10.in-addr.arpa", which is written backwards.
std::optional<Ipv4Address> reverse_address(std::string_view name) {
    constexpr std::string_view kSuffix = ".in-addr.arpa";
    if (!name.ends_with(kSuffix)) return std::nullopt;
    auto const backwards = read_ipv4(name.substr(0, name.size() - kSuffix.size()));
    if (!backwards) return std::nullopt;
    return Ipv4Address{__builtin_bswap32(backwards->number())};
}

char small(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_same_name(std::string_view one, std::string_view other) {
    return std::ranges::equal(one, other, {}, small, small);
}

void put_dns_name(Writer& out, std::string_view label) {
    out.put8(static_cast<std::uint8_t>(label.size()));
    out.put_text(label);
}

}  // namespace

std::size_t AddressPlan::capacity() const {
    std::uint32_t const taken = kFirstMemberHost + static_cast<std::uint32_t>(kMostGuests) - 1;
    return subnet.last_host() > taken ? subnet.last_host() - taken : 0;
}

std::optional<Ipv4Address> AddressPlan::find(std::string_view name) const {
    auto const found =
        std::ranges::find_if(members, [&](Member const& m) { return !m.name.empty() && is_same_name(m.name, name); });
    if (found == members.end()) return std::nullopt;
    return address_of(static_cast<std::size_t>(found - members.begin()));
}

struct AddressService::Udp {
    MacAddress mac;  ///< of the machine
    Ipv4Address from;
    Ipv4Address to;
    std::uint16_t from_port;
    std::uint16_t to_port;
    ConstByteSpan payload;
};

void AddressService::take(ConstByteSpan frame, Ticks sent, Offload const&) {
    if (frame.size() < kEthernetBytes) return;
    std::uint16_t const type = load_be16(frame, kEtherTypeAt);
    if (type == kArp) take_arp(frame, sent);
    if (type == kIpv4) take_ipv4(frame, sent);
}

void AddressService::take_arp(ConstByteSpan frame, Ticks sent) {
    ConstByteSpan const arp = frame.subspan(kEthernetBytes);
    if (arp.size() < kArpBytes || load_be32(arp, 0) != 0x0001'0800 || load_be16(arp, 4) != 0x0604) return;
    if (load_be16(arp, 6) != kArpRequest || address_at(arp, 24) != plan_.service()) return;
    auto const asker = load<MacAddress>(arp, 8);
    Writer out;
    put_ethernet(out, asker, mac(), kArp);
    out.put(arp.first(6));
    out.put16(kArpReply);
    out.put(bytes_of(mac()));
    out.put32(plan_.service().number());
    out.put(arp.subspan(8, 10));  // the asker's two addresses
    send(out.take(), sent);
}

void AddressService::take_ipv4(ConstByteSpan frame, Ticks sent) {
    auto const packet = ipv4_packet(frame);
    if (!packet) return;
    auto const protocol = load<std::uint8_t>(*packet, 9);
    Ipv4Address const to = address_at(*packet, 16);
    if (protocol == kIcmp && to == plan_.service()) return take_ping(frame, *packet, sent);
    ConstByteSpan const udp = packet->subspan(kIpv4Bytes);
    if (protocol != kUdp || udp.size() < kUdpBytes) return;
    std::size_t const length = load_be16(udp, 4);
    if (length < kUdpBytes || length > udp.size()) return;
    // The checksum is not looked at: between machines of one rack there is nothing that could have changed a bit.
    Udp const datagram{load<MacAddress>(frame, 6), address_at(*packet, 12), to,
                       load_be16(udp, 0),          load_be16(udp, 2),       udp.subspan(kUdpBytes, length - kUdpBytes)};
    if (datagram.to_port == kDhcpServerPort) take_dhcp(datagram.payload, sent);
    if (datagram.to_port == kDnsPort && to == plan_.service()) take_dns(datagram, sent);
}

void AddressService::take_ping(ConstByteSpan frame, ConstByteSpan packet, Ticks sent) {
    ConstByteSpan const icmp = packet.subspan(kIpv4Bytes);
    constexpr std::byte kEchoRequest{8};
    if (icmp.size() < 8 || icmp[0] != kEchoRequest || icmp[1] != std::byte{0}) return;
    std::vector<std::byte> reply(icmp.begin(), icmp.end());
    reply[0] = std::byte{0};
    store_be16(reply, 2, 0);
    InternetSum sum;
    sum.add(reply);
    store_be16(reply, 2, sum.checksum());
    Writer out;
    put_ethernet(out, load<MacAddress>(frame, 6), mac(), kIpv4);
    put_ipv4(out, kIcmp, plan_.service(), address_at(packet, 12), reply.size());
    out.put(reply);
    send(out.take(), sent);
}

/// A member's address is its place; anyone else gets one for good, in the order of asking, until they are used up.
std::optional<Ipv4Address> AddressService::address_for(MacAddress mac) {
    auto const member = std::ranges::find(plan_.members, mac, &AddressPlan::Member::mac);
    if (member != plan_.members.end()) {
        auto const number = static_cast<std::size_t>(member - plan_.members.begin());
        if (number >= plan_.capacity()) return std::nullopt;
        return plan_.address_of(number);
    }
    auto const guest = std::ranges::find(guests_, mac);
    auto const number = static_cast<std::uint32_t>(guest - guests_.begin());
    if (number >= AddressPlan::kMostGuests || plan_.capacity() == 0) return std::nullopt;
    if (guest == guests_.end()) guests_.push_back(mac);
    return plan_.subnet.host(plan_.subnet.last_host() - number);
}

std::string_view AddressService::name_of(MacAddress mac) const {
    auto const member = std::ranges::find(plan_.members, mac, &AddressPlan::Member::mac);
    return member == plan_.members.end() ? std::string_view{} : std::string_view{member->name};
}

void AddressService::take_dhcp(ConstByteSpan message, Ticks sent) {
    if (message.size() < kDhcpOptionsAt || load<std::uint8_t>(message) != kBootRequest) return;
    if (load_be32(message, kDhcpFixedBytes) != kDhcpCookie || load_be16(message, 1) != 0x0106) return;
    auto const type = dhcp_option(message, kMessageType);
    if (!type || type->size() != 1) return;
    auto const address = address_for(load<MacAddress>(message, 28));
    if (!address) return;
    auto const server = dhcp_address_option(message, kServerId);
    Ipv4Address const current = address_at(message, 12);
    Ipv4Address const wanted = dhcp_address_option(message, kRequestedAddress).value_or(current);
    switch (std::to_integer<std::uint8_t>((*type)[0])) {
        case kDiscover:
            return answer_dhcp(message, kOffer, *address, sent);
        case kRequest:
            if (server && *server != plan_.service()) return;  // another server was chosen
            if (wanted == *address) ++leases_;
            return answer_dhcp(message, wanted == *address ? kAck : kNak, *address, sent);
        case kInform:
            return answer_dhcp(message, kAck, Ipv4Address{}, sent);
        default:
            return;  // a release or decline changes nothing: the address stays the machine's
    }
}

void AddressService::answer_dhcp(ConstByteSpan request, std::uint8_t type, Ipv4Address address, Ticks sent) {
    bool const is_granted = type != kNak;
    auto const client = load<MacAddress>(request, 28);
    Writer out;
    out.put8(kBootReply);
    out.put(request.subspan(1, 2));  // Ethernet, six bytes
    out.put8(0);
    out.put(request.subspan(4, 4));  // the transaction
    out.put16(0);
    out.put(request.subspan(10, 2));  // flags
    out.put32(address_at(request, 12).number());
    out.put32(is_granted ? address.number() : 0);
    out.put32(is_granted ? plan_.service().number() : 0);
    out.put32(0);
    out.put(request.subspan(28, 16));
    out.pad_to(kDhcpFixedBytes);
    out.put32(kDhcpCookie);
    out.put8(kMessageType);
    out.put8(1);
    out.put8(type);
    put_address_option(out, kServerId, plan_.service());
    if (is_granted) {
        if (address != Ipv4Address{}) put_address_option(out, kLeaseTime, Ipv4Address{kLeaseSeconds});
        put_address_option(out, kSubnetMask, Ipv4Address{plan_.subnet.mask()});
        if (plan_.has_gateway) put_address_option(out, kRouter, plan_.gateway());
        out.put8(kNameServer);
        out.put8(plan_.has_gateway ? 8 : 4);
        out.put32(plan_.service().number());
        if (plan_.has_gateway) out.put32(plan_.outside_names().number());
        put_text_option(out, kHostName, name_of(client));
        put_text_option(out, kDomainName, kLinkDomain);
    }
    out.put8(kEnd);
    out.pad_to(kDhcpLeastBytes);
    Ipv4Address const current = address_at(request, 12);
    bool const is_broadcast = !is_granted || (load_be16(request, 10) & kBroadcastFlag) != 0;
    Ipv4Address const to = current != Ipv4Address{} ? current : address;
    std::vector<std::byte> const payload = out.take();
    send_udp({is_broadcast ? kEveryone : client, plan_.service(), is_broadcast ? kEveryAddress : to, kDhcpServerPort,
              kDhcpClientPort, payload},
             sent);
}

void AddressService::send_udp(Udp const& reply, Ticks sent) {
    std::size_t const udp_bytes = kUdpBytes + reply.payload.size();
    Writer udp;
    udp.put16(reply.from_port);
    udp.put16(reply.to_port);
    udp.put16(static_cast<std::uint16_t>(udp_bytes));
    udp.put16(0);
    udp.put(reply.payload);
    std::vector<std::byte> datagram = udp.take();
    InternetSum sum;
    sum.add_word(static_cast<std::uint16_t>(reply.from.number() >> 16));
    sum.add_word(static_cast<std::uint16_t>(reply.from.number()));
    sum.add_word(static_cast<std::uint16_t>(reply.to.number() >> 16));
    sum.add_word(static_cast<std::uint16_t>(reply.to.number()));
    sum.add_word(kUdp);
    sum.add_word(static_cast<std::uint16_t>(udp_bytes));
    sum.add(datagram);
    std::uint16_t const checksum = sum.checksum();
    store_be16(datagram, 6, checksum == 0 ? 0xFFFF : checksum);  // 0 would mean that there is none ([RFC768])
    Writer out;
    put_ethernet(out, reply.mac, mac(), kIpv4);
    put_ipv4(out, kUdp, reply.from, reply.to, datagram.size());
    out.put(datagram);
    send(out.take(), sent);
}

void AddressService::take_dns(Udp const& query, Ticks sent) {
    std::vector<std::byte> const answer = dns_answer(query.payload);
    if (answer.empty()) return;
    ++answers_;
    send_udp({query.mac, plan_.service(), query.from, kDnsPort, query.from_port, answer}, sent);
}

std::optional<std::string> AddressService::name_at(Ipv4Address address) const {
    for (std::size_t i = 0; i < plan_.members.size(); ++i) {
        if (plan_.address_of(i) == address && !plan_.members[i].name.empty()) return plan_.members[i].name;
    }
    return std::nullopt;
}

/// Empty when the query deserves no answer.
std::vector<std::byte> AddressService::dns_answer(ConstByteSpan query) const {
    if (query.size() < kDnsHeaderBytes) return {};
    std::uint16_t const flags = load_be16(query, 2);
    if ((flags & kOpcodeAndResponse) != 0) return {};
    auto const question = load_be16(query, 4) == 1 ? question_of(query) : std::nullopt;
    std::optional<Ipv4Address> address;
    std::optional<std::string> name;
    std::uint16_t code = question ? 0 : kFormatError;
    if (question) {
        address = plan_.find(without_domain(question->name));
        if (auto const reversed = reverse_address(question->name)) name = name_at(*reversed);
        // Where there is another server that knows more, this one must not say that a name does not exist.
        if (!address && !name) code = plan_.has_gateway ? kRefused : kNoSuchName;
    }
    bool const is_address = address && question->type == kTypeA && question->klass == kClassInternet;
    bool const is_name = name && question->type == kTypePtr && question->klass == kClassInternet;
    Writer out;
    out.put(query.first(2));
    out.put16(static_cast<std::uint16_t>(kResponse | kRecursionAvailable | (flags & kRecursionDesired) | code));
    out.put16(question ? 1 : 0);
    out.put16(is_address || is_name ? 1 : 0);
    out.put32(0);
    if (question) out.put(question->raw);
    if (is_address || is_name) {
        out.put16(kPointerToQuestion);
        out.put16(question->type);
        out.put16(kClassInternet);
        out.put32(kTimeToLiveSeconds);
    }
    if (is_address) {
        out.put16(4);
        out.put32(address->number());
    } else if (is_name) {
        out.put16(static_cast<std::uint16_t>(name->size() + kLinkDomain.size() + 3));
        put_dns_name(out, *name);
        put_dns_name(out, kLinkDomain);
        out.put8(0);
    }
    return out.take();
}

}  // namespace backplane
