#include "rack/rack_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <thread>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/address.h"
#include "host/tap_uplink.h"
#include "rack/printable.h"
#include "rack/rack_file.h"

namespace backplane {
namespace {

constexpr std::size_t kLongestName = 32;
constexpr std::uint64_t kLongestDurationNs = 3'600'000'000'000;

struct Unit {
    std::string_view suffix;
    std::uint64_t factor;
};
constexpr std::array<Unit, 4> kSizeUnits{
    {{"G", std::uint64_t{1} << 30}, {"M", std::uint64_t{1} << 20}, {"K", std::uint64_t{1} << 10}, {"", 1}}};
constexpr std::array<Unit, 4> kRateUnits{{{"G", 1'000'000'000}, {"M", 1'000'000}, {"K", 1'000}, {"", 1}}};
constexpr std::uint64_t kMinRate = 1'000;
constexpr std::uint64_t kMaxRate = 1'000'000'000'000;
constexpr std::array<Unit, 4> kTimeUnits{{{"s", 1'000'000'000}, {"ms", 1'000'000}, {"us", 1'000}, {"ns", 1}}};

struct Quantity {
    std::uint64_t number;
    std::string_view suffix;
};

/// Digits, then whatever follows; nothing when there are no digits or too many.
std::optional<Quantity> split_quantity(std::string_view text) {
    Quantity quantity{};
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), quantity.number);
    if (problem != std::errc{}) return std::nullopt;
    quantity.suffix = text.substr(static_cast<std::size_t>(end - text.data()));
    return quantity;
}

/// number * factor of the unit named by the suffix; nothing when there is no such unit or the product is too large.
std::optional<std::uint64_t> scale(std::string_view text, std::span<Unit const> units) {
    std::optional<Quantity> const quantity = split_quantity(text);
    if (!quantity) return std::nullopt;
    auto const unit =
        std::find_if(units.begin(), units.end(), [&](Unit const& u) { return u.suffix == quantity->suffix; });
    std::uint64_t product = 0;
    if (unit == units.end() || __builtin_mul_overflow(quantity->number, unit->factor, &product)) return std::nullopt;
    return product;
}

/// In the largest unit that leaves no remainder; `units` has the largest first.
std::string in_largest_unit(std::uint64_t value, std::span<Unit const> units) {
    for (Unit const& unit : units) {
        if (value % unit.factor == 0 && value != 0) return fmt::format("{}{}", value / unit.factor, unit.suffix);
    }
    return fmt::format("0{}", units.back().suffix);
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

std::optional<std::uint8_t> hex_octet(std::string_view text) {
    std::uint8_t octet = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), octet, 16);
    if (problem != std::errc{} || end != text.data() + text.size() || text.size() != 2) return std::nullopt;
    return octet;
}

std::optional<std::uint16_t> port_number(std::string_view text) {
    std::uint16_t port = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (problem != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
    return port;
}

std::optional<MacAddress> six_octets(std::string_view text) {
    MacAddress mac{};
    if (text.size() != 3 * mac.size() - 1) return std::nullopt;
    for (std::size_t i = 0; i < mac.size(); ++i) {
        std::optional<std::uint8_t> const octet = hex_octet(text.substr(3 * i, 2));
        bool const separated = i + 1 == mac.size() || text[3 * i + 2] == ':';
        if (!octet || !separated) return std::nullopt;
        mac[i] = *octet;
    }
    return mac;
}

}  // namespace

Expected<std::uint64_t, Error> parse_memory_size(std::string_view text) {
    std::optional<std::uint64_t> const bytes = scale(text, kSizeUnits);
    if (!bytes || *bytes < kMinMemoryBytes || *bytes > kMaxMemoryBytes) {
        return Unexpected{bad_input(in_quotes(text) + "; expected a size such as \"256M\" or \"1G\", 16M to 512G")};
    }
    if (*bytes % kPageBytes != 0) {
        return Unexpected{bad_input(in_quotes(text) + "; expected whole pages of 4096 bytes")};
    }
    return *bytes;
}

