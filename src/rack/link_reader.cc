#include "rack/link_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "crossover/address_service.h"
#include "rack/nearest_word.h"
#include "rack/printable.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

using Path = std::filesystem::path;

constexpr std::array<std::string_view, 18> kLinkKeys{
    "uplink", "forward", "host-access", "services", "subnet",     "completion", "wait", "capture", "latency",
    "rate",   "loss",    "duplicate",   "reorder",  "reorder_by", "spoofing",   "cut",  "heal",    "from"};
constexpr std::array<std::string_view, 6> kDirectionKeys{"latency",   "rate",    "loss",
                                                         "duplicate", "reorder", "reorder_by"};
constexpr std::array<std::string_view, 2> kCompletions{"landed", "read"};
constexpr std::array<std::string_view, 2> kSpoofings{"allow", "refuse"};

/// \param impairment  what holds for keys that are absent
Expected<Impairment, Error> read_impairment(TomlTable const& table, Impairment impairment) {
    auto const latency = BACKPLANE_TRY(table.parsed("latency", parse_duration));
    impairment.latency = latency.value_or(impairment.latency);
    auto const rate = BACKPLANE_TRY(table.parsed("rate", parse_rate));
    impairment.rate_bits_per_s = rate.value_or(impairment.rate_bits_per_s);
    auto const loss = BACKPLANE_TRY(table.parsed("loss", parse_probability));
    impairment.loss = loss.value_or(impairment.loss);
    auto const duplicate = BACKPLANE_TRY(table.parsed("duplicate", parse_probability));
    impairment.duplicate = duplicate.value_or(impairment.duplicate);
    auto const reorder = BACKPLANE_TRY(table.parsed("reorder", parse_probability));
    impairment.reorder = reorder.value_or(impairment.reorder);
    auto const reorder_by = BACKPLANE_TRY(table.parsed("reorder_by", parse_duration));
    impairment.reorder_by = reorder_by.value_or(impairment.reorder_by);
    return impairment;
}

Expected<void, Error> read_directions(TomlTable const& table, LinkFile& link) {
    auto const from = BACKPLANE_TRY(table.table("from"));
    if (!from) return {};
    for (std::string const& machine : from->keys_in_file_order()) {
        TomlTable const direction = BACKPLANE_TRY(from->required_table(machine));
        BACKPLANE_TRY_VOID(direction.check_keys(kDirectionKeys, {}));
        Impairment const impairment = BACKPLANE_TRY(read_impairment(direction, link.impairment));
        link.from.push_back({machine, impairment});
    }
    return {};
}

Expected<void, Error> read_carrier_changes(TomlTable const& table, LinkFile& link) {
    std::vector<Ticks> const cuts = BACKPLANE_TRY(table.parsed_list("cut", parse_duration));
    std::vector<Ticks> const heals = BACKPLANE_TRY(table.parsed_list("heal", parse_duration));
    for (Ticks const time : cuts) link.carrier_changes.push_back({time, Carrier::down});
    for (Ticks const time : heals) link.carrier_changes.push_back({time, Carrier::up});
    std::ranges::stable_sort(link.carrier_changes, {}, &CarrierChange::time);
    auto const same = std::ranges::adjacent_find(link.carrier_changes, {}, &CarrierChange::time);
    if (same == link.carrier_changes.end()) return {};
    return Unexpected{table.error_at(heals.empty() ? "cut" : "heal",
                                     in_quotes(duration_text(same->time)) + " twice; expected every time once")};
}

Expected<void, Error> read_uplink(TomlTable const& table, LinkFile& link) {
    auto const services = BACKPLANE_TRY(table.truth("services"));
    link.has_services = services.value_or(link.has_services);
    auto const subnet = BACKPLANE_TRY(table.parsed("subnet", parse_subnet));
    link.subnet = subnet.value_or(link.subnet);
    bool const is_nat = link.uplink.kind == UplinkFile::Kind::nat;
    auto const host_access = BACKPLANE_TRY(table.truth("host-access"));
    if (host_access && !is_nat) {
        return Unexpected{table.error_at("host-access", "needs uplink = \"nat\"; expected no such key")};
    }
    if (host_access.value_or(false)) link.host_access = NatOptions::HostAccess::yes;
    link.forwards = BACKPLANE_TRY(table.parsed_list("forward", parse_forward));
    if (link.forwards.empty() || (is_nat && link.has_services)) return {};
    std::string_view const needed = is_nat ? "services = true" : "uplink = \"nat\"";
    return Unexpected{table.error_at("forward", fmt::format("needs {}; expected no such key", needed))};
}

}  // namespace

LinkFile default_link(std::string name, UplinkFile uplink, std::size_t index) {
    LinkFile link;
    link.name = std::move(name);
    link.uplink = std::move(uplink);
    link.has_services = link.uplink.kind != UplinkFile::Kind::tap;  // the network out there has its own
    auto const number = static_cast<std::uint32_t>(index);
    link.subnet = {Ipv4Address{10, static_cast<std::uint8_t>(77 + number / 256), static_cast<std::uint8_t>(number), 0},
                   24};
    return link;
}

