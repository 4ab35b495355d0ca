#include "crossover/detector.h"

#include <algorithm>
#include <cstring>

namespace backplane {
namespace {

constexpr std::byte kGroupBit{0x01};  // the first bit on the wire: individual or group address

std::uint64_t as_number(MacAddress address) {
    std::uint64_t number = 0;
    std::memcpy(&number, address.data(), address.size());
    return number;
}

}  // namespace

std::optional<MacAddress> destination_of(Frame const& frame) {
    MacAddress address;
    std::size_t gathered = 0;
    for (ConstByteSpan const piece : frame.pieces) {
        if (piece.empty()) continue;
        std::size_t const count = std::min(piece.size(), address.size() - gathered);
        std::memcpy(address.data() + gathered, piece.data(), count);
        gathered += count;
        if (gathered == address.size()) return address;
    }
    return std::nullopt;
}

PortIndex CrosstalkDetector::add(MacAddress address) {
    ports_.push_back({as_number(address), as_number(address)});
    return PortIndex{static_cast<std::uint32_t>(ports_.size() - 1)};
}

void CrosstalkDetector::set_current(PortIndex port, MacAddress address) {
    ports_[port.value()].current = as_number(address);
}

Destination CrosstalkDetector::find(MacAddress destination, PortIndex sender) const {
    if ((std::byte{destination[0]} & kGroupBit) != std::byte{0}) return {Destination::Kind::group, {}};
    std::uint64_t const wanted = as_number(destination);
    for (auto const address : {&Addresses::given, &Addresses::current}) {
        auto const found = std::ranges::find(ports_, wanted, address);
        if (found == ports_.end()) continue;
        PortIndex const port{static_cast<std::uint32_t>(found - ports_.begin())};
        return port == sender ? Destination{} : Destination{Destination::Kind::one, port};
    }
    return {};
}

}  // namespace backplane
