// Which link each NIC of a rack file is on: said by `link`, implied by `uplink` (S2.2) or by `peer` (S2.3).
#pragma once

#include "base/error.h"
#include "base/expected.h"
#include "rack/rack_file.h"
#include "rack/toml_table.h"

namespace backplane {

/// Fills in link, device and peer of every NIC, and adds the links that only NICs speak of: one for each uplink that no
/// [link.NAME] has, and one for each pair of peers without a link.
/// \param top  the document whose machines and links `rack` holds already
/// Errors: bad_input, with the place
[[nodiscard]] Expected<void, Error> link_nics(TomlTable const& top, RackFile& rack);

}  // namespace backplane
