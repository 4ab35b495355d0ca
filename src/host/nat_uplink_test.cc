#include "host/nat_uplink.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "device/checksum.h"

namespace backplane {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint32_t kNetwork = 0x0A4D0000;  // 10.77.0.0
constexpr std::uint32_t kGateway = kNetwork + 2;
constexpr std::uint32_t kMachine = kNetwork + 10;
constexpr MacAddress kMachineMac{2, 0, 0, 0, 0, 0xA};
constexpr MacAddress kBroadcast{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};

NatOptions options() {
    return {.network = kNetwork,
            .mask = 0xFFFFFF00,
            .gateway = kGateway,
            .name_server = kNetwork + 3,
            .first_dhcp = kMachine,
            .host_access = NatOptions::HostAccess::yes};
}

void put32(Bytes& bytes, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::byte>(value >> shift));
}
void put16(Bytes& bytes, std::size_t value) {
    bytes.push_back(static_cast<std::byte>(value >> 8));
    bytes.push_back(static_cast<std::byte>(value));
}
void put(Bytes& bytes, ConstByteSpan more) {
    std::size_t const end = bytes.size();
    bytes.resize(end + more.size());
    std::ranges::copy(more, bytes.begin() + static_cast<std::ptrdiff_t>(end));
}

Bytes arp(std::uint16_t operation, MacAddress to, std::uint32_t target) {
    Bytes bytes;
    put(bytes, bytes_of(to));
    put(bytes, bytes_of(kMachineMac));
    for (std::size_t const word : {0x0806, 0x0001, 0x0800, 0x0604}) put16(bytes, word);
    put16(bytes, operation);
    put(bytes, bytes_of(kMachineMac));
    put32(bytes, kMachine);
    bytes.resize(bytes.size() + 6);
    put32(bytes, target);
    return bytes;
}

Bytes udp(MacAddress to_mac, std::uint32_t to, std::uint16_t from_port, std::uint16_t to_port, std::string_view text) {
    Bytes ip;
    put16(ip, 0x4500);
    put16(ip, 28 + text.size());
    put32(ip, 0);
    put32(ip, 0x4011'0000);
    put32(ip, kMachine);
    put32(ip, to);
    InternetSum sum;
    sum.add(ip);
    store_be16(ip, 10, sum.checksum());
    Bytes bytes;
    put(bytes, bytes_of(to_mac));
    put(bytes, bytes_of(kMachineMac));
    put16(bytes, 0x0800);
    put(bytes, ip);
    for (std::size_t const word : {std::size_t{from_port}, std::size_t{to_port}, 8 + text.size(), std::size_t{0}}) {
        put16(bytes, word);
    }
    put(bytes, std::as_bytes(std::span{text}));
    return bytes;
}

struct HostSocket {
    explicit HostSocket(int type) : fd{::socket(AF_INET, type | SOCK_CLOEXEC, 0)} {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        socklen_t length = sizeof address;
        ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
        port = ntohs(address.sin_port);
    }
    UniqueFd fd;
    std::uint16_t port{0};
};

struct NatUplinkTest : testing::Test {
    void start(NatOptions const& with) {
        auto created = NatUplink::create(with);
        ASSERT_TRUE(created) << created.error().message;
        nat = *std::move(created);
        nat->set_carrier(true);
    }
    void send(Bytes const& frame) {
        ConstByteSpan const piece{frame};
        EXPECT_EQ(nat->receive({{&piece, 1}, static_cast<std::uint32_t>(frame.size()), now}), ReceiveResult::landed);
    }
    /// The next frame for the machine, waiting for the host as long as a slow one may take.
    std::optional<Bytes> next() {
        std::array<Pollable*, 1> const all{nat.get()};
        for (int i = 0; i < 500 && nat->front() == nullptr; ++i) {
            now = now + milliseconds(10);
            poll_all(all, std::chrono::milliseconds{10}, now);
        }
        if (nat->front() == nullptr) return std::nullopt;
        ConstByteSpan const piece = nat->front()->pieces[0];
        Bytes bytes(piece.begin(), piece.end());
        nat->take_front();
        return bytes;
    }
    MacAddress gateway_mac() {
        send(arp(1, kBroadcast, kGateway));
        auto const answer = next();
        EXPECT_TRUE(answer);
        return answer ? load<MacAddress>(*answer, 6) : MacAddress{};
    }
    std::unique_ptr<NatUplink> nat;
    Ticks now{milliseconds(1)};
};

TEST_F(NatUplinkTest, TheRouterAnswersAndDatagramsGoOutAndComeBack) {
    start(options());
    MacAddress const router = gateway_mac();
    HostSocket const server{SOCK_DGRAM};
    send(udp(router, kGateway, 4000, server.port, "hello"));
    std::array<char, 64> text{};
    sockaddr_in peer{};
    socklen_t length = sizeof peer;
    ssize_t const count =
        ::recvfrom(server.fd.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&peer), &length);
    ASSERT_EQ(std::string_view(text.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0))), "hello");
    ::sendto(server.fd.get(), "there", 5, 0, reinterpret_cast<sockaddr*>(&peer), length);
    std::optional<Bytes> answer = next();
    // It may ask for the machine's address first.
    for (int i = 0; i < 3 && answer && load_be16(*answer, 12) == 0x0806; ++i) {
        send(arp(2, load<MacAddress>(*answer, 6), kGateway));
        answer = next();
    }
    ASSERT_TRUE(answer);
    EXPECT_EQ(load<MacAddress>(*answer, 0), kMachineMac);
    EXPECT_EQ(load_be16(*answer, 36), 4000);
    EXPECT_EQ(std::string_view(reinterpret_cast<char const*>(answer->data()) + 42, 5), "there");
}

TEST_F(NatUplinkTest, DhcpIsLeftToTheLink) {
    start(options());
    send(udp(kBroadcast, 0xFFFF'FFFF, 68, 67, std::string(300, '\1')));
    send(Bytes(3));
    send(Bytes(30));
    send(arp(1, kBroadcast, kGateway));
    auto const answer = next();
    ASSERT_TRUE(answer);
    EXPECT_EQ(load_be16(*answer, 12), 0x0806) << "nothing came before it";
}

TEST_F(NatUplinkTest, AForwardOfATakenPortIsRefusedInOneLine) {
    HostSocket const taken{SOCK_STREAM};
    ASSERT_EQ(::listen(taken.fd.get(), 1), 0);
    NatOptions with = options();
    with.forwards.push_back({.host_port = taken.port, .machine_address = kMachine, .machine_port = 22});
    auto const created = NatUplink::create(with);
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().message,
              "forward: tcp port " + std::to_string(taken.port) + " of the host: Address already in use");
}

}  // namespace
}  // namespace backplane