std::optional<std::uint64_t> bytes_in_text(std::string_view text) {
    std::uint64_t number = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string_view const unit{end, static_cast<std::size_t>(text.data() + text.size() - end)};
    unsigned const shift = unit == "K" ? 10 : unit == "M" ? 20 : 0;
    if (error != std::errc{} || (shift == 0 && !unit.empty()) || number > (std::uint64_t{1} << 40)) return std::nullopt;
    return number << shift;
}

Expected<std::uint64_t, Error> parse_byte_count(std::string_view text) {
    std::optional<std::uint64_t> const bytes = scale(text, kSizeUnits);
    if (bytes && *bytes != 0) return *bytes;
    return Unexpected{bad_input(in_quotes(text) + "; expected a number of bytes such as \"64M\"")};
}

Expected<Ticks, Error> parse_duration(std::string_view text) {
    std::optional<std::uint64_t> const ns = scale(text, kTimeUnits);
    if (ns && *ns <= kLongestDurationNs) return Ticks{*ns};
    return Unexpected{
        bad_input(in_quotes(text) + "; expected a time such as \"10ms\" (ns, us, ms or s), at most 3600s")};
}

Expected<std::uint64_t, Error> parse_rate(std::string_view text) {
    std::optional<std::uint64_t> const rate = scale(text, kRateUnits);
    if (rate && *rate >= kMinRate && *rate <= kMaxRate) return *rate;
    return Unexpected{
        bad_input(in_quotes(text) + "; expected bits a second such as \"10M\" (K, M or G), 1K to 1000G")};
}

Expected<PerMillion, Error> parse_probability(std::string_view text) {
    double percent = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), percent);
    std::string_view const suffix{end, static_cast<std::size_t>(text.data() + text.size() - end)};
    // Written so that "nan" fails as well.
    if (problem == std::errc{} && suffix == "%" && percent >= 0 && percent <= 100) {
        return static_cast<PerMillion>(percent * 10'000 + 0.5);
    }
    return Unexpected{bad_input(in_quotes(text) + "; expected a share of the frames such as \"0.5%\"")};
}

Expected<Ipv4Subnet, Error> parse_subnet(std::string_view text) {
    constexpr unsigned kLeastBits = 8;
    constexpr unsigned kMostBits = 25;
    std::size_t const slash = std::min(text.find('/'), text.size());
    auto const network = read_ipv4(text.substr(0, slash));
    std::string_view const bits_text = text.substr(std::min(slash + 1, text.size()));
    Ipv4Subnet subnet;
    auto const [end, problem] =
        std::from_chars(bits_text.data(), bits_text.data() + bits_text.size(), subnet.prefix_bits);
    bool const is_number = problem == std::errc{} && end == bits_text.data() + bits_text.size();
    if (network && is_number && subnet.prefix_bits >= kLeastBits && subnet.prefix_bits <= kMostBits) {
        subnet.network = *network;
        if (subnet.contains(*network)) return subnet;
    }
    return Unexpected{bad_input(in_quotes(text) + "; expected a network such as \"10.77.0.0/24\", 8 to 25 bits long")};
}

Expected<ForwardFile, Error> parse_forward(std::string_view text) {
    Unexpected const problem{bad_input(in_quotes(text) +
                                       "; expected \"tcp:PORT:MACHINE:PORT\" or \"udp:...\", such as "
                                       "\"tcp:2222:alpha:22\"")};
    std::vector<std::string_view> parts;
    std::string_view rest = text;
    for (std::size_t colon = rest.find(':'); colon != std::string_view::npos; colon = rest.find(':')) {
        parts.push_back(rest.substr(0, colon));
        rest.remove_prefix(colon + 1);
    }
    parts.push_back(rest);
    if (parts.size() < 4 || parts.size() > 5 || (parts[0] != "tcp" && parts[0] != "udp")) return problem;
    ForwardFile forward;
    forward.protocol = parts[0] == "tcp" ? NatForward::Protocol::tcp : NatForward::Protocol::udp;
    std::size_t const host_port = parts.size() - 3;
    if (parts.size() == 5) {
        auto const address = read_ipv4(parts[1]);
        if (!address) return problem;
        forward.host_address = *address;
    }
    auto const from = port_number(parts[host_port]);
    auto const to = port_number(parts[host_port + 2]);
    if (!from || !to || !check_name(parts[host_port + 1])) return problem;
    forward.host_port = *from;
    forward.machine = parts[host_port + 1];
    forward.machine_port = *to;
    return forward;
}

