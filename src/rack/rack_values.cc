#include "rack/rack_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <span>

#include "base/address.h"
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

}  // namespace backplane
