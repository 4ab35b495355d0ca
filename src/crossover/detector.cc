#include "crossover/detector.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace backplane {
namespace {

constexpr std::byte kGroupBit{0x01};         // the first bit on the wire: individual or group address
constexpr std::uint64_t kNoAddress = ~0ULL;  // no 48-bit address is this

std::uint64_t as_number(MacAddress address) {
    std::uint64_t number = 0;
    std::memcpy(&number, address.data(), address.size());
    return number;
}

/// The first bytes of a frame.
template <std::size_t count>
std::optional<std::array<std::uint8_t, count>> gather_first(Frame const& frame) {
    std::array<std::uint8_t, count> bytes;
    std::size_t gathered = 0;
    for (ConstByteSpan const piece : frame.pieces) {
        if (piece.empty()) continue;
        std::size_t const part = std::min(piece.size(), count - gathered);
        std::memcpy(bytes.data() + gathered, piece.data(), part);
        gathered += part;
        if (gathered == count) return bytes;
    }
    return std::nullopt;
}

}  // namespace

std::optional<MacAddress> destination_of(Frame const& frame) { return gather_first<6>(frame); }

std::optional<MacAddress> source_of(Frame const& frame) {
    auto const both = gather_first<12>(frame);
    if (!both) return std::nullopt;
    MacAddress source;
    std::copy(both->begin() + 6, both->end(), source.begin());
    return source;
}

PortIndex CrosstalkDetector::add_entry(std::uint64_t address, bool is_machine) {
    ports_.push_back({.given = address, .current = address, .is_machine = is_machine});
    return PortIndex{static_cast<std::uint32_t>(ports_.size() - 1)};
}

PortIndex CrosstalkDetector::add(MacAddress address) { return add_entry(as_number(address), true); }

PortIndex CrosstalkDetector::add_service(MacAddress address) { return add_entry(as_number(address), false); }

PortIndex CrosstalkDetector::add_uplink() {
    check(!uplink_, "a link has one uplink");
    uplink_ = add_entry(kNoAddress, false);
    return *uplink_;
}

void CrosstalkDetector::set_current(PortIndex port, MacAddress address) {
    if (ports_[port.value()].is_machine) ports_[port.value()].current = as_number(address);
}

bool CrosstalkDetector::is_given(PortIndex port, MacAddress address) const {
    return ports_[port.value()].given == as_number(address);
}

void CrosstalkDetector::set_default_mapping(PortIndex port, std::string device) {
    ports_[port.value()].device = std::move(device);
}

bool CrosstalkDetector::couple(PortIndex one, PortIndex other) {
    std::optional<PortIndex>& first = ports_[one.value()].partner;
    std::optional<PortIndex>& second = ports_[other.value()].partner;
    if (!first && !second && one != other) {
        first = other;
        second = one;
    }
    return first == other;
}

std::optional<PortIndex> CrosstalkDetector::only_other_on_device(PortIndex port) const {
    std::string const& device = ports_[port.value()].device;
    if (device.empty()) return std::nullopt;
    std::optional<PortIndex> other;
    for (std::uint32_t i = 0; i < ports_.size(); ++i) {
        if (i == port.value() || ports_[i].device != device) continue;
        if (other) return std::nullopt;
        other = PortIndex{i};
    }
    return other;
}

Destination CrosstalkDetector::to(PortIndex receiver, PortIndex sender) const {
    if (receiver == sender) return {};
    return {is_machine(receiver) ? Destination::Kind::one : Destination::Kind::outside, receiver};
}

Destination CrosstalkDetector::find(MacAddress destination, PortIndex sender) const {
    if ((std::byte{destination[0]} & kGroupBit) != std::byte{0}) return {Destination::Kind::group, {}};
    std::uint64_t const wanted = as_number(destination);
    // A coupled pair is compared first, so that it does not pay for the size of its link.
    auto const coupled = partner(sender);
    if (coupled && ports_[coupled->value()].given == wanted) return to(*coupled, sender);
    for (auto const address : {&Entry::given, &Entry::current}) {
        auto const found = std::ranges::find(ports_, wanted, address);
        if (found != ports_.end()) return to(PortIndex{static_cast<std::uint32_t>(found - ports_.begin())}, sender);
    }
    return uplink_ ? to(*uplink_, sender) : Destination{};
}

DetectedBy CrosstalkDetector::detected_by(PortIndex sender, PortIndex receiver) const {
    if (partner(sender) == receiver) return DetectedBy::configuration;
    std::string const& device = ports_[sender.value()].device;
    bool const same = !device.empty() && device == ports_[receiver.value()].device;
    return same ? DetectedBy::default_mapping : DetectedBy::destination;
}

}  // namespace backplane
