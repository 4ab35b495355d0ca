#include "device/flow.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

namespace backplane {
namespace {

using Bytes = std::vector<std::byte>;

struct Packet {
    bool is_tagged{false};
    std::uint8_t protocol{6};
    std::uint8_t last_address_byte{2};
    std::uint16_t source_port{40000};
    std::uint16_t fragment{0};
    std::size_t option_bytes{0};
};

void put(Bytes& bytes, std::initializer_list<int> values) {
    for (int const value : values) bytes.push_back(static_cast<std::byte>(value));
}
void put_ports(Bytes& bytes, Packet const& packet) {
    put(bytes, {packet.source_port >> 8, packet.source_port & 0xFF, 0x14, 0x51});
    bytes.resize(bytes.size() + 16);
}
Bytes ethernet(Packet const& packet, int type_high, int type_low) {
    Bytes bytes(12);
    if (packet.is_tagged) put(bytes, {0x81, 0x00, 0x00, 0x2A});
    put(bytes, {type_high, type_low});
    return bytes;
}
Bytes ipv4(Packet const& packet) {
    Bytes bytes = ethernet(packet, 0x08, 0x00);
    put(bytes, {static_cast<int>(0x45 + packet.option_bytes / 4), 0, 0, 40, 0, 0});
    put(bytes, {packet.fragment >> 8, packet.fragment & 0xFF, 64, packet.protocol, 0, 0});
    put(bytes, {10, 0, 0, 1, 10, 0, 0, packet.last_address_byte});
    bytes.resize(bytes.size() + packet.option_bytes);
    put_ports(bytes, packet);
    return bytes;
}
Bytes ipv6(Packet const& packet) {
    Bytes bytes = ethernet(packet, 0x86, 0xDD);
    put(bytes, {0x60, 0, 0, 0, 0, 20, packet.protocol, 64});
    bytes.resize(bytes.size() + 31);
    put(bytes, {packet.last_address_byte});
    put_ports(bytes, packet);
    return bytes;
}

using Make = Bytes (*)(Packet const&);
constexpr std::array<Make, 2> kBoth{ipv4, ipv6};

TEST(FlowHash, DependsOnAddressesProtocolAndPorts) {
    for (Make const make : kBoth) {
        std::set<std::uint64_t> const hashes{flow_hash(make({})), flow_hash(make({.source_port = 40001})),
                                             flow_hash(make({.protocol = 17})),
                                             flow_hash(make({.last_address_byte = 3}))};
        EXPECT_EQ(hashes.size(), 4U);
        EXPECT_FALSE(hashes.contains(0));
        EXPECT_EQ(flow_hash(make({})), flow_hash(make({})));
    }
}

TEST(FlowHash, DoesNotDependOnTagsOptionsOrData) {
    EXPECT_EQ(flow_hash(ipv4({.is_tagged = true})), flow_hash(ipv4({})));
    EXPECT_EQ(flow_hash(ipv6({.is_tagged = true})), flow_hash(ipv6({})));
    EXPECT_EQ(flow_hash(ipv4({.option_bytes = 40})), flow_hash(ipv4({})));
    Bytes changed = ipv4({});
    changed.back() = std::byte{0x55};   // of TCP
    changed[14 + 4] = std::byte{0x77};  // identification
    changed[14 + 6] = std::byte{0x40};  // "do not fragment"
    changed[14 + 8] = std::byte{3};     // time to live
    EXPECT_EQ(flow_hash(changed), flow_hash(ipv4({})));
}

TEST(FlowHash, FragmentsOfAPacketStayTogether) {
    std::uint64_t const first = flow_hash(ipv4({.fragment = 0x2000}));
    EXPECT_EQ(flow_hash(ipv4({.source_port = 7, .fragment = 0x00B9})), first) << "data where the ports would be";
    EXPECT_NE(first, flow_hash(ipv4({})));
}

TEST(FlowHash, OfAnotherProtocolByAddresses) {
    for (Make const make : kBoth) {
        EXPECT_EQ(flow_hash(make({.protocol = 1, .source_port = 7})), flow_hash(make({.protocol = 1})));
        EXPECT_NE(flow_hash(make({.protocol = 1, .last_address_byte = 9})), flow_hash(make({.protocol = 1})));
    }
}

TEST(FlowHash, IsNothingForWhatIsNotIp) {
    Bytes arp = ethernet({}, 0x08, 0x06);
    arp.resize(60, std::byte{0x11});
    EXPECT_EQ(flow_hash(arp), 0U);
    EXPECT_EQ(flow_hash({}), 0U);
}

// Any length and any bytes: nothing is read behind the end, which the sanitizers would see.
TEST(FlowHash, TakesAnything) {
    for (Make const make : kBoth) {
        for (Packet const& packet : {Packet{}, Packet{.is_tagged = true}, Packet{.option_bytes = 40}}) {
            Bytes const whole = make(packet);
            for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
                Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes));
                cut.shrink_to_fit();
                bool const has_addresses = flow_hash(cut) != 0;
                EXPECT_TRUE(has_addresses || bytes < 14 + 40 + 4) << bytes;
            }
        }
    }
    for (int length = 0; length < 16; ++length) {
        Bytes odd = ipv4({});
        odd[14] = static_cast<std::byte>(0x40 + length);  // a header shorter than its own, or longer than the frame
        (void)flow_hash(odd);
    }
}

// What steering needs: few flows, whose ports follow each other, find several of few queues.
TEST(FlowHash, SpreadsNeighbouringPorts) {
    for (std::uint64_t queues = 2; queues <= 16; ++queues) {
        std::vector<unsigned> flows(queues);
        for (std::uint16_t i = 0; i < 1024; ++i)
            ++flows[flow_hash(ipv4({.source_port = static_cast<std::uint16_t>(32768 + 2 * i)})) % queues];
        for (unsigned const count : flows) {
            EXPECT_GT(count * queues, 512U) << queues;
            EXPECT_LT(count * queues, 2048U) << queues;
        }
    }
}

}  // namespace
}  // namespace backplane
