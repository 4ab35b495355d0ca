// IPv4 addresses as numbers, and the text of them.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace backplane {

class Ipv4Address {
  public:
    constexpr Ipv4Address() = default;
    constexpr explicit Ipv4Address(std::uint32_t number) : number_{number} {}
    /// Four octets in the order in which they are written.
    constexpr Ipv4Address(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d)
        : number_{std::uint32_t{a} << 24 | std::uint32_t{b} << 16 | std::uint32_t{c} << 8 | d} {}
    /// The first octet in the top byte.
    [[nodiscard]] constexpr std::uint32_t number() const { return number_; }
    constexpr auto operator<=>(Ipv4Address const&) const = default;

  private:
    std::uint32_t number_{0};
};

/// "10.77.0.0/24"
struct Ipv4Subnet {
    Ipv4Address network{};
    unsigned prefix_bits{24};

    [[nodiscard]] constexpr std::uint32_t mask() const { return ~std::uint32_t{0} << (32 - prefix_bits); }
    [[nodiscard]] constexpr Ipv4Address host(std::uint32_t number) const {
        return Ipv4Address{network.number() | number};
    }
    [[nodiscard]] constexpr bool contains(Ipv4Address address) const {
        return (address.number() & mask()) == network.number();
    }
    /// The largest host number that is no broadcast address.
    [[nodiscard]] constexpr std::uint32_t last_host() const { return ~mask() - 1; }
    constexpr bool operator==(Ipv4Subnet const&) const = default;
};

[[nodiscard]] std::string ipv4_text(Ipv4Address address);
/// "10.0.0.1"; nothing when it is anything else.
[[nodiscard]] std::optional<Ipv4Address> read_ipv4(std::string_view text);

}  // namespace backplane
