// Negotiation, configuration space and doorbells; the queues: net_transmit.cc, net_receive.cc, net_control.cc.
#include "device/virtio/net.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace backplane::virtio {

namespace {

using namespace net_feature;

// struct virtio_net_config, [VIRTIO] 5.1.4.
struct Config {
    MacAddress mac;
    std::uint16_t status;
    std::uint16_t queue_pairs;
    std::uint16_t mtu;
};
static_assert(sizeof(Config) == Net::kConfigBytes);
constexpr std::uint16_t kLinkUp = 1;

// [VIRTIO] 5.1.3.1: the first needs the second.
constexpr std::pair<std::uint64_t, std::uint64_t> kRequirements[] = {
    {kGuestTso4, kGuestChecksum},
    {kGuestTso6, kGuestChecksum},
    {kHostTso4, kChecksum},
    {kHostTso6, kChecksum},
    {kControlReceive, net_feature::kControlQueue},
    {kControlVlan, net_feature::kControlQueue},
    {kControlMacAddress, net_feature::kControlQueue},
    {kControlReceiveExtra, kControlReceive},
    {kMultiqueue, net_feature::kControlQueue},
};

}  // namespace

Net::Net(MacAddress const& mac, MachineClock& clock, Wiring& wiring, NetOptions options)
    : Device{wiring, queues_of(options.pairs), kQueueSize},
      given_mac_{mac},
      mtu_bytes_{options.mtu_bytes},
      mac_{mac},
      clock_{clock},
      pairs_(options.pairs),
      pair_counters_(options.pairs) {
    check(options.pairs >= 1 && options.pairs <= NetOptions::kMaximumPairs, "a card has 1 to 16 pairs of queues");
    check(mtu_bytes_ >= NetOptions::kSmallestMtuBytes, "an MTU has at least 68 bytes");
}

// What the guest sends unfinished the carrier has to finish; what it receives unfinished is its own choice.
std::uint64_t Net::device_features() const {
    std::uint64_t const sending = may_be_unfinished_ ? kChecksum | kHostTso4 | kHostTso6 : 0;
    std::uint64_t const multiqueue = pairs_.size() > 1 ? kMultiqueue : 0;
    return sending | multiqueue | kGuestChecksum | kGuestTso4 | kGuestTso6 | kMtu | kMac | kMergeableBuffers | kStatus |
           net_feature::kControlQueue | kControlReceive | kControlReceiveExtra | kControlVlan | kControlMacAddress;
}

bool Net::is_good_choice(std::uint64_t features) const {
    return std::ranges::all_of(kRequirements, [&](auto const& requirement) {
        return (features & requirement.first) == 0 || (features & requirement.second) != 0;
    });
}

OffloadSet Net::accepts() const {
    return {.checksum = has(kGuestChecksum), .tcp_ipv4 = has(kGuestTso4), .tcp_ipv6 = has(kGuestTso6)};
}

// The address that the rack gave comes back with a reset, as the driver's own was never in the device's memory.
void Net::was_reset() {
    mac_ = given_mac_;
    filter_ = {};
    forget_queues();
    tell_observer();
}

void Net::forget_queues() {
    is_gathered_ = false;
    front_pair_.reset();
    turn_ = 0;
    receive_pairs_ = transmit_pairs_ = 1;
    for (Pair& pair : pairs_) pair = {};
    in_flight_.clear();
    unread_.clear();
    read_count_ = landed_count_;
}

void Net::started() {
    forget_queues();
    filter_.filters_multicast = has(kControlReceive);
    filter_.filters_vlans = has(kControlVlan);
    for (std::uint16_t const index : {kReceiveQueue, kTransmitQueue}) notify(index);
    tell_observer();
}

// What waits in a queue that was not used yet is sent or filled from now on. A pair that is used no more gets no
// frames, but what its driver sends goes out: Linux tells the device first, and for a moment its other processors still
// send.
void Net::use_pairs(std::uint16_t pairs) {
    receive_pairs_ = pairs;
    while (transmit_pairs_ < pairs) {
        std::uint16_t const added = transmit_pairs_++;
        for (std::uint16_t const index : {receive_queue(added), transmit_queue(added)}) notify(index);
    }
    tell_observer();
}

void Net::notified(std::uint16_t index) {
    GuestMemory* const memory = wiring().dma();
    if (memory == nullptr) return;
    if (index >= control_queue(usable_pairs())) {
        if (index == control_queue(usable_pairs())) run_control(*memory);
        return;
    }
    auto const pair = static_cast<std::uint16_t>(index / 2);
    if (index == receive_queue(pair)) {
        look_at_receive(pair, *memory);
        tell_observer();
    } else if (pair < transmit_pairs_) {
        look_at_transmit(pair, *memory);
    }
}

void Net::set_carrier(bool up) {
    if (up == has_carrier_) return;
    has_carrier_ = up;
    configuration_changed();
    tell_observer();
}

std::uint64_t Net::read_config(std::uint64_t offset, Width width) {
    Config const config{mac_, static_cast<std::uint16_t>(has_carrier_ ? kLinkUp : 0),
                        static_cast<std::uint16_t>(pairs_.size()), mtu_bytes_};
    if (offset + bytes_in(width) > kConfigBytes) {
        ++errors_.bad_accesses;
        return 0;
    }
    std::uint64_t value = 0;
    std::memcpy(&value, bytes_of(config).data() + offset, bytes_in(width));
    return value;
}

// Nothing in it can be written by a driver of version 1.
void Net::write_config(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t /*value*/) { ++errors_.bad_accesses; }

}  // namespace backplane::virtio
