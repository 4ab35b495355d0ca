#include "host/tap_uplink.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace backplane {
namespace {

constexpr std::size_t kLongestFrame = 65'536 + 18;

Error tap_error(std::string const& name, int error_number) {
    std::string const advice = error_number == EPERM || error_number == EACCES
                                   ? " (as root: ip tuntap add " + name + " mode tap user $USER)"
                                   : "";
    Error error = host_error("tap:" + name, error_number);
    error.message += advice;
    return error;
}

}  // namespace

TapUplink::TapUplink(UniqueFd fd) : PacketPort{MacAddress{}}, fd_{std::move(fd)}, buffer_(kLongestFrame) {}

Expected<std::unique_ptr<TapUplink>, Error> TapUplink::create(std::string const& name) {
    UniqueFd fd{::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)};
    if (!fd.is_open()) return Unexpected{tap_error(name, errno)};
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    std::memcpy(request.ifr_name, name.data(), std::min(name.size(), kLongestName));
    if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return Unexpected{tap_error(name, errno)};
    return std::unique_ptr<TapUplink>{new TapUplink{std::move(fd)}};
}

/// A device that is down or full refuses the frame: it is lost, as on any wire, and counted.
void TapUplink::take(ConstByteSpan frame, Ticks) {
    ssize_t const written = ::write(fd_.get(), frame.data(), frame.size());
    if (written == static_cast<ssize_t>(frame.size())) return;
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
        send(ConstByteSpan{buffer_}.first(static_cast<std::size_t>(count)), now);
    }
}

}  // namespace backplane
