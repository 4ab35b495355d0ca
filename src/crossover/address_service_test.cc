#include "crossover/address_service.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "device/checksum.h"

namespace backplane {
namespace {

using Bytes = std::vector<std::byte>;

constexpr MacAddress kAlpha{2, 0, 0, 0, 0, 0xA};
constexpr MacAddress kBeta{2, 0, 0, 0, 0, 0xB};
constexpr MacAddress kStranger{2, 0, 0, 0, 0, 0xC};
constexpr MacAddress kService{2, 0, 0, 0, 0, 1};
constexpr MacAddress kBroadcast{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
constexpr Ipv4Address kAlphaAddress{10, 77, 0, 10};
constexpr Ipv4Address kBetaAddress{10, 77, 0, 11};
constexpr Ipv4Address kServiceAddress{10, 77, 0, 1};

Bytes operator+(Bytes one, Bytes const& other) {
    one.insert(one.end(), other.begin(), other.end());
    return one;
}
Bytes hex(std::string_view text) {
    Bytes bytes;
    auto const digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::string digits;
    for (char const c : text) {
        if (c != ' ') digits += c;
    }
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
        bytes.push_back(static_cast<std::byte>(digit(digits[i]) << 4 | digit(digits[i + 1])));
    }
    return bytes;
}
Bytes of(MacAddress mac) {
    ConstByteSpan const bytes = bytes_of(mac);
    return {bytes.begin(), bytes.end()};
}
Bytes of(Ipv4Address address) {
    Bytes bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::byte>(address.number() >> shift));
    return bytes;
}
Bytes be16(std::size_t value) { return {static_cast<std::byte>(value >> 8), static_cast<std::byte>(value)}; }
Bytes text(std::string_view letters) {
    Bytes bytes;
    for (char const letter : letters) bytes.push_back(static_cast<std::byte>(letter));
    return bytes;
}

Bytes ipv4(std::uint8_t protocol, Ipv4Address from, Ipv4Address to, Bytes const& payload) {
    Bytes header = hex("4500") + be16(20 + payload.size()) + hex("00000000 40") + Bytes{std::byte{protocol}} +
                   hex("0000") + of(from) + of(to);
    InternetSum sum;
    sum.add(header);
    store_be16(header, 10, sum.checksum());
    return header + payload;
}
Bytes udp(std::uint16_t from, std::uint16_t to, Bytes const& payload) {
    return be16(from) + be16(to) + be16(8 + payload.size()) + hex("0000") + payload;
}

struct AddressServiceTest : testing::Test {
    AddressServiceTest() { service.set_carrier(true); }

