// A way out through a TAP device of the host: frames to and from the host's own network stack. As between two virtio-net cards,
// many TCP segments cross as one, and nobody sums what never leaves this host.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"
#include "device/packet_port.h"
#include "host/pollable.h"

namespace backplane {

class TapUplink final : public PacketPort, public Pollable {
  public:
    /// The longest name of a network device of Linux.
    static constexpr std::size_t kLongestName = 15;
    /// Frames taken from the host in one barrier.
    static constexpr int kFramesPerBarrier = 256;

    /// Opens the device, or makes it where that is allowed.
    /// Errors: host, naming the device and what would help
    [[nodiscard]] static Expected<std::unique_ptr<TapUplink>, Error> create(std::string const& name);

    /// On a device that is open already, not blocking, with a virtio::NetHeader before each frame.
    explicit TapUplink(UniqueFd fd);

    /// Asks the host for frames that it has not cut and summed.
    void allow_unfinished_frames() override;
    [[nodiscard]] OffloadSet accepts() const override { return {.checksum = true, .tcp_ipv4 = true, .tcp_ipv6 = true}; }

    void add_descriptors(PollSet& set) override;
    void handle(std::span<pollfd const> own, Ticks now) override;

  private:
    void take(ConstByteSpan frame, Ticks sent, Offload const& lacks) override;
    /// What was read: a header, and the frame behind it.
    void send_on(ConstByteSpan packet, Ticks now);

    UniqueFd fd_;
    std::vector<std::byte> buffer_;
};

}  // namespace backplane