Expected<UplinkFile, Error> parse_uplink(std::string_view text) {
    if (text == "none") return UplinkFile{};
    if (text == "nat") return UplinkFile{UplinkFile::Kind::nat, ""};
    std::string_view const device = text.starts_with("tap:") ? text.substr(4) : "";
    bool const is_device = !device.empty() && device.size() <= TapUplink::kLongestName && device != "." &&
                           device != ".." && std::ranges::none_of(device, [](char c) {
                               return c == '/' || c == ':' || c == '%' || c <= ' ' || c > '~';
                           });
    if (is_device) return UplinkFile{UplinkFile::Kind::tap, std::string{device}};
    return Unexpected{bad_input(in_quotes(text) +
                                "; expected \"none\", \"nat\" or \"tap:DEVICE\", a name of at most 15 letters")};
}

std::string uplink_text(UplinkFile const& uplink) {
    switch (uplink.kind) {
        case UplinkFile::Kind::none:
            return "none";
        case UplinkFile::Kind::nat:
            return "nat";
        case UplinkFile::Kind::tap:
            return "tap:" + uplink.tap;
    }
    return "";
}

Expected<MacAddress, Error> parse_mac(std::string_view text) {
    std::optional<MacAddress> const mac = six_octets(text);
    if (!mac) return Unexpected{bad_input(in_quotes(text) + "; expected an address such as \"02:00:00:00:00:01\"")};
    if (((*mac)[0] & 1) != 0) {
        return Unexpected{
            bad_input(in_quotes(text) + " is the address of a group; expected one with an even first byte")};
    }
    if (*mac == MacAddress{})
        return Unexpected{bad_input(in_quotes(text) + "; expected an address that is not all zeros")};
    return *mac;
}

Expected<void, Error> check_name(std::string_view text) {
    bool const valid = !text.empty() && text.size() <= kLongestName && is_letter(text[0]) &&
                       std::all_of(text.begin(), text.end(),
                                   [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '_'; });
    if (valid) return {};
    return Unexpected{bad_input("the name " + in_quotes(text) +
                                "; expected a letter, then letters, digits, \"-\" or \"_\", at most 32 in all")};
}

Expected<void, Error> check_command_line(std::string_view text) {
    if (text.size() > kMaxCommandLineBytes) {
        return Unexpected{bad_input(fmt::format("{} bytes; expected at most {}", text.size(), kMaxCommandLineBytes))};
    }
    if (std::none_of(text.begin(), text.end(), is_control)) return {};
    return Unexpected{bad_input(in_quotes(text) + "; expected words without control characters")};
}

std::string memory_text(std::uint64_t bytes) { return in_largest_unit(bytes, kSizeUnits); }

std::string duration_text(Ticks duration) { return in_largest_unit(duration.ns(), kTimeUnits); }

std::string rate_text(std::uint64_t bits_per_s) { return in_largest_unit(bits_per_s, kRateUnits); }

std::string probability_text(PerMillion probability) { return fmt::format("{}%", probability / 10'000.0); }

std::string mac_text(MacAddress const& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}


Expected<unsigned, Error> parse_threads(std::string_view text) {
    constexpr unsigned kMostThreads = 256;
    if (text == "auto") return std::max(1U, std::thread::hardware_concurrency());
    unsigned threads = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), threads);
    bool const valid = problem == std::errc{} && end == text.data() + text.size() && threads >= 1 && threads <= kMostThreads;
    if (valid) return threads;
    return Unexpected{bad_input(fmt::format("\"{}\"; expected a number of threads, 1 to {}, or \"auto\"", text, kMostThreads))};
}

}  // namespace backplane
