// The control queue: commands of the driver, each answered at once. [VIRTIO] 5.1.6.5
#include <cstring>

#include "device/virtio/net.h"

namespace backplane::virtio {

namespace {

constexpr std::uint8_t kReceiveClass = 0;
constexpr std::uint8_t kMacClass = 1;
constexpr std::uint8_t kVlanClass = 2;
constexpr std::uint8_t kMultiqueueClass = 4;
constexpr std::uint8_t kMacTableSet = 0;
constexpr std::uint8_t kMacAddressSet = 1;
constexpr std::uint8_t kVlanAdd = 0;
constexpr std::uint8_t kVlanDelete = 1;
constexpr std::uint8_t kPairsSet = 0;
constexpr std::uint8_t kOk = 0;
constexpr std::uint8_t kError = 1;
/// A table of some thousand addresses; longer commands are answered with an error.
constexpr std::uint64_t kLongestCommandBytes = 16384;

// Takes one list off the front of a MAC table: a count and as many addresses. False when they are not there.
bool take_list(ConstByteSpan& data, std::vector<MacAddress>& list, bool& is_overflow) {
    if (data.size() < sizeof(std::uint32_t)) return false;
    std::uint64_t const count = load<std::uint32_t>(data);
    data = data.subspan(sizeof(std::uint32_t));
    if (count * sizeof(MacAddress) > data.size()) return false;
    list.clear();
    is_overflow = count > ReceiveFilter::kMaximumAddresses;
    for (std::uint64_t i = 0; i < count && !is_overflow; ++i)
        list.push_back(load<MacAddress>(data, i * sizeof(MacAddress)));
    data = data.subspan(count * sizeof(MacAddress));
    return true;
}

// Copies all that the chain gives to read. False when it is too long or not RAM.
bool read_command(GuestMemory const& memory, Chain const& chain, std::vector<std::byte>& into) {
    if (chain.readable_bytes > kLongestCommandBytes) return false;
    into.resize(chain.readable_bytes);
    ByteSpan left{into};
    for (Piece const& piece : chain.readable) {
        if (!memory.read(piece.start, left.first(piece.bytes))) return false;
        left = left.subspan(piece.bytes);
    }
    return true;
}

}  // namespace

void Net::run_control(GuestMemory& memory) {
    std::uint16_t const index = control_queue(usable_pairs());
    Queue& ring = queue(index);
    ring.look(memory);
    Chain chain;
    while (ring.is_running() && ring.waiting() != 0) {
        if (!ring.peek(memory, 0, chain)) break;
        ring.take(1);
        bool const is_done = read_command(memory, chain, command_) && run_command(command_);
        if (!is_done) ++errors_.bad_packets;
        std::uint32_t written = 0;
        if (!chain.writable.empty() && chain.writable_bytes != 0) {
            written = memory.write_object(chain.writable.front().start, is_done ? kOk : kError) ? 1 : 0;
        }
        ring.push_used(memory, chain.head, written);
    }
    publish(index, memory);
}

bool Net::run_command(ConstByteSpan command) {
    if (command.size() < 2) return false;
    auto const kind = std::to_integer<std::uint8_t>(command[0]);
    auto const what = std::to_integer<std::uint8_t>(command[1]);
    ConstByteSpan const data = command.subspan(2);
    switch (kind) {
        case kReceiveClass:
            return set_receive_mode(what, data);
        case kMacClass:
            return set_mac(what, data);
        case kVlanClass:
            return set_vlan(what, data);
        case kMultiqueueClass:
            return set_pairs(what, data);
        default:
            return false;
    }
}

bool Net::set_receive_mode(std::uint8_t command, ConstByteSpan data) {
    bool* const modes[] = {&filter_.promiscuous,  &filter_.all_multicast, &filter_.all_unicast,
                           &filter_.no_multicast, &filter_.no_unicast,    &filter_.no_broadcast};
    constexpr std::uint8_t kFirstExtra = 2;
    if (command >= std::size(modes) || data.size() != 1) return false;
    if (!has(command < kFirstExtra ? net_feature::kControlReceive : net_feature::kControlReceiveExtra)) return false;
    *modes[command] = data[0] != std::byte{0};
    return true;
}

// All of a table or nothing.
bool Net::set_mac(std::uint8_t command, ConstByteSpan data) {
    if (command == kMacAddressSet) {
        if (!has(net_feature::kControlMacAddress) || data.size() != sizeof mac_) return false;
        mac_ = load<MacAddress>(data);
        tell_observer();
        return true;
    }
    if (command != kMacTableSet || !has(net_feature::kControlReceive)) return false;
    ReceiveFilter changed = filter_;
    if (!take_list(data, changed.unicast, changed.unicast_overflow) ||
        !take_list(data, changed.multicast, changed.multicast_overflow))
        return false;
    filter_ = std::move(changed);
    return true;
}

bool Net::set_vlan(std::uint8_t command, ConstByteSpan data) {
    if (!has(net_feature::kControlVlan) || command > kVlanDelete || data.size() != sizeof(std::uint16_t)) return false;
    std::uint16_t const vlan = load<std::uint16_t>(data);
    if (vlan >= ReceiveFilter::kVlans) return false;
    filter_.vlans[vlan] = command == kVlanAdd;
    return true;
}

// [VIRTIO] 5.1.6.5.6. The driver has to set the queues up first: a flow must not end in one that does not run.
bool Net::set_pairs(std::uint8_t command, ConstByteSpan data) {
    if (!has(net_feature::kMultiqueue) || command != kPairsSet || data.size() != sizeof(std::uint16_t)) return false;
    std::uint16_t const wanted = load<std::uint16_t>(data);
    if (wanted == 0 || wanted > pairs_.size()) return false;
    for (std::uint16_t index = 0; index < control_queue(wanted); ++index)
        if (!queue(index).is_running()) return false;
    use_pairs(wanted);
    return true;
}

}  // namespace backplane::virtio
