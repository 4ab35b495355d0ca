#include "device/e1000/state.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace backplane::e1000 {

namespace {

constexpr std::uint32_t kLengthFromBase = kRdlen - kRdbal;
constexpr std::uint32_t kHeadFromBase = kRdh - kRdbal;
constexpr std::uint32_t kTailFromBase = kRdt - kRdbal;
static_assert(kTdlen - kTdbal == kLengthFromBase && kTdh - kTdbal == kHeadFromBase && kTdt - kTdbal == kTailFromBase);

}  // namespace

void TransmitPacket::clear() {
    std::vector<Fragment> old_fragments = std::move(fragments);
    std::vector<GuestPhys> old_reports = std::move(reports);
    *this = {};
    old_fragments.clear();
    old_reports.clear();
    fragments = std::move(old_fragments);
    reports = std::move(old_reports);
}

Cast cast_of(MacAddress const& destination) {
    if ((destination[0] & 1) == 0) return Cast::unicast;
    bool const is_broadcast = std::ranges::all_of(destination, [](std::uint8_t byte) { return byte == 0xFF; });
    return is_broadcast ? Cast::broadcast : Cast::multicast;
}

MacAddress destination_of(Frame const& frame) {
    MacAddress destination{};
    copy_head(frame, std::as_writable_bytes(std::span{destination}));
    return destination;
}

std::size_t copy_head(Frame const& frame, ByteSpan into) {
    std::size_t filled = 0;
    for (ConstByteSpan const piece : frame.pieces) {
        std::size_t const part = std::min(into.size() - filled, piece.size());
        if (part != 0) std::memcpy(into.data() + filled, piece.data(), part);
        filled += part;
        if (filled == into.size()) break;
    }
    return filled;
}

bool loops_back(State const& state) {
    return loops_back(state.phy) || (state.at(kRctl) & kRctlLbm) == kRctlLbmMac;
}

void count(State& state, std::uint32_t offset, std::uint32_t amount) {
    std::uint32_t& counter = state.at(offset);
    constexpr std::uint32_t kMaximum = std::numeric_limits<std::uint32_t>::max();
    counter = counter > kMaximum - amount ? kMaximum : counter + amount;
}

void count_octets(State& state, std::uint32_t low_offset, std::uint32_t bytes) {
    std::uint64_t const sum = (std::uint64_t{state.at(low_offset + 4)} << 32 | state.at(low_offset)) + bytes;
    state.at(low_offset) = static_cast<std::uint32_t>(sum);
    state.at(low_offset + 4) = static_cast<std::uint32_t>(sum >> 32);
}

void count_size(State& state, std::uint32_t first_offset, std::uint32_t bytes) {
    constexpr std::array<std::uint32_t, 5> kLastBytes = {64, 127, 255, 511, 1023};
    auto const bucket = std::lower_bound(kLastBytes.begin(), kLastBytes.end(), bytes) - kLastBytes.begin();
    count(state, first_offset + 4 * static_cast<std::uint32_t>(bucket));
}

std::optional<Ring> ring_of(State const& state, std::uint32_t base_offset) {
    std::uint64_t const base = std::uint64_t{state.at(base_offset + 4)} << 32 | state.at(base_offset);
    Ring const ring{GuestPhys{base}, state.at(base_offset + kLengthFromBase) / kDescriptorBytes,
                    state.at(base_offset + kHeadFromBase), state.at(base_offset + kTailFromBase)};
    if (ring.head >= ring.count || ring.tail >= ring.count) return std::nullopt;
    return ring;
}

}  // namespace backplane::e1000
