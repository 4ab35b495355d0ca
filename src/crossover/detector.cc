#include "crossover/detector.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace backplane {
namespace {

constexpr std::uint64_t kGroupBit = 1;              // the first bit on the wire: individual or group address
constexpr AddressNumber kNoAddress{~std::uint64_t{0}};  // no 48-bit address is this
constexpr std::size_t kAddressBytes = sizeof(MacAddress);

// In registers: what is stored in parts and loaded as a whole has to wait for the stores.
AddressNumber number_at(std::byte const* bytes) {
    std::uint32_t low = 0;
    std::uint16_t high = 0;
    std::memcpy(&low, bytes, sizeof low);
    std::memcpy(&high, bytes + sizeof low, sizeof high);
    return AddressNumber{low | std::uint64_t{high} << 32};
}

/// The address that begins behind `skip` bytes of a frame.
std::optional<AddressNumber> address_in(Frame const& frame, std::size_t skip) {
    std::size_t const end = skip + kAddressBytes;
    if (!frame.pieces.empty() && frame.pieces.front().size() >= end) return number_at(frame.pieces.front().data() + skip);
    std::array<std::byte, 2 * kAddressBytes> bytes{};
    std::size_t gathered = 0;
    for (ConstByteSpan const piece : frame.pieces) {
        std::size_t const part = std::min(piece.size(), end - gathered);
        std::copy_n(piece.begin(), part, bytes.begin() + static_cast<std::ptrdiff_t>(gathered));
        gathered += part;
        if (gathered == end) return number_at(bytes.data() + skip);
    }
    return std::nullopt;
}

}  // namespace

AddressNumber as_number(MacAddress const& address) { return number_at(std::as_bytes(std::span{address}).data()); }

std::optional<AddressNumber> destination_of(Frame const& frame) { return address_in(frame, 0); }

std::optional<AddressNumber> source_of(Frame const& frame) { return address_in(frame, kAddressBytes); }

PortIndex CrosstalkDetector::add_entry(AddressNumber address, bool is_machine) {
    ports_.push_back({.is_machine = is_machine});
    given_.push_back(address);
    current_.push_back(address);
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
    if (ports_[port.value()].is_machine) current_[port.value()] = as_number(address);
}

bool CrosstalkDetector::is_given(PortIndex port, AddressNumber address) const {
    return given_[port.value()] == address;
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

Destination CrosstalkDetector::find(AddressNumber destination, PortIndex sender) const {
    if ((destination.value() & kGroupBit) != 0) return {Destination::Kind::group, {}};
    // A coupled pair is compared first, so that it does not pay for the size of its link.
    auto const coupled = partner(sender);
    if (coupled && given_[coupled->value()] == destination) return to(*coupled, sender);
    for (auto const* addresses : {&given_, &current_}) {
        auto const found = std::ranges::find(*addresses, destination);
        if (found != addresses->end())
            return to(PortIndex{static_cast<std::uint32_t>(found - addresses->begin())}, sender);
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