    /// \return what comes back, without padding where the packet says how long it is
    std::optional<Bytes> ask(Bytes const& frame) {
        ConstByteSpan const piece{frame};
        EXPECT_EQ(service.receive({{&piece, 1}, static_cast<std::uint32_t>(frame.size()), Ticks{77}}),
                  ReceiveResult::landed);
        Frame const* const answer = service.front();
        if (answer == nullptr) return std::nullopt;
        EXPECT_EQ(answer->sent, Ticks{77}) << "the answer is as old as the question";
        Bytes bytes(answer->pieces[0].begin(), answer->pieces[0].end());
        service.take_front();
        EXPECT_EQ(service.front(), nullptr);
        if (load_be16(bytes, 12) == 0x0800) check_sums(bytes);
        return bytes;
    }
    static void check_sums(Bytes const& frame) {
        ConstByteSpan const packet = ConstByteSpan{frame}.subspan(14);
        InternetSum header;
        header.add(packet.first(20));
        EXPECT_EQ(header.checksum(), 0);
        if (packet[9] != std::byte{17}) return;
        std::size_t const bytes = load_be16(packet, 2) - 20U;
        InternetSum sum;
        sum.add(packet.subspan(12, 8));
        sum.add_word(17);
        sum.add_word(static_cast<std::uint16_t>(bytes));
        sum.add(packet.subspan(20, bytes));
        EXPECT_EQ(sum.checksum(), 0);
    }
    std::optional<Bytes> ask_udp(MacAddress from, Ipv4Address from_ip, Ipv4Address to, std::uint16_t port,
                                 Bytes const& payload) {
        Bytes const frame =
            of(kService) + of(from) + hex("0800") + ipv4(17, from_ip, to, udp(port == 67 ? 68 : 5353, port, payload));
        auto answer = ask(frame);
        if (!answer) return answer;
        EXPECT_EQ(load_be16(*answer, 34), port);
        std::size_t const length = load_be16(*answer, 38);
        return Bytes(answer->begin() + 42, answer->begin() + 34 + static_cast<std::ptrdiff_t>(length));
    }
    static Bytes dhcp(MacAddress from, Bytes const& options) {
        Bytes message = hex("01010600 11223344 0000 0000 00000000 00000000 00000000 00000000") + of(from);
        message.resize(236);
        return message + hex("63825363") + options + hex("ff");
    }
    std::optional<Bytes> ask_dhcp(MacAddress from, Bytes const& options) {
        return ask_udp(from, {}, Ipv4Address{255, 255, 255, 255}, 67, dhcp(from, options));
    }
    static std::optional<Bytes> option(Bytes const& message, unsigned wanted) {
        for (std::size_t at = 240; at < message.size();) {
            auto const code = std::to_integer<unsigned>(message[at]);
            if (code == 255) break;
            auto const length = std::to_integer<std::ptrdiff_t>(message[at + 1]);
            auto const value = message.begin() + static_cast<std::ptrdiff_t>(at) + 2;
            if (code == wanted) return Bytes(value, value + length);
            at += 2 + static_cast<std::size_t>(length);
        }
        return std::nullopt;
    }
    static Bytes query(std::string_view name, unsigned type) {
        Bytes bytes = hex("abcd 0100 0001 0000 0000 0000");
        while (!name.empty()) {
            std::size_t const end = std::min(name.find('.'), name.size());
            bytes = bytes + Bytes{static_cast<std::byte>(end)} + text(name.substr(0, end));
            name = name.substr(std::min(end + 1, name.size()));
        }
        return bytes + hex("00") + be16(type) + hex("0001");
    }
    std::optional<Bytes> ask_dns(std::string_view name, unsigned type = 1) {
        return ask_udp(kAlpha, kAlphaAddress, kServiceAddress, 53, query(name, type));
    }

