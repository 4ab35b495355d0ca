// The values of a rack file that are more than a word or a number: sizes, times, addresses, names.
// The options of the command line use the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "clock/virtual_time.h"
#include "crossover/impairment.h"
#include "crossover/ipv4.h"
#include "device/frame_port.h"
#include "rack/rack_file.h"

namespace backplane {

inline constexpr std::uint64_t kMinMemoryBytes = std::uint64_t{16} << 20;
inline constexpr std::uint64_t kMaxMemoryBytes = std::uint64_t{512} << 30;

/// Every function here answers with a value, or with bad_input and the second half of a message, without the place:
/// `"3 bananas"; expected a size such as "256M" or "1G", 16M to 512G`.

/// "256M", "1G", "65536K" or a plain number of bytes: whole pages of 4096, kMinMemoryBytes to kMaxMemoryBytes.
[[nodiscard]] Expected<std::uint64_t, Error> parse_memory_size(std::string_view text);
/// "256K", "16M" or a plain number of bytes, at most 2^40 of the unit; nothing when it is something else.
[[nodiscard]] std::optional<std::uint64_t> bytes_in_text(std::string_view text);
/// "64M" or a plain number: bytes of a file, at least one.
[[nodiscard]] Expected<std::uint64_t, Error> parse_byte_count(std::string_view text);
/// "10ms", "250us", "1s", "100ns"; at most one hour.
[[nodiscard]] Expected<Ticks, Error> parse_duration(std::string_view text);
/// "02:00:00:00:00:01": one station's address, neither a group's nor all zeros.
[[nodiscard]] Expected<MacAddress, Error> parse_mac(std::string_view text);
/// "10M" as bits a second: a number with K, M, G (thousands) or none; 1K to 1000G.
[[nodiscard]] Expected<std::uint64_t, Error> parse_rate(std::string_view text);
/// "0.5%" as frames in a million.
[[nodiscard]] Expected<PerMillion, Error> parse_probability(std::string_view text);
/// "10.77.0.0/24", with 8 to 25 bits of network and nothing behind them.
[[nodiscard]] Expected<Ipv4Subnet, Error> parse_subnet(std::string_view text);
/// "tcp:2222:alpha:22", or "tcp:0.0.0.0:2222:alpha:22" where the host's own address matters.
[[nodiscard]] Expected<ForwardFile, Error> parse_forward(std::string_view text);
/// "none", "nat" or "tap:NAME".
[[nodiscard]] Expected<UplinkFile, Error> parse_uplink(std::string_view text);
/// A machine's or link's name: a letter, then letters, digits, "-" and "_"; at most 32 in all.
[[nodiscard]] Expected<void, Error> check_name(std::string_view text);
/// A kernel command line: at most kMaxCommandLineBytes, no control characters.
[[nodiscard]] Expected<void, Error> check_command_line(std::string_view text);

/// "256M" again, in the largest unit that divides it.
[[nodiscard]] std::string memory_text(std::uint64_t bytes);
/// "10ms" again, in the largest unit that divides it.
[[nodiscard]] std::string duration_text(Ticks duration);
[[nodiscard]] std::string uplink_text(UplinkFile const& uplink);
/// "10M" again.
[[nodiscard]] std::string rate_text(std::uint64_t bits_per_s);
/// "0.5%" again.
[[nodiscard]] std::string probability_text(PerMillion probability);
/// "02:1f:...", as ip(8) prints it.
[[nodiscard]] std::string mac_text(MacAddress const& mac);

/// "2", or "auto": as many as the host has processors. Errors: bad_input
[[nodiscard]] Expected<unsigned, Error> parse_threads(std::string_view text);

}  // namespace backplane
