#include "host/tap_uplink.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "device/virtio/net_header.h"

namespace backplane {
namespace {

using virtio::NetHeader;

constexpr std::size_t kLongestPacket = sizeof(NetHeader) + 65'536 + 18;

Error tap_error(std::string const& name, int error_number) {
    std::string const advice = error_number == EPERM || error_number == EACCES
                                   ? " (as root: ip tuntap add " + name + " mode tap user $USER)"
                                   : "";
    Error error = host_error("tap:" + name, error_number);
    error.message += advice;
    return error;
}

}  // namespace

TapUplink::TapUplink(UniqueFd fd) : PacketPort{MacAddress{}}, fd_{std::move(fd)}, buffer_(kLongestPacket) {}

Expected<std::unique_ptr<TapUplink>, Error> TapUplink::create(std::string const& name) {
    UniqueFd fd{::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)};
    if (!fd.is_open()) return Unexpected{tap_error(name, errno)};
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    std::memcpy(request.ifr_name, name.data(), std::min(name.size(), kLongestName));
    if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return Unexpected{tap_error(name, errno)};
    int header_bytes = sizeof(NetHeader);
    if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_bytes) != 0) return Unexpected{tap_error(name, errno)};
    return std::unique_ptr<TapUplink>{new TapUplink{std::move(fd)}};
}

/// A host that cannot goes on cutting and summing for us.
void TapUplink::allow_unfinished_frames() { (void)::ioctl(fd_.get(), TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6); }

/// A device that is down or full refuses the frame: it is lost, as on any wire, and counted.
void TapUplink::take(ConstByteSpan frame, Ticks, Offload const& lacks) {
    NetHeader header = virtio::header_of(lacks);
    std::array<iovec, 2> const parts{{{&header, sizeof header}, {const_cast<std::byte*>(frame.data()), frame.size()}}};
    ssize_t const written = ::writev(fd_.get(), parts.data(), parts.size());
    if (written == static_cast<ssize_t>(sizeof header + frame.size())) return;
    int const error = written < 0 ? errno : 0;
    if (error == EIO) {
        ++refusals_.down;
    } else if (error == EAGAIN || error == ENOBUFS || error == ENOMEM) {
        ++refusals_.full;
    } else {
        ++refusals_.other;
    }
}

void TapUplink::add_descriptors(PollSet& set) {
    // What the machines have not taken yet leaves the rest to the host's queue.
    set.descriptors.push_back({fd_.get(), static_cast<short>(has_room() ? POLLIN : 0), 0});
}

void TapUplink::handle(std::span<pollfd const> own, Ticks now) {
    if ((own.front().revents & POLLIN) == 0) return;
    for (int i = 0; i < kFramesPerBarrier && has_room(); ++i) {
        ssize_t const count = ::read(fd_.get(), buffer_.data(), buffer_.size());
        if (count <= 0) return;
        send_on(ConstByteSpan{buffer_}.first(static_cast<std::size_t>(count)), now);
    }
}

void TapUplink::send_on(ConstByteSpan packet, Ticks now) {
    NetHeader header{};
    if (packet.size() < sizeof header) return drop();
    std::memcpy(&header, packet.data(), sizeof header);
    ConstByteSpan const frame = packet.subspan(sizeof header);
    auto const lacks = virtio::offload_of(header, {{&frame, 1}, static_cast<std::uint32_t>(frame.size())});
    lacks ? send(frame, now, *lacks) : drop();
}

}  // namespace backplane
