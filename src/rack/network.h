// The links of a rack with all that hangs on them besides machines: services, uplinks, captures.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "crossover/address_service.h"
#include "crossover/link.h"
#include "device/packet_port.h"
#include "host/pollable.h"
#include "rack/capture.h"
#include "rack/rack_file.h"

namespace backplane {

class Network {
  public:
    /// The port of a NIC of a built machine; it must outlive the network.
    using PortOf = std::function<FramePort&(NicPlace)>;

    /// Builds the links of the file and plugs everything in; the cables are plugged at the end.
    /// Errors: bad_input (a capture that cannot be made), host (an uplink that the host refuses)
    [[nodiscard]] static Expected<std::unique_ptr<Network>, Error> create(RackFile const& file, PortOf const& port_of);

    [[nodiscard]] std::size_t link_count() const { return links_.size(); }
    [[nodiscard]] Link& link(std::size_t index) { return *links_[index].link; }
    [[nodiscard]] Link const& link(std::size_t index) const { return *links_[index].link; }
    /// Of its ports, in their order, such as "alpha.nic0".
    [[nodiscard]] std::vector<std::string> const& port_names(std::size_t index) const { return links_[index].port_names; }
    /// Null when the link of that name does not exist.
    [[nodiscard]] Link* find(std::string_view name);
    /// Null when the link is not captured.
    [[nodiscard]] LinkCapture const* capture(std::size_t index) const { return links_[index].capture.get(); }
    /// Frames that an uplink had to drop because the machines did not take them.
    [[nodiscard]] std::uint64_t uplink_drops(std::size_t index) const;
    /// Frames of machines that an uplink's host refused.
    [[nodiscard]] OutsideRefusals uplink_refusals(std::size_t index) const;

    /// What the host may wake up: uplinks. With one of these a run cannot be repeated.
    [[nodiscard]] std::vector<Pollable*> const& outsides() const { return outsides_; }
    /// Completes the captures.
    void flush();

  private:
    struct Member {
        NicPlace place;
        PortIndex port;
    };
    // In the order in which they must be destroyed: the link lets go of its ports first, so it is last.
    struct Part {
        std::unique_ptr<AddressService> service;
        std::unique_ptr<PacketPort> uplink;
        std::unique_ptr<LinkCapture> capture;
        std::vector<Member> members;
        std::vector<std::string> port_names;
        std::unique_ptr<Link> link;
    };

    Network() = default;
    void add_link(RackFile const& file, std::size_t index, PortOf const& port_of);
    void add_members(RackFile const& file, std::size_t index, PortOf const& port_of);
    void add_service(RackFile const& file, std::size_t index);
    [[nodiscard]] Expected<void, Error> add_uplink(RackFile const& file, std::size_t index);
    void couple(RackFile const& file, Part& part);
    [[nodiscard]] Expected<void, Error> start_capture(RackFile const& file, std::size_t index);

    std::vector<Part> links_;
    std::vector<Pollable*> outsides_;
};

}  // namespace backplane
