// The address and name service of a link: gives machines their addresses by DHCP and answers for their names by DNS,
// so that machines on a link reach each other by name with nothing set up.
//
// A pure function of the link's members and of what machines ask, so it changes nothing about a run's repeatability. It
// answers only what is sent to it: ARP and ping for its own address, DHCP, and DNS queries over UDP. What else is sent,
// or cannot be understood, is dropped.
//
// Sources: [RFC826], [RFC2131] 3 and 4.3, [RFC2132] 3 to 9, [RFC1035] 4, [RFC792]
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/ipv4.h"
#include "device/packet_port.h"

namespace backplane {

struct AddressPlan {
    /// Where the numbers of hosts begin for what they are used for.
    static constexpr std::uint32_t kServiceHost = 1;
    static constexpr std::uint32_t kGatewayHost = 2;
    static constexpr std::uint32_t kOutsideNamesHost = 3;
    static constexpr std::uint32_t kFirstMemberHost = 10;
    /// Addresses for those that are no members, such as a bridge in a guest.
    static constexpr std::size_t kMostGuests = 64;

    struct Member {
        MacAddress mac;
        std::string name;  ///< empty: it has none
        bool operator==(Member const&) const = default;
    };

    Ipv4Subnet subnet{};
    std::vector<Member> members{};  ///< in the order of their addresses
    /// The link has a way out: a router, and a name server that knows other names.
    bool has_gateway{false};

    [[nodiscard]] Ipv4Address service() const { return subnet.host(kServiceHost); }
    [[nodiscard]] Ipv4Address gateway() const { return subnet.host(kGatewayHost); }
    [[nodiscard]] Ipv4Address outside_names() const { return subnet.host(kOutsideNamesHost); }
    [[nodiscard]] Ipv4Address address_of(std::size_t member) const {
        return subnet.host(kFirstMemberHost + static_cast<std::uint32_t>(member));
    }
    /// How many members the subnet has addresses for.
    [[nodiscard]] std::size_t capacity() const;
    /// The first member of that name.
    [[nodiscard]] std::optional<Ipv4Address> find(std::string_view name) const;
};

inline constexpr std::string_view kLinkDomain = "rack";

class AddressService final : public PacketPort {
  public:
    AddressService(MacAddress address, AddressPlan plan) : PacketPort{address}, plan_{std::move(plan)} {}

    [[nodiscard]] AddressPlan const& plan() const { return plan_; }
    [[nodiscard]] std::uint64_t leases() const { return leases_; }
    [[nodiscard]] std::uint64_t answers() const { return answers_; }

  private:
    struct Udp;
    void take(ConstByteSpan frame, Ticks sent, Offload const& lacks) override;
    void take_arp(ConstByteSpan frame, Ticks sent);
    void take_ipv4(ConstByteSpan frame, Ticks sent);
    void take_ping(ConstByteSpan frame, ConstByteSpan packet, Ticks sent);
    void take_dhcp(ConstByteSpan message, Ticks sent);
    void take_dns(Udp const& query, Ticks sent);

    void answer_dhcp(ConstByteSpan request, std::uint8_t type, Ipv4Address address, Ticks sent);
    void send_udp(Udp const& reply, Ticks sent);
    [[nodiscard]] std::optional<Ipv4Address> address_for(MacAddress mac);
    [[nodiscard]] std::string_view name_of(MacAddress mac) const;
    [[nodiscard]] std::optional<std::string> name_at(Ipv4Address address) const;
    [[nodiscard]] std::vector<std::byte> dns_answer(ConstByteSpan query) const;

    AddressPlan plan_;
    std::vector<MacAddress> guests_;  // those that are no members, in the order in which they asked; bounded
    std::uint64_t leases_{0};
    std::uint64_t answers_{0};
};

}  // namespace backplane
