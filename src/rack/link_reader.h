// The [link.NAME] tables of a rack file.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "rack/rack_file.h"
#include "rack/toml_table.h"

namespace backplane {

/// Reads one link. \param folder  what relative paths are relative to
/// Errors: bad_input, with the place
[[nodiscard]] Expected<LinkFile, Error> read_link(TomlTable const& table, std::string const& name,
                                                  std::filesystem::path const& folder);

/// What can only be checked when the machines are known: `from.NAME` names a machine with a NIC on the link.
[[nodiscard]] Expected<void, Error> check_directions(TomlTable const& table, RackFile const& rack,
                                                     std::uint32_t link_index);

/// The part of a link's line in rack_summary() that only unusual links have; begins with ", ".
[[nodiscard]] std::string link_summary_text(LinkFile const& link);

}  // namespace backplane
