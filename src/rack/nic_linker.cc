#include "rack/nic_linker.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "rack/link_reader.h"
#include "rack/nearest_word.h"
#include "rack/printable.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

constexpr std::uint32_t kNoLink = ~std::uint32_t{0};

/// "beta.nic0", or "beta.eth0" as the guest would say it.
struct NicName {
    std::string_view machine;
    std::uint32_t number{0};
};

std::optional<NicName> read_nic_name(std::string_view text) {
    std::size_t const dot = text.rfind('.');
    if (dot == std::string_view::npos) return std::nullopt;
    std::string_view const nic = text.substr(dot + 1);
    if (!nic.starts_with("nic") && !nic.starts_with("eth")) return std::nullopt;
    NicName name{text.substr(0, dot), 0};
    std::string_view const digits = nic.substr(3);
    auto const [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), name.number);
    if (problem != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    return name;
}

class NicLinker {
  public:
    NicLinker(TomlTable machines, RackFile& rack) : machines_{std::move(machines)}, rack_{rack} {}

    Expected<void, Error> run() {
        BACKPLANE_TRY_VOID(for_each_nic(&NicLinker::read_link));
        BACKPLANE_TRY_VOID(for_each_nic(&NicLinker::read_peer));
        return for_each_nic(&NicLinker::check_linked);
    }

  private:
    using Step = Expected<void, Error> (NicLinker::*)(TomlTable const& table, NicPlace place);

    Expected<void, Error> for_each_nic(Step step) {
        for (std::uint32_t m = 0; m < rack_.machines.size(); ++m) {
            TomlTable const machine = BACKPLANE_TRY(machines_.required_table(rack_.machines[m].name));
            std::vector<TomlTable> const tables = BACKPLANE_TRY(machine.tables("nic"));
            for (std::uint32_t n = 0; n < tables.size(); ++n) BACKPLANE_TRY_VOID((this->*step)(tables[n], {m, n}));
        }
        return {};
    }

    NicFile& nic(NicPlace place) { return rack_.machines[place.machine].nics[place.nic]; }

    Expected<void, Error> read_link(TomlTable const& table, NicPlace place) {
        nic(place).link = kNoLink;
        auto const link = BACKPLANE_TRY(table.text("link"));
        auto const uplink = BACKPLANE_TRY(table.parsed("uplink", parse_uplink));
        if (link && uplink) {
            return Unexpected{
                table.error_at("uplink", "beside link; expected one of the two: a link has its own uplink")};
        }
        if (link) {
            nic(place).link = BACKPLANE_TRY(named_link(table, *link));
        } else if (uplink && uplink->kind == UplinkFile::Kind::none) {
            return Unexpected{table.error_at("uplink", "\"none\"; expected \"nat\" or \"tap:DEVICE\"")};
        } else if (uplink) {
            nic(place).device = uplink_text(*uplink);
            nic(place).link = link_with_uplink(*uplink);
        }
        return {};
    }

    Expected<std::uint32_t, Error> named_link(TomlTable const& table, std::string const& name) {
        auto const found = std::ranges::find(rack_.links, name, &LinkFile::name);
        if (found != rack_.links.end()) return static_cast<std::uint32_t>(found - rack_.links.begin());
        std::vector<std::string_view> known(rack_.links.size());
        std::ranges::transform(rack_.links, known.begin(),
                               [](LinkFile const& l) -> std::string_view { return l.name; });
        std::string const expected =
            known.empty() ? "a [link.NAME] in this file" : "one of the links " + comma_list(known);
        return Unexpected{
            table.error_at("link", in_quotes(name) + "; expected " + expected + did_you_mean(name, known))};
    }

    std::uint32_t link_with_uplink(UplinkFile const& uplink) {
        auto const found = std::ranges::find(rack_.links, uplink, &LinkFile::uplink);
        if (found != rack_.links.end()) return static_cast<std::uint32_t>(found - rack_.links.begin());
        // No [link.NAME] can have this name.
        return add_link("uplink " + uplink_text(uplink), uplink);
    }

    std::uint32_t add_link(std::string name, UplinkFile uplink) {
        rack_.links.push_back(default_link(std::move(name), std::move(uplink), rack_.links.size()));
        return static_cast<std::uint32_t>(rack_.links.size() - 1);
    }

    Expected<void, Error> read_peer(TomlTable const& table, NicPlace place) {
        auto const text = BACKPLANE_TRY(table.text("peer"));
        if (!text) return {};
        auto const peer = find_nic(*text);
        if (!peer || *peer == place) {
            return Unexpected{table.error_at("peer", in_quotes(*text) + "; expected another NIC of the rack, such as " +
                                                         in_quotes(example_for(place)))};
        }
        NicFile& one = nic(place);
        NicFile& other = nic(*peer);
        bool const is_taken = (other.peer && *other.peer != place) || (one.peer && *one.peer != *peer);
        if (is_taken) {
            NicPlace const partner = one.peer && *one.peer != *peer ? *one.peer : *other.peer;
            return Unexpected{
                table.error_at("peer", fmt::format("{}; expected two NICs that name each other: there is {} "
                                                   "already",
                                                   in_quotes(*text), nic_name(rack_, partner)))};
        }
        one.peer = peer;
        other.peer = place;
        return join(table, place, *peer);
    }

    /// Peers are on one link, whichever of them says so; a link of their own if neither does.
    Expected<void, Error> join(TomlTable const& table, NicPlace place, NicPlace peer) {
        NicFile& one = nic(place);
        NicFile& other = nic(peer);
        if (one.link == kNoLink && other.link == kNoLink) {
            auto const [first, second] = std::minmax(place, peer);
            one.link = add_link(nic_name(rack_, first) + '-' + nic_name(rack_, second), {});
        }
        if (one.link == kNoLink) one.link = other.link;
        if (other.link == kNoLink) other.link = one.link;
        if (one.link == other.link) return {};
        return Unexpected{
            table.error_at("peer", fmt::format("{} is on link {}; expected a NIC of link {}", nic_name(rack_, peer),
                                               rack_.links[other.link].name, rack_.links[one.link].name))};
    }

    Expected<void, Error> check_linked(TomlTable const& table, NicPlace place) {
        if (nic(place).link != kNoLink) return {};
        return Unexpected{table.error_at("link", "no link; expected link = \"NAME\" and a [link.NAME]")};
    }

    std::optional<NicPlace> find_nic(std::string_view text) const {
        auto const name = read_nic_name(text);
        if (!name) return std::nullopt;
        auto const machine = std::ranges::find(rack_.machines, name->machine, &MachineFile::name);
        if (machine == rack_.machines.end() || name->number >= machine->nics.size()) return std::nullopt;
        return NicPlace{static_cast<std::uint32_t>(machine - rack_.machines.begin()), name->number};
    }

    /// Some NIC that is not this one.
    std::string example_for(NicPlace place) const {
        for (std::uint32_t m = 0; m < rack_.machines.size(); ++m) {
            if (m != place.machine && !rack_.machines[m].nics.empty()) return nic_name(rack_, {m, 0});
        }
        return "beta.nic0";
    }

    TomlTable machines_;
    RackFile& rack_;
};

}  // namespace

Expected<void, Error> link_nics(TomlTable const& top, RackFile& rack) {
    TomlTable machines = BACKPLANE_TRY(top.required_table("machine"));
    return NicLinker{std::move(machines), rack}.run();
}

}  // namespace backplane
