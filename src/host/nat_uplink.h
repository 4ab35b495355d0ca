// A way out through the sockets of this process: address translation in user space, by libslirp. Needs no privileges.
//
// The machines see a router at one address of their subnet and a name server at another that asks the host's. TCP, UDP
// and ICMP echo go out; nothing comes in but what is forwarded. Addresses are given by the link's own service, so DHCP
// is kept from libslirp. Its clock is the rack's virtual time: a machine that is simulated slowly is no slow network.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "device/packet_port.h"
#include "host/pollable.h"

namespace backplane {

struct NatForward {
    enum class Protocol : std::uint8_t { tcp, udp };
    Protocol protocol{Protocol::tcp};
    std::uint32_t host_address{0x7F00'0001};  ///< first octet in the top byte; 127.0.0.1
    std::uint16_t host_port{0};
    std::uint32_t machine_address{0};
    std::uint16_t machine_port{0};
};

/// Addresses as numbers, the first octet in the top byte.
struct NatOptions {
    std::uint32_t network{0};
    std::uint32_t mask{0};
    std::uint32_t gateway{0};
    std::uint32_t name_server{0};
    std::uint32_t first_dhcp{0};  ///< unused, but libslirp wants one
    /// Whether what is sent to the router's address reaches the host's own 127.0.0.1.
    enum class HostAccess : std::uint8_t { no, yes } host_access{HostAccess::no};
    std::vector<NatForward> forwards{};
};

class NatUplink final : public PacketPort, public Pollable {
  public:
    /// Errors: host, such as a port of a forward that is taken
    [[nodiscard]] static Expected<std::unique_ptr<NatUplink>, Error> create(NatOptions const& options);
    ~NatUplink() override;

    void add_descriptors(PollSet& set) override;
    void handle(std::span<pollfd const> own, Ticks now) override;

  private:
    struct Slirp;
    NatUplink();
    void take(ConstByteSpan frame, Ticks sent, Offload const& lacks) override;

    std::unique_ptr<Slirp> slirp_;
    std::size_t first_descriptor_{0};  // of its own, in the set that was filled last
};

}  // namespace backplane
