#include "host/nat_uplink.h"

#include <arpa/inet.h>
#include <slirp/libslirp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/bytes.h"

namespace backplane {
namespace {

constexpr std::size_t kEthernetBytes = 14;
constexpr std::uint16_t kIpv4 = 0x0800;
constexpr std::byte kUdp{17};
constexpr std::uint16_t kDhcpServerPort = 67;
constexpr std::uint64_t kTickNs = 1'000'000;

in_addr address_of(std::uint32_t number) { return {htonl(number)}; }

/// What the link's address service answers.
bool is_dhcp(ConstByteSpan frame) {
    ConstByteSpan const packet = frame.subspan(std::min(frame.size(), kEthernetBytes));
    if (packet.size() < 24 || load_be16(frame, 12) != kIpv4 || packet[9] != kUdp) return false;
    std::size_t const header_bytes = (std::to_integer<std::size_t>(packet[0]) & 0xF) * 4;
    return packet.size() >= header_bytes + 4 && load_be16(packet, header_bytes + 2) == kDhcpServerPort;
}

struct SlirpTimer {
    SlirpTimerCb callback;
    void* argument;
    std::int64_t expires_ms{-1};  // -1: not armed
};

short poll_events(int slirp_events) {
    short events = 0;
    if ((slirp_events & SLIRP_POLL_IN) != 0) events |= POLLIN;
    if ((slirp_events & SLIRP_POLL_OUT) != 0) events |= POLLOUT;
    if ((slirp_events & SLIRP_POLL_PRI) != 0) events |= POLLPRI;
    return events;
}

int slirp_events(short events) {
    int result = 0;
    if ((events & POLLIN) != 0) result |= SLIRP_POLL_IN;
    if ((events & POLLOUT) != 0) result |= SLIRP_POLL_OUT;
    if ((events & POLLPRI) != 0) result |= SLIRP_POLL_PRI;
    if ((events & POLLERR) != 0) result |= SLIRP_POLL_ERR;
    if ((events & POLLHUP) != 0) result |= SLIRP_POLL_HUP;
    return result;
}

}  // namespace

/// The library's instance with what its callbacks need.
struct NatUplink::Slirp {
    explicit Slirp(NatUplink& uplink) : owner{uplink} {}
    Slirp(Slirp const&) = delete;
    Slirp& operator=(Slirp const&) = delete;
    ~Slirp() {
        if (instance != nullptr) slirp_cleanup(instance);
    }

    static Slirp& of(void* opaque) { return *static_cast<Slirp*>(opaque); }
    [[nodiscard]] std::int64_t now_ms() const { return static_cast<std::int64_t>(now.ns() / kTickNs); }
    void fire_timers();
    static SlirpCb const& callbacks();

