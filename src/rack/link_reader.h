// The [link.NAME] tables of a rack file.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "rack/rack_file.h"
#include "rack/toml_table.h"

namespace backplane {

/// Reads one link. \param folder  what relative paths are relative to; \param index  among the links of the rack
/// Errors: bad_input, with the place
[[nodiscard]] Expected<LinkFile, Error> read_link(TomlTable const& table, std::string const& name,
                                                  std::filesystem::path const& folder, std::size_t index);

/// A link that has everything by default, such as one that only NICs speak of.
[[nodiscard]] LinkFile default_link(std::string name, UplinkFile uplink, std::size_t index);

/// What can only be checked when the machines are known: `from.NAME` and the machines of forwards have a NIC on the
/// link, and there are addresses for all.
[[nodiscard]] Expected<void, Error> check_members(TomlTable const& table, RackFile const& rack,
                                                  std::uint32_t link_index);

/// The part of a link's line in rack_summary() that only unusual links have; begins with ", ".
[[nodiscard]] std::string link_summary_text(LinkFile const& link);

}  // namespace backplane