Expected<LinkFile, Error> read_link(TomlTable const& table, std::string const& name, Path const& folder,
                                    std::size_t index) {
    BACKPLANE_TRY_VOID(table.check_keys(kLinkKeys, {}));
    auto const uplink = BACKPLANE_TRY(table.parsed("uplink", parse_uplink));
    LinkFile link = default_link(name, uplink.value_or(UplinkFile{}), index);
    BACKPLANE_TRY_VOID(read_uplink(table, link));
    auto const completion = BACKPLANE_TRY(table.word("completion", kCompletions, {}));
    if (completion == "read") link.completion = Completion::read;
    auto const wait = BACKPLANE_TRY(table.parsed("wait", parse_duration));
    link.wait = wait.value_or(link.wait);
    auto const capture = BACKPLANE_TRY(table.text("capture"));
    if (capture && capture->empty()) return Unexpected{table.error_at("capture", "\"\"; expected a file name")};
    if (capture) link.capture = folder / *capture;
    link.impairment = BACKPLANE_TRY(read_impairment(table, {}));
    auto const spoofing = BACKPLANE_TRY(table.word("spoofing", kSpoofings, {}));
    if (spoofing == "refuse") link.source_check = SourceCheck::strict;
    BACKPLANE_TRY_VOID(read_carrier_changes(table, link));
    BACKPLANE_TRY_VOID(read_directions(table, link));
    return link;
}

namespace {

/// The machines with a NIC on the link, each once, and how many NICs these are.
struct Members {
    std::vector<std::string_view> machines;
    std::size_t nic_count{0};
};

Members members_of(RackFile const& rack, std::uint32_t link_index) {
    Members members;
    for (MachineFile const& machine : rack.machines) {
        auto const count = static_cast<std::size_t>(
            std::ranges::count_if(machine.nics, [&](NicFile const& n) { return n.link == link_index; }));
        if (count != 0) members.machines.push_back(machine.name);
        members.nic_count += count;
    }
    return members;
}

Error no_member(TomlTable const& table, std::string_view key, std::string const& machine, Members const& members) {
    std::string const expected = members.machines.empty() ? "no such key: the link has no machine"
                                                          : "a machine of this link: " + comma_list(members.machines);
    return table.error_at(key, in_quotes(machine) + "; expected " + expected + did_you_mean(machine, members.machines));
}

}  // namespace

Expected<void, Error> check_members(TomlTable const& table, RackFile const& rack, std::uint32_t link_index) {
    LinkFile const& link = rack.links[link_index];
    Members const members = members_of(rack, link_index);
    auto const is_member = [&](std::string const& machine) {
        return std::ranges::find(members.machines, machine) != members.machines.end();
    };
    auto const from = BACKPLANE_TRY(table.table("from"));
    for (DirectionFile const& direction : link.from) {
        if (is_member(direction.machine)) continue;
        return Unexpected{no_member(*from, direction.machine, direction.machine, members)};
    }
    for (ForwardFile const& forward : link.forwards) {
        if (!is_member(forward.machine)) return Unexpected{no_member(table, "forward", forward.machine, members)};
    }
    std::size_t const capacity = AddressPlan{.subnet = link.subnet}.capacity();
    if (!link.has_services || members.nic_count <= capacity) return {};
    return Unexpected{table.error_at("subnet", fmt::format("{} NICs; expected a network with room for more than {}, or "
                                                           "services = false",
                                                           members.nic_count, capacity))};
}

Impairment const& LinkFile::impairment_from(std::string_view machine) const {
    auto const found = std::ranges::find(from, machine, &DirectionFile::machine);
    return found != from.end() ? found->impairment : impairment;
}

namespace {

std::string impairment_text(Impairment const& impairment) {
    std::string text;
    if (impairment.latency != Ticks{}) text += ", latency " + duration_text(impairment.latency);
    if (impairment.rate_bits_per_s != 0) text += ", rate " + rate_text(impairment.rate_bits_per_s);
    if (impairment.loss != 0) text += ", loss " + probability_text(impairment.loss);
    if (impairment.duplicate != 0) text += ", duplicate " + probability_text(impairment.duplicate);
    if (impairment.reorder != 0) {
        text += fmt::format(", reorder {} by {}", probability_text(impairment.reorder),
                            duration_text(impairment.reorder_by));
    }
    return text;
}

}  // namespace

std::string link_summary_text(LinkFile const& link) {
    std::string text;
    if (link.uplink.kind != UplinkFile::Kind::none) text += ", uplink " + uplink_text(link.uplink);
    if (link.has_services) {
        text += fmt::format(", addresses {}/{}", ipv4_text(link.subnet.network), link.subnet.prefix_bits);
    }
    if (link.host_access == NatOptions::HostAccess::yes) text += ", host access";
    for (ForwardFile const& forward : link.forwards) {
        text += fmt::format(", {}:{} to {}:{}", ipv4_text(forward.host_address), forward.host_port, forward.machine,
                            forward.machine_port);
    }
    text += impairment_text(link.impairment);
    if (link.source_check == SourceCheck::strict) text += ", spoofing refused";
    for (CarrierChange const& change : link.carrier_changes) {
        text += fmt::format(", {} at {}", change.carrier == Carrier::down ? "cut" : "heal", duration_text(change.time));
    }
    if (link.capture) text += ", capture " + link.capture->string();
    for (DirectionFile const& direction : link.from) {
        std::string const differs = impairment_text(direction.impairment);
        text += fmt::format("\n  from {}: {}", direction.machine, differs.empty() ? "nothing" : differs.substr(2));
    }
    return text;
}

}  // namespace backplane