    NatUplink& owner;
    ::Slirp* instance{nullptr};
    Ticks now{};
    std::vector<std::unique_ptr<SlirpTimer>> timers;
    std::span<pollfd const> ready{};
};

SlirpCb const& NatUplink::Slirp::callbacks() {
    static SlirpCb const kCallbacks{
        .send_packet =
            [](void const* bytes, std::size_t count, void* opaque) {
                Slirp& slirp = of(opaque);
                slirp.owner.send({static_cast<std::byte const*>(bytes), count}, slirp.now);
                return static_cast<ssize_t>(count);
            },
        .guest_error = [](char const*, void*) {},
        .clock_get_ns = [](void* opaque) { return static_cast<std::int64_t>(of(opaque).now.ns()); },
        .timer_new = [](SlirpTimerCb callback, void* argument, void* opaque) -> void* {
            auto& own_timers = of(opaque).timers;
            own_timers.push_back(std::make_unique<SlirpTimer>(SlirpTimer{callback, argument}));
            return own_timers.back().get();
        },
        .timer_free =
            [](void* timer, void* opaque) {
                std::erase_if(of(opaque).timers, [&](auto const& each) { return each.get() == timer; });
            },
        .timer_mod = [](void* timer, std::int64_t expires_ms,
                        void*) { static_cast<SlirpTimer*>(timer)->expires_ms = expires_ms; },
        .register_poll_fd = [](int, void*) {},
        .unregister_poll_fd = [](int, void*) {},
        .notify = [](void*) {},
        .init_completed = [](::Slirp*, void*) {},
        .timer_new_opaque = nullptr,
    };
    return kCallbacks;
}

void NatUplink::Slirp::fire_timers() {
    // A callback may make timers, so the list is walked by index.
    for (std::size_t i = 0; i < timers.size(); ++i) {
        SlirpTimer& timer = *timers[i];
        if (timer.expires_ms < 0 || timer.expires_ms > now_ms()) continue;
        timer.expires_ms = -1;
        timer.callback(timer.argument);
    }
}

NatUplink::NatUplink() : PacketPort{MacAddress{}}, slirp_{std::make_unique<Slirp>(*this)} {}
NatUplink::~NatUplink() = default;

Expected<std::unique_ptr<NatUplink>, Error> NatUplink::create(NatOptions const& options) {
    std::unique_ptr<NatUplink> uplink{new NatUplink};
    SlirpConfig config{};
    config.version = 1;
    config.in_enabled = true;
    config.vnetwork = address_of(options.network);
    config.vnetmask = address_of(options.mask);
    config.vhost = address_of(options.gateway);
    config.vnameserver = address_of(options.name_server);
    config.vdhcp_start = address_of(options.first_dhcp);
    config.disable_host_loopback = options.host_access == NatOptions::HostAccess::no;
    uplink->slirp_->instance = slirp_new(&config, &Slirp::callbacks(), uplink->slirp_.get());
    if (uplink->slirp_->instance == nullptr) {
        return Unexpected{Error{Error::Kind::host, "libslirp refused the settings of the network"}};
    }
    for (NatForward const& forward : options.forwards) {
        bool const is_udp = forward.protocol == NatForward::Protocol::udp;
        int const result =
            slirp_add_hostfwd(uplink->slirp_->instance, is_udp ? 1 : 0, address_of(forward.host_address),
                              forward.host_port, address_of(forward.machine_address), forward.machine_port);
        if (result == 0) continue;
        std::string const port = (is_udp ? "udp port " : "tcp port ") + std::to_string(forward.host_port);
        return Unexpected{host_error("forward: " + port + " of the host", errno)};
    }
    return uplink;
}

void NatUplink::take(ConstByteSpan frame, Ticks sent, Offload const&) {
    if (frame.size() < kEthernetBytes || is_dhcp(frame)) return;
    slirp_->now = std::max(slirp_->now, sent);
    slirp_input(slirp_->instance, reinterpret_cast<std::uint8_t const*>(frame.data()), static_cast<int>(frame.size()));
}

void NatUplink::add_descriptors(PollSet& set) {
    std::size_t const first = set.descriptors.size();
    auto timeout_ms = static_cast<std::uint32_t>(
        std::clamp<std::int64_t>(set.at_most.count() / static_cast<std::int64_t>(kTickNs), 0, 1'000'000));
    std::uint32_t const before = timeout_ms;
    slirp_pollfds_fill(
        slirp_->instance, &timeout_ms,
        [](int fd, int events, void* opaque) {
            auto& descriptors = static_cast<PollSet*>(opaque)->descriptors;
            descriptors.push_back({fd, poll_events(events), 0});
            return static_cast<int>(descriptors.size() - 1);
        },
        &set);
    if (timeout_ms < before) set.wait_at_most(std::chrono::milliseconds{timeout_ms});
    first_descriptor_ = first;
}

void NatUplink::handle(std::span<pollfd const> own, Ticks now) {
    slirp_->now = std::max(slirp_->now, now);
    slirp_->ready = own;
    slirp_pollfds_poll(
        slirp_->instance, 0,
        [](int index, void* opaque) {
            NatUplink const& uplink = *static_cast<NatUplink*>(opaque);
            std::size_t const place = static_cast<std::size_t>(index) - uplink.first_descriptor_;
            return place < uplink.slirp_->ready.size() ? slirp_events(uplink.slirp_->ready[place].revents) : 0;
        },
        this);
    slirp_->ready = {};
    slirp_->fire_timers();
}

}  // namespace backplane