    AddressPlan plan{.subnet = {Ipv4Address{10, 77, 0, 0}, 24}, .members = {{kAlpha, "alpha"}, {kBeta, "Beta"}}};
    AddressService service{kService, plan};
};

TEST_F(AddressServiceTest, AnswersArpForItselfOnly) {
    Bytes const question = of(kBroadcast) + of(kAlpha) + hex("0806 0001 0800 0604 0001") + of(kAlpha) +
                           of(kAlphaAddress) + of(MacAddress{}) + of(kServiceAddress);
    auto const answer = ask(question);
    ASSERT_TRUE(answer);
    Bytes const wanted = of(kAlpha) + of(kService) + hex("0806 0001 0800 0604 0002") + of(kService) +
                         of(kServiceAddress) + of(kAlpha) + of(kAlphaAddress);
    EXPECT_EQ(Bytes(answer->begin(), answer->begin() + 42), wanted);
    EXPECT_EQ(answer->size(), 60u) << "padded";
    Bytes other = question;
    other.back() = std::byte{11};
    EXPECT_FALSE(ask(other));
}

TEST_F(AddressServiceTest, AnswersPings) {
    Bytes const echo = hex("0800 f7fd 0001 0001");
    auto const answer = ask(of(kService) + of(kAlpha) + hex("0800") + ipv4(1, kAlphaAddress, kServiceAddress, echo));
    ASSERT_TRUE(answer);
    EXPECT_EQ(Bytes(answer->begin() + 34, answer->begin() + 42), hex("0000 fffd 0001 0001"));
}

TEST_F(AddressServiceTest, OffersAndGrantsEachMemberItsAddress) {
    auto const offer = ask_dhcp(kBeta, hex("350101"));
    ASSERT_TRUE(offer);
    EXPECT_EQ(Bytes(offer->begin() + 4, offer->begin() + 8), hex("11223344")) << "the transaction";
    EXPECT_EQ(Bytes(offer->begin() + 16, offer->begin() + 20), of(kBetaAddress));
    EXPECT_EQ(option(*offer, 53), hex("02"));
    EXPECT_EQ(option(*offer, 54), of(kServiceAddress));
    EXPECT_EQ(option(*offer, 1), hex("ffffff00"));
    EXPECT_EQ(option(*offer, 6), of(kServiceAddress));
    EXPECT_EQ(option(*offer, 12), text("Beta"));
    EXPECT_EQ(option(*offer, 15), text("rack"));
    EXPECT_EQ(option(*offer, 3), std::nullopt) << "an isolated link has no router";
    EXPECT_EQ(service.leases(), 0u);
    auto const granted = ask_dhcp(kBeta, hex("350103 3204") + of(kBetaAddress) + hex("3604") + of(kServiceAddress));
    ASSERT_TRUE(granted);
    EXPECT_EQ(option(*granted, 53), hex("05"));
    EXPECT_EQ(service.leases(), 1u);
}

TEST_F(AddressServiceTest, DeniesAnotherAddressAndIsSilentWhenAnotherServerIsMeant) {
    auto const denied = ask_dhcp(kBeta, hex("350103 3204") + of(kAlphaAddress));
    ASSERT_TRUE(denied);
    EXPECT_EQ(option(*denied, 53), hex("06"));
    EXPECT_EQ(Bytes(denied->begin() + 16, denied->begin() + 20), hex("00000000"));
    EXPECT_FALSE(ask_dhcp(kBeta, hex("350103 3204") + of(kBetaAddress) + hex("3604 0a4d0002")));
    EXPECT_FALSE(ask_dhcp(kBeta, hex("350107"))) << "a release";
}

TEST_F(AddressServiceTest, OthersGetAddressesInTheOrderOfAskingUntilTheyAreUsedUp) {
    auto const address = [&](MacAddress mac) -> std::optional<Bytes> {
        auto const offer = ask_dhcp(mac, hex("350101"));
        if (!offer) return std::nullopt;
        return Bytes(offer->begin() + 16, offer->begin() + 20);
    };
    EXPECT_EQ(address(kStranger), of(Ipv4Address{10, 77, 0, 254}));
    EXPECT_EQ(address({2, 9, 9, 9, 9, 9}), of(Ipv4Address{10, 77, 0, 253}));
    EXPECT_EQ(address(kStranger), of(Ipv4Address{10, 77, 0, 254})) << "for good";
    for (std::uint8_t i = 0; i < 70; ++i) static_cast<void>(address({2, 8, 0, 0, 0, i}));
    EXPECT_EQ(address({2, 7, 0, 0, 0, 0}), std::nullopt);
    EXPECT_TRUE(address(kAlpha)) << "members have theirs";
}

TEST_F(AddressServiceTest, NamesTheRouterAndTheOtherNamesWhereThereIsAWayOut) {
    plan.has_gateway = true;
    AddressService with_gateway{kService, plan};
    EXPECT_EQ(plan.gateway(), (Ipv4Address{10, 77, 0, 2}));
    with_gateway.set_carrier(true);
    Bytes const frame = of(kBroadcast) + of(kAlpha) + hex("0800") +
                        ipv4(17, {}, Ipv4Address{255, 255, 255, 255}, udp(68, 67, dhcp(kAlpha, hex("350101"))));
    ConstByteSpan const piece{frame};
    static_cast<void>(with_gateway.receive({{&piece, 1}, static_cast<std::uint32_t>(frame.size()), Ticks{}}));
    Frame const* const answer = with_gateway.front();
    ASSERT_NE(answer, nullptr);
    Bytes const message(answer->pieces[0].begin() + 42, answer->pieces[0].end());
    EXPECT_EQ(option(message, 3), of(Ipv4Address{10, 77, 0, 2}));
    EXPECT_EQ(option(message, 6), of(kServiceAddress) + of(Ipv4Address{10, 77, 0, 3}));
}

TEST_F(AddressServiceTest, KnowsTheNamesOfItsMembers) {
    Bytes const answered = hex("abcd 8580 0001 0001 0000 0000");
    Bytes const record = hex("c00c 0001 0001 0000003c 0004") + of(kBetaAddress);
    for (std::string_view const name : {"beta", "BETA.rack", "Beta"}) {
        auto const answer = ask_dns(name);
        ASSERT_TRUE(answer);
        EXPECT_EQ(Bytes(answer->begin(), answer->begin() + 12), answered);
        EXPECT_EQ(Bytes(answer->end() - 16, answer->end()), record);
    }
    EXPECT_EQ(service.answers(), 3u);
    auto const no_record = ask_dns("beta", 28);
    ASSERT_TRUE(no_record);
    EXPECT_EQ(Bytes(no_record->begin(), no_record->begin() + 12), hex("abcd 8580 0001 0000 0000 0000"))
        << "the name exists, without an IPv6 address";
    for (std::string_view const name : {"gamma", "beta.other", "rack", "a.beta"}) {
        auto const unknown = ask_dns(name);
        ASSERT_TRUE(unknown);
        EXPECT_EQ(Bytes(unknown->begin(), unknown->begin() + 12), hex("abcd 8583 0001 0000 0000 0000")) << name;
    }
}

TEST_F(AddressServiceTest, KnowsTheNameOfAnAddress) {
    auto const answer = ask_dns("11.0.77.10.in-addr.arpa", 12);
    ASSERT_TRUE(answer);
    Bytes const wanted = hex("c00c 000c 0001 0000003c 000b 04") + text("Beta") + hex("04") + text("rack") + hex("00");
    EXPECT_EQ(Bytes(answer->end() - static_cast<std::ptrdiff_t>(wanted.size()), answer->end()), wanted);
    auto const unknown = ask_dns("99.0.77.10.in-addr.arpa", 12);
    ASSERT_TRUE(unknown);
    EXPECT_EQ((*unknown)[3], std::byte{0x83});
}

TEST_F(AddressServiceTest, WhatCannotBeUnderstoodHasNoAnswerOrAnErrorAndNeverMore) {
    EXPECT_FALSE(ask({}));
    EXPECT_FALSE(ask(Bytes(13)));
    Bytes const whole = of(kService) + of(kAlpha) + hex("0800") +
                        ipv4(17, kAlphaAddress, kServiceAddress, udp(5353, 53, query("beta", 1)));
    for (std::size_t length = 0; length < whole.size(); ++length) {
        EXPECT_FALSE(ask(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)))) << length;
    }
    Bytes const query_bytes = query("beta", 1);
    for (std::size_t length = 12; length < query_bytes.size(); ++length) {
        Bytes const cut(query_bytes.begin(), query_bytes.begin() + static_cast<std::ptrdiff_t>(length));
        auto const answer = ask_udp(kAlpha, kAlphaAddress, kServiceAddress, 53, cut);
        ASSERT_TRUE(answer);
        EXPECT_EQ(*answer, hex("abcd 8581 0000 0000 0000 0000")) << "a format error";
    }
    EXPECT_FALSE(ask_udp(kAlpha, kAlphaAddress, kServiceAddress, 53, hex("abcd 8180 0001 0000 0000 0000")))
        << "an answer is not answered";
    auto const looping =
        ask_udp(kAlpha, kAlphaAddress, kServiceAddress, 53, hex("abcd 0100 0001 0000 0000 0000 c00c 0001 0001"));
    ASSERT_TRUE(looping);
    EXPECT_EQ((*looping)[3], std::byte{0x81});
    Bytes const options = dhcp(kAlpha, hex("350101"));
    for (std::size_t length = 0; length < 243; ++length) {
        Bytes const cut(options.begin(), options.begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_FALSE(ask_udp(kAlpha, {}, Ipv4Address{255, 255, 255, 255}, 67, cut)) << length;
    }
    EXPECT_FALSE(ask_dhcp(kAlpha, hex("35ff01")));
    EXPECT_FALSE(ask_dhcp(kAlpha, hex("3500")));
}

TEST(Ipv4, TextAndBack) {
    EXPECT_EQ(ipv4_text(Ipv4Address{10, 0, 2, 255}), "10.0.2.255");
    EXPECT_EQ(read_ipv4("10.0.2.255"), (Ipv4Address{10, 0, 2, 255}));
    for (std::string_view const bad : {"", "10", "10.0.2", "10.0.2.256", "10.0.2.1.1", "10.0.2.1x", "10..2.1",
                                       " 1.1.1.1", "1.1.1.", "0001.1.1.1", "-1.1.1.1"}) {
        EXPECT_EQ(read_ipv4(bad), std::nullopt) << bad;
    }
    Ipv4Subnet const subnet{Ipv4Address{192, 168, 4, 0}, 22};
    EXPECT_EQ(subnet.last_host(), 1022u);
    EXPECT_TRUE(subnet.contains(Ipv4Address{192, 168, 7, 255}));
    EXPECT_FALSE(subnet.contains(Ipv4Address{192, 168, 8, 0}));
}

}  // namespace
}  // namespace backplane
