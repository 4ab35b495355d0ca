#include "rack/link_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "rack/nearest_word.h"
#include "rack/printable.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

using Path = std::filesystem::path;

constexpr std::array<std::string_view, 14> kLinkKeys{"uplink",   "completion", "wait",      "capture", "latency",
                                                     "rate",     "loss",       "duplicate", "reorder", "reorder_by",
                                                     "spoofing", "cut",        "heal",      "from"};
constexpr std::array<std::string_view, 6> kDirectionKeys{"latency",   "rate",    "loss",
                                                         "duplicate", "reorder", "reorder_by"};
constexpr std::array<std::string_view, 2> kCompletions{"landed", "read"};
constexpr std::array<std::string_view, 2> kSpoofings{"allow", "refuse"};
constexpr std::array<std::string_view, 1> kUplinks{"none"};
constexpr std::array<std::string_view, 1> kUplinksNotBuilt{"nat"};

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

Expected<void, Error> check_uplink(TomlTable const& link) {
    std::optional<std::string> const uplink = BACKPLANE_TRY(link.text("uplink"));
    if (uplink && uplink->starts_with("tap:")) return Unexpected{link.not_built("uplink", *uplink, kUplinks)};
    BACKPLANE_TRY_VOID(link.word("uplink", kUplinks, kUplinksNotBuilt));
    return {};
}

}  // namespace

Expected<LinkFile, Error> read_link(TomlTable const& table, std::string const& name, Path const& folder) {
    BACKPLANE_TRY_VOID(table.check_keys(kLinkKeys, {}));
    BACKPLANE_TRY_VOID(check_uplink(table));
    LinkFile link;
    link.name = name;
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

Expected<void, Error> check_directions(TomlTable const& table, RackFile const& rack, std::uint32_t link_index) {
    auto const from = BACKPLANE_TRY(table.table("from"));
    if (!from) return {};
    std::vector<std::string_view> members;
    for (MachineFile const& machine : rack.machines) {
        bool const is_member =
            std::ranges::any_of(machine.nics, [&](NicFile const& n) { return n.link == link_index; });
        if (is_member) members.push_back(machine.name);
    }
    for (DirectionFile const& direction : rack.links[link_index].from) {
        if (std::ranges::find(members, direction.machine) != members.end()) continue;
        std::string const expected = members.empty() ? "no direction: the link has no machine"
                                                     : "a machine of this link: " + comma_list(members);
        return Unexpected{from->error_at(direction.machine, in_quotes(direction.machine) + "; expected " + expected +
                                                                did_you_mean(direction.machine, members))};
    }
    return {};
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
    std::string text = impairment_text(link.impairment);
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
