#include "rack/window_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "host/backing_file.h"
#include "rack/nearest_word.h"
#include "rack/printable.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

constexpr std::array<std::string_view, 6> kWindowKeys{"section", "common", "machines", "vectors", "backing", "outside"};
constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;  // of one part, and of all together
constexpr std::size_t kMostPeers = 64;
constexpr unsigned kMostVectors = 32;

Expected<std::uint64_t, Error> parse_part(std::string_view text) {
    auto const bytes = bytes_in_text(text);
    if (bytes && std::has_single_bit(*bytes) && *bytes >= kPageBytes && *bytes <= kMostBytes) return *bytes;
    return Unexpected{bad_input(fmt::format("\"{}\"; expected a power of two, \"4K\" to \"256M\"", text))};
}

/// The machines of the list, or all without one. There are two peers at least, with those outside.
Expected<std::vector<std::uint32_t>, Error> read_members(TomlTable const& table, std::vector<std::string> const& machines,
                                                         std::uint32_t outside) {
    std::vector<std::string> names = BACKPLANE_TRY(table.texts("machines"));
    auto const keys = table.keys_in_file_order();
    if (std::ranges::find(keys, "machines") == keys.end()) names = machines;
    std::vector<std::uint32_t> members;
    for (std::string const& name : names) {
        auto const found = std::ranges::find(machines, name);
        if (found == machines.end()) {
            std::vector<std::string_view> const known{machines.begin(), machines.end()};
            return Unexpected{table.error_at(
                "machines", in_quotes(name) + "; expected one of " + comma_list(known) + did_you_mean(name, known))};
        }
        auto const index = static_cast<std::uint32_t>(found - machines.begin());
        if (std::ranges::find(members, index) != members.end())
            return Unexpected{table.error_at("machines", in_quotes(name) + " twice; expected each machine once")};
        members.push_back(index);
    }
    std::size_t const least = outside == 0 ? 2 : 1, most = kMostPeers - outside;
    if (members.size() >= least && members.size() <= most) return members;
    return Unexpected{table.error_at("machines", fmt::format("{} machines; expected {} to {}", members.size(), least, most))};
}

Expected<void, Error> read_outside(TomlTable const& table, WindowFile& file) {
    auto const outside = BACKPLANE_TRY(table.number("outside", 1, kMostPeers - 1));
    file.outside = static_cast<std::uint32_t>(outside.value_or(0));
    if (!outside || BACKPLANE_TRY(table.text("backing"))) return {};
    return Unexpected{table.error_at("outside", "memory that nobody outside can reach; expected backing = \"FILE\"")};
}

Expected<void, Error> read_backing(TomlTable const& table, std::filesystem::path const& folder, WindowFile& file) {
    auto const path = BACKPLANE_TRY(table.text("backing"));
    if (!path) return {};
    file.backing = folder / *path;
    auto const valid = open_backing(*file.backing, file.layout.used_pages() * kPageBytes);
    if (!valid) return Unexpected{table.error_at("backing", printable(valid.error().message))};
    return {};
}

}  // namespace

std::optional<std::uint32_t> WindowFile::position_of(std::uint32_t machine) const {
    auto const found = std::ranges::find(machines, machine);
    if (found == machines.end()) return std::nullopt;
    return static_cast<std::uint32_t>(found - machines.begin());
}

Expected<std::optional<WindowFile>, Error> read_window(TomlTable const& top, std::vector<std::string> const& machines,
                                                       std::filesystem::path const& folder) {
    std::optional<TomlTable> const table = BACKPLANE_TRY(top.table("window"));
    if (!table) return std::optional<WindowFile>{};
    BACKPLANE_TRY_VOID(table->check_keys(kWindowKeys, {}));
    WindowFile file;
    window::Layout& layout = file.layout;
    layout.section_bytes = BACKPLANE_TRY(table->parsed("section", parse_part)).value_or(layout.section_bytes);
    layout.common_bytes = BACKPLANE_TRY(table->parsed("common", parse_part)).value_or(0);
    BACKPLANE_TRY_VOID(read_outside(*table, file));
    file.machines = BACKPLANE_TRY(read_members(*table, machines, file.outside));
    layout.peers = static_cast<std::uint32_t>(file.machines.size()) + file.outside;
    file.vectors = static_cast<unsigned>(BACKPLANE_TRY(table->number("vectors", 1, kMostVectors)).value_or(1));
    if (layout.used_pages() * kPageBytes > kMostBytes)
        return Unexpected{table->error_at(
            "section",
            fmt::format("{} for each of {} {}{}; expected at most {} in all", memory_text(layout.section_bytes), layout.peers,
                        file.outside == 0 ? "machines" : "peers", layout.common_bytes == 0 ? "" : ", and the common part",
                        memory_text(kMostBytes)))};
    BACKPLANE_TRY_VOID(read_backing(*table, folder, file));
    return std::optional{std::move(file)};
}

}  // namespace backplane
