#include "crossover/ipv4.h"

#include <charconv>

namespace backplane {

std::string ipv4_text(Ipv4Address address) {
    std::string text;
    for (int shift = 24; shift >= 0; shift -= 8) {
        text += std::to_string(address.number() >> shift & 0xFF);
        if (shift != 0) text += '.';
    }
    return text;
}

std::optional<Ipv4Address> read_ipv4(std::string_view text) {
    std::uint32_t number = 0;
    char const* at = text.data();
    char const* const end = text.data() + text.size();
    for (int i = 0; i < 4; ++i) {
        if (i != 0 && (at == end || *at++ != '.')) return std::nullopt;
        std::uint8_t octet = 0;
        auto const [next, problem] = std::from_chars(at, end, octet);
        if (problem != std::errc{} || next - at > 3) return std::nullopt;
        number = number << 8 | octet;
        at = next;
    }
    if (at != end) return std::nullopt;
    return Ipv4Address{number};
}

}  // namespace backplane
