#include "rack/network.h"

#include <algorithm>
#include <utility>

#include "host/nat_uplink.h"
#include "host/pcapng.h"
#include "host/tap_uplink.h"
#include "rack/identity.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

/// How a link of the rack file behaves.
LinkOptions link_options(LinkFile const& link, Ticks quantum) {
    return {.name = link.name,
            .completion = link.completion,
            .wait = link.wait,
            .read_wait = link.wait,
            .source_check = link.source_check,
            .longest_hold = quantum,
            .most_stored_bytes = link.store_bytes,
            .carrier_changes = link.carrier_changes};
}

/// Members are named like their machine; a second NIC of one is "alpha-nic1".
AddressPlan address_plan(RackFile const& file, std::size_t link_index) {
    LinkFile const& link = file.links[link_index];
    AddressPlan plan{.subnet = link.subnet, .has_gateway = link.uplink.kind == UplinkFile::Kind::nat};
    for (MachineFile const& machine : file.machines) {
        bool is_first = true;
        for (std::size_t n = 0; n < machine.nics.size(); ++n) {
            if (machine.nics[n].link != link_index) continue;
            plan.members.push_back(
                {machine.nics[n].mac, is_first ? machine.name : machine.name + "-nic" + std::to_string(n)});
            is_first = false;
        }
    }
    return plan;
}

NatOptions nat_options(LinkFile const& link, AddressPlan const& plan) {
    NatOptions options{.network = link.subnet.network.number(),
                       .mask = link.subnet.mask(),
                       .gateway = plan.gateway().number(),
                       .name_server = plan.outside_names().number(),
                       .first_dhcp = plan.address_of(0).number(),
                       .host_access = link.host_access};
    for (ForwardFile const& forward : link.forwards) {
        auto const machine = plan.find(forward.machine);
        options.forwards.push_back({.protocol = forward.protocol,
                                    .host_address = forward.host_address.number(),
                                    .host_port = forward.host_port,
                                    .machine_address = machine.value_or(Ipv4Address{}).number(),
                                    .machine_port = forward.machine_port});
    }
    return options;
}

Error in_link(LinkFile const& link, Error error) {
    error.message = "link " + link.name + ": " + error.message;
    return error;
}

}  // namespace

Expected<std::unique_ptr<Network>, Error> Network::create(RackFile const& file, PortOf const& port_of) {
    std::unique_ptr<Network> network{new Network};
    for (std::size_t i = 0; i < file.links.size(); ++i) {
        network->add_link(file, i, port_of);
        BACKPLANE_TRY_VOID(network->add_uplink(file, i));
        network->couple(file, network->links_[i]);
        BACKPLANE_TRY_VOID(network->start_capture(file, i));
        network->link(i).set_carrier(Carrier::up);
    }
    return network;
}

void Network::add_link(RackFile const& file, std::size_t index, PortOf const& port_of) {
    links_.emplace_back();
    links_[index].link = std::make_unique<Link>(link_options(file.links[index], file.quantum));
    add_members(file, index, port_of);
    if (file.links[index].has_services) add_service(file, index);
}

void Network::add_members(RackFile const& file, std::size_t index, PortOf const& port_of) {
    Part& part = links_[index];
    LinkFile const& link = file.links[index];
    for (std::uint32_t m = 0; m < file.machines.size(); ++m) {
        MachineFile const& machine = file.machines[m];
        for (std::uint32_t n = 0; n < machine.nics.size(); ++n) {
            NicFile const& nic = machine.nics[n];
            if (nic.link != index) continue;
            std::string const name = "nic" + std::to_string(n);
            PortOptions options{.impairment = link.impairment_from(machine.name),
                                .seed = derive_seed(file.seed, machine.name, "link." + link.name + '.' + name),
                                .group = nic.group,
                                .device = nic.device};
            PortIndex const port =
                part.link->attach(MachineId{static_cast<std::uint16_t>(m)}, port_of({m, n}), name, std::move(options));
            part.members.push_back({{m, n}, port});
            part.port_names.push_back(machine.name + '.' + name);
        }
    }
}

void Network::add_service(RackFile const& file, std::size_t index) {
    Part& part = links_[index];
    // No machine can have a name with a blank.
    MacAddress const mac = derive_mac(file.seed, "services of " + file.links[index].name, 0);
    part.service = std::make_unique<AddressService>(mac, address_plan(file, index));
    part.link->attach_service(*part.service, "services");
    part.port_names.emplace_back("services");
}

Expected<void, Error> Network::add_uplink(RackFile const& file, std::size_t index) {
    Part& part = links_[index];
    LinkFile const& link = file.links[index];
    switch (link.uplink.kind) {
        case UplinkFile::Kind::none:
            return {};
        case UplinkFile::Kind::nat: {
            auto nat = NatUplink::create(nat_options(link, address_plan(file, index)));
            if (!nat) return Unexpected{in_link(link, nat.error())};
            outsides_.push_back(nat->get());
            part.uplink = *std::move(nat);
            break;
        }
        case UplinkFile::Kind::tap: {
            auto tap = TapUplink::create(link.uplink.tap);
            if (!tap) return Unexpected{in_link(link, tap.error())};
            outsides_.push_back(tap->get());
            part.uplink = *std::move(tap);
            break;
        }
    }
    part.link->attach_uplink(*part.uplink, uplink_text(link.uplink));
    part.port_names.push_back(uplink_text(link.uplink));
    return {};
}

/// S2.3: what the file names, and what it implies: a link with just two members. S2.2: what the NICs declare.
void Network::couple(RackFile const& file, Part& part) {
    std::vector<Member> const& members = part.members;
    for (Member const& each : members) {
        auto const peer = file.machines[each.place.machine].nics[each.place.nic].peer;
        if (!peer) continue;
        auto const other = std::ranges::find(members, *peer, &Member::place);
        if (other != members.end()) part.link->couple(each.port, other->port);
    }
    bool const is_declared = std::ranges::any_of(members, [&](Member const& each) {
        return !file.machines[each.place.machine].nics[each.place.nic].device.empty();
    });
    if (members.size() == 2 && !is_declared) part.link->couple(members[0].port, members[1].port);
    part.link->compare_default_mappings();
}

Expected<void, Error> Network::start_capture(RackFile const& file, std::size_t index) {
    Part& part = links_[index];
    auto const& path = file.links[index].capture;
    if (!path) return {};
    auto capture = PcapngFile::create(*path);
    if (!capture) return Unexpected{in_link(file.links[index], capture.error())};
    part.capture = std::make_unique<LinkCapture>(*std::move(capture), part.port_names);
    part.link->add_recorder(*part.capture);
    return {};
}

Link* Network::find(std::string_view name) {
    auto const found = std::ranges::find_if(links_, [&](Part const& part) { return part.link->name() == name; });
    return found == links_.end() ? nullptr : found->link.get();
}

std::uint64_t Network::uplink_drops(std::size_t index) const {
    return links_[index].uplink ? links_[index].uplink->dropped_frames() : 0;
}

OutsideRefusals Network::uplink_refusals(std::size_t index) const {
    return links_[index].uplink ? links_[index].uplink->refusals() : OutsideRefusals{};
}

void Network::flush() {
    for (Part& part : links_) {
        if (part.capture) part.capture->flush();
    }
}

}  // namespace backplane
